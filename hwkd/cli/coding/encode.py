"""`hwkd encode`: encodes images to streams with a bundle, without torch."""

import argparse
import re
import sys
from dataclasses import MISSING, dataclass
from decimal import Decimal
from pathlib import Path

from hwkd.cli.coding.jobs import (
    STREAM_SUFFIX,
    Codecs,
    CodingOptions,
    Job,
    UncodableImage,
    check_none_left_out,
    counted,
    folder_jobs,
    memory_told,
    one_job,
    paths_of,
    run_jobs,
    say,
    tell_dropped,
    write,
)
from hwkd.codec.codec import MAX_TILE_PX, TILE_PX, Z_PX
from hwkd.codec.search import OutOfReach, RateTarget, encode_to
from hwkd.codec.shipped import default_bundle, named_bundle
from hwkd.errors import InputError
from hwkd.images import find_images, read_image
from hwkd.options import option, positive, whole
from hwkd.qualities import DEFAULT_QUALITY, HIGHEST, LOWEST

HELP = "write images as streams (.hwk) that every machine decodes to the same symbols"

EXAMPLES = """images are taken as 8-bit RGB, upright, in sRGB; what an image loses by that
(alpha, the low byte of 16-bit samples, another colour space) is said. Metadata
(EXIF, XMP, comments) is not stored, which is not said for each image.

examples:
  hwkd encode photo.jpg
  hwkd encode photo.jpg photo.hwk --max-bytes 20k
  hwkd encode photos/ streams/ -q 75 --threads 2
  hwkd encode *.jpg streams/
  hwkd encode - - --model small.hwkd --runtime onnxruntime
"""


@dataclass(frozen=True)
class EncodedImage:
    """The result for one image.

    Attributes:
        quality: None for a bundle of one rate.
        psnr_db: None if no PSNR was requested.
    """

    job: Job
    width: int
    height: int
    stream_bytes: int
    dropped: tuple[str, ...]
    quality: int | None
    psnr_db: float | None

    @property
    def bpp(self) -> float:
        """Bits of the stream, header included, over pixels."""
        return 8 * self.stream_bytes / (self.width * self.height)


def _tile(text: str) -> int:
    """An argparse type: the side of a tile in pixels."""
    value = whole(0, MAX_TILE_PX)(text)
    if value % Z_PX:
        raise argparse.ArgumentTypeError(f"must be 0 or a multiple of {Z_PX}, got {text!r}")
    return value


_FACTORS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "ki": 1024, "mi": 1024**2, "gi": 1024**3}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)((?:[kmg]i?)?)b?", re.IGNORECASE)
_MOST_BYTES = 10**15


def size_in_bytes(text: str) -> int:
    """An argparse type: a number of bytes; k, M and G are powers of 1000, Ki, Mi and Gi of 1024, in any case."""
    found = _SIZE.fullmatch(text.strip())
    # Decimals, for 20.1 times 1000 is more than 20100 in binary.
    value = int(Decimal(found[1]) * _FACTORS[found[2].lower()]) if found else 0
    if not 1 <= value <= _MOST_BYTES:
        raise argparse.ArgumentTypeError(
            f"must be a number of bytes, 20000, 20k or 20KiB say, got {text!r}"
        )
    return value


