"""Plots as figures for papers: PDF, SVG and PNG of one column's width. matplotlib is imported where it draws."""

import io
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwkd.errors import HwkdError, InputError
from hwkd.files import replacing, write_text
from hwkd.report.plots.plot import Plot, Scatter, file_name
from hwkd.report.plots.style import DOTS_PER_INCH, FONT, SETTINGS, with_font

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = ("pdf", "svg", "png")
CAPTIONS = "captions.md"
"""Beside the figures: what each shows, and how it was found."""


def draw_figures(
    plots: Sequence[Plot], folder: Path, progress: Callable[[str], None] = lambda _: None
) -> list[Path]:
    """Write each plot to `folder` in every format of KINDS, and CAPTIONS; the files written, in order.

    Args:
        progress: called with the name of each plot before it is drawn.

    Raises:
        InputError: `folder` is a file; as hwkd.files.replacing.
        HwkdError: matplotlib is not installed.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; figures need a folder: give another name")
    written: list[Path] = []
    sections: list[str] = []
    for plot, name in zip(plots, _names(plots), strict=True):
        progress(name)
        written += draw_plot(plot, [folder / f"{name}.{kind}" for kind in KINDS])
        notes = "".join(f"\n- {note}" for note in plot.notes)
        sections.append(f"## {name}\n\n**{plot.title}.** {plot.caption}\n{notes}\n")
    captions = folder / CAPTIONS
    write_text(captions, "# Figures\n\n" + "\n".join(sections))
    return [*written, captions]


def _names(plots: Sequence[Plot]) -> Iterator[str]:
    """The plots' names as files; those that would be the same get numbers."""
    given: Counter[str] = Counter()
    for plot in plots:
        name = file_name(plot)
        given[name] += 1
        yield name if given[name] == 1 else f"{name}-{given[name]}"


def draw_plot(plot: Plot, paths: Sequence[Path]) -> list[Path]:
    """Write `plot` to each of `paths`, in the format that its suffix names; the same files for the same plot.

    Text stays text, and its font is inside the file.

    Raises:
        HwkdError: matplotlib is not installed; as hwkd.files.replacing.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise HwkdError('matplotlib is not installed: pip install "hwkd[report]"') from error
    from hwkd.report.plots.draw_matplotlib import draw_bars, draw_scatter

    with matplotlib.rc_context(SETTINGS):
        figure = draw_scatter(plot) if isinstance(plot, Scatter) else draw_bars(plot)
        for path in paths:
            save_figure(figure, plot.title, plot.caption, path)
    return list(paths)


def save_figure(figure: "Figure", title: str, caption: str, path: Path) -> None:
    """Write `figure` to `path` in the format that its suffix names, .svg, .pdf or .png; within matplotlib's SETTINGS.

    Raises as hwkd.files.replacing.
    """
    from matplotlib.font_manager import findfont

    kind = path.suffix.lower().removeprefix(".")
    # The date of the drawing would make another file of the same plot.
    metadata: dict[str, dict[str, Any]] = {
        "svg": {"Date": None, "Title": title, "Description": caption},
        "pdf": {"CreationDate": None, "Title": title, "Subject": caption},
        "png": {"Title": title, "Description": caption},
    }
    content = io.BytesIO()
    figure.savefig(content, format=kind, metadata=metadata[kind], dpi=DOTS_PER_INCH)
    written = content.getvalue()
    if kind == "svg":
        written = with_font(written.decode(), Path(findfont(FONT)), FONT).encode()
    with replacing(path) as neighbour:
        neighbour.write_bytes(written)
