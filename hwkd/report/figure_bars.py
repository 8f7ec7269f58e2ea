"""Bars as a figure: a panel below the other, all with one axis. Takes matplotlib."""

from typing import TYPE_CHECKING

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Patch

from hwkd.report.numbers import three_digits
from hwkd.report.plots.plot import Bars, Panel
from hwkd.report.plots.style import FONT, FONT_PT, GRID, WIDTH_IN, fills

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
