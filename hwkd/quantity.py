"""Figures with the way in which they were found, and figures as text: in cells of tables, with three significant digits."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from hwkd.errors import InputError

# A figure with its value, its spread, and the way in which it was found. Unknown is a reason, never 0.

FOUND = ("counted", "computed", "measured", "estimated", "predicted")
"""The ways to find a figure: counted (exact: MACs, parameters), computed (bytes from bits), measured (a clock or a
sensor), estimated (a model of this machine, such as codecarbon), predicted (a model of a machine that is not here)."""

PUBLISHED = "published"
"""The way of a figure that others measured and printed; a table may hold one beside ours, a record may not."""

NA = "n/a"
MIB = 2**20
"""Bytes."""

MARKS = {"counted": "", "computed": "", "measured": "", "estimated": "~", "predicted": "^"}
"""The mark beside a figure in a table that is otherwise measured."""


@dataclass(frozen=True)
class Quantity:
    """One figure, in a record as in a table. Its unit is in the name under which it is kept (latency_ms).

    Attributes:
        value: None if it is not known; `reason` then gives the reason.
        found: one of FOUND, or PUBLISHED.
        by: the means: the sensor, the model, the target's file, with the runtime and its version where one took part.
        low, high: the interval that holds the truth with probability `level`; both or neither.
        runs: number of repetitions of a measured value.
        on: what it was found on, where it holds for nothing else: for quality, the images.

    Raises:
        InputError: a number is impossible (not finite, outside its own interval), a value has no `by` that could have come out
            otherwise, a measured value has neither runs nor `on`, or there is neither a value nor a reason.
    """

    value: float | None
    found: str
    by: str = ""
    low: float | None = None
    high: float | None = None
    level: float | None = None
    runs: int | None = None
    reason: str = ""
    on: str = ""

    def __post_init__(self) -> None:
        if self.found not in (*FOUND, PUBLISHED):
            raise InputError(f"found must be one of {', '.join(FOUND)}, got {self.found!r}")
        if (self.value is None) == (not self.reason):
            raise InputError(
                f"needs either a value or the reason why there is none, got {self.value} and {self.reason!r}"
            )
        if self.value is None:
            return
        for name in ("value", "low", "high"):
            number = getattr(self, name)
            if number is not None and not math.isfinite(number):
                raise InputError(f"{name} must be a finite number, got {number}")
        if not self.by and self.found not in ("counted", "computed"):
            raise InputError(f"a {self.found} value needs `by`: with what it was found")
        is_repeated = bool(self.on) if self.runs is None else self.runs >= 1
        if self.found == "measured" and not is_repeated:
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

    def check_not_negative(self, name: str) -> None:
        """Raise InputError where this figure, a `name`, or its interval reaches below 0."""
        lowest = self.value if self.low is None else self.low
        if lowest is not None and lowest < 0:
            raise InputError(f"{name} and its interval must be 0 or more, got {lowest}")

    def scaled(self, factor: float) -> "Quantity":
        """The same figure in another unit: value and interval times `factor`, > 0."""
        if self.value is None:
            return self

        def times(number: float | None) -> float | None:
            return None if number is None else number * factor

        return replace(self, value=self.value * factor, low=times(self.low), high=times(self.high))


def as_written(fields: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """For `asdict` of what holds quantities: a file does not repeat that a time or a size is `on` nothing in particular."""
    return {name: value for name, value in fields if (name, value) != ("on", "")}


def not_known(reason: str, found: str = "measured") -> Quantity:
    """A figure without a value, with the reason."""
    return Quantity(None, found, reason=reason)


# Figures from figures: a sum, a rate, a change.


def joint_level(a: Quantity, b: Quantity) -> float | None:
    """The probability with which both intervals hold the truth, at least, whatever the relation between the two (Bonferroni).

    None where one of them has no interval, or where the bound says nothing.
    """
    if a.level is None or b.level is None:
        return None
    level = round(a.level + b.level - 1, 10)
    return level if level > 0 else None


def added(a: Quantity, b: Quantity) -> Quantity:
    """The sum, found the way of the weaker of the two. Its interval adds the ends, and holds at the `joint_level`."""
    if a.value is None or b.value is None:
        return not_known("; ".join(dict.fromkeys(q.reason for q in (a, b) if q.value is None)))
    runs = [q.runs for q in (a, b) if q.runs is not None]
    both = Quantity(
        a.value + b.value,
        max(a.found, b.found, key=FOUND.index),
        "; ".join(dict.fromkeys((a.by, b.by))),
        runs=min(runs, default=None),
    )
    level = joint_level(a, b)
    if level is None or a.low is None or a.high is None or b.low is None or b.high is None:
        return both
    return replace(both, low=a.low + b.low, high=a.high + b.high, level=level)


def per_second(ms: Quantity) -> Quantity:
    """The number of times in a second, for something that takes `ms` milliseconds."""
    if ms.value is None:
        return ms
    if ms.value == 0:
        return not_known("encode and decode take 0 ms, less than the clock can tell")
    if not ms.low or not ms.high:
        return replace(ms, value=1000 / ms.value, low=None, high=None, level=None)
    return replace(ms, value=1000 / ms.value, low=1000 / ms.high, high=1000 / ms.low)


@dataclass(frozen=True)
class Change:
    """What a figure differs by from another. value: in percent, or the difference; None with the reason."""

    value: float | None
    reason: str = ""


def change(reference: Quantity, quantity: Quantity, *, is_difference: bool) -> Change:
    """The change from `reference`, a figure of the first row of a table, to `quantity`: in percent, or as the difference.

    There is none if one of the two is not known, if the reference of a percentage is 0, or if the two were found on different
    things: a PSNR on other images is not comparable.
    """
    if quantity.value is None:
        return Change(None, quantity.reason)
    if reference.value is None:
        return Change(None, f"of the first row: {reference.reason}")
    if quantity.on != reference.on:
        return Change(None, "evaluated on other images than the first row")
    if is_difference:
        return Change(quantity.value - reference.value)
    if reference.value == 0:
        return Change(None, "the first row's figure is 0")
    return Change(100 * (quantity.value / reference.value - 1))


# Figures as text for people: three significant digits by default. Pure.

ENDS, BRACKETS, SPREAD = "ENDS", "BRACKETS", "SPREAD"
"""The forms of an interval: "34.5 (30.1 to 41.0)", "34.5 [30.1, 41.0]" where a column names the two, and "34.5 -4.4/+6.5" or
"34.5 ±4.4", its distances from the value, where a change follows in brackets."""


def quantity_text(
    quantity: Quantity,
    digits: int | None = None,
    *,
    interval: str | None = ENDS,
    is_marked: bool = False,
) -> str:
    """The value with its interval; "n/a" for a figure that is not known.

    Args:
        digits: after the point, of every number; None: as three_digits.
        interval: its form, or None to leave it out.
        is_marked: whether the mark of how it was found (MARKS) stands in front.
    """
    value, low, high = quantity.value, quantity.low, quantity.high
    if value is None:
        return NA
    text = (MARKS[quantity.found] if is_marked else "") + number_text(value, digits)
    if interval is None or low is None or high is None:
        return text
    if interval == ENDS:
        return f"{text} ({interval_text(low, high, digits)})"
    if interval == BRACKETS:
        return f"{text} [{number_text(low, digits)}, {number_text(high, digits)}]"
    places = places_of_three(value) if digits is None else digits
    below, above = number_text(value - low, places), number_text(high - value, places)
    return f"{text} ±{below}" if below == above else f"{text} -{below}/+{above}"


def interval_text(low: float | None, high: float | None, digits: int | None = None) -> str:
    """The ends of an interval, as number_text; "" if there is none."""
    if low is None or high is None:
        return ""
    return f"{number_text(low, digits)} to {number_text(high, digits)}"


def number_text(value: float, digits: int | None = None) -> str:
    """`value` with `digits` after the point; None: as three_digits."""
    return three_digits(value) if digits is None else f"{value:,.{digits}f}"


def three_digits(value: float) -> str:
    """`value` with three significant digits, all before the point where those are more: "0.881", "34.5", "1,623"."""
    return f"{value:,.{places_of_three(value)}f}"


def places_of_three(value: float) -> int:
    """Digits after the point that leave three significant ones."""
    return max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0
