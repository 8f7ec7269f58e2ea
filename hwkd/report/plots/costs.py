"""Quality over cost: PSNR over multiply-accumulates, and over latency and energy on each target. Pure."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from hwkd.measure.bundles import FLOAT_BITS
from hwkd.measure.record import Record
from hwkd.quantity import PUBLISHED, Quantity, not_known, three_digits
from hwkd.report.compare.notes import PART_WORDS, quality_notes, ways, whose
from hwkd.report.compare.published import Paper
from hwkd.report.compare.rows import PARTS, Compared, Row, Scope, compare, figures_of, model_rows
from hwkd.report.compare.tables import FRONT, verdicts
from hwkd.report.plots.plot import (
    PAPER,
    Point,
    Scatter,
    Series,
    counted,
    exact,
    in_words,
    short_name,
    span,
)
from hwkd.report.table import Table

# The points of a plot of quality over cost: models that have both, our own and the paper's. Pure.

COST, QUALITY = "cost", "psnr_db"

Figures = Mapping[str, Quantity]


@dataclass(frozen=True)
class Costed:
    """One model with its cost and its quality, both known.

    Attributes:
        name: name for people.
        kind: family and precision; they decide how it is drawn.
        psnr_db: PSNR; its `on` has the images.
        rate: bits per pixel.
        is_published: whether the quality is the paper's, of the same architecture.
    """

    name: str
    kind: str
    row: Row
    cost: Quantity
    psnr_db: Quantity
    rate: Quantity
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
    cost_of: Callable[[Figures], Quantity],
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
            psnr_db = Quantity(published.psnr_db, PUBLISHED, paper.source, on=basis)
            rate = Quantity(published.bpp, PUBLISHED, paper.source, on=basis)
            name, kind, is_published = f"paper N={published.N}", PAPER, True
        if cost.value == 0:
            cost = not_known("it costs 0, which a logarithmic axis does not have")
        missing = next((cell for cell in (psnr_db, cost) if cell.value is None), None)
        if missing is None:
            found.append(Costed(name, kind, row, cost, psnr_db, rate, is_published))
        else:
            without.append((short_name(model.name, every), missing.reason))
    return tuple(found), tuple(without)


def main_images(points: Sequence[Costed]) -> str:
    """The images that most of the points were evaluated on."""
    return Counter(point.psnr_db.on for point in points).most_common(1)[0][0]


def front_of(points: Sequence[Costed]) -> tuple[Costed, ...]:
    """The points that no other beats with less cost and more PSNR; among those of `main_images`, the cheapest first."""
    images = main_images(points)
    comparable = [point for point in points if point.psnr_db.on == images]
    figures = [{COST: point.cost, QUALITY: point.psnr_db} for point in comparable]
    found = verdicts(figures, (QUALITY, COST), [point.name for point in comparable])
    front = [point for point, text in zip(comparable, found, strict=True) if text == FRONT]
    return tuple(sorted(front, key=lambda point: point.cost.value or 0.0))


def series_of(points: Sequence[Costed]) -> tuple[Series, ...]:
    """A series for each kind, ours first; what was evaluated on other images than most has series of its own."""
    images = main_images(points)
    held: dict[tuple[bool, str], list[Point]] = {}
    for point in sorted(points, key=lambda point: point.cost.value or 0.0):
        elsewhere = "" if point.psnr_db.on == images else f" ({point.psnr_db.on})"
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
    """The name of the paper's images in our figures, if any are of them: "Kodak, 24 images" for those of 768x512."""
    for known in figures:
        basis = known[QUALITY].on
        if basis and paper_images.casefold().startswith(basis.casefold()):
            return basis
    return paper_images


Y_LABEL = "PSNR (dB)"


@dataclass(frozen=True)
class _Cost:
    """A kind of cost.

    Attributes:
        key: key of the plots.
        figure: name of the figure in hwkd.report.compare.rows.
        entry: name of the record's entry.
        what, unit: cost and unit in words.
    """

    key: str
    figure: str
    entry: str
    what: str
    unit: str


_LATENCY = _Cost("psnr-latency", "total_ms", "latency_ms", "latency", "ms")
_ENERGY = _Cost("psnr-energy", "total_mj", "energy_mj", "energy", "mJ")


