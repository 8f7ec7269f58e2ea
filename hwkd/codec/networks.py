"""A bundle's three networks in a runtime, the entropy path proven by its self-test before it is used."""

import hashlib
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from hwkd.errors import HwkdError, InputError
from hwkd.images import Pixels
from hwkd.runtime.bundle import Bundle, arrays
from hwkd.runtime.exact import ExactPath, exact_path
from hwkd.runtime.manifest import HYPER_LAYERS, SELFTEST
from hwkd.runtime.session import (
    Arrays,
    Session,
    open_session,
    preferred_runtimes,
    present_runtimes,
    runtime_label,
    sums_exactly,
)

EXACT = "exact"
"""In place of a runtime for the entropy path: whole numbers in numpy, slow, right everywhere."""

_UNFIT = (
    "the runtime lacks a kernel for it here, or the bundle's graphs do not fit its manifest: try another --runtime, or "
    "export it again"
)

SELFTEST_PREFIX, SELFTEST_DIGESTS = "z_", "digests"

Symbols = npt.NDArray[np.int32]
Indexes = npt.NDArray[np.uint8]


class SelfTestFailed(InputError):
    """A runtime that computes the entropy path differently here: streams would not decode elsewhere."""


def digest(indexes: Indexes) -> str:
    """The sha256 of indexes, shape included: equal where they are."""
    shape = "x".join(map(str, indexes.shape))
    return hashlib.sha256(shape.encode() + np.ascontiguousarray(indexes).tobytes()).hexdigest()


def default_runtime(bundle: Bundle) -> str:
    """The first of `preferred_runtimes` that the bundle has graphs for.

    Raises:
        InputError: there is none.
    """
    offered = set.intersection(*(set(graphs) for graphs in bundle.manifest.graphs.values()))
    for runtime in preferred_runtimes():
        if runtime in offered:
            return runtime
    raise InputError(
        f'no runtime for {bundle.manifest.name} is installed: pip install "hwkd[runtime]"'
    )


def entropy_runtime(bundle: Bundle, runtime: str) -> str:
    """Where h_s runs when the other networks run in `runtime`: there, if its sums are exact, else in ONNX Runtime.

    Raises:
        InputError: they are not, and ONNX Runtime is not installed.
    """
    if sums_exactly(runtime):
        return runtime
    other = "onnxruntime"
    if other in present_runtimes() and other in bundle.manifest.graphs["hyper"]:
        return other
    raise InputError(
        f"{runtime} does not sum whole numbers exactly on this processor, so that streams would not decode elsewhere: "
        f"install {other}, which hwkd then uses for the entropy path"
    )


class Networks:
    """encoder, hyper and decoder of `bundle`, opened when first used.

    runtime: as `default_runtime` unless given. threads: within an operator.

    Raises (when a network is opened):
        InputError: a runtime that is not installed or that the bundle has no graph for.
        SelfTestFailed: the runtime gives other indexes than the bundle says; it is never used.
        HwkdError: the runtime does not load the graph.
    """

    def __init__(self, bundle: Bundle, runtime: str, threads: int) -> None:
        self.bundle, self.runtime, self.threads = bundle, runtime, threads
        self._encoder: Session | None = None
        self._decoder: Session | None = None

    def analyse(self, image: Pixels) -> tuple[Symbols, Symbols]:
        """(y, z), [M, H/16, W/16] and [Z, H/64, W/64], of `image`, [H, W, 3] uint8, sides multiples of 64."""
        if self._encoder is None:
            self._encoder = self._open("encoder")
        y, z = _outputs(self._encoder, {"image": np.ascontiguousarray(image)[None]}, "y", "z")
        return y, z

    def indexes(self, z: Symbols) -> Indexes:
        """The scale's index of each symbol of y, [M, 4 h, 4 w], of z, [Z, h, w]."""
        return self._hyper(z)

    def synthesise(self, y: Symbols) -> Pixels:
        """The image, [16 h, 16 w, 3] uint8, of y, [M, h, w]."""
        if self._decoder is None:
            self._decoder = self._open("decoder")
        (image,) = _outputs(self._decoder, {"y": np.ascontiguousarray(y)[None]}, "image")
        return image

    @cached_property
    def _hyper(self) -> "Hyper":
        runtime = entropy_runtime(self.bundle, self.runtime)
        hyper = open_hyper(self.bundle, runtime, self.threads)
        wrong = failures(self.bundle, hyper)
        if wrong:
            raise SelfTestFailed(_refusal(self.bundle, runtime, wrong))
        return hyper

    def _open(self, network: str) -> Session:
        return _session(self.bundle, network, self.runtime, self.threads)


