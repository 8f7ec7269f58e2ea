"""Our results and published curves as one plot: PSNR over bits per pixel. matplotlib is imported where it draws."""

from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwkd.errors import HwkdError
from hwkd.files import replacing
from hwkd.metrics import Curve
from hwkd.report.published import Paper
from hwkd.report.published_curves import PublishedCurves
from hwkd.report.result_files import ResultFiles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

WIDTH_IN, HEIGHT_IN = 3.5, 4.4
"""One column of a paper with two; what lies below the axes is the legend."""

_FONT_PT = 7
_DOTS_PER_INCH = 300
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's, which people with any colour vision can tell apart; black and greys are for published ones."""
_MARKERS = ("o", "s", "^", "D", "v", "P")
_SINGLE_MARKERS = ("*", "X", "h", "<", ">", "p", "d")
_GREYS = ("#000000", "#555555", "#888888")
_DASHES: tuple[Any, ...] = ((0, ()), (0, (5, 1.5)), (0, (1, 1)))
_TICKS_BPP = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_BEYOND = 1.6
"""How far the axis of rates goes on beyond our own points, as a factor: published curves go on for long."""
_BEYOND_DB = 2.0


def draw_rd(files: ResultFiles, published: PublishedCurves, paper: Paper, path: Path) -> None:
    """Write the plot to `path`, in the format that its suffix names; the same file for the same results.

    Ours are in colour, published ones in black and grey. Other forms of a student that ships (float, QAT, PTQ) are left
    out: they would lie on its curve. Rates are on a logarithmic axis, as BD-rates average over their logarithm.

    Raises:
        HwkdError: matplotlib is not installed; as hwkd.files.replacing.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise HwkdError('matplotlib is not installed: pip install "hwkd[report]"') from error
    settings = {
        "font.size": _FONT_PT,
        "svg.fonttype": "none",  # text stays text
        "pdf.fonttype": 42,
        "svg.hashsalt": "hwkd",
    }
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(WIDTH_IN, HEIGHT_IN), dpi=_DOTS_PER_INCH, layout="constrained")
        axes = figure.add_subplot()
        others = _draw_published(axes, published, paper)
        ours = _draw_ours(axes, files)
        _limit(axes, [result.curve for result in files.shipped.values()], paper)
        for lines, title, corner in (
            (ours, "measured here", "outside lower left"),
            (others, "published", "outside lower right"),
        ):
            figure.legend(handles=lines, title=title, loc=corner, frameon=False, handlelength=3.2)
        kind = path.suffix.lower().removeprefix(".")
        # The date of the drawing would make another file of the same results.
        metadata: dict[str, Any] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
        with replacing(path) as neighbour:
            figure.savefig(neighbour, format=kind, metadata=metadata.get(kind))


def _draw_published(axes: "Axes", published: PublishedCurves, paper: Paper) -> list["Line2D"]:
    styles = [(grey, dash) for grey in _GREYS for dash in _DASHES]
    lines: list[Line2D] = []
    for anchor, (grey, dash) in zip(published.curves, cycle(styles), strict=False):
        lines += axes.plot(
            anchor.bpp, anchor.psnr_db, color=grey, linestyle=dash, linewidth=0.8, label=anchor.name
        )
    lines += axes.plot(
        [row.bpp for row in paper.rows],
        [row.psnr_db for row in paper.rows],
        color=_GREYS[0],
        linestyle="none",
        marker="+",
        markersize=4,
        label="arXiv 2509.10366",
    )
    return lines


def _draw_ours(axes: "Axes", files: ResultFiles) -> list["Line2D"]:
    lines: list[Line2D] = []
    for curve, colour, marker in _styled(files):
        is_single = len(curve.bpp) == 1
        lines += axes.plot(
            curve.bpp,
            curve.psnr_db,
            color=colour,
            marker=marker,
            linestyle="none" if is_single else "-",
            linewidth=1.8,
            markersize=5 if is_single else 3.5,
            markeredgecolor="white",
            markeredgewidth=0.4,
            zorder=3,
            label=curve.name,
        )
    return lines


def _styled(files: ResultFiles) -> Iterator[tuple[Curve, str, str]]:
    """Our curves and single models, each with a colour and a marker; curves first."""
    curves = [result.curve for result in files.shipped.values()]
    for markers, group in (
        (_MARKERS, [curve for curve in curves if len(curve.bpp) > 1]),
        (_SINGLE_MARKERS, [curve for curve in curves if len(curve.bpp) == 1]),
    ):
        for i, curve in enumerate(group):
            yield curve, _COLOURS[i % len(_COLOURS)], markers[i % len(markers)]


def _limit(axes: "Axes", ours: list[Curve], paper: Paper) -> None:
    """All of our points and the paper's, and a little of what lies beyond."""
    rates = [bpp for curve in ours for bpp in curve.bpp] + [row.bpp for row in paper.rows]
    psnrs = [psnr for curve in ours for psnr in curve.psnr_db] + [r.psnr_db for r in paper.rows]
    axes.set_xscale("log")
    axes.set_xticks(_TICKS_BPP, [f"{tick:g}" for tick in _TICKS_BPP])
    axes.minorticks_off()
    axes.set_xlim(min(rates) / _BEYOND, max(rates) * _BEYOND)
    axes.set_ylim(min(psnrs) - _BEYOND_DB, max(psnrs) + _BEYOND_DB)
    axes.set_xlabel("bits per pixel")
    axes.set_ylabel("PSNR (dB)")
    axes.grid(color="#dddddd", linewidth=0.4)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
