"""Functions compiled to machine code by numba when they are first called, and kept on disk for the next process."""

from collections.abc import Callable
from functools import cache, wraps
from typing import Any, ParamSpec, TypeVar

from hwkd.errors import HwkdError

P = ParamSpec("P")
R = TypeVar("R")


def compiled(signature: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Compile a function for one signature, in numba's notation; it runs without the interpreter's lock.

    Without compilation at import, a command that codes nothing never waits for numba (0.3 s). One signature means one
    compilation, and its types are those on every machine. A compiled function may not call another of another
    file: numba's cache looks at the function's own file only, so it would keep the old one after a change.

    numba keeps its results in NUMBA_CACHE_DIR, else beside the module, else in the user's cache folder, whichever
    may be written to.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @cache
        def kernel() -> Any:
            try:
                from numba import njit
            except ImportError as error:
                raise HwkdError(
                    f'numba, which the entropy coder needs, cannot be loaded ({error}): pip install "hwkd[runtime]"'
                ) from error

            try:
                return njit(signature, nogil=True, cache=True)(function)
            except Exception:
                # No folder may be written to, the disk is full, or what lies there is damaged: each raises something
                # else. Coding works without the cache, after seconds of compilation; what is wrong with the function
                # itself raises again here.
                return njit(signature, nogil=True)(function)

        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            result: R = kernel()(*args, **kwargs)
            return result

        return call

    return decorate


def read_only(dtype: str) -> str:
    """The signature of a one-dimensional array that is only read: it takes arrays of both kinds."""
    return f"Array({dtype}, 1, 'C', readonly=True)"
