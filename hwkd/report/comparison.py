"""The resource comparison of profile records: size, computation and throughput, energy. Pure."""

from collections.abc import Sequence
from dataclasses import replace

from hwkd.report.cells import NA, Cell, against
from hwkd.report.columns import Column, columns_for
from hwkd.report.compare.tables import (
    MEMORY_NOTE,
    WEIGHT_NOTE,
    change_notes,
    emissions_notes,
    energy_notes,
    latency_notes,
    macs_note,
    missing_notes,
    per_pixel_notes,
    quality_notes,
    rate_notes,
    record_notes,
)
from hwkd.report.compared import SIZE, Compared, Figures, model_rows, of_all
from hwkd.report.comparison_tables import Label, Sheet

COMPUTATION = (
    *("encode_gmacs", "decode_gmacs", "total_gmacs", "kmac_per_pixel"),
    *("encode_ms", "decode_ms", "fps"),
)
ENERGY = ("encode_mj", "decode_mj", "total_mj", "mj_per_mpx")
EMISSIONS = "emissions_g_per_1000"


def sheets(compared: Compared) -> tuple[Sheet, Sheet, Sheet]:
    """The three tables: size, computation and throughput, energy."""
    return size_sheet(compared), computation_sheet(compared), energy_sheet(compared)


def size_sheet(compared: Compared) -> Sheet:
    """Parameters and memory; a row for each model, whatever it runs on."""
    columns = columns_for(SIZE, is_per_pixel=False)
    places = model_rows(compared)
    names = [compared.rows[i].record.model.name for i in places]
    cells = with_changes([compared.figures[i] for i in places], columns)
    notes = (
        *change_notes(columns, cells, names),
        MEMORY_NOTE,
        WEIGHT_NOTE,
        *quality_notes(zip(names, (row[-1] for row in cells), strict=True), names),
        *missing_notes(columns, cells, names),
        *compared.left_out,
    )
    labels = (Label("model", tuple(names)), weight_bits_label(compared, places))
    return Sheet("Size", labels, columns, cells, notes)


def computation_sheet(compared: Compared) -> Sheet:
    """Multiply-accumulates, latency, images a second."""
    columns = columns_for(COMPUTATION, is_per_pixel=compared.scope.is_per_pixel)
    cells = with_changes(compared.figures, columns)
    notes = (
        *change_notes(columns, cells, compared.names),
        *per_pixel_notes(compared),
        macs_note(compared.rows, compared.names),
        *latency_notes(compared),
        *rate_notes(compared),
        *missing_notes(columns, cells, compared.names),
        *record_notes(compared.rows, compared.names),
        *compared.left_out,
    )
    labels = (*run_labels(compared), part_label(compared, compared.scope.latency_part))
    return Sheet("Computation and throughput", labels, columns, cells, notes)


def energy_sheet(compared: Compared) -> Sheet:
    """Energy, with emissions where a record has any, and quality beside it."""
    has_emissions = any(
        entry.name == EMISSIONS and entry.setting == row.setting
        for row in compared.rows
        for entry in row.record.entries
    )
    keys = (*ENERGY, *((EMISSIONS,) if has_emissions else ()), "psnr_db", "bpp")
    columns = columns_for(keys, is_per_pixel=compared.scope.is_per_pixel)
    cells = with_changes(compared.figures, columns)
    notes = (
        *change_notes(columns, cells, compared.names),
        *per_pixel_notes(compared),
        *energy_notes(compared),
        *(emissions_notes(compared) if has_emissions else ()),
        *quality_notes(of_all(compared, "bpp"), compared.names),
        *missing_notes(columns, cells, compared.names),
        *record_notes(compared.rows, compared.names),
        *compared.left_out,
    )
    labels = (*run_labels(compared), part_label(compared, compared.scope.energy_part))
    return Sheet("Energy", labels, columns, cells, notes)


def weight_bits_label(compared: Compared, places: Sequence[int]) -> Label:
    """At how many bits the weights of the models are stored."""
    return Label("weight_bits", tuple(compared.rows[i].record.model.weight_bits for i in places))


def run_labels(compared: Compared) -> tuple[Label, ...]:
    """What ran where, on images of which size."""
    rows = compared.rows
    sizes = tuple(f"{row.record.width}x{row.record.height}" for row in rows)
    settings = tuple(NA if row.setting is None else str(row.setting) for row in rows)
    return (
        Label("model", tuple(row.record.model.name for row in rows)),
        Label("target", tuple(row.record.target for row in rows)),
        Label("setting", settings, is_always_shown=False),
        Label("image", sizes, is_always_shown=False),
    )


def part_label(compared: Compared, part: str) -> Label:
    """Of what the figures are: the networks, or the codec from end to end."""
    return Label("part", (part,) * len(compared.rows), is_always_shown=False)


def with_changes(
    figures: Sequence[Figures], columns: Sequence[Column]
) -> tuple[tuple[Cell, ...], ...]:
    """The columns' cells of each row, with their changes against the first row's."""
    first = [figures[0][column.key] for column in columns]
    cells = []
    for i, row in enumerate(figures):
        changed = (
            against(reference, row[column.key], is_difference=column.is_difference)
            for reference, column in zip(first, columns, strict=True)
        )
        cells.append(tuple(replace(cell, is_reference=i == 0) for cell in changed))
    return tuple(cells)
