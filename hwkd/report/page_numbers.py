"""Figures as text on a page. Pure."""

import math


def three_digits(value: float) -> str:
    """`value` with three significant digits, thousands set apart: "0.881", "34.5", "1,623"."""
    places = max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:,.{places}f}"


def number_text(value: float, digits: int | None) -> str:
    """`value` with `digits` after the point; None: as three_digits."""
    return three_digits(value) if digits is None else f"{value:,.{digits}f}"


def interval_text(low: float | None, high: float | None, digits: int | None = None) -> str:
    """The ends of an interval, as number_text; "" where there is none."""
    if low is None or high is None:
        return ""
    return f"{number_text(low, digits)} to {number_text(high, digits)}"
