"""Quality over cost: PSNR over multiply-accumulates, and over latency and energy on each target. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hwkd.measure.record import Record
from hwkd.report.compare.published import Paper
from hwkd.report.compare.rows import PARTS, Row
from hwkd.report.compare.tables import PART_WORDS, quality_notes, ways
from hwkd.report.compared import Compared, compare, model_rows
from hwkd.report.numbers import three_digits
from hwkd.report.plot_cost_notes import (
    architecture_note,
    interval_notes,
    not_shown_notes,
    rate_notes,
    rates,
    setting_notes,
    trust_notes,
)
from hwkd.report.plot_cost_points import Costed, as_point, costed, front_of, series_of
from hwkd.report.plot_words import counted, exact, in_words, span
from hwkd.report.plots.plot import Scatter
from hwkd.report.row_figures import Scope, figures_of
from hwkd.report.table import Table

Y_LABEL = "PSNR (dB)"


@dataclass(frozen=True)
class _Cost:
    """A kind of cost. key: of the plots. figure: of hwkd.report.row_figures. entry: of the record. what, unit: in words."""

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
            point.psnr_db.basis,
        )
        for point in points
    )
    columns = (
        *("model", "kind", unit, f"{unit}, low", f"{unit}, high", "found"),
        *("psnr_db", "bpp", "quality found", "images"),
    )
    return Table(title, columns, rows)
