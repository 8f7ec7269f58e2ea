"""The entropy coder's loops in machine code: LLVM compiles hwkd/codec/loops.ll when something is first coded.

That takes 10 ms, and 40 ms to load LLVM (llvmlite); nothing is written to disk.
"""

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy.typing as npt

from hwkd.notes import note

Array = npt.NDArray[Any]

SOURCE = Path(__file__).with_name("loops.ll")

_LOCK = Lock()
_KINDS = {"i64": ctypes.c_int64, "ptr": ctypes.c_void_p}


class Loops(NamedTuple):
    """The functions of loops.ll, which says what each takes: whole numbers, and arrays in one piece.

    They run without the interpreter's lock.
    """

    rans_encode: Callable[..., int]
    rans_decode: Callable[..., int]


@cache
def loops() -> Loops | None:
    """The loops; None where LLVM is not installed or does not take them, which is noted."""
    try:
        from llvmlite import binding

        with _LOCK:
            return _compiled(binding)
    # Of another LLVM, or of a system that lets no process make machine code: each raises something else.
    except Exception as error:
        note(
            f"the entropy coder runs in plain Python, 50 times slower, as its loops cannot be compiled ({error}): "
            'pip install "hwkd[runtime]"'
        )
        return None


def _compiled(binding: Any) -> Loops:
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    module = binding.parse_assembly(SOURCE.read_text(encoding="ascii"))
    machine = binding.Target.from_default_triple().create_target_machine(opt=2)
    module.triple, module.data_layout = machine.triple, str(machine.target_data)
    engine = binding.create_mcjit_compiler(module, machine)
    engine.finalize_object()

    def function(name: str) -> Callable[..., int]:
        kinds = (_KINDS[str(kind.type)] for kind in module.get_function(name).arguments)
        made = ctypes.CFUNCTYPE(ctypes.c_int64, *kinds)(engine.get_function_address(name))

        def call(*given: Array | int, _owner: Any = engine) -> int:  # of the code
            return int(made(*(one if isinstance(one, int) else _address(one) for one in given)))

        return call

    return Loops(*map(function, Loops._fields))


def _address(array: Array) -> int:
    assert array.flags.c_contiguous and array.flags.aligned
    return array.ctypes.data
