"""JPEG and WebP through Pillow, on the same images and the same machine as a learned codec."""

import io
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import PIL
from PIL import Image, features

from hwkd.errors import InputError, unknown
from hwkd.images import Pixels
from hwkd.measure.timing import MIN_RUNS_INTERVAL, summarize
from hwkd.metrics import psnr_db as psnr_of
from hwkd.quantity import Quantity, not_known

LABELS = {"jpeg": "JPEG", "webp": "WebP"}
"""The codecs, and their names in tables."""

QUALITIES = tuple(range(5, 96, 5))
"""Pillow's quality settings of a curve."""

MIN_QUALITY, MAX_QUALITY = 5, 95
"""Where equal quality is looked for. libjpeg's scale ends at 95: beyond, files grow and images hardly change."""

MAX_SIDE = {"jpeg": 65500, "webp": 16383}
"""Pixels, by libjpeg and libwebp."""

SETTINGS: dict[str, dict[str, object]] = {
    "jpeg": {"subsampling": "4:2:0", "optimize": False, "progressive": False},
    "webp": {"method": 4, "lossless": False},
}
"""Pillow's own defaults, said here so that they hold whatever the version."""

SETTINGS_TEXT = "JPEG with 4:2:0 and its standard Huffman tables, WebP lossy with method 4"
"""SETTINGS in words, for the line below a table."""

Images = Iterable[tuple[str, Pixels]]


@dataclass(frozen=True)
class ClassicPoint:
    """One codec at one quality over a set of images; every figure is the mean over the images, each counting once.

    psnr_db: of the 8-bit RGB output. bpp: of the real bytes, headers included. pixels: of an image. encode_ms: from
    pixels in memory to bytes, decode_ms: back; for one image, measured.
    """

    codec: str
    quality: int
    psnr_db: float
    bpp: float
    pixels: float
    encode_ms: Quantity
    decode_ms: Quantity


@dataclass(frozen=True)
class EqualQuality:
    """One codec at a given PSNR, between two of its quality settings. Figures as in ClassicPoint, or n/a with the
    reason. between: the two settings, () where there are none."""

    codec: str
    psnr_db: float
    bpp: Quantity
    encode_ms: Quantity
    decode_ms: Quantity
    pixels: float
    between: tuple[int, ...]


def encode(codec: str, image: Pixels, quality: int) -> bytes:
    """The bytes of `image`, [H, W, 3] uint8, by the codec ("jpeg" or "webp") with SETTINGS.

    Raises:
        InputError: another codec, a quality outside 1..95, a side over MAX_SIDE, or Pillow lies without WebP.
    """
    _check(codec, quality)
    if max(image.shape[:2]) > MAX_SIDE[codec]:
        raise InputError(
            f"{image.shape[1]}x{image.shape[0]} is too large for {LABELS[codec]}: a side may have "
            f"{MAX_SIDE[codec]} pixels; cut it"
        )
    sink = io.BytesIO()
    Image.fromarray(image).save(sink, format=codec.upper(), quality=quality, **SETTINGS[codec])
    return sink.getvalue()


