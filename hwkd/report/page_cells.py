"""Figures in the tables of a page: a column for each figure and each way it was found. Pure.

A figure that was measured never stands in one column with one that was predicted; a column that nobody has a figure in
is left out. An unknown figure is n/a with the number of a note that says why.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from hwkd.quantity import FOUND
from hwkd.report.cells import NA, Cell
from hwkd.report.columns import Column
from hwkd.report.compared import Figures
from hwkd.report.numbers import interval_text, number_text


@dataclass(frozen=True)
class HeadCell:
    """A heading. found: one of hwkd.quantity.FOUND, "" for a column of texts."""

    name: str
    found: str = ""


@dataclass(frozen=True)
class PageCell:
    """text: what stands there. number: to sort by, None for texts and where there is none. small: below it. title: said
    of it when pointed at. note: the number of the note with the reason why there is no figure."""

    text: str
    number: float | None = None
    small: str = ""
    title: str = ""
    note: int | None = None


@dataclass
class Reasons:
    """Why figures are n/a: reasons by number, from 1, in order of their first use."""

    numbers: dict[str, int] = field(default_factory=dict)

    def number(self, reason: str) -> int:
        """That of `reason`, which gets one if it is new."""
        return self.numbers.setdefault(reason, len(self.numbers) + 1)


@dataclass(frozen=True)
class FoundColumn:
    """A figure found in one way. of: what of, "networks" say; empty where that goes without saying."""

    column: Column
    found: str
    of: str = ""

    @property
    def head(self) -> HeadCell:
        """Its heading."""
        return HeadCell(
            f"{self.column.name}, {self.of}" if self.of else self.column.name, self.found
        )


def columns_found(
    figures: Sequence[Figures], columns: Sequence[Column], of: str = ""
) -> tuple[FoundColumn, ...]:
    """Those of `columns` in each way that any of `figures` was found, in order of hwkd.quantity.FOUND."""
    return tuple(
        FoundColumn(column, found, of)
        for column in columns
        for found in FOUND
        if any(f[column.key].value is not None and f[column.key].found == found for f in figures)
    )


def figure_cells(
    figures: Figures, columns: Sequence[FoundColumn], reasons: Reasons, *, shows_basis: bool = False
) -> Iterator[PageCell]:
    """A row's cells. shows_basis: say on which images quality is, where rows differ in that."""
    for one in columns:
        cell, digits = figures[one.column.key], one.column.digits
        if cell.value is None or cell.found != one.found:
            reason = cell.reason or f"{cell.found}, not {one.found}: see the column for that"
            yield PageCell(NA, title=reason, note=reasons.number(reason))
            continue
        small = interval_text(cell.low, cell.high, digits)
        if shows_basis and cell.basis:
            small = f"on {cell.basis}"
        yield PageCell(number_text(cell.value, digits), cell.value, small, _how(cell))


def nobody_notes(
    figures: Sequence[Figures], columns: Sequence[Column], shown: Collection[str]
) -> Iterator[str]:
    """For each of `columns` whose key is not `shown`, as nobody has a figure in it: why."""
    for column in columns:
        if column.key not in shown:
            reasons = dict.fromkeys(f[column.key].reason for f in figures)
            yield f"{column.name}: {NA} in every row: {'; '.join(reasons)}."


def _how(cell: Cell) -> str:
    """The way the figure was found, in words."""
    parts = [f"{cell.found} by {cell.by}" if cell.by else cell.found]
    if cell.runs is not None:
        parts.append(f"{cell.runs} run{'s' * (cell.runs != 1)}")
    if cell.level is not None:
        parts.append(f"{100 * cell.level:g} % interval")
    if cell.basis:
        parts.append(f"on {cell.basis}")
    return ", ".join(parts)
