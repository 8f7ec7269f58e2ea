"""A plot as data, and the words of captions: what the page and the figures for papers both draw. Pure; nothing that draws."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from hwkd.errors import InputError
from hwkd.quantity import NA, three_digits
from hwkd.report.table import Table
from hwkd.runtime.bundle import BUNDLE_SUFFIX

# A plot as data: what the page and the figures for papers both draw. Pure; nothing that draws.


@dataclass(frozen=True)
class Point:
    """One point. name: what it stands for. low, high: the interval of x, both or neither. detail: what else to say of
    it where there is room, "0.881 bpp" say."""

    x: float
    y: float
    name: str
    low: float | None = None
    high: float | None = None
    detail: str = ""

    def __post_init__(self) -> None:
        if (self.low is None) != (self.high is None):
            raise InputError(f"an interval needs both ends, got {self.low} and {self.high}")


@dataclass(frozen=True)
class Series:
    """Points of one kind. is_line: joined, in their order. is_published: others' figures, drawn in black and grey."""

    name: str
    points: tuple[Point, ...]
    is_line: bool = False
    is_published: bool = False


@dataclass(frozen=True)
class Scatter:
    """Points and lines over two axes.

    key: of the plot, for names of files and places on a page: small letters and dashes. choices: which of several plots
    of one key this is, {"target": "jetson-nano"} say; those of one key have the same names of choices. x_label, y_label:
    with units. is_x_log: whether x is on a logarithmic axis. front: the points that no other beats, in order of x; none where
    there is no such thing. caption: what there is to see, in sentences, for who cannot see it: the text alternative.
    notes: how the figures were found. table: the same figures.
    x_range, y_range: of the axes; None: what the points need.
    """

    key: str
    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    caption: str
    table: Table
    notes: tuple[str, ...] = ()
    choices: Mapping[str, str] = field(default_factory=dict)
    is_x_log: bool = False
    front: tuple[Point, ...] = ()
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None


@dataclass(frozen=True)
class Bar:
    """One bar: a layer's cost. group: its network, by which bars are coloured; low, high: as those of Point."""

    name: str
    value: float
    group: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Panel:
    """Bars below each other in the order in which they run."""

    title: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Bars:
    """Horizontal bars in panels that share an axis: encoder and decoder. Fields as those of Scatter."""

    key: str
    title: str
    x_label: str
    panels: tuple[Panel, ...]
    caption: str
    table: Table
    notes: tuple[str, ...] = ()
    choices: Mapping[str, str] = field(default_factory=dict)


Plot = Scatter | Bars


def file_name(plot: Plot) -> str:
    """The plot's name as a file's, without suffix: its key, and what was chosen."""
    words = "-".join((plot.key, *plot.choices.values())).lower()
    kept = (c if c.isalnum() or c in "._-" else "-" for c in words)
    return "-".join(part for part in "".join(kept).split("-") if part)


# Words and numbers that the captions of plots share. Pure.

PAPER = "arXiv 2509.10366"
"""What the paper's figures are called beside ours."""


def exact(value: float | None) -> str:
    """A number for a table that a machine may read, "n/a" where it is not known."""
    return NA if value is None else f"{value:.8g}"


def span(values: Sequence[float], unit: str) -> str:
    """From the least to the largest of one or more values: "0.45 to 1.85 bpp", one number where they print alike."""
    low, high = three_digits(min(values)), three_digits(max(values))
    return f"{low} {unit}" if low == high else f"{low} to {high} {unit}"


def counted(count: int, noun: str) -> str:
    """ "1 model", "3 models"."""
    return f"{count} {noun}{'s' * (count != 1)}"


def short_name(model: str, every: Collection[str]) -> str:
    """A bundle's name without its suffix, unless another of the models `every` is called so."""
    short = model.removesuffix(BUNDLE_SUFFIX)
    return model if short in every else short


def in_words(name: str) -> str:
    """A name of code as words: "end_to_end" as "end to end"."""
    return name.replace("_", " ")
