"""How long each stage of coding takes for a bundle, in each runtime."""

from collections.abc import Iterator, Mapping, Sequence

from hwkd.errors import HwkdError
from hwkd.images import Pixels
from hwkd.measure.bench_bundles import (
    CONTAINER,
    CROP,
    DECODER,
    ENCODER,
    ENTROPY_Y,
    ENTROPY_Z,
    HYPER,
    LATENTS,
    PAD,
    bundle_coder,
)
from hwkd.measure.bench_coder import SIDES, Absent, Coder
from hwkd.measure.pinning import pinned
from hwkd.measure.record import Entry, Setting
from hwkd.measure.timing import Latency, measure_in_turn, summarize
from hwkd.quantity import not_known
from hwkd.runtime.bundle import Bundle
from hwkd.runtime.session import runtime_label

WARMUP_ROUNDS = 2

_CODING = (LATENTS, ENTROPY_Z, ENTROPY_Y, CONTAINER)

STAGES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "encode": {
        "preprocess": (PAD,),
        "transform": (ENCODER,),
        "hyper": (HYPER,),
        "entropy": _CODING,
        "networks": (ENCODER, HYPER),
        "end_to_end": (PAD, ENCODER, HYPER, *_CODING),
    },
    "decode": {
        "entropy": _CODING,
        "hyper": (HYPER,),
        "transform": (DECODER,),
        "postprocess": (CROP,),
        "networks": (HYPER, DECODER),
        "end_to_end": (*_CODING, HYPER, DECODER, CROP),
    },
}
"""By side and part of hwkd.measure.record: the steps of hwkd.measure.bench_bundles that it is made of."""

STAGES_NOTE = (
    "The encoder's graph holds g_a and h_a: both are in transform, and hyper is h_s alone. entropy: the coder, the "
    "container, and the symbols' way between networks and coder."
)


def int8_setting(label: str, threads: int) -> Setting:
    """The setting of a bundle's figures. label: of the runtime, with its version."""
    return Setting("cpu", label, "int8", threads)


def open_coders(
    bundle: Bundle,
    runtimes: Sequence[str],
    image: Pixels,
    threads: int,
    quality: int | None = None,
) -> dict[str, Coder | Absent]:
    """By runtime's label: `bundle` as a coder of `image`, [H, W, 3] uint8, or why that runtime does not run it.

    Args:
        quality: as hwkd.measure.bench_bundles.bundle_coder.
    Raises:
        InputError, HwkdError: none of the runtimes runs it; the reason of the first.
    """
    found: dict[str, Coder | Absent] = {}
    errors: list[HwkdError] = []
    name = bundle.manifest.name
    for runtime in runtimes:
        label = runtime_label(runtime)
        try:
            found[label] = bundle_coder(name, bundle, runtime, image, threads, quality)
        except HwkdError as error:
            errors.append(error)
            found[label] = Absent(name, label, str(error))
    if len(errors) == len(found):
        raise errors[0]
    return found


def stage_latencies(
    coders: Mapping[str, Coder | Absent], *, threads: int, seconds: float
) -> list[Entry]:
    """The latency of each stage in each runtime: latency_ms entries, encode's and then decode's.

    Counts: whole runs of hwkd.codec.codec.Codec, pixels in memory to bytes in memory and back, one of each runtime and
    side in turn; a stage is made of the steps inside them that STAGES says, so in one run the stages add up to
    end_to_end. Does not count: files, loading the bundle, the first runs.

    Args:
        coders: as `open_coders` gives them. threads: of the networks, each on a core of its own.
        seconds: to spend on all timed runs together, at least MIN_RUNS_INTERVAL of each.

    Raises:
        InputError: threads as `pinned`.
    """
    runs = {}
    for label, coder in coders.items():
        if isinstance(coder, Coder):
            runs[label, "encode"], runs[label, "decode"] = coder.encode, coder.decode
    with pinned(threads) as pinning:
        rounds = measure_in_turn(runs, warmup=WARMUP_ROUNDS, seconds=seconds)
    entries = []
    for label, coder in coders.items():
        setting = int8_setting(label, threads)
        for side in SIDES:
            if isinstance(coder, Absent):
                unknown = not_known(coder.reason)
                entries += [
                    Entry("latency_ms", side, part, setting, unknown) for part in STAGES[side]
                ]
                continue
            for part, latency in _parts(coder, side, rounds[label, side].runs):
                quantity = latency.quantity(f"wall clock inside whole runs, {pinning}")
                entries.append(
                    Entry("latency_ms", side, part, setting, quantity, p95=latency.p95_ms)
                )
    return entries


def _parts(coder: Coder, side: str, runs: int) -> Iterator[tuple[str, Latency]]:
    """Every part of `side` with its latency over the coder's last `runs` runs."""
    assert coder.clock is not None  # every bundle's coder has one
    timed = coder.clock.runs[side][-runs:]
    for part, steps in STAGES[side].items():
        yield part, summarize([sum(run[step] for step in steps if step in run) for run in timed])
