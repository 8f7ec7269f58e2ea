"""`hwkd bench`: compares bundles with CompressAI and with the formats of Pillow, end to end, in one run."""

import argparse
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import MISSING, dataclass
from pathlib import Path

from hwkd.cli.measuring.profile import parse_size
from hwkd.cli.model_names import SHIPPED_FIRST
from hwkd.cli.tables import TableOptions, emit_all
from hwkd.cli.talk import stderr_console
from hwkd.codec.search import RateTarget
from hwkd.codec.shipped import named_bundle, shipped_or_as_given
from hwkd.errors import InputError
from hwkd.images import Pixels, open_images, read_rgb
from hwkd.measure.bench import COMPRESSAI, NONE, Bench, BenchPlan, BenchRow, bench
from hwkd.measure.classic import MAX_QUALITY
from hwkd.measure.coder import SIDES, STEPS_TEXT
from hwkd.measure.equal_psnr import EqualPsnr, compare_at_psnr, write_equal_psnr
from hwkd.measure.machine import installed_version
from hwkd.measure.pillow_formats import BENCH_SETTINGS_TEXT
from hwkd.measure.profile import photograph
from hwkd.options import figure_path, option, positive, whole
from hwkd.qualities import DEFAULT_QUALITY, HIGHEST, LOWEST
from hwkd.quantity import Quantity
from hwkd.report.compare.notes import missing_notes
from hwkd.report.compare.rows import Column
from hwkd.report.compare.sheet import Label, Sheet, to_table
from hwkd.report.table import Table, number
from hwkd.runtime.bundle import Bundle, read_bundle
from hwkd.runtime.session import preferred_runtimes, runtime_label, usable_cores

HELP = (
    "time bundles end to end beside CompressAI, JPEG, WebP, AVIF and JPEG XL, and say where it goes"
)

EXAMPLES = """examples:
  hwkd bench student.hwkd
  hwkd bench rates.hwkd -q 75
  hwkd bench student.hwkd --against bmshj2018-hyperprior:5 --image photo.png
  hwkd bench patch-small patch-large --psnr 34 --data photos/ --threads 1 --plot bytes-over-time.svg
  hwkd bench small.hwkd large.hwkd --runtime onnxruntime --threads 1 --against none --format md
"""

ALL = "all"
DEFAULT_SIZE = "768x512"


