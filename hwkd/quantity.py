"""Figures with the way in which they were found, and figures as text: in cells of tables, with three significant digits."""

import math
from dataclasses import dataclass, replace

from hwkd.errors import InputError

# A figure with its value, its spread, and the way in which it was found. Unknown is a reason, never 0.

FOUND = ("counted", "computed", "measured", "estimated", "predicted")
"""The ways to find a figure: counted (exact: MACs, parameters), computed (bytes from bits), measured (a clock or a
sensor), estimated (a model of this machine, such as codecarbon), predicted (a model of a machine that is not here)."""

MARKS = {"counted": "", "computed": "", "measured": "", "estimated": "~", "predicted": "^"}
"""The mark beside a figure in a table that is otherwise measured."""


@dataclass(frozen=True)
class Quantity:
    """One figure. Its unit is in the name under which it is kept.

    Attributes:
        value: None if it is not known; `reason` then gives the reason.
        found: one of FOUND.
        by: the means: the sensor, the model, the target's file, the counter.
        low, high: the interval that holds the truth with probability `level`; both or neither.
        runs: number of repetitions of a measured value.

    Raises:
        InputError: a number is impossible (negative, not finite, outside its own interval), a value has no `by`, a measured
            value has no runs, or there is neither a value nor a reason.
    """

    value: float | None
    found: str
    by: str = ""
    low: float | None = None
    high: float | None = None
    level: float | None = None
    runs: int | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        if self.found not in FOUND:
            raise InputError(f"found must be one of {', '.join(FOUND)}, got {self.found!r}")
        if (self.value is None) == (not self.reason):
            raise InputError(
                f"needs either a value or the reason why there is none, got {self.value} and {self.reason!r}"
            )
        if self.value is None:
            return
        for name in ("value", "low", "high"):
            number = getattr(self, name)
            if number is not None and not (math.isfinite(number) and number >= 0):
                raise InputError(f"{name} must be a finite number of 0 or more, got {number}")
        if not self.by:
            raise InputError(f"a {self.found} value needs `by`: with what it was found")
        if self.found == "measured" and (self.runs is None or self.runs < 1):
            raise InputError(f"a measured value needs its number of runs, got {self.runs}")
        self._check_interval()

    def _check_interval(self) -> None:
        given = [x is not None for x in (self.low, self.high, self.level)]
        if any(given) != all(given):
            raise InputError(
                f"an interval needs low, high and level, got {self.low}, {self.high}, {self.level}"
            )
        if self.low is None or self.high is None or self.level is None or self.value is None:
            return
        if not self.low <= self.value <= self.high or not 0 < self.level < 1:
            raise InputError(
                f"needs low <= value <= high and 0 < level < 1, got {self.low}, {self.value}, "
                f"{self.high} and {self.level}"
            )

    def scaled(self, factor: float) -> "Quantity":
        """The same figure in another unit: value and interval times `factor`, > 0."""
        if self.value is None:
            return self

        def times(number: float | None) -> float | None:
            return None if number is None else number * factor

        return Quantity(
            self.value * factor,
            self.found,
            self.by,
            times(self.low),
            times(self.high),
            self.level,
            self.runs,
        )


def not_known(reason: str, found: str = "measured") -> Quantity:
    """A figure without a value, with the reason."""
    return Quantity(None, found, reason=reason)


# One figure in a comparison: value, interval, how it was found, and its change against the first row. Pure.

NA = "n/a"

PUBLISHED = "published"
"""The way of a figure that others measured and printed; it is not one of ours (hwkd.quantity.FOUND)."""


@dataclass(frozen=True)
class Cell:
    """A figure as a table needs it; the other fields are those of Quantity.

    Attributes:
        basis: two figures must have the same basis to be compared at all: for quality, the images.
        change: change against the first row, in percent or as a difference (Column.is_difference); None if there is none.
        no_change: the reason why `change` is None.
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
    no_change: str = ""
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

    Its interval adds the ends. Whatever the relation between the two, it holds the truth with a probability of at least
    level_a + level_b - 1 (Bonferroni), and that is its level.
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


def per_second(ms: Cell) -> Cell:
    """The number of times in a second, for something that takes `ms` milliseconds."""
    if ms.value is None:
        return ms
    if ms.value == 0:
        return unknown_cell("encode and decode take 0 ms, less than the clock can tell")
    if not ms.low or not ms.high:
        return replace(ms, value=1000 / ms.value, low=None, high=None, level=None)
    return replace(ms, value=1000 / ms.value, low=1000 / ms.high, high=1000 / ms.low)


def against(reference: Cell, cell: Cell, *, is_difference: bool) -> Cell:
    """`cell` with its change against `reference`: in percent, or as the difference.

    There is no change (None) if one of the two is not known, if the reference of a percentage is 0, or if their basis
    differs: a PSNR on other images is not comparable.
    """
    if cell.value is None:
        return replace(cell, no_change=cell.reason)
    if reference.value is None:
        return replace(cell, no_change=f"of the first row: {reference.reason}")
    if cell.basis != reference.basis:
        return replace(cell, no_change="evaluated on other images than the first row")
    if is_difference:
        return replace(cell, change=cell.value - reference.value)
    if reference.value == 0:
        return replace(cell, no_change="the first row's figure is 0")
    return replace(cell, change=100 * (cell.value / reference.value - 1))


# Numbers as text for people: three significant digits by default. Pure.


def three_digits(value: float) -> str:
    """`value` with three significant digits, all before the point where those are more: "0.881", "34.5", "1,623"."""
    return f"{value:,.{places_of_three(value)}f}"


def places_of_three(value: float) -> int:
    """Digits after the point that leave three significant ones."""
    return max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0


def number_text(value: float, digits: int | None) -> str:
    """`value` with `digits` after the point; None: as three_digits."""
    return three_digits(value) if digits is None else f"{value:,.{digits}f}"


def interval_text(low: float | None, high: float | None, digits: int | None = None) -> str:
    """The ends of an interval, as number_text; "" if there is none."""
    if low is None or high is None:
        return ""
    return f"{number_text(low, digits)} to {number_text(high, digits)}"