def cost_plots(records: Sequence[Record], paper: Paper) -> tuple[Scatter, ...]:
    """PSNR over MACs for all models; over latency, and over energy, for each target and each way of finding it there.

    Latency and energy are those of encode and decode together, of the part that most models have on the target: end to
    end, or the networks. Plots without a point are left out.
    """
    if not records:
        return ()
    by_target: dict[tuple[bool, str], list[Record]] = {}
    for record in records:
        by_target.setdefault((not record.is_host, record.target), []).append(record)
    # Machines that were measured come first.
    order = sorted(by_target, key=lambda key: key[0])
    return (
        *_macs_plot(records, paper),
        *(
            plot
            for cost in (_LATENCY, _ENERGY)
            for key in order
            for plot in _target_plots(by_target[key], key[1], cost, paper)
        ),
    )


def _macs_plot(records: Sequence[Record], paper: Paper) -> Iterator[Scatter]:
    compared = _compared(records)
    places = model_rows(compared)
    # Without a setting: MACs are the same in each.
    rows = [Row(compared.rows[i].record, None) for i in places]
    figures = [compared.figures[i] for i in places]
    points, without = costed(rows, figures, lambda known: known["kmac_per_pixel"], paper)
    if points:
        notes = (
            "MACs: multiply-accumulates of the float models, counted: g_a, h_a, h_s and g_s, each once.",
            *not_shown_notes(without),
        )
        yield _scatter(
            points, "psnr-macs", "counted", "multiply-accumulates", "kMAC/pixel", None, notes, paper
        )


def _compared(records: Sequence[Record]) -> Compared:
    is_one_size = len({(record.width, record.height) for record in records}) == 1
    return compare(records, is_per_pixel=not is_one_size)


def _target_plots(
    records: Sequence[Record], target: str, cost: _Cost, paper: Paper
) -> Iterator[Scatter]:
    compared = _compared(records)
    is_per_pixel = compared.scope.is_per_pixel

    def known_in(part: str) -> tuple[tuple[Costed, ...], tuple[tuple[str, str], ...]]:
        scope = Scope(part, part, is_per_pixel)
        figures = [figures_of(row, scope) for row in compared.rows]
        return costed(compared.rows, figures, lambda known: known[cost.figure], paper)

    found = {part: known_in(part) for part in PARTS}
    part = max(PARTS, key=lambda part: len(found[part][0]))
    points, without = found[part]
    all_ways = list(dict.fromkeys(point.cost.found for point in points))
    for way in all_ways:
        chosen = tuple(point for point in points if point.cost.found == way)
        name = target if len(all_ways) == 1 else f"{target}, {way}"
        unit = f"{cost.unit} for a megapixel" if is_per_pixel else cost.unit
        notes = (
            f"{cost.what.capitalize()}: encode + decode, {PART_WORDS[part]}; "
            f"{ways([(point.name, point.cost) for point in chosen], [point.name for point in chosen])}.",
            *setting_notes(chosen),
            *interval_notes(chosen),
            *trust_notes(chosen),
            *not_shown_notes(without),
        )
        what = f"{cost.what}, {in_words(part)}, encode + decode"
        yield _scatter(chosen, cost.key, way, what, unit, name, notes, paper)


def _scatter(
    points: tuple[Costed, ...],
    key: str,
    way: str,
    what: str,
    unit: str,
    target: str | None,
    notes: tuple[str, ...],
    paper: Paper,
) -> Scatter:
    where = "" if target is None else f" on {target}"
    title = f"PSNR over {way} {what.partition(',')[0]}{where}"
    published = [point for point in points if point.is_published]
    ours = [(point.name, point.psnr_db) for point in points if not point.is_published]
    return Scatter(
        key=key,
        title=title,
        x_label=f"{way} {what} ({unit})",
        y_label=Y_LABEL,
        series=series_of(points),
        caption=_caption(points, f"{way} {what}{where}", unit),
        table=_table(points, title, unit),
        notes=(
            *quality_notes(ours, [name for name, _ in ours]),
            *([architecture_note(published, paper, way)] if published else []),
            *rate_notes(points),
            *notes,
        ),
        choices={} if target is None else {"target": target},
        is_x_log=True,
        front=tuple(as_point(point) for point in front_of(points)),
    )