class Hyper:
    """z -> indexes, in a runtime or exactly."""

    def __init__(self, run: Session | ExactPath) -> None:
        self._run = run

    def __call__(self, z: Symbols) -> Indexes:
        """As `Networks.indexes`."""
        batch = np.ascontiguousarray(z)[None]
        index: Indexes = (
            self._run.indexes(batch)[0]
            if isinstance(self._run, ExactPath)
            else _outputs(self._run, {"z": batch}, "index")[0].astype(np.uint8)
        )
        return index


def open_hyper(bundle: Bundle, runtime: str, threads: int) -> Hyper:
    """The entropy path in `runtime`, or in EXACT, not yet tested. Raises as `Networks`."""
    if runtime != EXACT:
        return Hyper(_session(bundle, "hyper", runtime, threads))
    path = exact_path(arrays(bundle, HYPER_LAYERS))
    if path.layers[0].weight.shape[1] != bundle.manifest.Z:
        raise InputError("the bundle's entropy path is damaged: get the bundle again")
    return Hyper(path)


def failures(bundle: Bundle, hyper: Hyper) -> list[str]:
    """What the self-test finds wrong with `hyper`; empty where it passes.

    Raises:
        InputError: a bundle without a self-test.
    """
    held = arrays(bundle, SELFTEST)
    digests = held.get(SELFTEST_DIGESTS)
    cases = [f"{SELFTEST_PREFIX}{i}" for i in range(len(held) - 1)]
    if digests is None or not cases or digests.shape != (len(cases),) or not held.keys() > {*cases}:
        raise InputError("the bundle's self-test is damaged: get the bundle again")
    wrong = []
    for name, expected in zip(cases, digests, strict=True):
        z = held[name]
        if z.dtype != np.int32 or z.ndim != 3 or z.shape[0] != bundle.manifest.Z:
            raise InputError("the bundle's self-test is damaged: get the bundle again")
        if digest(hyper(z)) != str(expected):
            wrong.append(f"{name} {list(z.shape)}")
    return wrong


def _outputs(session: Session, inputs: Arrays, *names: str) -> list[npt.NDArray[Any]]:
    """The outputs `names`, each without the axis of the batch."""
    try:
        found = session.run(inputs)
        return [found[name][0] for name in names]
    # Both runtimes raise classes of their own; some derive from RuntimeError, some from Exception alone.
    except Exception as error:
        raise HwkdError(
            f"the network from {' and '.join(inputs)} to {' and '.join(names)} cannot be run "
            f"({' '.join(str(error).split()):.200}): {_UNFIT}"
        ) from error


def _session(bundle: Bundle, network: str, runtime: str, threads: int) -> Session:
    graphs = bundle.manifest.graphs[network]
    if runtime not in graphs:
        raise InputError(
            f"the bundle {bundle.manifest.name} has no {network} for {runtime}; it has one for {' and '.join(graphs)}"
        )
    return open_session(bundle.parts[graphs[runtime]], runtime, threads)


def _refusal(bundle: Bundle, runtime: str, wrong: list[str]) -> str:
    passing = []
    for other in present_runtimes():
        has_graph = other in bundle.manifest.graphs["hyper"]
        if other != runtime and has_graph and sums_exactly(other):
            try:
                passes = not failures(bundle, open_hyper(bundle, other, 1))
            except HwkdError:
                passes = False
            passing += [other] if passes else []
    advice = (
        f"use --runtime {passing[0]}, which passes"
        if passing
        else "no other runtime here passes; install another version of one"
    )
    return (
        f"{runtime_label(runtime)} fails the self-test of {bundle.manifest.name} ({', '.join(wrong)}): its entropy path "
        f"gives other indexes here, so that streams would not decode elsewhere; {advice}"
    )


def checked_array(name: str, array: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """`array` where a network gave the shape that it must; HwkdError otherwise."""
    if array.shape != shape:
        raise HwkdError(
            f"the network's {name} has shape {list(array.shape)} where {list(shape)} was expected: {_UNFIT}"
        )
    return array
