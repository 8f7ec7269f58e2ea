"""The font of an SVG inside the SVG: text that stays text and looks the same everywhere."""

import base64
import io
import re
from functools import cache
from html import unescape
from pathlib import Path

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
