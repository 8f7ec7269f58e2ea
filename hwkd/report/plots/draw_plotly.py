"""Bars as what Plotly draws: panels below each other on one scale. Pure; SVG traces only, names escaped."""

from html import escape
from typing import Any

from hwkd.report.page_axes import axis, hover_figure
from hwkd.report.page_drawing import Drawing, LegendItem, base_layout, error_bars
from hwkd.report.page_styles import SYMBOLS, group_colours
from hwkd.report.plots.plot import Bar, Bars, Panel

_BAR_PX, _PANEL_PX, _AXIS_PX = 17, 34, 56


def bars_drawing(plot: Bars) -> Drawing:
    """As high as the number of bars needs."""
    label = escape(plot.x_label, quote=False)
    colours = group_colours([bar.group for panel in plot.panels for bar in panel.bars])
    data: list[dict[str, Any]] = []
    places: dict[str, list[int]] = {group: [] for group in colours}
    layout = base_layout()
    heights = [_PANEL_PX + _BAR_PX * len(panel.bars) for panel in plot.panels]
    total = sum(heights)
    layout["annotations"] = []
    top = 1.0
    for i, (panel, height) in enumerate(zip(plot.panels, heights, strict=True), 1):
        bottom = top - height / total
        suffix = "" if i == 1 else str(i)
        for group in dict.fromkeys(bar.group for bar in panel.bars):
            places[group].append(len(data))
            data.append(_bar_trace(panel, group, colours[group], suffix, label))
        inner_top = top - _PANEL_PX / total
        layout[f"yaxis{suffix}"] = _bar_names(panel, suffix, (max(bottom, 0.0), inner_top))
        is_last = i == len(plot.panels)
        layout[f"xaxis{suffix}"] = {
            **axis(""),
            "anchor": f"y{suffix}",
            "rangemode": "tozero",
            "showticklabels": is_last,
            **({} if i == 1 else {"matches": "x"}),
        }
        layout["annotations"].append(_panel_title(panel, inner_top))
        top = bottom
    layout["annotations"].append(_axis_label(label))
    legend = tuple(
        LegendItem(group, tuple(places[group]), colours[group], SYMBOLS["square"])
        for group in colours
    )
    return Drawing(data, layout, legend, total + _AXIS_PX)


def _bar_trace(panel: Panel, group: str, colour: str, suffix: str, label: str) -> dict[str, Any]:
    """The bars of `group`, at their places in the panel: two layers of one name are two bars."""
    own: list[tuple[int, Bar]] = [(i, b) for i, b in enumerate(panel.bars) if b.group == group]
    trace: dict[str, Any] = {
        "type": "bar",
        "orientation": "h",
        "name": escape(group, quote=False),
        "x": [bar.value for _, bar in own],
        "y": [i for i, _ in own],
        "width": 0.72,
        "xaxis": f"x{suffix}",
        "yaxis": f"y{suffix}",
        "marker": {"color": colour},
        "text": [
            f"<b>{escape(bar.name, quote=False)}</b><br>{hover_figure(label, bar.value, bar.low, bar.high)}"
            for _, bar in own
        ],
        "textposition": "none",
        "hovertemplate": "%{text}<extra></extra>",
    }
    if any(bar.low is not None for _, bar in own):
        trace["error_x"] = error_bars([(b.value, b.low, b.high) for _, b in own], "var(--ink)")
    return trace


def _bar_names(panel: Panel, suffix: str, domain: tuple[float, float]) -> dict[str, Any]:
    count = len(panel.bars)
    return {
        **axis(""),
        "anchor": f"x{suffix}",
        "domain": list(domain),
        "range": [count - 0.5, -0.5],
        "tickvals": list(range(count)),
        "ticktext": [escape(bar.name, quote=False) for bar in panel.bars],
        "tickfont": {"size": 11},
        "ticks": "",
        "showgrid": False,
    }


def _panel_title(panel: Panel, y: float) -> dict[str, Any]:
    return {
        "text": f"<b>{escape(panel.title, quote=False)}</b>",
        "xref": "paper",
        "yref": "paper",
        "x": 0,
        "y": y,
        "xanchor": "left",
        "yanchor": "bottom",
        "showarrow": False,
        "font": {"size": 13},
    }


def _axis_label(label: str) -> dict[str, Any]:
    """What the axis shows, ending where it ends: below a narrow axis, a title in its middle would be cut off."""
    return {
        "text": label,
        "xref": "paper",
        "yref": "paper",
        "x": 1,
        "y": 0,
        "xanchor": "right",
        "yanchor": "top",
        "yshift": -22,
        "showarrow": False,
        "font": {"size": 13},
    }
