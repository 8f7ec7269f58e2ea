"""A plot as what Plotly draws, and its legend. Pure."""

from hwkd.report.page_drawing import Drawing
from hwkd.report.page_scatter import scatter_drawing
from hwkd.report.plots.draw_plotly import bars_drawing
from hwkd.report.plots.plot import Plot, Scatter


def drawing_of(plot: Plot) -> Drawing:
    """What Plotly draws of `plot`."""
    return scatter_drawing(plot) if isinstance(plot, Scatter) else bars_drawing(plot)
