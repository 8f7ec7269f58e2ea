"""The resource table of the page: a row for each record in its first setting. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from hwkd.measure.record import Record
from hwkd.report.cells import NA
from hwkd.report.columns import columns_for
from hwkd.report.compare.rows import Row
from hwkd.report.compare.tables import (
    WEIGHT_NOTE,
    energy_notes,
    latency_notes,
    macs_note,
    per_pixel_notes,
    quality_notes,
    record_notes,
)
from hwkd.report.compared import Compared, compare, of_all
from hwkd.report.page_cells import (
    HeadCell,
    PageCell,
    Reasons,
    columns_found,
    figure_cells,
    nobody_notes,
)
from hwkd.report.row_figures import figures_of

MODEL_KEYS = ("parameters_m", "weight_mib", "kmac_per_pixel", "psnr_db", "bpp")
COST_KEYS = ("encode_ms", "decode_ms", "encode_mj", "decode_mj")
SHORT_PARTS = {"networks": "networks", "end_to_end": "end to end"}
"""Of hwkd.report.compare.rows.PARTS; what targets are predicted for comes first."""

LABELS = ("model", "target", "unit", "runtime", "precision", "threads")


@dataclass(frozen=True)
class PageRow:
    """A record in its first setting."""

    target: str
    cells: tuple[PageCell, ...]


@dataclass(frozen=True)
class ResourceTable:
    """heads: as long as the cells of each row. targets: to choose from. reasons: why figures are n/a, the first is
    note 1. notes: how the figures were found."""

    heads: tuple[HeadCell, ...]
    rows: tuple[PageRow, ...]
    targets: tuple[str, ...]
    reasons: tuple[str, ...]
    notes: tuple[str, ...]


def resource_table(records: Sequence[Record]) -> ResourceTable:
    """The table of `records`, of which there is at least one.

    Latency and energy are for an image; for a megapixel where the records are of images of different sizes.
    """
    sizes = {(record.width, record.height) for record in records}
    compared = compare(records, is_per_pixel=len(sizes) > 1)
    model_columns = columns_for(MODEL_KEYS, is_per_pixel=False)
    cost_columns = columns_for(COST_KEYS, is_per_pixel=compared.scope.is_per_pixel)
    # What one record has for the networks alone another has for the whole way: each has its column.
    by_part = [(part, of_part(compared, part)) for part in SHORT_PARTS]
    blocks = [
        (compared, columns_found(compared.figures, model_columns)),
        *((of, columns_found(of.figures, cost_columns, SHORT_PARTS[part])) for part, of in by_part),
    ]
    bases = {cell.basis for _, cell in of_all(compared, "bpp") if cell.value is not None}
    reasons = Reasons()
    rows = []
    for i, row in enumerate(compared.rows):
        cells = list(_labels(row))
        for block, shown in blocks:
            cells += figure_cells(block.figures[i], shown, reasons, shows_basis=len(bases) > 1)
        rows.append(PageRow(row.record.target, tuple(cells)))
    shown_heads = [one.head for _, shown in blocks for one in shown]
    shown_keys = {one.column.key for _, shown in blocks for one in shown}
    return ResourceTable(
        (*map(HeadCell, LABELS), *shown_heads),
        tuple(rows),
        tuple(dict.fromkeys(row.target for row in rows)),
        tuple(reasons.numbers),
        (
            *_notes(compared, [of for _, of in by_part]),
            *nobody_notes(compared.figures, (*model_columns, *cost_columns), shown_keys),
        ),
    )


def of_part(compared: Compared, part: str) -> Compared:
    """The same rows with latency and energy of `part`, one of hwkd.report.compare.rows.PARTS."""
    scope = replace(compared.scope, latency_part=part, energy_part=part)
    figures = tuple(figures_of(row, scope) for row in compared.rows)
    return replace(compared, figures=figures, scope=scope)


def _labels(row: Row) -> Iterator[PageCell]:
    yield PageCell(row.record.model.name)
    yield PageCell(row.record.target)
    setting = row.setting
    if setting is None:
        yield from (PageCell(NA, title="the record holds no latency and no energy"),) * 4
        return
    yield from map(PageCell, (setting.unit, setting.runtime, setting.precision))
    if setting.threads is None:
        yield PageCell(NA, title=f"the unit {setting.unit} has no threads")
    else:
        yield PageCell(str(setting.threads), setting.threads)


def _notes(compared: Compared, by_part: Sequence[Compared]) -> Iterator[str]:
    sizes = dict.fromkeys(f"{row.record.width}x{row.record.height}" for row in compared.rows)
    yield from per_pixel_notes(compared)
    yield f"Images: {', '.join(sizes)} pixels. Of each record its first setting that has a figure."
    yield "parameters_m: of the float model, entropy models included."
    yield WEIGHT_NOTE
    yield macs_note(compared.rows, compared.names)
    yield from quality_notes(of_all(compared, "bpp"), compared.names)
    for of in by_part:
        if _has(of, "encode_ms"):
            yield from latency_notes(of)
        if _has(of, "encode_mj"):
            yield from energy_notes(of)
    on_hosts = [
        (row, name)
        for row, name in zip(compared.rows, compared.names, strict=True)
        if row.record.is_host
    ]
    yield from record_notes([row for row, _ in on_hosts], [name for _, name in on_hosts])


def _has(compared: Compared, key: str) -> bool:
    return any(figures[key].value is not None for figures in compared.figures)
