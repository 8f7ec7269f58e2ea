"""A comparison as a table: for people, figure and change in one cell; for machines, a column for each. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hwkd.quantity import MARKS
from hwkd.report.cells import NA, Cell
from hwkd.report.columns import Column
from hwkd.report.numbers import places_of_three
from hwkd.report.table import Table

FOR_MACHINES = ("csv", "json")
"""The formats in which a figure, its interval, its change and the way it was found have a column each."""


@dataclass(frozen=True)
class Label:
    """A column of texts, "n/a" in rows that have none.

    is_always_shown: to people too where all its values are equal; else a note tells the one value.
    """

    name: str
    values: tuple[str, ...]
    is_always_shown: bool = True

    @property
    def distinct(self) -> tuple[str, ...]:
        """The texts that are known, once each."""
        return tuple(text for text in dict.fromkeys(self.values) if text != NA)


@dataclass(frozen=True)
class Sheet:
    """A comparison before it is printed.

    labels: each with a value for every row. columns, rows: the figures. has_changes: against the first row.
    """

    title: str
    labels: tuple[Label, ...]
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...]
    has_changes: bool = True


def to_table(sheet: Sheet, fmt: str) -> Table:
    """`sheet` as the table for format `fmt` (hwkd.report.table.FORMATS)."""
    return for_machines(sheet) if fmt in FOR_MACHINES else for_people(sheet)


def for_people(sheet: Sheet) -> Table:
    """Value, interval and change in one cell; marks where a group of columns mixes ways of finding; notes below."""
    shown = [x for x in sheet.labels if x.is_always_shown or len(x.distinct) > 1]
    marked = _mixed_groups(sheet)
    rows = tuple(
        (
            *(label.values[i] for label in shown),
            *(
                _text(cell, column, is_marked=column.group in marked, has_changes=sheet.has_changes)
                for cell, column in zip(cells, sheet.columns, strict=True)
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
    return Table(sheet.title, names, rows, notes)


def for_machines(sheet: Sheet) -> Table:
    """A column for each number, without rounding that would show; the same columns whatever the rows hold.

    NAME, NAME_low and NAME_high (latency, energy and emissions), NAME_percent (NAME_difference), NAME_found (all but
    counted figures): the way it was found, or "n/a: REASON".
    """
    names = [label.name for label in sheet.labels]
    for column in sheet.columns:
        names += [name for name, _ in _machine_cells(_EMPTY, column, sheet.has_changes)]
    rows = tuple(
        (
            *(label.values[i] for label in sheet.labels),
            *(
                text
                for cell, column in zip(cells, sheet.columns, strict=True)
                for _, text in _machine_cells(cell, column, sheet.has_changes)
            ),
        )
        for i, cells in enumerate(sheet.rows)
    )
    notes = _interval_notes(sheet, "_low, _high: the ends of the interval", sheet.columns)
    return Table(sheet.title, tuple(names), rows, (*sheet.notes, *notes))


_EMPTY = Cell(None, "")


def _machine_cells(cell: Cell, column: Column, has_changes: bool) -> Iterator[tuple[str, str]]:
    yield column.name, _number(cell.value)
    if column.has_interval:
        yield f"{column.name}_low", _number(cell.low)
        yield f"{column.name}_high", _number(cell.high)
    if has_changes:
        yield column.change_name, _number(cell.change)
    if column.group != "counts":
        yield (
            f"{column.name}_found",
            cell.found if cell.value is not None else f"{NA}: {cell.reason}",
        )


def _number(value: float | None) -> str:
    return NA if value is None else f"{value:.8g}"


def _text(cell: Cell, column: Column, *, is_marked: bool, has_changes: bool) -> str:
    if cell.value is None:
        return NA
    places = places_of_three(cell.value) if column.digits is None else column.digits
    text = (MARKS[cell.found] if is_marked else "") + f"{cell.value:,.{places}f}"
    if not column.is_derived:
        text += _spread(cell, places)
    if not has_changes or cell.is_reference:
        return text
    if cell.change is None:
        return f"{text} ({NA})"
    digits = column.digits if column.is_difference and column.digits is not None else 1
    return f"{text} ({cell.change:+.{digits}f}{column.change_unit})"


def _spread(cell: Cell, places: int) -> str:
    """The interval as its distances from the value: one where both print alike, else below and above apart."""
    if cell.value is None or cell.low is None or cell.high is None:
        return ""
    below, above = f"{cell.value - cell.low:,.{places}f}", f"{cell.high - cell.value:,.{places}f}"
    return f" ±{below}" if below == above else f" -{below}/+{above}"


def _mixed_groups(sheet: Sheet) -> set[str]:
    """Groups of columns whose known figures were found in more than one way."""
    ways: dict[str, set[str]] = {}
    for cells in sheet.rows:
        for cell, column in zip(cells, sheet.columns, strict=True):
            if cell.value is not None:
                ways.setdefault(column.group, set()).add(cell.found)
    return {group for group, found in ways.items() if len(found) > 1}


def _mark_notes(sheet: Sheet, marked: set[str]) -> Iterator[str]:
    """What the marks of the mixed groups mean, told once for all of them."""
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
    """How sure the intervals of `columns` are, of which a table shows `what`."""
    levels: dict[str, list[str]] = {}
    for cells_of, column in zip(zip(*sheet.rows, strict=True), sheet.columns, strict=True):
        shares = sorted({round(100 * c.level, 1) for c in cells_of if c.level is not None})
        if shares and column in columns:
            text = " and ".join(f"{share:g} %" for share in shares)
            levels.setdefault(text, []).append(column.name)
    if levels:
        parts = [f"{text} in {', '.join(names)}" for text, names in levels.items()]
        yield f"{what}: {'; '.join(parts)}. A sum adds the ends, and so holds the truth less surely."
