"""A bundle's three networks in a runtime. A self-test proves the entropy path before its first use."""

import hashlib
import math
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from hwkd.centroids import decoded
from hwkd.errors import HwkdError, InputError
from hwkd.images import Pixels
from hwkd.runtime.bundle import Bundle, arrays
from hwkd.runtime.exact import CheckedPath, ExactPath, WrongProduct, exact_path
from hwkd.runtime.gains import Gains, Rate, read_gains
from hwkd.runtime.manifest import GAINS, HYPER_LAYERS, SELFTEST
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
"""Replaces a runtime for the entropy path: whole numbers in numpy, slow, right everywhere."""

CHECKED = "checked"
"""The same in float32, every product checked as it is made (hwkd/runtime/exact.py): ready before any runtime, and slower."""

SHORT_POSITIONS = 16
"""Positions of z in the cases of a short self-test."""

_UNFIT = (
    "the runtime lacks a kernel for it here, or the bundle's graphs do not fit its manifest: try another --runtime, or "
    "export it again"
)

SELFTEST_PREFIX, SELFTEST_DIGESTS, SELFTEST_QUALITIES = "z_", "digests", "qualities"

Symbols = npt.NDArray[np.int32]
Indexes = npt.NDArray[np.uint8]


class SelfTestFailed(InputError):
    """A runtime computes the entropy path differently here: streams would not decode elsewhere."""


def digest(indexes: Indexes) -> str:
    """The sha256 of indexes, shape included: equal for equal indexes."""
    shape = "x".join(map(str, indexes.shape))
    return hashlib.sha256(shape.encode() + np.ascontiguousarray(indexes).tobytes()).hexdigest()


def gains_of(bundle: Bundle) -> Gains | None:
    """The gains of a bundle of all rates; None for a bundle of one rate. Raises InputError if they are damaged."""
    if bundle.manifest.qualities is None:
        return None
    return read_gains(arrays(bundle, GAINS), bundle.manifest)


def default_runtime(bundle: Bundle) -> str:
    """The first of `preferred_runtimes` that the bundle has graphs for.

    Raises:
        InputError: there is none.
    """
    for runtime in preferred_runtimes():
        if runtime in _offered(bundle):
            return runtime
    raise InputError(
        f'no runtime for {bundle.manifest.name} is installed: pip install "hwkd[runtime]"'
    )


def soonest_runtime(bundle: Bundle) -> str:
    """The runtime that is ready first: ONNX Runtime, which compiles nothing. If it cannot run the bundle: `default_runtime`.

    Raises as `default_runtime`.
    """
    soonest = "onnxruntime"
    if soonest in present_runtimes() and soonest in _offered(bundle):
        return soonest
    return default_runtime(bundle)


def _offered(bundle: Bundle) -> set[str]:
    """The runtimes that each network has a graph for."""
    return set.intersection(*(set(graphs) for graphs in bundle.manifest.graphs.values()))


def entropy_runtime(bundle: Bundle, runtime: str) -> str:
    """The runtime of h_s when the other networks run in `runtime`: the same if its sums are exact, else ONNX Runtime.

    Raises:
        InputError: the sums are not exact, and ONNX Runtime is not installed.
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
    """The networks encoder, hyper and decoder of `bundle`. Each is opened at its first use.

    In their methods, `rate` is the rate of the requested quality for a bundle of all rates; None for a bundle of one rate.

    Args:
        runtime: by default as `default_runtime`.
        threads: threads within an operator.
        is_soon: for one image: hyper is CHECKED, which needs no graph and no long self-test.

    Raises (when a network is opened):
        InputError: the runtime is not installed, or the bundle has no graph for it.
        SelfTestFailed: the runtime computes other indexes than the bundle states; it is never used.
        HwkdError: the runtime does not load the graph.
    """

    def __init__(
        self, bundle: Bundle, runtime: str, threads: int, *, is_soon: bool = False
    ) -> None:
        self.bundle, self.runtime, self.threads = bundle, runtime, threads
        self._is_soon = is_soon
        self._encoder: Session | None = None
        self._decoder: Session | None = None

    def analyse(self, image: Pixels, rate: Rate | None = None) -> tuple[Symbols, Symbols]:
        """(y, z), [M, H/16, W/16] and [Z, H/64, W/64], of `image`, [H, W, 3] uint8, sides multiples of 64."""
        if self._encoder is None:
            self._encoder = self._open("encoder")
        inputs: Arrays = {"image": np.ascontiguousarray(image)[None]}
        if rate is not None:
            inputs = {**inputs, "gain": rate.gain, "limit": rate.limit}
        y, z = _outputs(self._encoder, inputs, "y", "z")
        return y, z

    def indexes(self, z: Symbols, rate: Rate | None = None) -> Indexes:
        """The index of the scale of each symbol of y, [M, 4 h, 4 w], from z, [Z, h, w]."""
        try:
            return self._hyper(z, rate)
        except WrongProduct as error:
            raise SelfTestFailed(_soon_refusal(self.bundle, str(error))) from error

    def synthesise(self, y: Symbols, indexes: Indexes, rate: Rate | None = None) -> Pixels:
        """The image, [16 h, 16 w, 3] uint8, of y and its scales' indexes, both [M, h, w]."""
        if self._decoder is None:
            self._decoder = self._open("decoder")
        inputs: Arrays
        if rate is None:
            inputs = {"y": np.ascontiguousarray(y, np.int32)[None]}
        else:
            inputs = {"y": decoded(y, indexes)[None], "step": rate.step}
        (image,) = _outputs(self._decoder, inputs, "image")
        return image

    @cached_property
    def _hyper(self) -> "Hyper":
        if self._is_soon:
            # A wrong computation of this machine is found on the image itself. What is left to find is a bundle with layers
            # that differ from those of its graphs, and few positions show that.
            hyper = open_hyper(self.bundle, CHECKED, self.threads)
            wrong = failures(self.bundle, hyper, is_short=True)
            if wrong:
                raise SelfTestFailed(_soon_refusal(self.bundle, ", ".join(wrong)))
            return hyper
        runtime = entropy_runtime(self.bundle, self.runtime)
        hyper = open_hyper(self.bundle, runtime, self.threads)
        wrong = failures(self.bundle, hyper)
        if wrong:
            raise SelfTestFailed(_refusal(self.bundle, runtime, wrong))
        return hyper

    def _open(self, network: str) -> Session:
        return _session(self.bundle, network, self.runtime, self.threads)