def decode(data: bytes) -> Pixels:
    """The image, [H, W, 3] uint8, in bytes that `encode` wrote."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def classic_curve(
    codec: str,
    images: Images,
    qualities: Sequence[int] = QUALITIES,
    *,
    runs: int = MIN_RUNS_INTERVAL,
) -> tuple[ClassicPoint, ...]:
    """Code every image at every quality; a point for each, in the order of `qualities`.

    Counts: wall-clock time on one thread; the median over `runs` of the mean over the images, after one untimed run.
    Does not count: reading the images.

    Raises:
        InputError: as `encode`; no images, qualities or runs; an image that comes back without error, whose PSNR is
            infinite.
    """
    if not qualities or runs < 1:
        raise InputError(
            f"a curve needs a quality and a run or more, got {len(qualities)} and {runs}"
        )
    sums = {quality: _Sums(runs) for quality in qualities}
    for name, image in images:
        for quality, total in sums.items():
            total.add(codec, name, image, quality)
    return tuple(total.point(codec, quality) for quality, total in sums.items())


def equal_quality(
    codec: str, images: Images, psnr_db: float, *, runs: int = MIN_RUNS_INTERVAL
) -> EqualQuality:
    """`codec` at the quality that gives `psnr_db` on these images.

    Looks for the two neighbouring settings of MIN_QUALITY..MAX_QUALITY that hold it between them, and times those.

    Args:
        images: read again for every setting that is tried, as hwkd.images.ImageSource allows.
        psnr_db: mean over the images of the 8-bit RGB PSNR, as hwkd.measure.quality has it.

    Raises as `classic_curve`.
    """
    low, high = MIN_QUALITY, MAX_QUALITY
    ends = classic_curve(codec, images, (low, high), runs=runs)
    if not ends[0].psnr_db <= psnr_db <= ends[1].psnr_db:
        return at_psnr(ends, psnr_db)
    while high - low > 1:
        middle = (low + high) // 2
        (point,) = classic_curve(codec, images, (middle,), runs=1)
        low, high = (middle, high) if point.psnr_db <= psnr_db else (low, middle)
    return at_psnr(classic_curve(codec, images, (low, high), runs=runs), psnr_db)


def at_psnr(points: Sequence[ClassicPoint], psnr_db: float) -> EqualQuality:
    """The figures at `psnr_db`, interpolated between the two points around it: log(bpp) and the times, linear in PSNR.

    Where no two points are around it the figures are n/a: nothing is extrapolated.

    Raises:
        InputError: no points, or points of several codecs.
    """
    if len({point.codec for point in points}) != 1:
        raise InputError(f"needs points of one codec, got {len(points)} points")
    ordered = sorted(points, key=lambda point: point.psnr_db)
    codec, pixels = ordered[0].codec, ordered[0].pixels
    for a, b in pairwise(ordered):
        if a.psnr_db <= psnr_db <= b.psnr_db:
            break
    else:
        reason = (
            f"{LABELS[codec]} reaches {ordered[0].psnr_db:.2f} to {ordered[-1].psnr_db:.2f} dB here "
            f"(quality {ordered[0].quality} to {ordered[-1].quality}), not {psnr_db:.2f} dB"
        )
        nothing = not_known(reason, "estimated")
        return EqualQuality(codec, psnr_db, nothing, nothing, nothing, pixels, ())
    weight = 0.0 if a.psnr_db == b.psnr_db else (psnr_db - a.psnr_db) / (b.psnr_db - a.psnr_db)
    by = f"interpolated in PSNR between quality {a.quality} and {b.quality}"
    bpp = math.exp((1 - weight) * math.log(a.bpp) + weight * math.log(b.bpp))
    return EqualQuality(
        codec,
        psnr_db,
        Quantity(bpp, "estimated", f"{by}, real bytes at both"),
        _between(a.encode_ms, b.encode_ms, weight, by),
        _between(a.decode_ms, b.decode_ms, weight, by),
        pixels,
        (a.quality, b.quality),
    )


class _Sums:
    """What one quality gives, summed over images."""

    def __init__(self, runs: int) -> None:
        self.count = 0
        self.psnr_db = self.bpp = self.pixels = 0.0
        self.encode_ms = [0.0] * runs
        self.decode_ms = [0.0] * runs

    def add(self, codec: str, name: str, image: Pixels, quality: int) -> None:
        data = encode(codec, image, quality)  # untimed: the first run of each warms caches
        psnr_db = psnr_of(image, decode(data))
        if math.isinf(psnr_db):
            raise InputError(
                f"{LABELS[codec]} at quality {quality} gives {name} back without error, so its PSNR is infinite and "
                "has no mean; take the image out"
            )
        for run in range(len(self.encode_ms)):
            self.encode_ms[run] += _time_ms(lambda: encode(codec, image, quality))
            self.decode_ms[run] += _time_ms(lambda: decode(data))
        pixels = image.shape[0] * image.shape[1]
        self.count += 1
        self.psnr_db += psnr_db
        self.bpp += 8 * len(data) / pixels
        self.pixels += pixels

    def point(self, codec: str, quality: int) -> ClassicPoint:
        if not self.count:
            raise InputError("no images to code: got none, give at least one")
        by = f"wall clock, {_library(codec)}, one thread, mean over {self.count} images"
        encode_ms, decode_ms = (
            summarize([total / self.count for total in totals]).quantity(by)
            for totals in (self.encode_ms, self.decode_ms)
        )
        return ClassicPoint(
            codec,
            quality,
            self.psnr_db / self.count,
            self.bpp / self.count,
            self.pixels / self.count,
            encode_ms,
            decode_ms,
        )


def _check(codec: str, quality: int) -> None:
    if codec not in LABELS:
        raise unknown("codec", codec, LABELS)
    if not 1 <= quality <= MAX_QUALITY:
        raise InputError(
            f"quality {quality} is out of range; {LABELS[codec]} takes 1 to {MAX_QUALITY} here"
        )
    if codec == "webp" and not features.check("webp"):
        raise InputError("this Pillow was built without WebP; install Pillow from its wheel")


def _time_ms(fn: Callable[[], object]) -> float:
    before = time.perf_counter_ns()
    fn()
    return (time.perf_counter_ns() - before) / 1e6


def _between(a: Quantity, b: Quantity, weight: float, by: str) -> Quantity:
    """(1 - weight) a + weight b. Both intervals hold their values with at least the sum of their levels less 1."""

    def mixed(x: float, y: float) -> float:
        return (1 - weight) * x + weight * y

    if a.value is None or b.value is None:
        return a if a.value is None else b
    low = high = level = None
    if a.low is not None and a.high is not None and b.low is not None and b.high is not None:
        low, high = mixed(a.low, b.low), mixed(a.high, b.high)
        level = round((a.level or 0) + (b.level or 0) - 1, 10)
    return Quantity(mixed(a.value, b.value), "estimated", f"{a.by}, {by}", low, high, level, a.runs)


def _library(codec: str) -> str:
    name = {"jpeg": "libjpeg_turbo", "webp": "webp"}[codec]
    return f"Pillow {PIL.__version__} with {name} {features.version(name) or 'of unknown version'}"
