"""What a plot on a page is made of: Plotly's dictionaries, and a legend. Pure.

Colours are CSS variables ("var(--ink)"), which the page puts in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", sans-serif'
"""As --sans of templates/base.css."""


@dataclass(frozen=True)
class LegendItem:
    """A line of the legend. traces: the places of what it stands for. path: of its marker, "" for none; is_open: not
    filled. dash_array: of its line, "" for a solid one; has_line: whether it has one."""

    name: str
    traces: tuple[int, ...]
    colour: str
    path: str = ""
    is_open: bool = False
    has_line: bool = False
    dash_array: str = ""


@dataclass(frozen=True)
class Drawing:
    """data, layout: for Plotly.newPlot. height_px: which does not depend on the page's width."""

    data: list[dict[str, Any]]
    layout: dict[str, Any]
    legend: tuple[LegendItem, ...]
    height_px: int


def base_layout() -> dict[str, Any]:
    """What the layouts of all plots share."""
    return {
        "font": {"family": FONT, "size": 12, "color": "var(--ink)"},
        "paper_bgcolor": "var(--paper)",
        "plot_bgcolor": "var(--paper)",
        "margin": {"l": 48, "r": 12, "t": 12, "b": 44},
        "showlegend": False,
        "hovermode": "closest",
        "hoverlabel": {
            "bgcolor": "var(--panel)",
            "bordercolor": "var(--strong-line)",
            "font": {"family": FONT, "size": 12, "color": "var(--ink)"},
            "align": "left",
        },
    }


def error_bars(
    ends: Sequence[tuple[float, float | None, float | None]], colour: str
) -> dict[str, Any]:
    """Of (value, low, high): the distances from each value to the ends of its interval; None where there is none."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [None if high is None else high - value for value, _, high in ends],
        "arrayminus": [None if low is None else value - low for value, low, _ in ends],
        "color": colour,
        "thickness": 1,
        "width": 3,
    }
