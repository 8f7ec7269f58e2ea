"""A model's profile on this host: stages, layers and whole runs in eager torch, float graphs in other runtimes."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from hwkd.errors import HwkdError, InputError
from hwkd.export.float_graphs import ExportedNetworks, export_networks
from hwkd.images import Pixels
from hwkd.measure.coder import ready
from hwkd.measure.eager.coding import Latents, TorchCodec, analyse, decode, encode, write
from hwkd.measure.eager.macs import eval_mode
from hwkd.measure.eager.models import Subject
from hwkd.measure.layers import NETWORKS
from hwkd.measure.machine import eager_setting, host_facts, host_name
from hwkd.measure.memory import measure_memory
from hwkd.measure.profile import (
    MEMORY_RUNS,
    ProfilePlan,
    energy_entries,
    energy_notes,
    photograph,
    quality_note,
    record_of,
)
from hwkd.measure.record import Entry, Record, Setting
from hwkd.measure.timing import (
    Latency,
    keep_memory,
    measure_in_turn,
    pinned,
    summarize,
    watch_machine,
)
from hwkd.models.base import HyperpriorCodec, padded, to_pixels
from hwkd.models.compat import GDN
from hwkd.qualities import lmbda_at
from hwkd.quantity import not_known
from hwkd.runtime.session import Session, open_session, runtime_label

# A model's profile on this host, in eager torch and with its float graphs in other runtimes.

LAYER_RUNS = 10


def profile_host(
    subject: Subject,
    width: int,
    height: int,
    wanted: ProfilePlan,
    command: str,
    progress: Callable[[str], None] = lambda _: None,
) -> Record:
    """Measure `subject` on this machine.

    Counts: as hwkd.measure.eager.profile, layer_times, graph_latency, memory and energy say. A bare architecture has random
    weights: only its networks are measured, not entropy coding or the whole way.

    Args:
        wanted: its runtimes, beside eager torch, are those for the exported float networks.
        progress: called with each step's name before it; `host_steps` has their number.

    Raises:
        InputError, HwkdError: as the measurements.
    """
    image = photograph(width, height)
    codec, is_trained = subject.codec, subject.facts.is_trained
    codec.set_lmbda(lmbda_at(wanted.quality))
    entries: list[Entry] = []
    notes = [f"Latency and energy in torch: {keep_memory()} (hwkd/measure/timing.py says why)."]
    with watch_machine() as watch:
        for threads in wanted.threads:
            progress("latency by stage")
            entries += stage_latencies(
                codec, image, threads=threads, seconds=wanted.seconds, is_trained=is_trained
            )
            progress("latency by layer")
            entries += _layer_entries(subject, width, height, threads)
            if wanted.runtimes:
                progress("latency in other runtimes")
                entries += graph_latencies(
                    codec,
                    width,
                    height,
                    runtimes=wanted.runtimes,
                    threads=threads,
                    seconds=wanted.seconds,
                )
        if wanted.meter is not None:
            progress("energy")
            threads = wanted.threads[0]
            with pinned(threads), eval_mode(codec):
                entries += energy_entries(
                    _whole_runs(subject, image, threads)
                    if is_trained
                    else _network_runs(codec, image),
                    wanted.meter.meter,
                    "end_to_end" if is_trained else "networks",
                    eager_setting(threads),
                    pixels=width * height,
                    seconds=wanted.seconds,
                    country=wanted.country,
                )
    notes += watch.notes
    if wanted.memory:
        # Its processes are other processes to the watch above.
        progress("memory")
        has_twin = is_trained and subject.bits is not None
        text = f"{subject.text}:float" if has_twin else subject.text
        entries += measure_memory(
            text, width, height, threads=wanted.threads[0], repeats=MEMORY_RUNS
        )
    notes += energy_notes(wanted)
    if subject.bits is not None:
        notes.append(
            "Latency, memory and energy are those of the float twin in float32: eager torch has no int8 kernels for it; "
            "those in int8 are the bundle's (hwkd export, then hwkd profile NAME.hwkd)."
        )
    if subject.qualities is not None:
        notes.append(quality_note(wanted.quality, memory=wanted.memory))
    facts = host_facts()
    return record_of(subject, host_name(facts), True, width, height, entries, notes, command, facts)


def host_steps(wanted: ProfilePlan) -> int:
    """How often `profile_host` calls its progress."""
    latencies = len(wanted.threads) * (3 if wanted.runtimes else 2)
    return latencies + (wanted.meter is not None) + wanted.memory


def _layer_entries(subject: Subject, width: int, height: int, threads: int) -> list[Entry]:
    latencies = layer_latencies(subject.codec, width, height, threads=threads, repeats=LAYER_RUNS)
    setting = eager_setting(threads)
    by = "wall clock around the layer inside a whole run"
    sides = {"g_a": "encode", "h_a": "encode", "h_s": "both", "g_s": "decode"}
    return [
        Entry(
            "latency_ms",
            sides[name.partition(".")[0]],
            "layer",
            setting,
            latency.quantity(by),
            layer=name,
            p95=latency.p95_ms,
        )
        for name, latency in latencies.items()
    ]


# How long each stage of coding takes in eager torch, float32, on this host's CPU.

Stages = dict[tuple[str, str], Callable[[], object]]
"""For each (side, part) of hwkd.measure.record: one run of that stage, its inputs ready."""

WARMUP_ROUNDS = 2
UNTRAINED = "untrained weights: random ones give an arbitrary rate, and coding takes as long as the rate is high"


def stage_latencies(
    codec: HyperpriorCodec, image: Pixels, *, threads: int, seconds: float, is_trained: bool
) -> list[Entry]:
    """The latency of each stage for `image`: latency_ms entries, encode's and then decode's.

    Counts, encode: preprocess (8 bits to padded float), transform (g_a), hyper (h_a, h_s), entropy (z coded and read
    back, index building, y coded, the container), networks (transform and hyper in one run), end_to_end (pixels to
    bytes, as `hwkd.measure.eager.coding.encode`). Decode: entropy (z and y read, index building), hyper (h_s), transform
    (g_s), postprocess (cut to the image, 8 bits), networks, end_to_end (bytes to pixels).
    Does not count: reading and writing files, loading the model, the first runs.

    Every stage is run by itself on ready inputs, one run of each in turn, so stages need not add up to end_to_end.

    Args:
        codec: a float model on the CPU; of a quantized student its float twin.
        image: [H, W, 3] uint8, a photograph or like one: entropy coding takes as long as the image has bits.
        threads: within an operator, each on a core of its own.
        seconds: time for all timed runs together, at least MIN_RUNS_INTERVAL of each.
        is_trained: False for random weights; the entropy and end_to_end stages are then not known.

    Raises:
        InputError: a codec that is not on the CPU, an image that `encode` refuses (with trained
            weights), threads as `pinned`.
    """
    device = next(codec.parameters()).device
    if device.type != "cpu":
        raise InputError(
            f"host latency is measured on the CPU, the model is on {device}; move it with .cpu()"
        )
    with eval_mode(codec), pinned(threads) as pinning:
        stages = _stages(codec, image, is_trained=is_trained)
        timed = {place: run for place, run in stages.items() if is_trained or not _codes(place)}
        latencies = measure_in_turn(timed, warmup=WARMUP_ROUNDS, seconds=seconds)
        by = f"wall clock, {pinning}"
    setting = eager_setting(threads)
    entries = []
    for side, part in stages:
        latency = latencies.get((side, part))
        quantity = not_known(UNTRAINED) if latency is None else latency.quantity(by)
        p95 = None if latency is None else latency.p95_ms
        entries.append(Entry("latency_ms", side, part, setting, quantity, p95=p95))
    return entries


def _codes(place: tuple[str, str]) -> bool:
    return place[1] in ("entropy", "end_to_end")


def _stages(codec: HyperpriorCodec, image: Pixels, *, is_trained: bool) -> Stages:
    """Every stage of `image`, with inputs from one pass over it."""
    # Random weights are not coded even once: the coder takes arbitrarily long over what they may give.
    latents = analyse(codec, image) if is_trained else _uncoded(codec, image)
    x = padded(image, codec.downsampling_factor)
    stream = write(codec, latents) if is_trained else b""
    z_hat = _read_z(codec, latents) if is_trained else torch.round(latents.z)
    y_hat = codec.gaussian_conditional.quantize(latents.y, "dequantize", latents.means_hat)
    x_hat = cast(Tensor, codec.g_s(y_hat))
    (y_string,) = _write_y(codec, latents) if is_trained else (b"",)

    def entropy_encode() -> object:
        codec.entropy_bottleneck.compress(latents.z)
        # h_s must see z as the decoder will.
        _read_z(codec, latents)
        return write(codec, latents)

    def entropy_decode() -> object:
        _read_z(codec, latents)
        indexes = codec.gaussian_conditional.build_indexes(latents.scales_hat)
        return codec.gaussian_conditional.decompress([y_string], indexes, means=latents.means_hat)

    def hyper_encode() -> object:
        return codec.hyper_analysis(latents.y), codec.entropy_parameters(z_hat)

    def networks_encode() -> object:
        return codec.hyper_analysis(codec.g_a(x)), codec.entropy_parameters(z_hat)

    def networks_decode() -> object:
        return codec.entropy_parameters(z_hat), codec.g_s(y_hat)

    return {
        ("encode", "preprocess"): lambda: padded(image, codec.downsampling_factor),
        ("encode", "transform"): lambda: codec.g_a(x),
        ("encode", "hyper"): hyper_encode,
        ("encode", "entropy"): entropy_encode,
        ("encode", "networks"): networks_encode,
        ("encode", "end_to_end"): lambda: encode(codec, image),
        ("decode", "entropy"): entropy_decode,
        ("decode", "hyper"): lambda: codec.entropy_parameters(z_hat),
        ("decode", "transform"): lambda: codec.g_s(y_hat),
        ("decode", "postprocess"): lambda: to_pixels(x_hat, latents.width, latents.height),
        ("decode", "networks"): networks_decode,
        ("decode", "end_to_end"): lambda: decode(codec, stream),
    }


def _uncoded(codec: HyperpriorCodec, image: Pixels) -> Latents:
    y = codec.g_a(padded(image, codec.downsampling_factor))
    z = codec.hyper_analysis(y)
    scales_hat, means_hat = codec.entropy_parameters(torch.round(z))
    return Latents(y, z, b"", scales_hat, means_hat, image.shape[1], image.shape[0])


def _read_z(codec: HyperpriorCodec, latents: Latents) -> Tensor:
    size = (latents.z.shape[2], latents.z.shape[3])
    return cast(Tensor, codec.entropy_bottleneck.decompress([latents.z_string], size))


def _write_y(codec: HyperpriorCodec, latents: Latents) -> list[bytes]:
    indexes = codec.gaussian_conditional.build_indexes(latents.scales_hat)
    return cast(
        list[bytes],
        codec.gaussian_conditional.compress(latents.y, indexes, latents.means_hat),
    )


# One encode and one decode of an image in eager torch, ready to be repeated while energy is measured.

Runs = Mapping[str, Callable[[], object]]
"""One run for each side."""


def _whole_runs(subject: Subject, image: Pixels, threads: int) -> Runs:
    """Pixels to bytes and bytes to pixels."""
    setting = eager_setting(threads).runtime
    coder = ready(TorchCodec(subject.codec, subject.facts.name, setting, threads), image)
    return {"encode": coder.encode, "decode": coder.decode}


def _network_runs(codec: HyperpriorCodec, image: Pixels) -> Runs:
    """The networks alone, for random weights."""
    x = padded(image, codec.downsampling_factor)
    y = codec.g_a(x)
    z_hat, y_hat = torch.round(codec.hyper_analysis(y)), torch.round(y)
    return {
        "encode": lambda: (codec.hyper_analysis(codec.g_a(x)), codec.entropy_parameters(z_hat)),
        "decode": lambda: (codec.entropy_parameters(z_hat), codec.g_s(y_hat)),
    }


# How long each layer takes in eager torch, float32, on this host's CPU.

LAYERS = (nn.Conv2d, nn.ConvTranspose2d, GDN)
"""Modules that are timed as one layer; GDN with all that is in it, its reparametrization included."""

WARMUP_RUNS = 2


def layer_latencies(
    codec: HyperpriorCodec, width: int, height: int, *, threads: int, repeats: int
) -> dict[str, Latency]:
    """{layer: its latency} over runs of all four networks, each once a run, in the order they run.

    Layers have their names in the model, as `hwkd.measure.eager.macs.count_macs` gives them. "g_a.rest" and the like are
    the network's time outside its layers: activations, additions, moves, what comes before h_a and after h_s, and
    the hooks that take the times (about a microsecond a layer).

    Counts: wall-clock time of one image padded to multiples of 64, uniform noise, inside a whole network: a layer's
    input comes from the layer before and may be in a cache. Does not count: entropy coding, padding, conversion.

    Args:
        codec: a float model on the CPU.
        threads: within an operator, each on a core of its own.
        repeats: timed runs, 1 or more.

    Raises:
        InputError: a size under 1x1, no runs, threads as `pinned`.
    """
    if width < 1 or height < 1 or repeats < 1:
        raise InputError(
            f"needs an image of 1x1 or more and 1 run or more, got {width}x{height} and {repeats} runs"
        )
    side = codec.downsampling_factor
    size = (1, 3, math.ceil(height / side) * side, math.ceil(width / side) * side)
    x = torch.rand(size, generator=torch.Generator().manual_seed(0))
    runs: list[dict[str, float]] = []
    with eval_mode(codec), pinned(threads), _timed_layers(codec) as layer_ms:
        for _ in range(WARMUP_RUNS + repeats):
            layer_ms.clear()
            network_ms = _run_networks(codec, x)
            for network, ms in network_ms.items():
                inside = sum(t for name, t in layer_ms.items() if name.startswith(f"{network}."))
                layer_ms[f"{network}.rest"] = ms - inside
            runs.append(dict(layer_ms))
    timed = runs[WARMUP_RUNS:]
    return {name: summarize([run[name] for run in timed]) for name in timed[0]}


def _run_networks(codec: HyperpriorCodec, x: torch.Tensor) -> dict[str, float]:
    """The time of each of NETWORKS in milliseconds, one run of each."""
    times: dict[str, float] = {}

    def timed(name: str, fn: Callable[[], torch.Tensor]) -> torch.Tensor:
        before = time.perf_counter_ns()
        result = fn()
        times[name] = (time.perf_counter_ns() - before) / 1e6
        return result

    y = timed("g_a", lambda: codec.g_a(x))
    z = timed("h_a", lambda: codec.hyper_analysis(y))
    z_hat, y_hat = torch.round(z), torch.round(y)
    timed("h_s", lambda: codec.entropy_parameters(z_hat)[0])
    timed("g_s", lambda: codec.g_s(y_hat))
    return times


@contextmanager
def _timed_layers(codec: HyperpriorCodec) -> Iterator[dict[str, float]]:
    """A dict that holds, after a run, each layer's time in milliseconds."""
    times: dict[str, float] = {}
    started: dict[str, int] = {}

    def start(name: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            started[name] = time.perf_counter_ns()

        return hook

    def stop(name: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            times[name] = (time.perf_counter_ns() - started[name]) / 1e6

        return hook

    handles = []
    for name, module in codec.named_modules():
        if name.startswith(NETWORKS) and isinstance(module, LAYERS):
            handles.append(module.register_forward_pre_hook(start(name)))
            handles.append(module.register_forward_hook(stop(name)))
    try:
        yield times
    finally:
        for handle in handles:
            handle.remove()


# How long the exported float32 networks take in other runtimes on this host's CPU, checked against torch first.

GRAPH_WARMUP_ROUNDS = 3

TOLERANCE = 1e-3
"""Largest accepted difference, as a share of the largest absolute value of torch's output. Float32 in another order of
summation gives 1e-7 to 1e-5 (measured, three families), bfloat16 1e-2: beyond the tolerance the runtime computes
something else."""

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
        runtimes: some of hwkd.runtime.session.RUNTIMES; each must be installed (`present_runtimes`).
        threads: number of threads of each runtime, on the same number of cores.
        seconds: time for all timed runs together, at least MIN_RUNS_INTERVAL of each.

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
        latencies = measure_in_turn(runs, warmup=GRAPH_WARMUP_ROUNDS, seconds=seconds)
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
    with eval_mode(codec):
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
