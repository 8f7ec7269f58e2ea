"""The axes of a plot on a page: ranges and ticks for Plotly. Pure."""

import math
from typing import Any

from hwkd.report.numbers import interval_text, three_digits
from hwkd.report.plots.plot import Scatter

_ROOM = 1.15
"""How far a logarithmic axis goes on beyond its outermost figure, as a factor."""
_MOST_DECADES_WITH_STEPS = 3.0
"""Over more than that only powers of ten are ticks."""


def axis(label: str) -> dict[str, Any]:
    """What all axes have: a title, and lines in the page's colours. `label` is escaped already."""
    return {
        "title": {"text": label, "standoff": 12},
        "gridcolor": "var(--line)",
        "linecolor": "var(--strong-line)",
        "showline": True,
        "zeroline": False,
        "automargin": True,
        "tickcolor": "var(--strong-line)",
        "exponentformat": "none",
        "separatethousands": True,
        "ticks": "outside",
        "ticklen": 4,
    }


def x_axis(plot: Scatter, label: str) -> dict[str, Any]:
    """Of `plot`: linear, or logarithmic with ticks at 1, 2 and 5 of each decade, all written out."""
    x = axis(label)
    if not plot.is_x_log:
        if plot.x_range is not None:
            x["range"] = list(plot.x_range)
        return x
    low, high = plot.x_range or _needed(plot)
    ticks = log_ticks(low, high)
    x["type"] = "log"
    x["range"] = [math.log10(low), math.log10(high)]
    x["tickvals"] = list(ticks)
    x["ticktext"] = [f"{tick:,.10g}" for tick in ticks]
    return x


def y_axis(plot: Scatter, label: str) -> dict[str, Any]:
    """Of `plot`: linear."""
    y = axis(label)
    if plot.y_range is not None:
        y["range"] = list(plot.y_range)
    return y


def log_ticks(low: float, high: float) -> tuple[float, ...]:
    """1, 2, 5 times the powers of ten from a decade below `low` to one above `high` (0 < low < high), so that there are
    ticks after zooming out too; powers of ten alone where these are many decades."""
    first, last = math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1
    is_wide = math.log10(high / low) > _MOST_DECADES_WITH_STEPS
    steps = (1,) if is_wide else (1, 2, 5)
    return tuple(float(f"{step}e{power}") for power in range(first, last) for step in steps)


def _needed(plot: Scatter) -> tuple[float, float]:
    """What the points and their intervals need; ends of 0 have no place on a logarithmic axis."""
    every = [p for series in plot.series for p in series.points]
    ends = [x for p in every for x in (p.x, p.low, p.high) if x is not None and x > 0]
    return (min(ends) / _ROOM, max(ends) * _ROOM) if ends else (0.1, 10.0)


def hover_figure(label: str, value: float, low: float | None, high: float | None) -> str:
    """A line of what is shown beside the pointer."""
    ends = interval_text(low, high)
    return f"{label}: {three_digits(value)}" + (f" ({ends})" if ends else "")
