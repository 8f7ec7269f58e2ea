"""The formats of Pillow, on the same images and the same machine as a learned codec."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import PIL

from hwkd.errors import InputError, unknown
from hwkd.images import Pixels
from hwkd.measure.coder import (
    Coder,
    StepClock,
    ready,
)
from hwkd.measure.pillow_formats import (
    ALL_LABELS,
    ALL_MAX_SIDES,
    THREADED,
    check_codecs,
    check_side,
    decode,
    encode_any,
    library,
    reader,
    writer,
)
from hwkd.measure.quality import Evaluation, ImageQuality, compared, evaluation_of
from hwkd.measure.timing import MIN_RUNS_INTERVAL, summarize
from hwkd.metrics import psnr_db as psnr_of
from hwkd.quantity import Quantity, joint_level, not_known

# JPEG and WebP through Pillow, on the same images and the same machine as a learned codec.

LABELS = {"jpeg": "JPEG", "webp": "WebP"}
"""The codecs, and their names in tables."""

QUALITIES = tuple(range(5, 96, 5))
"""Pillow's quality settings of a curve."""

MIN_QUALITY, MAX_QUALITY = 5, 95
"""The range of the search for equal quality. libjpeg's scale ends at 95: beyond, files grow and images hardly change."""

Images = Iterable[tuple[str, Pixels]]


@dataclass(frozen=True)
class ClassicPoint:
    """One codec at one quality over a set of images; every figure is the mean over the images, each counting once.

    Attributes:
        psnr_db: PSNR of the 8-bit RGB output.
        bpp: bits per pixel of the real bytes, headers included.
        pixels: pixels of an image.
        encode_ms: from pixels in memory to bytes, for one image, measured.
        decode_ms: from bytes to pixels in memory, for one image, measured.
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
    """One codec at a given PSNR, between two of its quality settings. Figures as in ClassicPoint, or n/a with the reason.

    Attributes:
        between: the two settings; () if there are none.
    """

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
        InputError: another codec, a quality outside 1..95, a side over ALL_MAX_SIDES, or Pillow lies without WebP.
    """
    _check(codec, quality)
    if max(image.shape[:2]) > ALL_MAX_SIDES[codec]:
        raise InputError(
            f"{image.shape[1]}x{image.shape[0]} is too large for {LABELS[codec]}: a side may have "
            f"{ALL_MAX_SIDES[codec]} pixels; cut it"
        )
    return writer(codec, 1)(image, quality)


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
        InputError: as `encode`; no images, qualities or runs; an image that comes back without error, with an infinite
            PSNR.
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
    """The figures of one quality, summed over images."""

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
    check_codecs((codec,))


def _time_ms(fn: Callable[[], object]) -> float:
    before = time.perf_counter_ns()
    fn()
    return (time.perf_counter_ns() - before) / 1e6


def _between(a: Quantity, b: Quantity, weight: float, by: str) -> Quantity:
    """(1 - weight) a + weight b; its interval holds at their `joint_level`."""

    def mixed(x: float, y: float) -> float:
        return (1 - weight) * x + weight * y

    if a.value is None or b.value is None:
        return a if a.value is None else b
    between = Quantity(mixed(a.value, b.value), "estimated", f"{a.by}, {by}", runs=a.runs)
    level = joint_level(a, b)
    if level is None or a.low is None or a.high is None or b.low is None or b.high is None:
        return between
    return replace(between, low=mixed(a.low, b.low), high=mixed(a.high, b.high), level=level)


def _library(codec: str) -> str:
    return f"Pillow {PIL.__version__} with {library(codec)}"


# The formats in a bench, at the quality that comes nearest to a learned codec's.

SETTING = f"Pillow {PIL.__version__}"


