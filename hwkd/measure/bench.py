"""Coders end to end, side by side, in one run: CompressAI, bundles in each runtime, and the formats of Pillow."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from hwkd.errors import HwkdError, InputError
from hwkd.images import Pixels
from hwkd.measure.classic import SETTING, classic_coder
from hwkd.measure.coder import SIDES, Absent, Coder, bundle_coder, runs_of, split, spread_of_y
from hwkd.measure.machine import host_facts, installed_version
from hwkd.measure.pillow_formats import ALL_LABELS
from hwkd.measure.timing import keep_memory, pinned, rounds_until_stopped, watch_machine
from hwkd.quantity import Quantity, joint_level, not_known
from hwkd.runtime.bundle import Bundle
from hwkd.runtime.session import runtime_label

# Who takes part in a bench, each ready or with the reason why it cannot.

COMPRESSAI, NONE = "compressai", "none"
"""What to bench against, beside checkpoints: CompressAI with random weights, or nothing."""

_NEEDED = ("torch", "compressai")

Entry = Coder | Absent


@dataclass(frozen=True)
class BenchPlan:
    """What takes part, and how it is measured.

    against: COMPRESSAI, NONE, or a checkpoint as hwkd.models.teacher.load_teacher takes it. runtimes: for every
    bundle. threads: for every coder that can use them. seconds: for all timed runs together. classic_quality: of the
    formats of Pillow; None: whatever comes nearest to the first bundle's PSNR. quality: of the bundles of all rates; None:
    their default.
    """

    against: str
    runtimes: tuple[str, ...]
    threads: int
    seconds: float
    classic_quality: int | None
    quality: int | None = None


def entries(
    image: Pixels, bundles: Mapping[str, Bundle], wanted: BenchPlan, show: Callable[[str], None]
) -> tuple[Entry, ...]:
    """CompressAI, each bundle in each runtime, then the formats of Pillow; arguments as of hwkd.measure.bench.bench.

    Raises:
        InputError, HwkdError: no bundle runs in any of the runtimes; a checkpoint that there is not.
    """
    theirs: list[Entry] = []
    if wanted.against not in (COMPRESSAI, NONE):
        show(f"loading {wanted.against}")
        theirs.append(_checkpoint(wanted.against, image, wanted.threads))
    places = [(name, runtime) for name in bundles for runtime in wanted.runtimes]
    ours: dict[tuple[str, str], Entry] = {}
    errors: list[HwkdError] = []
    for name, runtime in places:
        show(f"{name} in {runtime}")
        try:
            quality = _quality_of(bundles[name], wanted)
            ours[name, runtime] = bundle_coder(
                name, bundles[name], runtime, image, wanted.threads, quality
            )
        except HwkdError as error:
            errors.append(error)
            ours[name, runtime] = Absent(name, runtime_label(runtime), str(error))
    # The first that runs decides what the others have to come near to.
    able, _ = split(ours)
    if not able:
        raise errors[0]
    (name, runtime), first = next(iter(able.items()))
    if wanted.against == COMPRESSAI:
        show("CompressAI")
        theirs.append(_random_weights(image, bundles[name], runtime, first, wanted))
    show("JPEG, WebP, AVIF and JPEG XL")
    classic = [_classic(codec, image, first, wanted) for codec in ALL_LABELS]
    return (*theirs, *ours.values(), *classic)


def _checkpoint(text: str, image: Pixels, threads: int) -> Coder:
    missing = _missing()
    if missing:
        raise InputError(
            f'--against {text} takes {missing}: pip install "hwkd[train]", or give --against none'
        )
    from hwkd.measure.eager.compressai import trained_coder

    return trained_coder(text, image, threads)


def _random_weights(
    image: Pixels, bundle: Bundle, runtime: str, first: Coder, wanted: BenchPlan
) -> Entry:
    missing = _missing()
    if missing:
        return Absent(
            "CompressAI", "torch eager", f'it takes {missing} (pip install "hwkd[train]")'
        )
    from hwkd.measure.eager.compressai import untrained_coder

    spread = spread_of_y(bundle, runtime, image, _quality_of(bundle, wanted)).tolist()
    return untrained_coder(image, spread, first.stream_bytes, wanted.threads)


def _quality_of(bundle: Bundle, wanted: BenchPlan) -> int | None:
    return None if bundle.manifest.qualities is None else wanted.quality


def _missing() -> str:
    """Of the packages that CompressAI's row needs those that are not installed, in words; "" for none."""
    return " and ".join(name for name in _NEEDED if installed_version(name) is None)


def _classic(codec: str, image: Pixels, first: Coder, wanted: BenchPlan) -> Entry:
    psnr_db = first.psnr_db.value
    if psnr_db is None and wanted.classic_quality is None:
        return Absent(
            ALL_LABELS[codec], SETTING, f"no PSNR to come near to: {first.psnr_db.reason}"
        )
    try:
        return classic_coder(codec, image, psnr_db or 0.0, wanted.classic_quality, wanted.threads)
    except HwkdError as error:
        return Absent(ALL_LABELS[codec], SETTING, str(error))


WARMUP_ROUNDS = 2

BySide = Mapping[str, Quantity]
"""A figure of "encode" and one of "decode"."""


