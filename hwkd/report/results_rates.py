"""Our results against published curves at equal PSNR: BD-rates of curves, changes of rate of single models."""

from collections.abc import Mapping, Sequence

from hwkd.errors import InputError
from hwkd.metrics import BD_METHOD, bd_rate_percent, rate_change_percent, shared_psnr_range
from hwkd.report.cells import NA
from hwkd.report.comparison_tables import FOR_MACHINES
from hwkd.report.published_curves import PublishedCurves
from hwkd.report.table import Table
from hwkd.results import Result


def rate_tables(
    results: Mapping[str, Result], published: PublishedCurves, fmt: str
) -> tuple[Table, ...]:
    """A table of the curves of two or more points, and one of the single models, for format `fmt`."""
    curves = [result for result in results.values() if len(result.curve.bpp) > 1]
    single = [result for result in results.values() if len(result.curve.bpp) == 1]
    return (
        *((bd_rate_table(curves, published, fmt),) if curves else ()),
        *((rate_change_table(single, published, is_source_told=bool(curves)),) if single else ()),
    )


def bd_rate_table(results: Sequence[Result], published: PublishedCurves, fmt: str) -> Table:
    """BD-rate of each curve against each published one, with the PSNRs that both reach.

    For machines percent, low and high have a column each; for people they share a cell.
    """
    is_for_machines = fmt in FOR_MACHINES
    anchors = [anchor.curve for anchor in published.curves]
    columns = ["curve", "points"]
    for anchor in anchors:
        columns += _machine_columns(anchor.name) if is_for_machines else [anchor.name]
    rows, reasons = [], []
    for result in results:
        cells = [result.curve.name, str(len(result.curve.bpp))]
        for anchor in anchors:
            try:
                low, high = shared_psnr_range(anchor, result.curve)
                percent = bd_rate_percent(anchor, result.curve)
            except InputError as error:
                reasons.append(f"{result.curve.name} against {anchor.name} is {NA}: {error}.")
                cells += [NA] * 3 if is_for_machines else [NA]
                continue
            if is_for_machines:
                cells += [f"{percent:.3f}", f"{low:.3f}", f"{high:.3f}"]
            else:
                cells.append(f"{percent:+.1f} ({low:.1f} to {high:.1f} dB)")
        rows.append(tuple(cells))
    notes = (
        f"Mean change of rate at equal PSNR, {BD_METHOD}, which stands in brackets; negative: fewer bits than the "
        "published codec.",
        source_note(published),
        *reasons,
    )
    title = "BD-rate against published curves, in percent"
    return Table(title, tuple(columns), tuple(rows), notes)


def rate_change_table(
    results: Sequence[Result], published: PublishedCurves, *, is_source_told: bool = False
) -> Table:
    """The change of rate of each single model against each published curve at the model's PSNR.

    is_source_told: a table above says where the published curves come from.
    """
    anchors = [anchor.curve for anchor in published.curves]
    rows, reasons = [], []
    for result in results:
        (psnr_db,), (bpp,) = result.curve.psnr_db, result.curve.bpp
        name = result.curve.name
        cells, lacking = [name, f"{psnr_db:.3f}", f"{bpp:.4f}"], []
        for anchor in anchors:
            try:
                cells.append(f"{rate_change_percent(anchor, bpp, psnr_db):+.1f}")
            except InputError as error:
                cells.append(NA)
                lacking.append(str(error))
        rows.append(tuple(cells))
        if lacking:
            reasons.append(f"{NA} in the row of {name}: {'; '.join(lacking)}.")
    notes = (
        "No BD-rate, which takes a curve: the rate against the published codec's at the one PSNR of the model, the "
        "published log10(bpp) interpolated by PCHIP over PSNR; negative: fewer bits.",
        *(() if is_source_told else (source_note(published),)),
        *reasons,
    )
    columns = ("model", "psnr_db", "bpp", *(anchor.name for anchor in anchors))
    title = "Single models: change of rate at equal PSNR against published curves, in percent"
    return Table(title, columns, tuple(rows), notes)


def source_note(published: PublishedCurves) -> str:
    """Where the published curves come from."""
    notes = "; ".join(f"{curve.name}: {curve.note}" for curve in published.curves if curve.note)
    return (
        f"Published curves: {published.source} on {published.images}, {published.repository}, commit "
        f"{published.commit[:12]} ({notes})."
    )


def _machine_columns(name: str) -> list[str]:
    return [f"{name}_{part}" for part in ("percent", "low_db", "high_db")]
