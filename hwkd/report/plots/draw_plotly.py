"""Plots as what Plotly draws on a page. Pure; SVG traces only. Plotly reads some tags in texts: names are escaped."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from hwkd.quantity import interval_text, three_digits
from hwkd.report.plots.plot import Bar, Bars, Panel, Plot, Point, Scatter, Series

# The axes of a plot on a page: ranges and ticks for Plotly. Pure.

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


# How series look on a page: colour, marker and dashes, so that no two look alike even without colours. Pure.
#
# Colours are names of CSS variables (templates/report.css), which the page resolves for light, dark and print.

COLOURS = tuple(f"var(--series-{i})" for i in range(1, 7))
"""Okabe and Ito's, as hwkd.report.plots.style."""
GREYS = tuple(f"var(--published-{i})" for i in range(1, 4))

DASHES = {"dash": "6 3", "dot": "1.5 2.5", "dashdot": "6 2 1.5 2", "longdash": "10 3"}
"""Plotly's names -> SVG's stroke-dasharray, for the legend."""

SYMBOLS = {
    "circle": "M5,0A5,5 0 1 1 -5,0A5,5 0 1 1 5,0Z",
    "square": "M-4.5,-4.5H4.5V4.5H-4.5Z",
    "diamond": "M0,-6L6,0L0,6L-6,0Z",
    "triangle-up": "M-5.5,4H5.5L0,-5.5Z",
    "triangle-down": "M-5.5,-4H5.5L0,5.5Z",
    "cross": "M-5.5,-2V2H-2V5.5H2V2H5.5V-2H2V-5.5H-2V-2Z",
    "star": "M0,-6L1.4,-1.9H5.7L2.3,0.7L3.5,4.9L0,2.4L-3.5,4.9L-2.3,0.7L-5.7,-1.9H-1.4Z",
    "pentagon": "M0,-5.6L5.3,-1.7L3.3,4.5H-3.3L-5.3,-1.7Z",
    "hourglass": "M-5,-5H5L-5,5H5Z",
}
"""Plotly's names of markers -> SVG paths in a box of 12, for the legend."""


@dataclass(frozen=True)
class PlotlyStyle:
    """colour: of line and marker. symbol: of SYMBOLS. dash: of DASHES, "" for a solid line. is_open: an outline only."""

    colour: str
    symbol: str
    dash: str = ""
    is_open: bool = False


def styles_of(series: Sequence[Series]) -> tuple[PlotlyStyle, ...]:
    """A style for each, in their order: ours in colour, published ones in greys, dashed, with open markers.

    Of either kind, colours and markers turn at different speeds: two are alike only after 18 of ours, and after 36
    published ones.
    """
    styles = []
    ours = published = 0
    symbols, dashes = list(SYMBOLS), list(DASHES)
    for one in series:
        if one.is_published:
            i, published = published, published + 1
            styles.append(
                PlotlyStyle(
                    GREYS[i % len(GREYS)],
                    symbols[i % len(symbols)],
                    dashes[i % len(dashes)],
                    is_open=True,
                )
            )
        else:
            i, ours = ours, ours + 1
            styles.append(PlotlyStyle(COLOURS[i % len(COLOURS)], symbols[i % len(symbols)]))
    return tuple(styles)


def group_colours(groups: Sequence[str]) -> dict[str, str]:
    """A colour for each of the groups that bars are of, in order of their first bar."""
    return {group: COLOURS[i % len(COLOURS)] for i, group in enumerate(dict.fromkeys(groups))}


# What a plot on a page is made of: Plotly's dictionaries, and a legend. Pure.
#
# Colours are CSS variables ("var(--ink)"), which the page puts in.

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


# A plot as what Plotly draws, and its legend. Pure.


def drawing_of(plot: Plot) -> Drawing:
    """What Plotly draws of `plot`."""
    return scatter_drawing(plot) if isinstance(plot, Scatter) else bars_drawing(plot)


# Bars as what Plotly draws: panels below each other on one scale. Pure; SVG traces only, names escaped.

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


# A Scatter as what Plotly draws. Pure; SVG traces only. Plotly reads some tags in texts: names are escaped.

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


def _trace(series: Series, style: PlotlyStyle, x_label: str, y_label: str) -> dict[str, Any]:
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


def _legend_item(series: Series, style: PlotlyStyle, trace: int) -> LegendItem:
    return LegendItem(
        series.name,
        (trace,),
        style.colour,
        SYMBOLS[style.symbol],
        style.is_open,
        series.is_line,
        DASHES.get(style.dash, ""),
    )


# Plots as the figures of a page, grouped by key: those of one key are alternatives that selects choose from. Pure.


@dataclass(frozen=True)
class PageFigure:
    """id: of the element. is_first: what the page opens with."""

    id: str
    plot: Plot
    drawing: Drawing
    is_first: bool

    @property
    def choices(self) -> dict[str, str]:
        """Those of the plot, for JSON."""
        return dict(self.plot.choices)


@dataclass(frozen=True)
class Select:
    """name: of the choice, "target" say. options: what there is, in order of the plots."""

    name: str
    options: tuple[str, ...]


@dataclass(frozen=True)
class FigureGroup:
    """The plots of one key. selects: empty where there is one plot and nothing to choose."""

    key: str
    selects: tuple[Select, ...]
    figures: tuple[PageFigure, ...]


def figure_groups(plots: Sequence[Plot]) -> dict[str, FigureGroup]:
    """The groups by key, in order of their first plots."""
    by_key: dict[str, list[PageFigure]] = {}
    for i, plot in enumerate(plots, 1):
        own = by_key.setdefault(plot.key, [])
        own.append(PageFigure(f"plot-{i}", plot, drawing_of(plot), not own))
    return {
        key: FigureGroup(key, _selects([f.plot.choices for f in figures]), tuple(figures))
        for key, figures in by_key.items()
    }


def _selects(choices: Sequence[Mapping[str, str]]) -> tuple[Select, ...]:
    if len(choices) == 1:
        return ()
    names = dict.fromkeys(name for each in choices for name in each)
    return tuple(
        Select(name, tuple(dict.fromkeys(c[name] for c in choices if name in c))) for name in names
    )