def _caption(points: Sequence[Costed], what: str, unit: str) -> str:
    costs = [as_point(point).x for point in points]
    front = [as_point(point) for point in front_of(points)]
    best = max(map(as_point, points), key=lambda point: point.y)
    on_front = ", ".join(f"{p.name} ({three_digits(p.x)} {unit}, {p.y:.2f} dB)" for p in front)
    return (
        f"PSNR in dB over {what}, on a logarithmic axis, for {counted(len(points), 'model')}: higher and further left is "
        f"better. They take {span(costs, unit)}. The highest PSNR is that of {best.name}, {best.y:.2f} dB at "
        f"{three_digits(best.x)} {unit}. On the front, where no other model has both less cost and more PSNR, from the cheapest "
        f"up: {on_front}. Rates differ ({rates(points)}), and PSNRs at different rates do not compare."
    )


def _table(points: Sequence[Costed], title: str, unit: str) -> Table:
    rows = tuple(
        (
            point.row.record.model.name,
            point.kind,
            exact(point.cost.value),
            exact(point.cost.low),
            exact(point.cost.high),
            point.cost.found,
            exact(point.psnr_db.value),
            exact(point.rate.value),
            point.psnr_db.found,
            point.psnr_db.on,
        )
        for point in points
    )
    columns = (
        *("model", "kind", unit, f"{unit}, low", f"{unit}, high", "found"),
        *("psnr_db", "bpp", "quality found", "images"),
    )
    return Table(title, columns, rows)


# What stands below a plot of quality over cost: how its figures were found, and what it leaves out. Pure.


def rates(points: Sequence[Costed]) -> str:
    """The rates from the lowest to the highest."""
    return span([point.rate.value or 0.0 for point in points], "bpp")


def rate_notes(points: Sequence[Costed]) -> Iterator[str]:
    """Notes that rates differ, and that images differ if they do."""
    yield (
        f"Rates: {rates(points)}. A model that spends more bits reaches a higher PSNR, so the front does not say which "
        "model codes better; the plot of rate and distortion does."
    )
    others = [p.name for p in points if p.psnr_db.on != main_images(points)]
    if others:
        yield (
            f"On the front are models evaluated on {main_images(points)} only; on other images, and not to be compared "
            f"with them: {', '.join(others)}."
        )


def setting_notes(points: Sequence[Costed]) -> Iterator[str]:
    """Notes on the settings in which the models run, the first of each record."""
    names = [point.name for point in points]
    by_setting: dict[str, list[str]] = {}
    for point in points:
        by_setting.setdefault(str(point.row.setting), []).append(point.name)
    for setting, of_setting in by_setting.items():
        yield f"Runs on {setting}: {whose(of_setting, names)}."


def interval_notes(points: Sequence[Costed]) -> Iterator[str]:
    """How sure the error bars are."""
    levels = sorted({round(100 * p.cost.level) for p in points if p.cost.level is not None})
    if levels:
        listed = " or ".join(f"{level} %" for level in levels)
        yield (
            f"Error bars: the intervals of encode and decode, ends added; they hold the truth with {listed} or more."
        )


def trust_notes(points: Sequence[Costed]) -> Iterator[str]:
    """How far to trust the records, in their own words, each sentence once."""
    sentences: dict[str, list[str]] = {}
    for point in points:
        units = () if point.row.setting is None else (point.row.setting.unit,)
        for sentence in point.row.record.notes_on(units):
            sentences.setdefault(sentence, []).append(point.name)
    for sentence, names in sentences.items():
        yield f"{whose(names, [point.name for point in points])}: {sentence}"


def architecture_note(points: Sequence[Costed], paper: Paper, cost: str) -> str:
    """How the paper's points were found.

    Args:
        cost: how their cost was found, in words.
    """
    names = ", ".join(point.row.record.model.name for point in points)
    return (
        f"{PAPER}: PSNR and rate as published ({paper.source}, on {paper.images}); cost {cost} here, for the float "
        f"architectures ({names})."
    )


def not_shown_notes(without: Sequence[tuple[str, str]]) -> list[str]:
    """Why models are not in the plot, a sentence for each reason."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in without:
        by_reason.setdefault(reason, []).append(name)
    return [
        f"Not shown: {', '.join(dict.fromkeys(names))}; {reason}."
        for reason, names in by_reason.items()
    ]
