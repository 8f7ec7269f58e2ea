"""A Scatter as a figure. Takes matplotlib."""

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from hwkd.report.figure_labels import Box, Wanted, place
from hwkd.report.plots.plot import Point, Scatter, Series
from hwkd.report.plots.style import FRONT, GRID, SMALL_PT, WIDTH_IN, Style, log_ticks, styles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

OURS, PUBLISHED = "hwkd", "published"
"""Titles of the legends."""

_AXES_IN, _LEGEND_ROW_IN = 2.75, 0.15
_PT = 72
_MARK_PT = 5.0
"""Side of the square that a point's mark takes up."""
_FEW = 2
"""Published series that need no legend of their own; columns of the one legend then."""
_NAMED_POINTS = 24
"""Of a plot with more points the front alone is named."""


def draw_scatter(plot: Scatter) -> Figure:
    """`plot` with its legend below the axes, and points of series that are no lines named beside them."""
    figure = Figure(layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    ours: list[Line2D] = []
    others: list[Line2D] = []
    for series, style in styles(plot.series):
        (others if series.is_published else ours).append(_draw_series(axes, series, style))
    if plot.front:
        ours.append(_draw_front(axes, plot.front))
    _set_axes(axes, plot)
    rows = _draw_legends(figure, ours, others)
    figure.set_size_inches(WIDTH_IN, _AXES_IN + rows * _LEGEND_ROW_IN)
    figure.draw_without_rendering()
    # Names come last: they go where there is room, and must not move the rest.
    figure.set_layout_engine("none")
    _name_points(axes, plot)
    return figure


def _draw_series(axes: "Axes", series: Series, style: Style) -> "Line2D":
    (line,) = axes.plot(
        [point.x for point in series.points],
        [point.y for point in series.points],
        color=style.colour,
        marker=style.marker,
        linestyle="none" if style.dash is None else style.dash,
        linewidth=style.width,
        markersize=style.marker_size,
        markeredgecolor=style.colour if series.is_published else "white",
        markeredgewidth=0.8 if series.is_published else 0.4,
        zorder=2 if series.is_published else 3,
        label=series.name,
    )
    for point in series.points:
        if point.low is not None and point.high is not None:
            axes.plot(
                [point.low, point.high],
                [point.y, point.y],
                color=style.colour,
                linewidth=0.5,
                alpha=0.6,
                zorder=1,
            )
    return line


def _draw_front(axes: "Axes", front: Sequence[Point]) -> "Line2D":
    (line,) = axes.step(
        [point.x for point in front],
        [point.y for point in front],
        where="post",
        color=FRONT,
        linewidth=0.7,
        zorder=1.5,
        label="Pareto front",
    )
    return line


def _set_axes(axes: "Axes", plot: Scatter) -> None:
    if _is_named(plot):
        axes.margins(0.07, 0.1)  # room for names
    if plot.is_x_log:
        axes.set_xscale("log")
    if plot.x_range is not None:
        axes.set_xlim(*plot.x_range)
    if plot.y_range is not None:
        axes.set_ylim(*plot.y_range)
    if plot.is_x_log:
        ticks = log_ticks(*axes.get_xlim())
        axes.set_xticks(ticks, [f"{tick:,.10g}" for tick in ticks])
    else:
        axes.xaxis.set_major_formatter("{x:,.10g}")
    axes.minorticks_off()
    axes.set_xlabel(plot.x_label)
    axes.set_ylabel(plot.y_label)
    axes.grid(color=GRID, linewidth=0.4)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_legends(figure: Figure, ours: list["Line2D"], others: list["Line2D"]) -> int:
    """One legend where few series are published, else one for them and one for ours; how many lines of text high."""
    shared = {"frameon": False, "handlelength": 2.6, "alignment": "left"}
    if len(others) <= _FEW:
        for line in others:
            line.set_label(f"{line.get_label()}, {PUBLISHED}")
        handles = [*ours, *others]
        figure.legend(handles=handles, loc="outside lower center", ncols=_FEW, **shared)
        return -(-len(handles) // _FEW)
    figure.legend(handles=ours, title=OURS, loc="outside lower left", **shared)
    figure.legend(handles=others, title=PUBLISHED, loc="outside lower right", **shared)
    return 1 + max(len(ours), len(others))


def _is_named(plot: Scatter) -> bool:
    """Whether its points are named: the legend names lines."""
    return not any(series.is_line for series in plot.series)


def _name_points(axes: "Axes", plot: Scatter) -> None:
    """The front first, then from the top: what is named early has more room."""
    if not _is_named(plot):
        return
    points = [point for series in plot.series for point in series.points if point.name]
    if len(points) > _NAMED_POINTS:
        points = [point for point in plot.front if point.name]
    points.sort(key=lambda point: (point not in plot.front, -point.y))
    renderer = axes.figure.canvas.get_renderer()  # type: ignore[attr-defined]
    scale = _PT / axes.figure.dpi
    texts = [
        axes.annotate(
            point.name,
            (point.x, point.y),
            fontsize=SMALL_PT,
            va="bottom",
            ha="left",
            in_layout=False,
        )
        for point in points
    ]
    at = [axes.transData.transform((point.x, point.y)) * scale for point in points]
    extents = [text.get_window_extent(renderer) for text in texts]
    wanted = [
        Wanted(x, y, extent.width * scale, extent.height * scale, point in plot.front)
        for point, (x, y), extent in zip(points, at, extents, strict=True)
    ]
    half = _MARK_PT / 2
    marks = [Box(x - half, y - half, x + half, y + half) for x, y in at]
    area = Box(*(value * scale for value in axes.get_window_extent(renderer).extents))
    found = place(wanted, marks, _lines(axes, plot, scale), area)
    for text, (x, y), placed in zip(texts, at, found, strict=True):
        if placed is None:
            text.remove()
            continue
        text.set_position((placed.box.left - x, placed.box.bottom - y))
        text.set_anncoords("offset points")
        if placed.is_far:
            _join(axes, placed.box, (x, y), scale)


def _join(axes: "Axes", box: Box, point: tuple[float, float], scale: float) -> None:
    """A thin line from the point to the nearest place of its name."""
    x, y = point
    nearest = (min(max(x, box.left), box.right), min(max(y, box.bottom), box.top))
    ends = [
        axes.transData.inverted().transform((a / scale, b / scale)) for a, b in (point, nearest)
    ]
    axes.plot(*zip(*ends, strict=True), color=FRONT, linewidth=0.4, zorder=1)


def _lines(axes: "Axes", plot: Scatter, scale: float) -> list[Box]:
    """The error bars and the front, as thin boxes."""
    ends = [
        ((point.low, point.y), (point.high, point.y))
        for series in plot.series
        for point in series.points
        if point.low is not None and point.high is not None
    ]
    for a, b in pairwise(plot.front):
        ends += [((a.x, a.y), (b.x, a.y)), ((b.x, a.y), (b.x, b.y))]
    boxes = []
    for pair in ends:
        (left, bottom), (right, top) = (axes.transData.transform(end) * scale for end in pair)
        boxes.append(Box(left - 0.3, bottom - 0.3, right + 0.3, top + 0.3))
    return boxes
