"""`hwkd report`'s page: tables, plots and cards in one HTML file that asks nothing of the network.

    Gathered, plots -> tables, cards, figures (pure) -> templates/report.html.j2 -> text

The same input gives the same text: there is no date in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hwkd.errors import HwkdError
from hwkd.report.cells import PUBLISHED
from hwkd.report.gathered import Gathered
from hwkd.report.page.sources import SHIPPED
from hwkd.report.page.templating import NOT_INSTALLED, render_template, script_json, script_text
from hwkd.report.page_figures import FigureGroup, figure_groups
from hwkd.report.page_tables import resource_table
from hwkd.report.plots.plot import Plot
from hwkd.report.target_cards import REAL_TIME_FPS, target_card


@dataclass(frozen=True)
class Way:
    """How a figure can be had: the mark that stands for it, the word, and what such a figure is worth."""

    mark: str
    word: str
    worth: str


WAYS = (
    Way(
        "●",
        "measured",
        "by a clock or a sensor on the machine that is named, or of real bytes and real pixels; several runs, with the "
        "interval of their mean or median where there is one.",
    ),
    Way(
        "~",
        "estimated",
        "by a model of that same machine: energy without a sensor is processor time times a constant power. Compare "
        "estimates with each other only.",
    ),
    Way(
        "^",
        "predicted",
        "for a machine that was not there, from published timings of other networks, layer by layer. The interval below "
        "it is meant to hold the truth in 90 of 100 cases; `hwkd targets validate` prints how often it did. Another "
        "runtime than the one that was timed may be faster or slower.",
    ),
    Way("#", "counted", "exact: parameters, multiply-accumulates."),
    Way("=", "computed", "exact arithmetic on counted figures: bytes from bits."),
    Way(
        "§",
        PUBLISHED,
        "by others, who measured elsewhere; drawn in greys with dashes and never joined with ours.",
    ),
)

COSTS = ("psnr-macs", "psnr-latency", "psnr-energy")
LAYERS = ("layer-macs", "layer-latency")
WHAT_SHIPS = "what ships with hwkd"


def page_html(gathered: Gathered, plots: Sequence[Plot], command: str) -> str:
    """The page as text.

    Args:
        plots: of hwkd.report.page.plots, in any order; the page has places for the keys that those have.
        command: the line that makes the page again, for its foot.

    Raises:
        HwkdError: Jinja2 or Plotly is not installed.
    """
    groups = figure_groups(plots)
    records = gathered.records
    return render_template(
        "report.html.j2",
        summary=_summary(gathered),
        ways=WAYS,
        marks={way.word: way.mark for way in WAYS},
        rd=_of(groups, ("rd",)),
        costs=_of(groups, COSTS),
        layers=_of(groups, LAYERS),
        training=_of(groups, ("training",)),
        resources=resource_table(records) if records else None,
        cards=[target_card(target, records) for target in gathered.targets],
        real_time_fps=REAL_TIME_FPS,
        sources=gathered.sources,
        command=command,
        versions=_versions(gathered),
        drawings=script_json(
            {
                figure.id: {"data": figure.drawing.data, "layout": figure.drawing.layout}
                for group in groups.values()
                for figure in group.figures
            }
        ),
        plotly=script_text(_plotly_source() if plots else ""),
    )


def _of(groups: dict[str, FigureGroup], keys: Sequence[str]) -> list[FigureGroup]:
    return [groups[key] for key in keys if key in groups]


def _summary(gathered: Gathered) -> str:
    """What is in the page, in one sentence."""
    records = gathered.records
    models = len({record.model.name for record in records})
    machines = len({record.target for record in records})
    parts = []
    if records:
        parts.append(f"What {_count(models, 'model')} cost on {_count(machines, 'machine')}")
    if gathered.results is not None:
        shipped = len(gathered.results.shipped)
        parts.append(
            f"rate and distortion of {_count(shipped, 'curve or single model', 'curves and single models')}"
        )
    if gathered.targets:
        parts.append(_count(len(gathered.targets), "target card"))
    if gathered.logs:
        parts.append(_count(len(gathered.logs), "training curve"))
    text = ", ".join(parts)
    sources = (WHAT_SHIPS if source == SHIPPED else source for source in gathered.sources)
    return f"{text[:1].upper()}{text[1:]}; from {', '.join(sources)}."


def _count(n: int, one: str, many: str = "") -> str:
    return f"{n} {one}" if n == 1 else f"{n} {many or one + 's'}"


def _versions(gathered: Gathered) -> list[str]:
    """Of what made the records, each combination once."""
    told = (
        ", ".join(f"{name} {version}" for name, version in record.provenance.versions.items())
        for record in gathered.records
    )
    return [text for text in dict.fromkeys(told) if text]


def _plotly_source() -> str:
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise HwkdError(NOT_INSTALLED) from error
    source: str = get_plotlyjs()
    return source
