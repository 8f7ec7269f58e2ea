"""Numbers as text for people: three significant digits unless told otherwise. Pure."""

import math


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
    """The ends of an interval, as number_text; "" where there is none."""
    if low is None or high is None:
        return ""
    return f"{number_text(low, digits)} to {number_text(high, digits)}"