@dataclass(frozen=True)
class StepTime:
    """Where time goes. share: of the median of its side, 0 to 1 or a little over."""

    side: str
    name: str
    latency_ms: Quantity
    share: float
    is_entropy: bool


@dataclass(frozen=True)
class BenchRow:
    """One coder's figures. threads: None where it did not run. speedup: against the reference."""

    name: str
    setting: str
    threads: int | None
    latency_ms: BySide
    speedup: BySide
    psnr_db: Quantity
    bpp: Quantity
    stream_bytes: Quantity
    steps: tuple[StepTime, ...] = ()

    def entropy_share(self, side: str) -> float:
        """What entropy coding takes of `side`, 0 to 1."""
        return sum(step.share for step in self.steps if step.side == side and step.is_entropy)


@dataclass(frozen=True)
class Bench:
    """The figures for one image of width x height. reference: the row that speedups are against. notes: sentences.
    is_stopped: Ctrl-C ended the rounds early.
    """

    width: int
    height: int
    reference: BenchRow
    rows: tuple[BenchRow, ...]
    notes: tuple[str, ...]
    is_stopped: bool = False


def bench(
    image: Pixels,
    bundles: Mapping[str, Bundle],
    wanted: BenchPlan,
    show: Callable[[str], None] = lambda _: None,
) -> Bench:
    """Encode and decode `image`, [H, W, 3] uint8, with every coder in turn, round after round, in this process.

    Counts: 8-bit pixels in memory to bytes in memory, and back. Does not count: files, loading, the first runs.

    Args:
        bundles: by their names in the tables, one at least.
        show: called with what is being done, in words.
    Raises:
        InputError, HwkdError: as `entries`; threads as hwkd.measure.timing.pinned.
    """
    memory = keep_memory()
    # OpenVINO counts cores once for the whole process, so everything is opened before the cores are fixed.
    taking_part = entries(image, bundles, wanted, show)
    able, absent = split(dict(enumerate(taking_part)))
    coders = list(able.values())
    show("measuring")
    # The processor is warm: every coder has coded the image.
    with pinned(wanted.threads) as pinning, watch_machine() as watch:
        latencies, is_stopped = rounds_until_stopped(
            runs_of(able), warmup=WARMUP_ROUNDS, seconds=wanted.seconds
        )
    by = f"wall clock, {pinning}"
    measured = {i: {side: latencies[i, side].quantity(by) for side in SIDES} for i in able}
    first = next(iter(able))
    pixels = image.shape[0] * image.shape[1]
    every = tuple(
        _absent(absent[i])
        if i in absent
        else _row(able[i], measured[i], measured[first], pixels, by)
        for i in range(len(taking_part))
    )
    order = ", ".join(f"{coder.name} ({coder.setting})" for coder in coders)
    notes = (
        *(note for coder in coders for note in coder.notes),
        f"In turn, {latencies[first, 'encode'].runs} rounds after {WARMUP_ROUNDS} to warm up; a round is an encode and a "
        f"decode of each: {order}.",
        f"Method: {by}; JPEG and WebP have one thread; {memory} (hwkd/measure/timing.py says why).",
        f"Host: {host_facts()}.",
        *(f"{note[0].upper()}{note[1:]}." for note in watch.notes),
    )
    return Bench(image.shape[1], image.shape[0], every[first], every, notes, is_stopped)


def speedup(reference: Quantity, own: Quantity) -> Quantity:
    """How many times as fast as `reference`: its median over this one.

    The interval divides the ends of theirs by each other, and holds at their `joint_level`.
    """
    if not reference.value or not own.value:
        return not_known("a run took less than the clock can tell")
    by = "medians of the same rounds"
    ratio = Quantity(reference.value / own.value, "measured", by, runs=own.runs)
    level = joint_level(reference, own)
    if level is None or not (reference.low and reference.high and own.low and own.high):
        return ratio
    low, high = reference.low / own.high, reference.high / own.low
    return replace(ratio, low=low, high=high, level=level)


def _row(coder: Coder, measured: BySide, reference: BySide, pixels: int, by: str) -> BenchRow:
    if measured is reference:
        speedups = {
            side: Quantity(1.0, "measured", "itself", runs=q.runs) for side, q in measured.items()
        }
    else:
        speedups = {side: speedup(reference[side], measured[side]) for side in SIDES}
    stream = Quantity(float(coder.stream_bytes), "counted", "the bytes")
    return BenchRow(
        coder.name,
        coder.setting,
        coder.threads,
        measured,
        speedups,
        coder.psnr_db,
        Quantity(8 * coder.stream_bytes / pixels, "computed", "the bytes"),
        stream,
        tuple(_steps(coder, measured, by)),
    )


def _steps(coder: Coder, measured: BySide, by: str) -> Iterator[StepTime]:
    if coder.clock is None:
        return
    for side in SIDES:
        whole = measured[side]
        for name, step_ms in coder.clock.summary(side, whole.runs or 0, by).items():
            share = (step_ms.value or 0.0) / whole.value if whole.value else 0.0
            yield StepTime(side, name, step_ms, share, name in coder.entropy)


def _absent(entry: Absent) -> BenchRow:
    unknown = not_known(entry.reason)
    by_side = dict.fromkeys(SIDES, unknown)
    return BenchRow(entry.name, entry.setting, None, by_side, by_side, unknown, unknown, unknown)
