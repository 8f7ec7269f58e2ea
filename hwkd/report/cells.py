"""One figure in a comparison: value, interval, how it was found, and its change against the first row. Pure."""

from dataclasses import dataclass, replace

from hwkd.quantity import FOUND, Quantity

NA = "n/a"

PUBLISHED = "published"
"""How a figure was found that others measured and printed; it is none of ours (hwkd.quantity.FOUND)."""


@dataclass(frozen=True)
class Cell:
    """A figure as a table needs it; fields as those of Quantity.

    basis: what two figures must share to be compared at all: for quality, which images.
    change: against the first row, in percent or as a difference (Column.is_difference); None where there is none.
    is_reference: the first row's own figure.
    """

    value: float | None
    found: str
    by: str = ""
    low: float | None = None
    high: float | None = None
    level: float | None = None
    runs: int | None = None
    reason: str = ""
    basis: str = ""
    change: float | None = None
    is_reference: bool = False


def from_quantity(quantity: Quantity, factor: float = 1.0) -> Cell:
    """The figure `quantity` times `factor`, > 0, for another unit."""
    q = quantity.scaled(factor)
    return Cell(q.value, q.found, q.by, q.low, q.high, q.level, q.runs, q.reason)


def unknown_cell(reason: str) -> Cell:
    """A figure that is not known."""
    return Cell(None, "", reason=reason)


def added(a: Cell, b: Cell) -> Cell:
    """The sum, found the way of the weaker of the two.

    Its interval adds the ends. Whatever the two have to do with each other, it holds the truth with a probability of
    at least level_a + level_b - 1 (Bonferroni), which is the level it is given.
    """
    if a.value is None or b.value is None:
        return unknown_cell("; ".join(dict.fromkeys(c.reason for c in (a, b) if c.value is None)))
    both = Cell(
        a.value + b.value,
        max(a.found, b.found, key=FOUND.index),
        "; ".join(dict.fromkeys((a.by, b.by))),
    )
    if a.low is None or a.high is None or a.level is None:
        return both
    if b.low is None or b.high is None or b.level is None or a.level + b.level <= 1:
        return both
    return replace(both, low=a.low + b.low, high=a.high + b.high, level=a.level + b.level - 1)


def a_second(ms: Cell) -> Cell:
    """How many in a second, of what takes `ms` milliseconds."""
    if ms.value is None:
        return ms
    if ms.value == 0:
        return unknown_cell("encode and decode take 0 ms, less than the clock can tell")
    if not ms.low or not ms.high:
        return replace(ms, value=1000 / ms.value, low=None, high=None, level=None)
    return replace(ms, value=1000 / ms.value, low=1000 / ms.high, high=1000 / ms.low)


def against(reference: Cell, cell: Cell, *, is_difference: bool) -> Cell:
    """`cell` with its change against `reference`: in percent, or as the difference.

    There is no change (None) where one of the two is not known, where the percent of a reference of 0 is asked for,
    and where their basis differs: a PSNR on other images says nothing.
    """
    if cell.value is None or reference.value is None or cell.basis != reference.basis:
        return cell
    if is_difference:
        return replace(cell, change=cell.value - reference.value)
    if reference.value == 0:
        return cell
    return replace(cell, change=100 * (cell.value / reference.value - 1))