class Hyper:
    """Computes indexes from z, in a runtime or exactly."""

    def __init__(self, run: Session | ExactPath | CheckedPath) -> None:
        self._run = run

    def __call__(self, z: Symbols, rate: Rate | None = None) -> Indexes:
        """Same as `Networks.indexes`."""
        batch = np.ascontiguousarray(z)[None]
        if isinstance(self._run, ExactPath | CheckedPath):
            exact = self._run.indexes(batch, None if rate is None else rate.shift.ravel())
            return np.asarray(exact[0])
        inputs: Arrays = {"z": batch} if rate is None else {"z": batch, "shift": rate.shift}
        index: Indexes = _outputs(self._run, inputs, "index")[0].astype(np.uint8)
        return index


def open_hyper(bundle: Bundle, runtime: str, threads: int) -> Hyper:
    """The entropy path in `runtime`, or in EXACT or CHECKED, not yet tested. Raises as `Networks`."""
    if runtime not in (EXACT, CHECKED):
        return Hyper(_session(bundle, "hyper", runtime, threads))
    path = exact_path(arrays(bundle, HYPER_LAYERS))
    if path.layers[0].weight.shape[1] != bundle.manifest.Z:
        raise InputError("the bundle's entropy path is damaged: get the bundle again")
    return Hyper(path if runtime == EXACT else CheckedPath(path))


def failures(bundle: Bundle, hyper: Hyper, *, is_short: bool = False) -> list[str]:
    """The errors that the self-test finds in `hyper`; empty if it passes.

    Args:
        is_short: take the small cases, at one quality.
    Raises:
        InputError: the bundle has no self-test.
    """
    cases, expected = _selftest(bundle)
    most = math.inf
    if is_short:
        expected = expected[:1]
        most = max(SHORT_POSITIONS, min(z[0].size for z in cases.values()))
    wrong = []
    for rate, digests in expected:
        at = "" if rate is None else f" at quality {rate.quality}"
        for (name, z), right in zip(cases.items(), digests, strict=True):
            if z[0].size <= most and digest(hyper(z, rate)) != right:
                wrong.append(f"{name} {list(z.shape)}{at}")
    return wrong


def _selftest(
    bundle: Bundle,
) -> tuple[dict[str, Symbols], list[tuple[Rate | None, list[str]]]]:
    """The cases by name, and their digests for each rate that is tested."""
    held = arrays(bundle, SELFTEST)
    digests, gains = held.pop(SELFTEST_DIGESTS, None), gains_of(bundle)
    rates: list[Rate | None] = [None]
    if gains is not None:
        qualities = held.pop(SELFTEST_QUALITIES, None)
        if qualities is None or qualities.dtype != np.uint8 or qualities.ndim != 1:
            raise _damaged_selftest()
        low, high = bundle.manifest.qualities or (0, 0)
        if not qualities.size or qualities.min() < low or qualities.max() > high:
            raise _damaged_selftest()
        rates = [gains.rate(int(quality)) for quality in qualities]
    cases = {f"{SELFTEST_PREFIX}{i}": held.get(f"{SELFTEST_PREFIX}{i}") for i in range(len(held))}
    shape = (len(cases),) if gains is None else (len(rates), len(cases))
    if digests is None or not cases or digests.shape != shape:
        raise _damaged_selftest()
    right: dict[str, Symbols] = {}
    for name, z in cases.items():
        if z is None or z.dtype != np.int32 or z.ndim != 3 or z.shape[0] != bundle.manifest.Z:
            raise _damaged_selftest()
        right[name] = z
    rows = digests.reshape(len(rates), -1)
    return right, [(rate, [*map(str, row)]) for rate, row in zip(rates, rows, strict=True)]


def _damaged_selftest() -> InputError:
    return InputError("the bundle's self-test is damaged: get the bundle again")


def _outputs(session: Session, inputs: Arrays, *names: str) -> list[npt.NDArray[Any]]:
    """The outputs `names`, each without the axis of the batch."""
    try:
        found = session.run(inputs)
        return [found[name][0] for name in names]
    # Each runtime raises its own classes; some derive from RuntimeError, some from Exception alone.
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


def _soon_refusal(bundle: Bundle, what: str) -> str:
    return (
        f"the entropy path of {bundle.manifest.name} cannot be trusted here ({what}): streams would not decode elsewhere; "
        "name a --runtime, whose own self-test decides"
    )


def checked_array(name: str, array: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """`array`, if it has the required shape. Raises HwkdError otherwise."""
    if array.shape != shape:
        raise HwkdError(
            f"the network's {name} has shape {list(array.shape)} where {list(shape)} was expected: {_UNFIT}"
        )
    return array
