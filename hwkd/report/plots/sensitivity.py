"""Sensitivity to bits as a figure: a line of marks for each layer, one for each number of bits. Takes matplotlib."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
from matplotlib.figure import Figure

from hwkd.measure.sensitivity import BaseLayer, Sensitivity
from hwkd.report.plots.figures import save_figure
from hwkd.report.plots.style import COLOURS, GRID, SETTINGS, SMALL_PT, WIDTH_IN, log_ticks
from hwkd.report.sensitivity import tried_bits

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CAPTION = (
    "What each layer's weights cost in fewer bits, one layer at a time, measured on real bytes."
)
FLOOR_PERCENT = 0.01
"""Where smaller changes stand, those below 0 among them: that much is chance."""

_ROW_IN, _ABOVE_IN, _BELOW_IN = 0.105, 0.1, 0.7
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def write_figure(found: Sensitivity, title: str, paths: Sequence[Path]) -> None:
    """Write the figure to each of `paths`, .svg or .png; the same files for the same figures.

    Raises as hwkd.files.replacing.
    """
    with matplotlib.rc_context(SETTINGS):
        figure = _figure(found)
        for path in paths:
            save_figure(figure, title, CAPTION, path)


def _figure(found: Sensitivity) -> Figure:
    """The change of the loss in percent, on a logarithmic axis, for the layers in their order."""
    tried = tried_bits(found)
    rows = len(found.layers)
    height = _ABOVE_IN + _ROW_IN * rows + _BELOW_IN
    figure = Figure(figsize=(WIDTH_IN, height))
    axes = figure.add_subplot()
    for y, layer in enumerate(found.layers):
        changes = found.changes_percent(layer)
        places = [max(changes[bits], FLOOR_PERCENT) for bits in tried if bits in changes]
        if places:
            axes.plot([min(places), max(places)], [y, y], color=GRID, linewidth=1.2, zorder=1)
    for i, bits in enumerate(tried):
        held = [
            (y, max(changes[bits], FLOOR_PERCENT))
            for y, changes in enumerate(map(found.changes_percent, found.layers))
            if bits in changes
        ]
        axes.plot(
            [x for _, x in held],
            [y for y, _ in held],
            color=COLOURS[i % len(COLOURS)],
            marker=_MARKERS[i % len(_MARKERS)],
            linestyle="none",
            markersize=3.2,
            markeredgecolor="white",
            markeredgewidth=0.3,
            label=f"{bits} bits",
        )
    _set_axes(axes, found.layers)
    figure.legend(
        loc="lower center",
        ncols=min(len(tried), 3),
        frameon=False,
        fontsize=SMALL_PT,
        handletextpad=0.1,
        columnspacing=1.0,
    )
    longest = max(len(layer.name) for layer in found.layers)
    figure.subplots_adjust(
        left=min(0.45, 0.04 + 0.0135 * longest),
        right=0.97,
        top=1 - _ABOVE_IN / height,
        bottom=_BELOW_IN / height,
    )
    return figure


def _set_axes(axes: "Axes", layers: Sequence[BaseLayer]) -> None:
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    ticks = log_ticks(min(low, FLOOR_PERCENT), max(high, 10 * FLOOR_PERCENT))
    words = [f"{tick:,.10g}" for tick in ticks]
    axes.set_xticks(
        ticks, [f"≤{w}" if t == FLOOR_PERCENT else w for t, w in zip(ticks, words, strict=True)]
    )
    axes.minorticks_off()
    axes.set_xlabel("measured change of the rate-distortion loss (%)")
    axes.set_yticks(range(len(layers)), [layer.name for layer in layers], fontsize=SMALL_PT - 0.5)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(layers) - 0.4, -0.6)
    axes.grid(axis="x", color=GRID, linewidth=0.4)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    for y, (above, below) in enumerate(pairwise(layers)):
        if above.name.partition(".")[0] != below.name.partition(".")[0]:
            axes.axhline(y + 0.5, color="#999999", linewidth=0.5)
