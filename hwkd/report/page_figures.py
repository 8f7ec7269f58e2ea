"""Plots as the figures of a page, grouped by key: those of one key are alternatives that selects choose from. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hwkd.report.page_drawing import Drawing
from hwkd.report.page_plots import drawing_of
from hwkd.report.plots.plot import Plot


@dataclass(frozen=True)
class Figure:
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
    figures: tuple[Figure, ...]


def figure_groups(plots: Sequence[Plot]) -> dict[str, FigureGroup]:
    """The groups by key, in order of their first plots."""
    by_key: dict[str, list[Figure]] = {}
    for i, plot in enumerate(plots, 1):
        own = by_key.setdefault(plot.key, [])
        own.append(Figure(f"plot-{i}", plot, drawing_of(plot), not own))
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
