"""Our results and published curves as one figure: PSNR over bits per pixel. matplotlib is imported where it draws."""

from pathlib import Path

from hwkd.errors import InputError
from hwkd.report.compare.published import Paper
from hwkd.report.plots.figures import draw_plot
from hwkd.report.plots.rd import rd_plot
from hwkd.report.published_curves import PublishedCurves
from hwkd.report.result_files import ResultFiles


def draw_rd(files: ResultFiles, published: PublishedCurves, paper: Paper, path: Path) -> None:
    """Write the plot of hwkd.report.plots.rd to `path`, in the format that its suffix names.

    Raises:
        InputError: there are no results.
        HwkdError: matplotlib is not installed; as hwkd.files.replacing.
    """
    plot = rd_plot(files, published, paper)
    if plot is None:
        raise InputError("there is no curve to plot: give results that hold one")
    draw_plot(plot, [path])
