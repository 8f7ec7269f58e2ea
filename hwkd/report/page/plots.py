"""The plots of a report, in the order of the page. Pure."""

from hwkd.report.compare.published import read_paper
from hwkd.report.gathered import Gathered
from hwkd.report.plots.costs import cost_plots
from hwkd.report.plots.layers import layer_plots
from hwkd.report.plots.plot import Plot
from hwkd.report.plots.rd import rd_plot
from hwkd.report.plots.training import training_plot
from hwkd.report.published_curves import read_published_curves


def plots_of(gathered: Gathered) -> tuple[Plot, ...]:
    """Rate and distortion, quality over cost, layers, training: those that `gathered` holds figures for.

    Raises:
        HwkdError: a published table that ships with hwkd is missing or damaged.
    """
    paper = read_paper()
    rd = None
    if gathered.results is not None:
        rd = rd_plot(gathered.results, read_published_curves(), paper)
    training = training_plot(gathered.logs)
    found = (
        rd,
        *cost_plots(gathered.records, paper),
        *layer_plots(gathered.records, gathered.targets),
        training,
    )
    return tuple(plot for plot in found if plot is not None)
