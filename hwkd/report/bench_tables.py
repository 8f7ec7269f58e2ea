"""What `hwkd bench` prints: how fast against the first row, in milliseconds, and where the time goes. Pure."""

from collections.abc import Iterator

from hwkd.measure.bench import Bench, Row
from hwkd.measure.bench_bundles import STEPS_TEXT
from hwkd.measure.bench_classic import SETTINGS_TEXT
from hwkd.measure.bench_coder import SIDES
from hwkd.quantity import Quantity
from hwkd.report.cells import NA, Cell, from_quantity
from hwkd.report.columns import Column
from hwkd.report.compare.tables import missing_notes
from hwkd.report.comparison_tables import Label, Sheet, to_table
from hwkd.report.table import Table

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
    """Three tables for format `fmt` of hwkd.report.table.FORMATS. image: what was coded, in words."""
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
        f"psnr_db: 8-bit RGB. {SETTINGS_TEXT}.",
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
            from_quantity(step.latency_ms),
            Cell(100 * step.share, "computed", "the medians"),
        )
        for _, step in steps
    )
    notes = (
        *_entropy_notes(bench),
        "share_percent: the step's median over that of its side end to end; shares add up to about 100.",
        f"Bundles: {STEPS_TEXT}",
        *((COMPRESSAI_STEPS_TEXT,) if any(step.name == "g_a" for _, step in steps) else ()),
    )
    return Sheet(f"Where the time goes: {where}", labels, _STEPS, rows, notes, has_changes=False)


def _entropy_notes(bench: Bench) -> Iterator[str]:
    """What entropy coding takes of each side, of the coders that were looked into."""
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
    rows = tuple(tuple(map(from_quantity, of_row)) for of_row in figures)
    names = [_title(row) for row in bench.rows]
    first = (
        Label("coder", tuple(row.name for row in bench.rows)),
        Label("setting", tuple(row.setting for row in bench.rows)),
        Label("threads", tuple(NA if r.threads is None else str(r.threads) for r in bench.rows)),
    )
    every_note = (*notes, *missing_notes(columns, rows, names))
    return Sheet(title, (*first, *labels), columns, rows, every_note, has_changes=False)


def _title(row: Row) -> str:
    return f"{row.name} ({row.setting})"


def _runs(row: Row) -> str:
    runs = row.latency_ms["encode"].runs
    return NA if runs is None else str(runs)
