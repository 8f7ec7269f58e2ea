"""`hwkd decode`: streams back to images, without torch."""

import argparse
import sys
from dataclasses import MISSING, dataclass
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
    write,
)
from hwkd.codec.entropy import DamagedStream
from hwkd.codec.shipped import BundleIndex, named_bundle
from hwkd.codec.stream import Stream, unpack
from hwkd.errors import InputError
from hwkd.files import is_special
from hwkd.images import FORMATS, check_fits, find_files, format_of, png_bytes, write_image
from hwkd.options import option

HELP = "write the images that streams (.hwk) hold"

EXAMPLES = """examples:
  hwkd decode photo.jpg.hwk
  hwkd decode photo.hwk photo.png
  hwkd decode streams/ images/ --model small.hwkd
  hwkd decode *.hwk images/
  hwkd decode - - --model models/
"""

DEFAULT_SUFFIX = ".png"


@dataclass(frozen=True)
class Decoded:
    """One image that was written."""

    job: Job
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class DecodeOptions(CodingOptions):
    """The options of `hwkd decode`."""

    paths: tuple[str, ...] = option(
        f"IN [OUT], or several IN and a folder. IN: a stream ({STREAM_SUFFIX}), a folder of streams (with all below it), or - for standard input. OUT: the "
        f"image ({' '.join(FORMATS)}), - for a PNG to standard output (default: a PNG beside IN, photo.jpg.png of "
        f"photo.jpg{STREAM_SUFFIX}). For a folder, or several IN, OUT is a folder; there too a.png{STREAM_SUFFIX} becomes "
        f"a.png, and any other name ends in {DEFAULT_SUFFIX}",
        "IN",
        default=MISSING,
        positional=True,
        nargs="+",
    )
    model: str | None = option(
        "a bundle (.hwkd), a folder of bundles, or the name of one that comes with hwkd (default: the one that "
        "the stream names, where it comes with hwkd or lies beside the stream or in the current folder)",
        "M",
    )


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `hwkd decode` to `parser`."""
    DecodeOptions.add_to(parser)


def run(args: argparse.Namespace) -> int:
    """Decode, and say what was written."""
    options = DecodeOptions.of(args)
    paths = paths_of(options.paths)
    jobs = (
        folder_jobs(paths, find_streams, _renamed, force=options.force)
        if paths.is_many
        else (one_job(paths, format_of, _renamed, force=options.force),)
    )
    codecs = Codecs(options.runtime, options.threads, len(jobs))
    shelves = BundleIndex()
    if options.model is not None and not Path(options.model).is_dir():
        # A faulty bundle is reported before the first stream is read.
        codecs.bundle(named_bundle(options.model))

    def work(job: Job) -> Decoded:
        with memory_told(job):
            return _decode(job, codecs, shelves, options.model, options.max_pixels)

    if not paths.is_many:
        done = work(jobs[0])
        done.job.say(f"{done.job.source_name} -> {done.job.target_name} {done.width}x{done.height}")
        return 0
    decoded = run_jobs("decoding", jobs, codecs.workers, work)
    if decoded:
        say(f"{counted(len(decoded))} -> {paths.target}", sys.stdout)
    check_none_left_out(len(decoded), len(jobs))
    return 0


def find_streams(folder: Path) -> tuple[Path, ...]:
    """The streams in `folder` and in all folders below it, sorted by path.

    Raises:
        InputError: there is none.
    """
    found = find_files(folder, (STREAM_SUFFIX,))
    if not found:
        raise InputError(
            f"no streams in {folder} or below; accepted are files ending in {STREAM_SUFFIX}"
        )
    return found


def _decode(
    job: Job, codecs: Codecs, shelves: BundleIndex, model: str | None, max_pixels: int
) -> Decoded:
    data = _read(job)
    try:
        stream, bundle = _opened(job, data, shelves, model, max_pixels)
    except InputError as error:
        raise UncodableImage(InputError(f"{job.source_name}: {error}")) from error
    # What is wrong from here on is wrong with the bundle or the runtime, but for the coded data.
    codec = codecs.codec(bundle, stream.width * stream.height)
    try:
        pixels = codec.decode(data, max_pixels)
    except DamagedStream as error:
        raise UncodableImage(InputError(f"{job.source_name}: {error}")) from error
    target = job.target
    if target is None or is_special(target):
        job.write(png_bytes(pixels))
    else:
        write(job, lambda: write_image(target, pixels))
    return Decoded(job, stream.width, stream.height)


def _read(job: Job) -> bytes:
    try:
        return sys.stdin.buffer.read() if job.source is None else job.source.read_bytes()
    except OSError as error:
        raise UncodableImage(
            InputError(
                f"cannot read {job.source_name}: {error.strerror or error}; give a stream that `hwkd encode` wrote"
            )
        ) from error


def _opened(
    job: Job, data: bytes, shelves: BundleIndex, model: str | None, max_pixels: int
) -> tuple[Stream, Path]:
    """The stream in `data`, checked, and the bundle that it was written with."""
    stream = unpack(data, max_pixels)
    if job.target is not None and not is_special(job.target):
        check_fits(job.target, stream.width, stream.height)
    beside = Path() if job.source is None else job.source.parent
    return stream, shelves.bundle_of(stream.model_id, beside, model)


def _renamed(path: Path) -> Path:
    """Without the stream's ending; .png after any other, for nothing but a PNG keeps what was decoded."""
    inner = path.with_suffix("")
    return (
        inner
        if inner.suffix.lower() == DEFAULT_SUFFIX
        else inner.with_name(inner.name + DEFAULT_SUFFIX)
    )
