"""Codecs at one PSNR on the same images: how many bytes each takes and how long, side by side in one run."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean

from hwkd.codec.codec import Codec
from hwkd.codec.entropy import use_compiled
from hwkd.errors import InputError
from hwkd.files import write_text
from hwkd.images import Pixels
from hwkd.measure.classic import MAX_QUALITY, MIN_QUALITY, pillow_codec
from hwkd.measure.coder import SIDES, BundleCodec, ImageCodec
from hwkd.measure.machine import host_facts
from hwkd.measure.pillow_formats import (
    ALL_LABELS,
    BENCH_SETTINGS_TEXT,
    JXL,
    PILLOW_SETTINGS_TEXT,
    check_codecs,
    lacking,
)
from hwkd.measure.timing import keep_memory, pinned, rounds_until_stopped, watch_machine
from hwkd.metrics import psnr_db as psnr_of
from hwkd.qualities import HIGHEST, LOWEST
from hwkd.quantity import Quantity, as_written
from hwkd.runtime.bundle import Bundle
from hwkd.runtime.session import runtime_label
from hwkd.schema import read_json, read_table

FORMAT, VERSION = "hwkd-equal-psnr", 1
MAKE = "make one with `hwkd bench MODEL --psnr 34 --save-results FILE.json`"
WARMUP_ROUNDS = 1


@dataclass(frozen=True)
class Scale:
    """A codec with a scale of qualities.

    Attributes:
        at: returns the codec at a quality, `low` to `high`, both included.
    """

    name: str
    setting: str
    low: int
    high: int
    at: Callable[[int], ImageCodec[bytes]]


@dataclass(frozen=True)
class CodecAtPsnr:
    """One codec at the requested PSNR; figures are of one image, the mean over the images.

    Attributes:
        is_bundle: whether the codec is a bundle of hwkd.
        quality: the setting that was timed: the one with the mean PSNR nearest to the requested one.
        psnr_db: the mean PSNR at that setting.
        stream_bytes: size at exactly the requested PSNR, between that setting and its neighbour.
    """

    name: str
    setting: str
    threads: int
    is_bundle: bool
    quality: int
    psnr_db: Quantity
    stream_bytes: Quantity
    encode_ms: Quantity
    decode_ms: Quantity

    def __post_init__(self) -> None:
        for name in ("psnr_db", "stream_bytes", "encode_ms", "decode_ms"):
            getattr(self, name).check_not_negative(name)


@dataclass(frozen=True)
class EqualPsnr:
    """Bytes and time of codecs at the same mean PSNR over the same images, in one run on one machine.

    Attributes:
        images: which images, in words.
        count: number of images.
        pixels: pixels of an image, the mean.
        rows: one for each codec, JPEG first, bundles last.
    """

    psnr_db: float
    images: str
    count: int
    pixels: float
    host: str
    rows: tuple[CodecAtPsnr, ...]
    notes: tuple[str, ...]

    def rate_percent(self, row: CodecAtPsnr) -> float:
        """How many more or fewer bytes `row` takes than the first one, in percent."""
        own, first = row.stream_bytes.value, self.rows[0].stream_bytes.value
        assert own is not None and first
        return 100 * (own / first - 1)


def compare_at_psnr(
    images: Sequence[tuple[str, Pixels]],
    where: str,
    bundles: Mapping[str, Bundle],
    psnr_db: float,
    *,
    runtimes: Sequence[str],
    threads: int,
    seconds: float,
    show: Callable[[str], None] = lambda _: None,
) -> tuple[EqualPsnr, bool]:
    """Code `images` by the formats of Pillow and every bundle in each runtime, all at a mean PSNR of `psnr_db`.

    Counts: 8-bit pixels in memory to bytes in memory, and back. Does not count: files, loading, the first round.

    Args:
        images: names and [H, W, 3] uint8, one at least. where: which they are, in words.
        bundles: bundles by their names in the table; each of all rates.
        seconds: time for all timed rounds together; six rounds at least.
        show: receives the current step, in words.
    Returns:
        (the figures, whether Ctrl-C ended the rounds early).
    Raises:
        InputError: a codec that does not reach that PSNR on these images, or goes below it at no quality; a bundle of
            one rate; this Pillow lies without WebP or AVIF; as hwkd.codec.codec.Codec.
        HwkdError: as hwkd.codec.codec.Codec.
    """
    # A plugin is a wish of the user's, a Pillow without WebP a fault.
    without_jxl = lacking(JXL)
    codecs = [codec for codec in ALL_LABELS if codec != JXL or not without_jxl]
    check_codecs(codecs)
    memory = keep_memory()
    scales = [_classic(codec, threads) for codec in codecs]
    for name, bundle in bundles.items():
        scales += [_bundle(name, bundle, runtime, threads) for runtime in runtimes]
    found = [settle(scale, images, psnr_db, show) for scale in scales]
    show("measuring")
    rounds = {
        (i, side): partial(_all_of, one, side) for i, one in enumerate(found) for side in SIDES
    }
    with pinned(threads) as pinning, watch_machine() as watch:
        latencies, is_stopped = rounds_until_stopped(rounds, warmup=WARMUP_ROUNDS, seconds=seconds)
    by = f"wall clock, {pinning}, mean over {len(images)} images"
    rows = tuple(
        CodecAtPsnr(
            one.codec.name,
            one.codec.setting,
            one.codec.threads,
            isinstance(one.codec, BundleCodec),
            one.quality,
            Quantity(one.psnr_db, "computed", f"8-bit RGB, mean over {len(images)} images"),
            one.stream_bytes,
            *(latencies[i, side].quantity(by).scaled(1 / len(images)) for side in SIDES),
        )
        for i, one in enumerate(found)
    )
    notes = (
        f"bytes: the mean over the images at a mean PSNR of {psnr_db:g} dB (8-bit RGB), between two neighbouring "
        "qualities: the logarithm of the bytes is taken as a line over PSNR. The times are of the quality whose PSNR is nearer.",
        f"{PILLOW_SETTINGS_TEXT if without_jxl else BENCH_SETTINGS_TEXT}.",
        *((f"{ALL_LABELS[JXL]} is n/a: {without_jxl}.",) if without_jxl else ()),
        f"In turn, {latencies[0, 'encode'].runs} rounds after {WARMUP_ROUNDS} to warm up; a round encodes and decodes every "
        "image with each codec.",
        f"Method: {by}; JPEG and WebP have one thread; {memory} (hwkd/measure/timing.py says why).",
        *(f"{note[0].upper()}{note[1:]}." for note in watch.notes),
    )
    pixels = fmean(image.shape[0] * image.shape[1] for _, image in images)
    compared = EqualPsnr(psnr_db, where, len(images), pixels, str(host_facts()), rows, notes)
    return compared, is_stopped


def write_equal_psnr(path: Path, found: EqualPsnr) -> None:
    """Write `found` as JSON. Raises as hwkd.files.write_text."""
    content = {"format": FORMAT, "version": VERSION, **asdict(found, dict_factory=as_written)}
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def read_equal_psnr(path: Path) -> EqualPsnr:
    """Read a file of `write_equal_psnr`.

    Raises:
        InputError: it cannot be read, is not such a file, or one of another version.
    """
    raw = read_json(path, MAKE)
    if not isinstance(raw, dict) or (raw.pop("format", None), raw.pop("version", None)) != (
        FORMAT,
        VERSION,
    ):
        raise InputError(f"{path} is no file of codecs at one PSNR, version {VERSION}; {MAKE}")
    return read_table(EqualPsnr, raw, str(path))


@dataclass(frozen=True)
class Settled:
    """A codec at the quality that is timed, with what it has to code."""

    codec: ImageCodec[bytes]
    quality: int
    psnr_db: float
    stream_bytes: Quantity
    images: tuple[Pixels, ...]
    streams: tuple[bytes, ...]


def _classic(codec: str, threads: int) -> Scale:
    made = pillow_codec(codec, ALL_LABELS[codec], MIN_QUALITY, threads)

    def at(quality: int) -> ImageCodec[bytes]:
        return replace(made, quality=quality)

    return Scale(ALL_LABELS[codec], at(MIN_QUALITY).setting, MIN_QUALITY, MAX_QUALITY, at)


def _bundle(name: str, bundle: Bundle, runtime: str, threads: int) -> Scale:
    if bundle.manifest.qualities is None:
        raise InputError(
            f"{name} codes at one rate, and so has one PSNR: give bundles of all rates, or leave --psnr out"
        )
    low, high = (
        max(LOWEST, bundle.manifest.qualities[0]),
        min(HIGHEST, bundle.manifest.qualities[1]),
    )
    use_compiled()  # what is timed is a codec that has coded for a while
    codec = Codec(bundle, runtime, threads)
    one = BundleCodec(codec, name, runtime_label(runtime), low)
    return Scale(name, one.setting, low, high, lambda quality: replace(one, quality=quality))


def settle(
    scale: Scale, images: Sequence[tuple[str, Pixels]], psnr_db: float, show: Callable[[str], None]
) -> Settled:
    """`scale` at the quality with the mean PSNR over `images` that is nearest to `psnr_db`.

    PSNR is taken to rise with the quality, so halving finds the two qualities around it.

    Raises:
        InputError: the PSNR lies outside of what the codec reaches.
    """
    tried: dict[int, tuple[float, list[bytes]]] = {}

    def reached(quality: int) -> float:
        if quality not in tried:
            show(f"{scale.name} ({scale.setting}) at quality {quality}")
            codec = scale.at(quality)
            streams = [codec.encode(image) for _, image in images]
            pairs = zip(images, streams, strict=True)
            mean = fmean(psnr_of(image, codec.decode(data)) for (_, image), data in pairs)
            tried[quality] = mean, streams
        return tried[quality][0]

    low, high = scale.low, scale.high
    if not reached(low) <= psnr_db <= reached(high):
        raise InputError(
            f"{scale.name} reaches {reached(low):.2f} to {reached(high):.2f} dB on these images (qualities {low} to {high}), "
            f"got --psnr {psnr_db:g}: ask for one between"
        )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if reached(middle) <= psnr_db else (low, middle)
    ends = [fmean(map(len, tried[quality][1])) for quality in (low, high)]
    below, above = reached(low), reached(high)
    weight = 0.0 if above == below or math.isinf(above) else (psnr_db - below) / (above - below)
    mean = ends[0] * (ends[1] / ends[0]) ** weight
    quality = low if weight < 1 / 2 else high
    return Settled(
        scale.at(quality),
        quality,
        reached(quality),
        Quantity(mean, "estimated", f"between qualities {low} and {high}"),
        tuple(image for _, image in images),
        tuple(tried[quality][1]),
    )


def _all_of(one: Settled, side: str) -> None:
    if side == "encode":
        for image in one.images:
            one.codec.encode(image)
    else:
        for stream in one.streams:
            one.codec.decode(stream)