@dataclass(frozen=True, kw_only=True)
class EncodeOptions(CodingOptions):
    """The options of `hwkd encode`. At most one of the four from `quality` to `min_psnr` is given."""

    paths: tuple[str, ...] = option(
        "IN [OUT], or several IN and a folder. IN: an image, a folder of images (with all below it), or - for standard input. OUT: the stream "
        f"({STREAM_SUFFIX}), - for standard output (default: IN with {STREAM_SUFFIX} after its name, "
        f"photo.jpg{STREAM_SUFFIX} beside photo.jpg). For a folder, or several IN, OUT is a folder, in which a.png becomes "
        f"a.png{STREAM_SUFFIX}",
        "IN",
        default=MISSING,
        positional=True,
        nargs="+",
    )
    quality: int | None = option(
        f"{LOWEST} (smallest) to {HIGHEST} (best), of a bundle of all rates (default: {DEFAULT_QUALITY})",
        "N",
        whole(LOWEST, HIGHEST),
        short="-q",
        exclusive="rate",
    )
    max_bytes: int | None = option(
        "the best quality whose stream has at most so many bytes: 20000, 20k, 20kB, 1.5M, 20KiB",
        "SIZE",
        size_in_bytes,
        exclusive="rate",
    )
    bpp: float | None = option(
        "the best quality whose stream has at most X bits for each pixel of the image",
        "X",
        positive,
        exclusive="rate",
    )
    min_psnr: float | None = option(
        "the lowest quality whose image comes back with at least this PSNR, of 8-bit RGB",
        "DB",
        positive,
        exclusive="rate",
    )
    model: str | None = option("a bundle (.hwkd), or the name of one that comes with hwkd", "M")
    tile: int | None = option(
        f"cut images into tiles of this side, a multiple of {Z_PX}, which bounds the memory; 0 for whole images "
        f"(default: {TILE_PX} for large ones)",
        "PIXELS",
        _tile,
    )


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `hwkd encode` to `parser`."""
    EncodeOptions.add_to(parser)


def run(args: argparse.Namespace) -> int:
    """Encode, and print the sizes of the streams."""
    options = EncodeOptions.of(args)
    paths = paths_of(options.paths)
    jobs = (
        folder_jobs(paths, find_images, _renamed, force=options.force)
        if paths.is_many
        else (one_job(paths, _check_stream_name, _renamed, force=options.force),)
    )
    asked = RateTarget(options.quality, options.max_bytes, options.bpp, options.min_psnr)
    path = default_bundle() if options.model is None else named_bundle(options.model)
    codecs = Codecs(options.runtime, options.threads, len(jobs))
    asked.check(
        codecs.bundle(path).manifest
    )  # wrong input is reported before the first image is read

    def work(job: Job) -> EncodedImage:
        with memory_told(job):
            return _encode(job, codecs, path, asked, options.tile, options.max_pixels)

    if not paths.is_many:
        done = work(jobs[0])
        tell_dropped([(done.job, done.dropped)])
        _say_one(done)
        return 0
    encoded = run_jobs("encoding", jobs, codecs.workers, work)
    tell_dropped([(one.job, one.dropped) for one in encoded])
    if encoded:
        _say_all(encoded, paths.target or "")
    check_none_left_out(len(encoded), len(jobs))
    return 0


def _encode(
    job: Job, codecs: Codecs, bundle: Path, asked: RateTarget, tile_px: int | None, max_pixels: int
) -> EncodedImage:
    try:
        image = read_image(job.source or sys.stdin.buffer, max_pixels, job.source_name)
    except InputError as error:
        raise UncodableImage(error) from error
    try:
        height, width = image.pixels.shape[:2]
        codec = codecs.codec(bundle, height * width * asked.most_trials)
        found = encode_to(codec, image.pixels, asked, tile_px, max_pixels)
    except OutOfReach as error:
        raise UncodableImage(InputError(f"{job.source_name}: {error}")) from error
    write(job, lambda: job.write(found.stream))
    return EncodedImage(
        job, width, height, len(found.stream), image.dropped, found.quality, found.psnr_db
    )


def _say_one(one: EncodedImage) -> None:
    quality = "" if one.quality is None else f"quality {one.quality}, "
    psnr = "" if one.psnr_db is None else f", {one.psnr_db:.2f} dB"
    one.job.say(
        f"{one.job.source_name} {one.width}x{one.height} -> {one.job.target_name} {quality}{one.stream_bytes:,} bytes, "
        f"{one.bpp:.3f} bpp{psnr}"
    )


def _say_all(encoded: tuple[EncodedImage, ...], target: str) -> None:
    total_bytes = sum(one.stream_bytes for one in encoded)
    mean_bpp = sum(one.bpp for one in encoded) / len(encoded)
    line = f"{counted(len(encoded))} -> {target} {_qualities(encoded)}{total_bytes:,} bytes, mean {mean_bpp:.3f} bpp"
    psnrs = [one.psnr_db for one in encoded if one.psnr_db is not None]
    say(line + (f", at least {min(psnrs):.2f} dB" if psnrs else ""), sys.stdout)


def _qualities(encoded: tuple[EncodedImage, ...]) -> str:
    """The qualities, in words that end in a comma; "" for a bundle of one rate."""
    found = [one.quality for one in encoded if one.quality is not None]
    if not found:
        return ""
    low, high = min(found), max(found)
    return f"quality {low}, " if low == high else f"qualities {low} to {high}, "


def _renamed(path: Path) -> Path:
    """The output's path keeps the whole input name: a.png and a.jpg are two images."""
    return path.with_name(path.name + STREAM_SUFFIX)


def _check_stream_name(path: Path) -> None:
    if path.suffix.lower() != STREAM_SUFFIX:
        raise InputError(
            f"a stream's name ends in {STREAM_SUFFIX}, got {path}; give {path.with_suffix(STREAM_SUFFIX)}"
        )
