"""A comparison as a table: for people, figure and change share one cell; for machines, they are separate. Pure."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from hwkd.quantity import MARKS, NA, SPREAD, Quantity, change, not_known, quantity_text
from hwkd.report.compare.rows import Column
from hwkd.report.table import Table, figure, number

FOR_MACHINES = ("csv", "json")
"""The formats with separate figures and changes. In csv, the interval and the way it was found have columns too."""


@dataclass(frozen=True)
class Label:
    """A column of texts, "n/a" in rows that have none.

    Attributes:
        is_always_shown: whether people see the column even if all its values are equal; if not, a note has the one value.
    """

    name: str
    values: tuple[str, ...]
    is_always_shown: bool = True

    @property
    def distinct(self) -> tuple[str, ...]:
        """The known texts, once each."""
        return tuple(text for text in dict.fromkeys(self.values) if text != NA)


@dataclass(frozen=True)
class Sheet:
    """A comparison before it is printed.

    Attributes:
        labels: columns of texts, each with a value for every row.
        columns, rows: the figures.
        references: of each column the figure that the others have changes against, the very one that its own row holds; ()
            for a sheet without changes.
    """

    title: str
    labels: tuple[Label, ...]
    columns: tuple[Column, ...]
    rows: tuple[tuple[Quantity, ...], ...]
    notes: tuple[str, ...]
    references: tuple[Quantity, ...] = ()

    def in_columns(
        self, cells: Sequence[Quantity]
    ) -> Iterator[tuple[Quantity, Column, Quantity | None]]:
        """The figures of a row, each with its column and what it has a change against."""
        references = self.references or (None,) * len(self.columns)
        return zip(cells, self.columns, references, strict=True)


def to_table(sheet: Sheet, fmt: str) -> Table:
    """`sheet` as the table for format `fmt` (hwkd.report.table.FORMATS)."""
    if fmt == "json":
        return for_programs(sheet)
    return for_machines(sheet) if fmt in FOR_MACHINES else for_people(sheet)


_LEAST = (
    *("weight_bits", "parameters_m", "memory_mib", "encode_gmacs", "decode_gmacs", "total_gmacs"),
    *("mj_per_mpx", "fps", "encode_mj", "decode_mj", "runs", "threads", "bytes", "kmac_per_pixel"),
    *("total_mj", "weight_mib"),
)
"""Figures that follow from others, or that are less useful at a glance."""


def for_people(sheet: Sheet) -> Table:
    """A table with value, interval and change in one cell, and notes below. Marks show figures of groups with mixed ways."""
    shown = [x for x in sheet.labels if x.is_always_shown or len(x.distinct) > 1]
    marked = _mixed_groups(sheet)
    rows = tuple(
        (
            *(label.values[i] for label in shown),
            *(
                _text(cell, column, reference, is_marked=column.group in marked)
                for cell, column, reference in sheet.in_columns(cells)
            ),
        )
        for i, cells in enumerate(sheet.rows)
    )
    common = [f"{x.name} {x.distinct[0]}" for x in sheet.labels if x not in shown and x.distinct]
    notes = (
        *((f"Common to the records: {'; '.join(common)}.",) if common else ()),
        *sheet.notes,
        *_mark_notes(sheet, marked),
        *_interval_notes(
            sheet,
            "±, -/+: how far the ends of the interval are from the value",
            [column for column in sheet.columns if not column.is_derived],
        ),
    )
    names = (*(label.name for label in shown), *(column.name for column in sheet.columns))
    return Table(sheet.title, names, rows, notes, _LEAST)


def for_machines(sheet: Sheet) -> Table:
    """A table with a column for each number, without visible rounding; the columns are the same for any rows.

    NAME, NAME_low and NAME_high (latency, energy and emissions), NAME_percent (NAME_difference), NAME_found (all but
    counted figures): the way it was found, or "n/a: REASON".
    """
    return _apart(sheet, _machine_cells, "_low, _high: the ends of the interval")


def for_programs(sheet: Sheet) -> Table:
    """As for_machines, but NAME is a cell with its interval and the way it was found, or the reason why it is not known."""
    return _apart(sheet, _program_cells, "low, high: the ends of the interval")


def _apart(
    sheet: Sheet,
    cells_of: Callable[[Quantity, Column, Quantity | None], Iterator[tuple[str, str]]],
    what: str,
) -> Table:
    """A table with separate columns for the parts of each figure.

    Args:
        cells_of: the cells of a figure, each with the name of its column.
        what: the subject of a note on intervals.
    """
    names = [label.name for label in sheet.labels]
    for cell, column, reference in sheet.in_columns((_EMPTY,) * len(sheet.columns)):
        names += [name for name, _ in cells_of(cell, column, reference)]
    rows = tuple(
        (
            *(label.values[i] for label in sheet.labels),
            *(
                text
                for cell, column, reference in sheet.in_columns(cells)
                for _, text in cells_of(cell, column, reference)
            ),
        )
        for i, cells in enumerate(sheet.rows)
    )
    notes = _interval_notes(sheet, what, sheet.columns)
    return Table(sheet.title, tuple(names), rows, (*sheet.notes, *notes))


_EMPTY = not_known("no row")


def _program_cells(
    cell: Quantity, column: Column, reference: Quantity | None
) -> Iterator[tuple[str, str]]:
    known = cell if column.has_interval else replace(cell, low=None, high=None, level=None)
    yield column.name, figure(_number(cell.value), known)
    if reference is not None:
        found = change(reference, cell, is_difference=column.is_difference)
        yield column.change_name, number(found.value, ".8g", found.reason)


def _machine_cells(
    cell: Quantity, column: Column, reference: Quantity | None
) -> Iterator[tuple[str, str]]:
    yield column.name, _number(cell.value)
    if column.has_interval:
        yield f"{column.name}_low", _number(cell.low)
        yield f"{column.name}_high", _number(cell.high)
    if reference is not None:
        found = change(reference, cell, is_difference=column.is_difference)
        yield column.change_name, _number(found.value)
    if column.group != "counts":
        yield (
            f"{column.name}_found",
            cell.found if cell.value is not None else f"{NA}: {cell.reason}",
        )


def _number(value: float | None) -> str:
    return NA if value is None else f"{value:.8g}"


def _text(cell: Quantity, column: Column, reference: Quantity | None, *, is_marked: bool) -> str:
    if cell.value is None:
        return NA
    interval = None if column.is_derived else SPREAD
    text = quantity_text(cell, column.digits, interval=interval, is_marked=is_marked)
    if reference is None or cell is reference:
        return text
    found = change(reference, cell, is_difference=column.is_difference)
    if found.value is None:
        return f"{text} ({NA})"
    digits = column.digits if column.is_difference and column.digits is not None else 1
    return f"{text} ({found.value:+.{digits}f}{column.change_unit})"


def _mixed_groups(sheet: Sheet) -> set[str]:
    """Groups of columns with known figures that were found in more than one way."""
    ways: dict[str, set[str]] = {}
    for cells in sheet.rows:
        for cell, column in zip(cells, sheet.columns, strict=True):
            if cell.value is not None:
                ways.setdefault(column.group, set()).add(cell.found)
    return {group for group, found in ways.items() if len(found) > 1}


def _mark_notes(sheet: Sheet, marked: set[str]) -> Iterator[str]:
    """One note on the meaning of the marks of all mixed groups."""
    found = {
        cell.found
        for cells in sheet.rows
        for cell, column in zip(cells, sheet.columns, strict=True)
        if column.group in marked and cell.value is not None
    }
    if found:
        names = [column.name for column in sheet.columns if column.group in marked]
        meanings = [f"{mark or 'no mark'} {way}" for way, mark in MARKS.items() if way in found]
        yield f"Marks in {', '.join(names)}: {', '.join(meanings)}."


def _interval_notes(sheet: Sheet, what: str, columns: Sequence[Column]) -> Iterator[str]:
    """The certainty of the intervals of `columns`; a table shows `what` of them."""
    levels: dict[str, list[str]] = {}
    for cells_of, column in zip(zip(*sheet.rows, strict=True), sheet.columns, strict=True):
        shares = sorted({round(100 * c.level, 1) for c in cells_of if c.level is not None})
        if shares and column in columns:
            text = " and ".join(f"{share:g} %" for share in shares)
            levels.setdefault(text, []).append(column.name)
    if levels:
        parts = [f"{text} in {', '.join(names)}" for text, names in levels.items()]
        yield f"{what}: {'; '.join(parts)}. A sum adds the ends, and so holds the truth less surely."
