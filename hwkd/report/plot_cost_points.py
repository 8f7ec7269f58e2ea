"""The points of a plot of quality over cost: models that have both, our own and the paper's. Pure."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hwkd.measure.shipped_records import FLOAT_BITS
from hwkd.report.cells import PUBLISHED, Cell, unknown_cell
from hwkd.report.compare.published import Paper
from hwkd.report.compare.rows import Row
from hwkd.report.pareto import FRONT, verdicts
from hwkd.report.plot_words import PAPER, short_name
from hwkd.report.plots.plot import Point, Series

COST, QUALITY = "cost", "psnr_db"

Figures = Mapping[str, Cell]


@dataclass(frozen=True)
class Costed:
    """One model with its cost and its quality, both known.

    name: for people. kind: what it is drawn with: family and precision. rate: bits per pixel. psnr_db: its basis says on
    which images. is_published: the quality is the paper's, of the same architecture.
    """

    name: str
    kind: str
    row: Row
    cost: Cell
    psnr_db: Cell
    rate: Cell
    is_published: bool = False

    @property
    def detail(self) -> str:
        """Rate, and what it was trained for."""
        lmbda = self.row.record.model.lmbda
        text = f"{self.rate.value:.3g} bpp"
        return text if lmbda is None else f"{text}, lmbda {lmbda:g}"


def costed(
    rows: Sequence[Row],
    figures: Sequence[Figures],
    cost_of: Callable[[Figures], Cell],
    paper: Paper,
) -> tuple[tuple[Costed, ...], tuple[tuple[str, str], ...]]:
    """The rows that have cost and quality, and of each other one its model's name with the reason why not.

    An architecture of the paper's that was not trained here has the quality that the paper published.
    """
    every = {row.record.model.name for row in rows}
    found: list[Costed] = []
    without: list[tuple[str, str]] = []
    for row, known in zip(rows, figures, strict=True):
        model = row.record.model
        cost, psnr_db, rate = cost_of(known), known[QUALITY], known["bpp"]
        name, kind, is_published = short_name(model.name, every), _kind(row), False
        published = None if model.is_trained else paper.row_for(row.record)
        if published is not None:
            basis = _same_images(paper.images, figures)
            psnr_db = Cell(published.psnr_db, PUBLISHED, paper.source, basis=basis)
            rate = Cell(published.bpp, PUBLISHED, paper.source, basis=basis)
            name, kind, is_published = f"paper N={published.N}", PAPER, True
        if cost.value == 0:
            cost = unknown_cell("it costs 0, which a logarithmic axis does not have")
        missing = next((cell for cell in (psnr_db, cost) if cell.value is None), None)
        if missing is None:
            found.append(Costed(name, kind, row, cost, psnr_db, rate, is_published))
        else:
            without.append((short_name(model.name, every), missing.reason))
    return tuple(found), tuple(without)


def main_images(points: Sequence[Costed]) -> str:
    """The images that most of the points were evaluated on."""
    return Counter(point.psnr_db.basis for point in points).most_common(1)[0][0]


def front_of(points: Sequence[Costed]) -> tuple[Costed, ...]:
    """Those that none beats: less cost and more PSNR; among the points of `main_images`, the cheapest first."""
    images = main_images(points)
    comparable = [point for point in points if point.psnr_db.basis == images]
    figures = [{COST: point.cost, QUALITY: point.psnr_db} for point in comparable]
    found = verdicts(figures, (QUALITY, COST), [point.name for point in comparable])
    front = [point for point, text in zip(comparable, found, strict=True) if text == FRONT]
    return tuple(sorted(front, key=lambda point: point.cost.value or 0.0))


def series_of(points: Sequence[Costed]) -> tuple[Series, ...]:
    """A series for each kind, ours first; what was evaluated on other images than most has series of its own."""
    images = main_images(points)
    held: dict[tuple[bool, str], list[Point]] = {}
    for point in sorted(points, key=lambda point: point.cost.value or 0.0):
        elsewhere = "" if point.psnr_db.basis == images else f" ({point.psnr_db.basis})"
        held.setdefault((point.is_published, point.kind + elsewhere), []).append(as_point(point))
    return tuple(
        Series(kind, tuple(of_kind), is_published=is_published)
        for (is_published, kind), of_kind in sorted(held.items(), key=_order)
    )


def as_point(point: Costed) -> Point:
    """As a plot has it."""
    assert point.cost.value is not None and point.psnr_db.value is not None
    return Point(
        point.cost.value,
        point.psnr_db.value,
        point.name,
        point.cost.low,
        point.cost.high,
        point.detail,
    )


def _order(item: tuple[tuple[bool, str], list[Point]]) -> tuple[bool, float, str]:
    """Ours first; the kind of the best PSNR first, so that the colours of plots of one key mostly agree."""
    (is_published, kind), points = item
    return is_published, -max(point.y for point in points), kind


def _kind(row: Row) -> str:
    model = row.record.model
    if model.weight_bits == FLOAT_BITS:
        return f"{model.family}, float"
    precision = "int8" if row.setting is None else row.setting.precision
    return f"{model.family}, int8" if precision == "int8" else f"{model.family}, run in {precision}"


def _same_images(paper_images: str, figures: Sequence[Figures]) -> str:
    """What our figures call the images of the paper, if any are of them: "Kodak, 24 images" for those of 768x512."""
    for known in figures:
        basis = known[QUALITY].basis
        if basis and paper_images.casefold().startswith(basis.casefold()):
            return basis
    return paper_images
