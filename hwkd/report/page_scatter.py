"""A Scatter as what Plotly draws. Pure; SVG traces only. Plotly reads some tags in texts: names are escaped."""

from collections.abc import Sequence
from html import escape
from typing import Any

from hwkd.report.page_axes import hover_figure, x_axis, y_axis
from hwkd.report.page_drawing import Drawing, LegendItem, base_layout, error_bars
from hwkd.report.page_styles import DASHES, SYMBOLS, Style, styles_of
from hwkd.report.plots.plot import Point, Scatter, Series

HEIGHT_PX = 440
_FRONT = "front: none is better in both"


def scatter_drawing(plot: Scatter) -> Drawing:
    """Points, lines and intervals; the front below them."""
    x_label, y_label = escape(plot.x_label, quote=False), escape(plot.y_label, quote=False)
    data, legend = [], []
    if plot.front:
        data.append(_front_trace(plot.front))
        legend.append(LegendItem(_FRONT, (0,), "var(--muted)", has_line=True, dash_array="3 3"))
    for series, style in zip(plot.series, styles_of(plot.series), strict=True):
        legend.append(_legend_item(series, style, len(data)))
        data.append(_trace(series, style, x_label, y_label))
    layout = base_layout()
    layout["xaxis"] = x_axis(plot, x_label)
    layout["yaxis"] = y_axis(plot, y_label)
    return Drawing(data, layout, tuple(legend), HEIGHT_PX)


def _trace(series: Series, style: Style, x_label: str, y_label: str) -> dict[str, Any]:
    points = series.points
    trace: dict[str, Any] = {
        "type": "scatter",
        "mode": "lines+markers" if series.is_line else "markers",
        "name": escape(series.name, quote=False),
        "x": [p.x for p in points],
        "y": [p.y for p in points],
        "text": [_hover(p, series.name, x_label, y_label) for p in points],
        "hovertemplate": "%{text}<extra></extra>",
        "line": {
            "color": style.colour,
            "dash": style.dash or "solid",
            "width": 1.25 if series.is_published else 2,
        },
        "marker": {
            "symbol": style.symbol + "-open" * style.is_open,
            "color": style.colour,
            "size": 5 if series.is_published and series.is_line else 10,
            "line": {"color": style.colour if style.is_open else "var(--paper)", "width": 1},
        },
    }
    if any(p.low is not None for p in points):
        trace["error_x"] = error_bars([(p.x, p.low, p.high) for p in points], style.colour)
    return trace


def _front_trace(front: Sequence[Point]) -> dict[str, Any]:
    """Steps: up to the next point, nothing is better than the one before."""
    return {
        "type": "scatter",
        "mode": "lines",
        "name": _FRONT,
        "x": [p.x for p in front],
        "y": [p.y for p in front],
        "line": {"color": "var(--muted)", "width": 1.25, "dash": "dot", "shape": "hv"},
        "hoverinfo": "skip",
    }


def _hover(point: Point, series: str, x_label: str, y_label: str) -> str:
    name = escape(point.name, quote=False)
    lines = [f"<b>{name}</b>"]
    if point.name != series:
        lines.append(escape(series, quote=False))
    if point.detail:
        lines.append(escape(point.detail, quote=False))
    lines.append(hover_figure(x_label, point.x, point.low, point.high))
    lines.append(hover_figure(y_label, point.y, None, None))
    return "<br>".join(lines)


def _legend_item(series: Series, style: Style, trace: int) -> LegendItem:
    return LegendItem(
        series.name,
        (trace,),
        style.colour,
        SYMBOLS[style.symbol],
        style.is_open,
        series.is_line,
        DASHES.get(style.dash, ""),
    )
