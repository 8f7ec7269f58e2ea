"""How figures for papers look: sizes, colours, markers, dashes, and the font inside an SVG. Nothing that draws."""

import base64
import io
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from html import unescape
from pathlib import Path
from typing import Any

from hwkd.report.plots.plot import Series

# How figures for papers look: sizes, colours, markers, dashes. Nothing that draws.

WIDTH_IN = 3.5
"""One column of a paper with two."""
FONT = "DejaVu Sans"
"""Comes with matplotlib."""
FONT_PT, SMALL_PT = 7, 5.5
DOTS_PER_INCH = 300

SETTINGS: dict[str, Any] = {
    "font.family": FONT,
    "font.size": FONT_PT,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "svg.fonttype": "none",  # text stays text
    "figure.dpi": DOTS_PER_INCH,
    "pdf.fonttype": 42,  # TrueType, which publishers take
    "svg.hashsalt": "hwkd",
}

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's, which people with any colour vision can tell apart; black and greys are for published ones."""
GREYS = ("#000000", "#555555", "#888888")
GRID = "#dddddd"
FRONT = "#555555"

_MARKERS = ("o", "s", "^", "D", "v", "P")
_SINGLE_MARKERS = ("*", "X", "h", "<", ">", "p", "d")
"""Of series of one point: none looks like another, nor like a curve's."""
_STAR_PT = 8.0
"""A star looks smaller than it is."""
_PUBLISHED_MARKERS = ("+", "x", "1", "2")
_DASHES: tuple[Any, ...] = ((0, ()), (0, (5, 1.5)), (0, (1, 1)))
_HATCHES = ("", "/////", "-----", "|||||")
"""Of bars, for prints without colour."""


@dataclass(frozen=True)
class Style:
    """How a series is drawn. marker: None for none. dash: of its line, None for none."""

    colour: str
    marker: str | None
    dash: Any
    width: float
    marker_size: float


def styles(series: Sequence[Series]) -> Iterator[tuple[Series, Style]]:
    """Each series with its style; those of one kind differ in colour or dash, and in their marker."""
    counts = {"line": 0, "points": 0, "single": 0, "published line": 0, "published": 0}
    for each in series:
        kind = _kind(each)
        # Lines and points of ours share their markers, and so count together.
        i = counts["line"] + counts["points"] if kind in ("line", "points") else counts[kind]
        counts[kind] += 1
        yield each, _style(kind, i)


def _kind(series: Series) -> str:
    if series.is_published:
        return "published line" if series.is_line else "published"
    if len(series.points) == 1:
        return "single"
    return "line" if series.is_line else "points"


def _style(kind: str, i: int) -> Style:
    colour = COLOURS[i % len(COLOURS)]
    grey, dash = GREYS[i // len(_DASHES) % len(GREYS)], _DASHES[i % len(_DASHES)]
    match kind:
        case "published line":
            return Style(grey, None, dash, 0.8, 0.0)
        case "published":
            return Style(GREYS[0], _PUBLISHED_MARKERS[i % len(_PUBLISHED_MARKERS)], None, 0.8, 4.0)
        case "single":
            marker = _SINGLE_MARKERS[i % len(_SINGLE_MARKERS)]
            return Style(colour, marker, None, 0.8, _STAR_PT if marker == "*" else 5.0)
        case "points":
            return Style(colour, _MARKERS[i % len(_MARKERS)], None, 0.8, 4.5)
    return Style(colour, _MARKERS[i % len(_MARKERS)], _DASHES[0], 1.6, 3.5)


def fills(groups: Sequence[str]) -> dict[str, tuple[str, str]]:
    """(colour, hatch) of the bars of each group."""
    distinct = list(dict.fromkeys(groups))
    return {
        group: (COLOURS[i % len(COLOURS)], _HATCHES[i % len(_HATCHES)])
        for i, group in enumerate(distinct)
    }


_TICK_STEPS: tuple[tuple[float, ...], ...] = (
    (1,),
    (1, 2, 5),
    tuple(range(1, 10)),
    tuple(step / 2 for step in range(2, 20)),
)
"""Of a decade, the coarsest first."""
_ENOUGH_TICKS = 3


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers within low..high, > 0, for a logarithmic axis: the coarsest steps that give enough of them."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    found: list[float] = []
    for steps in _TICK_STEPS:
        ticks = [step * 10.0**e for e in range(first, last + 1) for step in steps]
        found = [tick for tick in ticks if low <= tick <= high]
        if len(found) >= _ENOUGH_TICKS:
            break
    return found


# The font of an SVG inside the SVG: text that stays text and looks the same everywhere.

FALLBACK = "Verdana, sans-serif"
"""Close to DejaVu Sans in width, for viewers that take no font from a file."""

_ALWAYS = "".join(map(chr, range(0x20, 0x7F)))
"""Printable ASCII: with it most figures hold the same font, which is made once."""


def with_font(svg: str, font: Path, family: str) -> str:
    """`svg` with the characters of its text, of the TrueType file `font`, as a web font of the name `family`.

    The same bytes for the same text: the font keeps its own date.
    """
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    characters = "".join(sorted({*_ALWAYS, *unescape("".join(texts))}))
    source = f"url(data:font/woff;base64,{_subset(font, characters)}) format('woff')"
    style = f"<style type=\"text/css\">@font-face{{font-family:'{family}';src:{source}}}</style>"
    named = svg.replace(f"'{family}'", f"'{family}', {FALLBACK}")
    return named.replace("<defs>", f"<defs>\n  {style}", 1)


@cache
def _subset(font: Path, characters: str) -> str:
    """The font with these characters alone, as WOFF in base64."""
    from fontTools.subset import Options, Subsetter
    from fontTools.ttLib import TTFont

    options = Options()
    options.hinting = False
    options.layout_features = ["kern"]
    options.name_IDs = [1, 2]
    options.drop_tables += ["FFTM"]  # dates of its making, which the subsetter does not know
    held = TTFont(font, recalcTimestamp=False)
    subsetter = Subsetter(options)
    subsetter.populate(text=characters)
    subsetter.subset(held)
    held.flavor = "woff"
    sink = io.BytesIO()
    held.save(sink)
    return base64.b64encode(sink.getvalue()).decode()
