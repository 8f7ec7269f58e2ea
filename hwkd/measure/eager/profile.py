"""How long the exported float32 networks take in other runtimes on this host's CPU, checked against torch first."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from hwkd.errors import HwkdError, InputError
from hwkd.export.float_graphs import ExportedNetworks, export_networks
from hwkd.measure.inference import evaluating
from hwkd.measure.pinning import pinned
from hwkd.measure.record import Entry, Setting
from hwkd.measure.timing import measure_in_turn
from hwkd.models.base import HyperpriorCodec
from hwkd.runtime.session import Session, open_session, runtime_label

WARMUP_ROUNDS = 3

TOLERANCE = 1e-3
"""Of the largest absolute value of torch's output. Float32 in another order of summation gives 1e-7 to 1e-5 (measured,
three families), bfloat16 1e-2: beyond the tolerance the runtime computes something else."""

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class _Example:
    """Inputs of the three graphs, and what torch makes of them, by the graphs' names."""

    x: Arrays
    z_hat: Arrays
    y_hat: Arrays
    encoder: Arrays
    hyper: Arrays
    decoder: Arrays


@dataclass(frozen=True)
class _Runtime:
    label: str
    encoder: Session
    hyper: Session
    decoder: Session


def graph_latencies(
    codec: HyperpriorCodec,
    width: int,
    height: int,
    *,
    runtimes: Sequence[str],
    threads: int,
    seconds: float,
) -> list[Entry]:
    """latency_ms of part "networks", encode and decode, for each of `runtimes`.

    Counts: the encoder's and the hyper graph for encode, the hyper and the decoder's graph for decode, on one image
    padded to multiples of 64, uniform noise; arrays in and out. Does not count: export, loading, entropy coding,
    padding, conversion from and to 8 bits.

    Args:
        codec: a float model on the CPU, trained or not.
        runtimes: of hwkd.runtime.session.RUNTIMES; each must be installed (`present_runtimes`).
        threads: of each runtime, on that many cores.
        seconds: to spend on all timed runs together, at least MIN_RUNS_INTERVAL of each.

    Raises:
        InputError: as `export_networks`, `open_session` and `pinned`.
        HwkdError: a runtime's output is further from torch's than TOLERANCE.
    """
    if not runtimes:
        return []
    labels = [runtime_label(name) for name in runtimes]
    if next(codec.parameters()).device.type != "cpu":
        raise InputError("host latency is measured on the CPU; move the model with .cpu()")
    with TemporaryDirectory(prefix="hwkd-") as folder:
        graphs = export_networks(codec, Path(folder), width, height)
        example = _example(codec, width, height)
        # Before the cores are fixed: OpenVINO counts them once for the whole process, and a profile of one thread
        # would leave it on one core for good. `pinned` moves the threads that exist.
        opened = [
            _open(graphs, name, label, threads)
            for name, label in zip(runtimes, labels, strict=True)
        ]
    with pinned(threads) as pinning:
        differences = {runtime.label: _check(runtime, example) for runtime in opened}
        runs: dict[tuple[str, str], Callable[[], object]] = {}
        for runtime in opened:
            runs["encode", runtime.label] = _encode(runtime, example)
            runs["decode", runtime.label] = _decode(runtime, example)
        latencies = measure_in_turn(runs, warmup=WARMUP_ROUNDS, seconds=seconds)
        method = f"wall clock, {pinning}"
    return [
        Entry(
            "latency_ms",
            side,
            "networks",
            Setting("cpu", label, "fp32", threads),
            latencies[side, label].quantity(
                f"{method}; output within {differences[label]:.1e} of torch's, relative to its largest value"
            ),
            p95=latencies[side, label].p95_ms,
        )
        for label in labels
        for side in ("encode", "decode")
    ]


def _example(codec: HyperpriorCodec, width: int, height: int) -> _Example:
    side = codec.downsampling_factor
    size = (1, 3, math.ceil(height / side) * side, math.ceil(width / side) * side)
    x = torch.rand(size, generator=torch.Generator().manual_seed(0))
    with evaluating(codec):
        y = codec.g_a(x)
        z = codec.hyper_analysis(y)
        y_hat, z_hat = torch.round(y), torch.round(z)
        scales_hat, means_hat = codec.entropy_parameters(z_hat)
        x_hat = codec.g_s(y_hat)
    hyper = {"scales_hat": scales_hat.numpy()}
    if means_hat is not None:
        hyper["means_hat"] = means_hat.numpy()
    return _Example(
        x={"x": x.numpy()},
        z_hat={"z_hat": z_hat.numpy()},
        y_hat={"y_hat": y_hat.numpy()},
        encoder={"y": y.numpy(), "z": z.numpy()},
        hyper=hyper,
        decoder={"x_hat": x_hat.numpy()},
    )


def _open(graphs: ExportedNetworks, name: str, label: str, threads: int) -> _Runtime:
    return _Runtime(
        label,
        open_session(graphs.encoder, name, threads),
        open_session(graphs.hyper, name, threads),
        open_session(graphs.decoder, name, threads),
    )


def _encode(runtime: _Runtime, example: _Example) -> Callable[[], object]:
    return lambda: (runtime.encoder.run(example.x), runtime.hyper.run(example.z_hat))


def _decode(runtime: _Runtime, example: _Example) -> Callable[[], object]:
    return lambda: (runtime.hyper.run(example.z_hat), runtime.decoder.run(example.y_hat))


def _check(runtime: _Runtime, example: _Example) -> float:
    """The largest relative difference from torch over all outputs."""
    return max(
        largest_difference(runtime.label, runtime.encoder.run(example.x), example.encoder),
        largest_difference(runtime.label, runtime.hyper.run(example.z_hat), example.hyper),
        largest_difference(runtime.label, runtime.decoder.run(example.y_hat), example.decoder),
    )


def largest_difference(
    label: str, outputs: Mapping[str, npt.NDArray[Any]], expected: Mapping[str, npt.NDArray[Any]]
) -> float:
    """max |output - expected| / max |expected| over the arrays of `expected`, 0 where both are all zero.

    Raises:
        HwkdError: it is over TOLERANCE or not finite; `label` and the output are named.
    """
    largest = 0.0
    for name, array in expected.items():
        scale = float(np.abs(array).max())
        difference = float(np.abs(outputs[name] - array).max())
        # A latent of an untrained model may be all zeros; a difference from it counts as it is.
        relative = difference / scale if scale else difference
        if not relative <= TOLERANCE:
            raise HwkdError(
                f"{label} computes another {name} than torch: they differ by {relative:.1e} of its largest value, "
                f"{TOLERANCE:.0e} is allowed; its time is not that of the same networks"
            )
        largest = max(largest, relative)
    return largest
