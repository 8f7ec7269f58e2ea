"""Plots as figures for papers: scatters, bars, names beside points. Takes matplotlib."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Patch

from hwkd.quantity import three_digits
from hwkd.report.plots.plot import Bars, Panel, Point, Scatter, Series
from hwkd.report.plots.style import (
    FONT,
    FONT_PT,
    FRONT,
    GRID,
    SMALL_PT,
    WIDTH_IN,
    Style,
    fills,
    log_ticks,
    styles,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D


# Bars as a figure: a panel below the other, all with one axis. Takes matplotlib.

_BAR_IN = 0.1
_TITLE_IN, _GAP_IN, _BELOW_IN, _RIGHT_IN = 0.17, 0.27, 0.58, 0.1
"""Above the first panel, between two, and below the last with its axis and the legend; right of all."""
_PAD_IN = 0.08
"""Around a bar's name."""
_NAME_PT = 5.0
_ROOM = 1.14
"""For the number behind the longest bar."""


def draw_bars(plot: Bars) -> Figure:
    """`plot`, as high as its bars need and with as much room as their names need.

    Laid out by hand: with dozens of names matplotlib's own layout takes seconds.
    """
    counts = [len(panel.bars) for panel in plot.panels]
    bars_in, gaps_in = _BAR_IN * sum(counts), _GAP_IN * (len(counts) - 1)
    height = _TITLE_IN + bars_in + gaps_in + _BELOW_IN
    figure = Figure(figsize=(WIDTH_IN, height))
    panels = figure.subplots(len(counts), sharex=True, height_ratios=counts, squeeze=False)[:, 0]
    bars = [bar for panel in plot.panels for bar in panel.bars]
    fill = fills([bar.group for bar in bars])
    longest = max(max(bar.value, bar.high or 0.0) for bar in bars)
    for axes, panel in zip(panels, plot.panels, strict=True):
        _draw_panel(axes, panel, fill)
        axes.set_xlim(0, longest * _ROOM or 1.0)
        axes.grid(axis="x", color=GRID, linewidth=0.4)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xlabel(plot.x_label)
    figure.subplots_adjust(
        left=(_width_in(figure, [bar.name for bar in bars]) + _PAD_IN) / WIDTH_IN,
        right=1 - _RIGHT_IN / WIDTH_IN,
        top=1 - _TITLE_IN / height,
        bottom=_BELOW_IN / height,
        hspace=_GAP_IN * len(counts) / bars_in,
    )
    handles = [
        Patch(facecolor=colour, hatch=hatch, edgecolor="white", linewidth=0, label=group)
        for group, (colour, hatch) in fill.items()
    ]
    figure.legend(handles=handles, loc="lower center", ncols=len(handles), frameon=False)
    return figure


def _width_in(figure: Figure, names: list[str]) -> float:
    """Of the longest name, in inches."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    font = FontProperties(family=FONT, size=_NAME_PT)
    widths = [renderer.get_text_width_height_descent(name, font, False)[0] for name in names]
    return float(max(widths) / figure.dpi)


def _draw_panel(axes: "Axes", panel: Panel, fill: dict[str, tuple[str, str]]) -> None:
    for y, bar in enumerate(panel.bars):
        colour, hatch = fill[bar.group]
        axes.barh(
            y, bar.value, height=0.78, color=colour, hatch=hatch, edgecolor="white", linewidth=0
        )
        end = bar.value
        if bar.low is not None and bar.high is not None:
            axes.plot([bar.low, bar.high], [y, y], color="black", linewidth=0.5)
            end = bar.high
        for text, x, align, away in (
            (bar.name, 0.0, "right", -3),
            (three_digits(bar.value), end, "left", 2),
        ):
            axes.annotate(
                text,
                (x, y),
                xytext=(away, 0),
                textcoords="offset points",
                ha=align,
                va="center_baseline",
                fontsize=_NAME_PT,
            )
    axes.set_yticks([])
    axes.set_ylim(len(panel.bars) - 0.4, -0.6)
    axes.set_title(panel.title, loc="left", fontsize=FONT_PT, pad=2)


# Names beside the points of a figure, where they cover nothing. Pure geometry, in points of 1/72 inch.

REACHES_PT = (4.0, 9.0, 15.0, 22.0)
"""How far a name may be from its point; beyond the first a thin line joins the two."""

_DIRECTIONS = ((1, 0), (0, 1), (-1, 0), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))


@dataclass(frozen=True)
class Box:
    """A rectangle."""

    left: float
    bottom: float
    right: float
    top: float

    def overlap(self, other: "Box") -> float:
        """The area that both cover."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(0.0, width) * max(0.0, height)

    def holds(self, other: "Box") -> bool:
        """Whether `other` lies inside."""
        return (
            self.left <= other.left
            and other.right <= self.right
            and self.bottom <= other.bottom
            and other.top <= self.top
        )


@dataclass(frozen=True)
class PointName:
    """A name to place: its point, and the size of its text. is_needed: placed even where it covers a line."""

    x: float
    y: float
    width: float
    height: float
    is_needed: bool


@dataclass(frozen=True)
class Placed:
    """Where a name goes. is_far: a line should join it to its point."""

    box: Box
    is_far: bool


def place(
    wanted: Sequence[PointName], marks: Sequence[Box], lines: Sequence[Box], area: Box
) -> list[Placed | None]:
    """A place for each name, in their order, the first come first served; None where there is none.

    A name covers neither another, nor a mark, and stays in `area`; `lines` it avoids where it can, and goes without a
    place rather than cover one, unless it is needed.
    """
    taken = list(marks)
    found: list[Placed | None] = []
    for each in wanted:
        best: tuple[float, Placed] | None = None
        for placed in _candidates(each):
            if not area.holds(placed.box) or any(placed.box.overlap(other) for other in taken):
                continue
            cost = sum(placed.box.overlap(line) for line in lines)
            if cost > 0 and not each.is_needed:
                continue
            if best is None or cost < best[0]:
                best = (cost, placed)
        found.append(None if best is None else best[1])
        if best is not None:
            taken.append(best[1].box)
    return found


def _candidates(wanted: PointName) -> Iterator[Placed]:
    """The nearest first."""
    for reach in REACHES_PT:
        for right, up in _DIRECTIONS:
            # The text's corner or side that faces the point stands `reach` away from it.
            left = wanted.x + right * reach - wanted.width * (1 - right) / 2
            bottom = wanted.y + up * reach - wanted.height * (1 - up) / 2
            box = Box(left, bottom, left + wanted.width, bottom + wanted.height)
            yield Placed(box, reach > REACHES_PT[0])


# A Scatter as a figure. Takes matplotlib.

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
        PointName(x, y, extent.width * scale, extent.height * scale, point in plot.front)
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