@dataclass(frozen=True)
class PillowCodec:
    """A format of Pillow's at one quality, as hwkd.measure.coder.ImageCodec.

    Attributes:
        write: returns an image's bytes at a quality.
        read: returns the image in them.
    """

    name: str
    quality: int
    threads: int
    write: Callable[[Pixels, int], bytes]
    read: Callable[[bytes], Pixels]
    setting: str = SETTING
    clock: StepClock | None = None
    entropy: tuple[str, ...] = ()

    def encode(self, image: Pixels) -> bytes:
        """The bytes of a file."""
        return self.write(image, self.quality)

    def decode(self, stream: bytes) -> Pixels:
        """As hwkd.measure.pillow_formats.decode."""
        return self.read(stream)


def pillow_codec(codec: str, name: str, quality: int, threads: int) -> PillowCodec:
    """One of ALL_LABELS as a codec, with the settings of BENCH_SETTINGS_TEXT.

    Args:
        threads: number of threads for those of THREADED; the others use one.
    Raises:
        InputError: as hwkd.measure.pillow_formats.check_codecs.
    """
    own = threads if codec in THREADED else 1
    return PillowCodec(name, quality, own, writer(codec, own), reader(codec, own))


def classic_coder(
    codec: str, image: Pixels, psnr_db: float, quality: int | None, threads: int
) -> Coder:
    """One of ALL_LABELS as a coder of `image`, [H, W, 3] uint8.

    Args:
        psnr_db: the PSNR to come near to.
        quality: Pillow's, in place of the one that `nearest_quality` finds.
        threads: as of `pillow_codec`.
    Raises:
        InputError: as `pillow_codec`; an image that is too large.
    """
    check_codecs((codec,))
    check_side(codec, "the image", image)
    made = pillow_codec(codec, ALL_LABELS[codec], MIN_QUALITY, threads)
    if quality is None:
        quality = nearest_quality(lambda at: made.write(image, at), image, psnr_db)
    name = f"{ALL_LABELS[codec]} quality {quality}"
    return ready(replace(made, name=name, quality=quality), image)


def nearest_quality(encode: Callable[[int], bytes], image: Pixels, psnr_db: float) -> int:
    """The quality, MIN_QUALITY to MAX_QUALITY, with the PSNR on `image` that is nearest to `psnr_db`.

    Args:
        encode: codes `image` at a quality. PSNR is taken to rise with it, so halving finds the two around `psnr_db`.
    """

    def reached(quality: int) -> float:
        return psnr_of(image, decode(encode(quality)))

    low, high = MIN_QUALITY, MAX_QUALITY
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if reached(middle) <= psnr_db else (low, middle)
    return min((low, high), key=lambda quality: abs(reached(quality) - psnr_db))


# The formats at their smallest, as curves beside a model's. Nothing is timed.

CURVE_QUALITIES = (5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95)
"""Pillow's settings of a curve: what libjpeg's scale covers."""


def evaluate_classic(
    codec: str,
    images: Iterable[tuple[str, Pixels]],
    qualities: Sequence[int] = CURVE_QUALITIES,
    *,
    progress: Callable[[int, ImageQuality], None] | None = None,
) -> dict[int, Evaluation]:
    """The figures of `codec` on `images` by quality, as hwkd.measure.quality.evaluate_bundle has them for a bundle.

    Args:
        images: read again for every quality, as hwkd.images.ImageSource allows.
        progress: called with the quality and each image's figures as they come.
    Raises:
        InputError: no images, or one that is too large for the codec.
    """

    def one(quality: int, name: str, image: Pixels) -> ImageQuality:
        check_side(codec, name, image)
        data = encode_any(codec, image, quality)
        # A copy: Pillow's own memory may only be read, which torch, for MS-SSIM, warns of.
        return compared(name, image, data, decode(data).copy(), None)

    def told(quality: int) -> Callable[[ImageQuality], None] | None:
        return None if progress is None else partial(progress, quality)

    return {
        quality: evaluation_of(partial(one, quality), images, told(quality))
        for quality in qualities
    }
