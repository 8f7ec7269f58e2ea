"""How series look on a page: colour, marker and dashes, so that no two look alike even without colours. Pure.

Colours are names of CSS variables (templates/report.css), which the page resolves for light, dark and print.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hwkd.report.plots.plot import Series

COLOURS = tuple(f"var(--series-{i})" for i in range(1, 7))
"""Okabe and Ito's, as hwkd.report.plots.style."""
GREYS = tuple(f"var(--published-{i})" for i in range(1, 4))

DASHES = {"dash": "6 3", "dot": "1.5 2.5", "dashdot": "6 2 1.5 2", "longdash": "10 3"}
"""Plotly's names -> SVG's stroke-dasharray, for the legend."""

SYMBOLS = {
    "circle": "M5,0A5,5 0 1 1 -5,0A5,5 0 1 1 5,0Z",
    "square": "M-4.5,-4.5H4.5V4.5H-4.5Z",
    "diamond": "M0,-6L6,0L0,6L-6,0Z",
    "triangle-up": "M-5.5,4H5.5L0,-5.5Z",
    "triangle-down": "M-5.5,-4H5.5L0,5.5Z",
    "cross": "M-5.5,-2V2H-2V5.5H2V2H5.5V-2H2V-5.5H-2V-2Z",
    "star": "M0,-6L1.4,-1.9H5.7L2.3,0.7L3.5,4.9L0,2.4L-3.5,4.9L-2.3,0.7L-5.7,-1.9H-1.4Z",
    "pentagon": "M0,-5.6L5.3,-1.7L3.3,4.5H-3.3L-5.3,-1.7Z",
    "hourglass": "M-5,-5H5L-5,5H5Z",
}
"""Plotly's names of markers -> SVG paths in a box of 12, for the legend."""


@dataclass(frozen=True)
class Style:
    """colour: of line and marker. symbol: of SYMBOLS. dash: of DASHES, "" for a solid line. is_open: an outline only."""

    colour: str
    symbol: str
    dash: str = ""
    is_open: bool = False


def styles_of(series: Sequence[Series]) -> tuple[Style, ...]:
    """A style for each, in their order: ours in colour, published ones in greys, dashed, with open markers.

    Of either kind, colours and markers turn at different speeds: two are alike only after 18 of ours, and after 36
    published ones.
    """
    styles = []
    ours = published = 0
    symbols, dashes = list(SYMBOLS), list(DASHES)
    for one in series:
        if one.is_published:
            i, published = published, published + 1
            styles.append(
                Style(
                    GREYS[i % len(GREYS)],
                    symbols[i % len(symbols)],
                    dashes[i % len(dashes)],
                    is_open=True,
                )
            )
        else:
            i, ours = ours, ours + 1
            styles.append(Style(COLOURS[i % len(COLOURS)], symbols[i % len(symbols)]))
    return tuple(styles)


def group_colours(groups: Sequence[str]) -> dict[str, str]:
    """A colour for each of the groups that bars are of, in order of their first bar."""
    return {group: COLOURS[i % len(COLOURS)] for i, group in enumerate(dict.fromkeys(groups))}