@dataclass(frozen=True, kw_only=True)
class BenchOptions(TableOptions):
    """The options of `hwkd bench`."""

    bundles: tuple[str, ...] = option(
        f"a .hwkd file, or the name of one that ships (see `hwkd models`); {SHIPPED_FIRST}",
        "BUNDLE",
        shipped_or_as_given,
        default=MISSING,
        positional=True,
        nargs="+",
    )
    against: str = option(
        "compressai: ScaleHyperprior(128, 192) with random weights at the first bundle's rate (default); a "
        "checkpoint's file or a name of CompressAI's zoo (see `hwkd models`); or none",
        "WHAT",
        default=COMPRESSAI,
    )
    psnr: float | None = option(
        "all codecs at this mean PSNR: the bytes that each takes beside the time; bundles of all rates, without CompressAI",
        "DB",
        positive,
    )
    image: Path | None = option("what to code (default: an embedded photograph)", "FILE")
    data: Path | None = option(
        "with --psnr: every image of this folder, each once in every round", "DIR"
    )
    size: str | None = option(
        f"of the embedded photograph, cut or mirrored at its edges (default: {DEFAULT_SIZE})", "WxH"
    )
    threads: int = option(
        "of every coder that can use them (default: all usable cores)",
        "N",
        lambda text: whole(1, usable_cores())(text),
        default=usable_cores(),
    )
    runtime: str = option(
        "for the bundles: onnxruntime or openvino (default: all that are installed)",
        "NAME",
        default=ALL,
    )
    seconds: float = option(
        "for all timed runs together, at least 6 of each", "S", positive, default=20.0
    )
    quality: int | None = option(
        f"of bundles of all rates, {LOWEST} to {HIGHEST} (default: {DEFAULT_QUALITY})",
        "N",
        whole(LOWEST, HIGHEST),
        short="-q",
    )
    classic_quality: int | None = option(
        "of JPEG, WebP, AVIF and JPEG XL (default: what comes nearest to the first bundle's PSNR)",
        "Q",
        whole(1, MAX_QUALITY),
    )
    save_results: Path | None = option("with --psnr: write the figures to this file", "FILE.json")
    plot: Path | None = option(
        "with --psnr: draw bytes over decoding time to this file (.svg, .pdf or .png)",
        "FILE",
        figure_path,
    )


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `hwkd bench` to `parser`."""
    BenchOptions.add_to(parser)


def run(args: argparse.Namespace) -> int:
    """Measure, print, and return the exit code.

    Ctrl-C ends the rounds; what they have found is printed.

    Raises:
        InputError: a file, name or number that does not exist; raised before anything is measured.
        HwkdError: no bundle runs in any runtime.
    """
    options = BenchOptions.of(args)
    runtimes = _runtimes(options.runtime)
    bundles = _named(options.bundles)
    if options.psnr is not None:
        return _run_at_psnr(options, options.psnr, runtimes, bundles)
    for name in ("data", "save_results", "plot"):
        if getattr(options, name) is not None:
            raise InputError(
                f"--{name.replace('_', '-')} goes with --psnr: add it, or leave --{name.replace('_', '-')} out"
            )
    _check_quality(options.quality, bundles.values())
    image, words = _image(options.image, options.size)
    wanted = BenchPlan(
        options.against,
        runtimes,
        options.threads,
        options.seconds,
        options.classic_quality,
        options.quality,
    )
    with stderr_console().status("opening") as status:
        found = bench(image, bundles, wanted, status.update)
    emit_all(bench_tables(found, words, options.format), options)
    if found.is_stopped:
        raise KeyboardInterrupt
    return 0


def _run_at_psnr(
    options: BenchOptions,
    psnr_db: float,
    runtimes: tuple[str, ...],
    bundles: dict[str, Bundle],
) -> int:
    """Measure all codecs at `psnr_db`, print, save, draw."""
    for name, is_given in (
        ("--quality", options.quality is not None),
        ("--classic-quality", options.classic_quality is not None),
        ("--against", options.against not in (COMPRESSAI, NONE)),
    ):
        if is_given:
            raise InputError(f"{name} and --psnr are two wishes: leave one out")
    if options.data is None:
        image, where = _image(options.image, options.size)
        images = [(where, image)]
    elif options.image is not None or options.size is not None:
        raise InputError("--data holds the images: leave --image and --size out")
    else:
        source = open_images(options.data).readable()
        images, where = list(source), str(source)
    with stderr_console().status("opening") as status:
        found, is_stopped = compare_at_psnr(
            images,
            where,
            bundles,
            psnr_db,
            runtimes=runtimes,
            threads=options.threads,
            seconds=options.seconds,
            show=status.update,
        )
    emit_all((equal_psnr_table(found, options.format),), options)
    if options.save_results is not None:
        write_equal_psnr(options.save_results, found)
    if options.plot is not None:
        from hwkd.report.plots.equal_psnr import draw_equal_psnr

        draw_equal_psnr(found, options.plot)
    if is_stopped:
        raise KeyboardInterrupt
    return 0


def _runtimes(text: str) -> tuple[str, ...]:
    if text != ALL:
        runtime_label(text)  # raises if there is no such runtime
        return (text,)
    present = preferred_runtimes()
    if not present:
        raise InputError('no runtime for bundles is installed: pip install "hwkd[runtime]"')
    return present


def _named(paths: Sequence[str]) -> dict[str, Bundle]:
    """The bundles by their own names; by their paths if two have the same name."""
    bundles = {path: read_bundle(named_bundle(path)) for path in dict.fromkeys(paths)}
    counts = Counter(bundle.manifest.name for bundle in bundles.values())
    return {
        bundle.manifest.name if counts[bundle.manifest.name] == 1 else path: bundle
        for path, bundle in bundles.items()
    }


def _check_quality(quality: int | None, bundles: Collection[Bundle]) -> None:
    """Refuse a quality that a bundle of all rates lacks, and any quality if no bundle serves all rates."""
    of_all_rates = [bundle for bundle in bundles if bundle.manifest.qualities is not None]
    for bundle in of_all_rates or bundles:
        RateTarget(quality=quality).check(bundle.manifest)


def _image(path: Path | None, size: str | None) -> tuple[Pixels, str]:
    """The image to code, and its description."""
    if path is not None:
        if size is not None:
            raise InputError(
                f"--size is for the embedded photograph: leave it or --image {path} out"
            )
        return read_rgb(path), path.name
    width, height = parse_size(size or DEFAULT_SIZE)
    if installed_version("scikit-image") is None:
        raise InputError(
            'the embedded photograph comes with the extra "train", and scikit-image is not installed: '
            "give an image with --image FILE"
        )
    return photograph(width, height), "embedded photograph"


# The output of `hwkd bench`: speed against the first row, milliseconds, and where the time goes. Pure.

COMPRESSAI_STEPS_TEXT = (
    "CompressAI: conversion is 8-bit pixels to a padded float tensor or back, entropy is all between its networks, index "
    "building included."
)

_SPEEDUPS = tuple(
    Column(f"{side}_speedup", f"{side}_speedup", "speedup", None, has_interval=True)
    for side in SIDES
)
_QUALITY = (
    Column("psnr_db", "psnr_db", "quality", 2),
    Column("bpp", "bpp", "quality", 3),
    Column("bytes", "bytes", "counts", 0),
)
_LATENCIES = tuple(
    Column(f"{side}_ms", f"{side}_ms", "latency", None, has_interval=True) for side in SIDES
)
_STEPS = (
    Column("latency_ms", "latency_ms", "latency", None, has_interval=True),
    Column("share_percent", "share_percent", "share", 1, is_derived=True),
)


def bench_tables(bench: Bench, image: str, fmt: str) -> tuple[Table, ...]:
    """Three tables for format `fmt` of hwkd.report.table.FORMATS.

    Args:
        image: the coded image, in words.
    """
    where = f"{image}, {bench.width}x{bench.height}"
    sheets = (_speedups(bench, where), _latencies(bench, where), _steps(bench, where))
    return tuple(to_table(sheet, fmt) for sheet in sheets)


def _speedups(bench: Bench, where: str) -> Sheet:
    figures = [
        (*(row.speedup[side] for side in SIDES), row.psnr_db, row.bpp, row.stream_bytes)
        for row in bench.rows
    ]
    reference = _title(bench.reference)
    notes = (
        f"_speedup: the median of {reference} over the row's, so 10 is a tenth of the time.",
        f"psnr_db: 8-bit RGB. {BENCH_SETTINGS_TEXT}.",
    )
    return _sheet(
        f"End to end against {reference}: {where}", bench, (*_SPEEDUPS, *_QUALITY), figures, notes
    )


def _latencies(bench: Bench, where: str) -> Sheet:
    figures = [tuple(row.latency_ms[side] for side in SIDES) for row in bench.rows]
    runs = Label("runs", tuple(_runs(row) for row in bench.rows))
    return _sheet(
        f"Milliseconds end to end: {where}", bench, _LATENCIES, figures, bench.notes, (runs,)
    )


def _steps(bench: Bench, where: str) -> Sheet:
    steps = [(row, step) for row in bench.rows for step in row.steps]
    labels = (
        Label("coder", tuple(row.name for row, _ in steps)),
        Label("setting", tuple(row.setting for row, _ in steps)),
        Label("side", tuple(step.side for _, step in steps)),
        Label("step", tuple(step.name for _, step in steps)),
    )
    rows = tuple(
        (
            step.latency_ms,
            Quantity(100 * step.share, "computed", "the medians"),
        )
        for _, step in steps
    )
    notes = (
        *_entropy_notes(bench),
        "share_percent: the step's median over that of its side end to end; shares add up to about 100.",
        f"Bundles: {STEPS_TEXT}",
        *((COMPRESSAI_STEPS_TEXT,) if any(step.name == "g_a" for _, step in steps) else ()),
    )
    return Sheet(f"Where the time goes: {where}", labels, _STEPS, rows, notes)


_AT_PSNR = (
    Column("stream_bytes", "bytes", "estimated", 0),
    Column("rate_percent", "rate_percent", "estimated", 1),
    Column("psnr_db", "psnr_db", "quality", 2),
    Column("encode_ms", "encode_ms", "latency", None, has_interval=True),
    Column("decode_ms", "decode_ms", "latency", None, has_interval=True),
)


def equal_psnr_table(found: EqualPsnr, fmt: str) -> Table:
    """A table with a row for each codec, for format `fmt` of hwkd.report.table.FORMATS."""
    first = found.rows[0].name
    labels = (
        Label("codec", tuple(row.name for row in found.rows)),
        Label("setting", tuple(row.setting for row in found.rows)),
        Label("threads", tuple(number(row.threads) for row in found.rows)),
        Label("quality", tuple(number(row.quality) for row in found.rows)),
    )
    rows = tuple(
        (
            row.stream_bytes,
            Quantity(found.rate_percent(row), "estimated", f"the bytes against those of {first}"),
            *(row.psnr_db, row.encode_ms, row.decode_ms),
        )
        for row in found.rows
    )
    notes = (
        *found.notes,
        f"rate_percent: bytes against those of {first}; negative: fewer. psnr_db: the mean of the quality that was timed.",
        f"Host: {found.host}.",
    )
    title = f"At {found.psnr_db:g} dB: {found.images}"
    return to_table(Sheet(title, labels, _AT_PSNR, rows, notes), fmt)


def _entropy_notes(bench: Bench) -> Iterator[str]:
    """Notes on the share of entropy coding in each side, for the coders that were examined."""
    watched = [row for row in bench.rows if row.steps]
    for side in SIDES[::-1]:
        parts = [f"{100 * row.entropy_share(side):.1f} % of {_title(row)}" for row in watched]
        if parts:
            yield f"Entropy coding in {side}: {', '.join(parts)}."


def _sheet(
    title: str,
    bench: Bench,
    columns: tuple[Column, ...],
    figures: list[tuple[Quantity, ...]],
    notes: tuple[str, ...],
    labels: tuple[Label, ...] = (),
) -> Sheet:
    names = [_title(row) for row in bench.rows]
    first = (
        Label("coder", tuple(row.name for row in bench.rows)),
        Label("setting", tuple(row.setting for row in bench.rows)),
        Label("threads", tuple(map(_threads, bench.rows))),
    )
    every_note = (*notes, *missing_notes(columns, figures, names))
    return Sheet(title, (*first, *labels), columns, tuple(figures), every_note)


def _title(row: BenchRow) -> str:
    return f"{row.name} ({row.setting})"


def _threads(row: BenchRow) -> str:
    return number(row.threads, "", row.latency_ms["encode"].reason or "not told")


def _runs(row: BenchRow) -> str:
    latency = row.latency_ms["encode"]
    return number(latency.runs, "", latency.reason or "not told")
