"""Results against other codecs at equal quality: BD-rates of curves, changes of rate of single models. Pure."""

from collections.abc import Callable, Iterator, Sequence

from hwkd.errors import InputError
from hwkd.metrics import (
    BD_METHOD,
    MS_SSIM,
    PSNR,
    Curve,
    bd_psnr_db,
    bd_rate_percent,
    rate_change_percent,
    shared_range,
)
from hwkd.quantity import NA
from hwkd.report.compare.published import PublishedCurves
from hwkd.report.compare.sheet import FOR_MACHINES
from hwkd.report.table import Table, Valued, missing, number, span
from hwkd.results import Result

_EQUAL = {PSNR: "PSNR", MS_SSIM: "MS-SSIM"}
"""What curves are held equal in, in words."""


def is_on(images: str, told: str) -> bool:
    """Whether `told`, which says what something was measured on, names `images`."""
    return images.casefold() in told.casefold()


def published_rate_tables(
    results: Sequence[Result], published: PublishedCurves, fmt: str
) -> tuple[Table, ...]:
    """Against published curves: the curves of two or more points, in PSNR and in MS-SSIM, then the single models."""
    curves = [result for result in results if len(result.curve.bpp) > 1]
    single = [result for result in results if len(result.curve.bpp) == 1]
    found = [bd_rate_table(curves, published, fmt)] if curves else []
    if any(result.curve.ms_ssim is not None for result in curves):
        found.append(bd_rate_table(curves, published, fmt, MS_SSIM))
    if single:
        found.append(rate_change_table(single, published, is_source_told=bool(curves)))
    return tuple(found)


def measured_rate_tables(
    results: Sequence[Result], classic: Sequence[Result], fmt: str
) -> tuple[Table, ...]:
    """Against classic codecs measured on the same images: in PSNR and in MS-SSIM. None where there are no two such curves.

    Args:
        classic: all on one set of images; results that were not measured on it are left out.
    """
    if not classic:
        return ()
    images = classic[0].images
    curves = [r for r in results if len(r.curve.bpp) > 1 and r.images == images]
    left_out = [r.curve.name for r in results if len(r.curve.bpp) > 1 and r.images != images]
    where = f"codecs measured on {images}" if images else "codecs measured on images without a name"
    notes = (
        "Measured here, on the same images, real bytes (`hwkd evaluate MODEL --classic`): "
        f"{'; '.join(r.description.rstrip('.') for r in classic)}.",
        *((f"Not said to be of these images: {', '.join(left_out)}.",) if left_out else ()),
    )
    anchors = [result.curve for result in classic]
    if not curves:
        return ()
    return tuple(
        _bd_rates([r.curve for r in curves], anchors, fmt, equal, where, notes)
        for equal in (PSNR, MS_SSIM)
        if equal == PSNR or any(r.curve.ms_ssim is not None for r in curves)
    )


def bd_rate_table(
    results: Sequence[Result], published: PublishedCurves, fmt: str, equal: str = PSNR
) -> Table:
    """BD-rate of each curve against each published one, with the qualities that both reach.

    For machines percent, low and high have a column each; for people the range that most of a row share has one.

    Args:
        equal: hwkd.metrics.PSNR or MS_SSIM.
    """
    anchors = [anchor.curve for anchor in published.curves]
    notes = (source_note(published),)
    curves = [result.curve for result in results]
    return _bd_rates(curves, anchors, fmt, equal, "published curves", notes)


def _bd_rates(
    curves: Sequence[Curve],
    anchors: Sequence[Curve],
    fmt: str,
    equal: str,
    against: str,
    notes: Sequence[str],
) -> Table:
    is_for_machines = fmt in FOR_MACHINES
    columns = ["curve", "points", *(() if is_for_machines else (equal,))]
    for anchor in anchors:
        columns += _machine_columns(anchor.name, equal) if is_for_machines else [anchor.name]
    rows, reasons = [], []
    for curve in curves:
        found: list[tuple[float, float, float] | str] = []
        for anchor in anchors:
            try:
                found.append(
                    (
                        bd_rate_percent(anchor, curve, equal),
                        *shared_range(anchor, curve, equal),
                    )
                )
            except InputError as error:
                reasons.append(f"{curve.name} against {anchor.name} is {NA}: {error}.")
                found.append(str(error))
        cells = _for_machines(found) if is_for_machines else _for_people(found, equal)
        rows.append((curve.name, number(len(curve.bpp)), *cells))
    other = "published" if against == "published curves" else "other"
    how = (
        f"Mean change of rate at equal {_EQUAL[equal]}, {BD_METHOD}: {equal}, or in brackets where it is another; negative: "
        f"fewer bits than the {other} codec."
    )
    if equal == MS_SSIM:
        how += " MS-SSIM: of the mean over the images, on its axis as -10 log10(1 - MS-SSIM)."
    measure = "" if equal == PSNR else f" in {_EQUAL[equal]}"
    title = f"BD-rate{measure} against {against}, in percent"
    return Table(title, tuple(columns), tuple(rows), (how, *notes, *reasons))


def _for_machines(found: Sequence[tuple[float, float, float] | str]) -> Iterator[Valued]:
    for one in found:
        if isinstance(one, str):
            yield from [missing(one)] * 3
        else:
            yield from (number(value, ".3f") for value in one)


def _for_people(found: Sequence[tuple[float, float, float] | str], equal: str) -> Iterator[Valued]:
    """The range that most of them share, then the percentages; a range beside those that have another."""
    digits = ".1f" if equal == PSNR else ".3f"
    spans = [f"{x[1]:{digits}} to {x[2]:{digits}}" for x in found if not isinstance(x, str)]
    if not spans:
        yield missing("there is no BD-rate")
    else:
        usual = max(spans, key=spans.count)
        _, low, high = next(
            x
            for x in found
            if not isinstance(x, str) and f"{x[1]:{digits}} to {x[2]:{digits}}" == usual
        )
        yield span(usual, low, high)
    for one in found:
        if isinstance(one, str):
            yield missing(one)
            continue
        percent, low, high = one
        own = f"{low:{digits}} to {high:{digits}}"
        own = "" if own == usual else f" ({own})"
        yield Valued(f"{percent:+.1f}{own}", percent)


def bd_table(
    title: str, curves: Sequence[tuple[str | None, Callable[[], Curve]]], anchors: Sequence[Curve]
) -> Table:
    """BD-rate and BD-PSNR of each curve against each anchor; n/a where there is none, with the reason in a note.

    Args:
        curves: the name of each, None where the models were not named as a curve; and what makes it or raises InputError.
    """
    rows, notes = [], []
    unnamed = missing("the models were not named as a curve")
    for name, curve_of in curves:
        whose = f" of {name}" if len(curves) > 1 else ""
        for anchor in anchors:
            try:
                curve = curve_of()
                low, high = shared_range(anchor, curve)
                rate = number(bd_rate_percent(anchor, curve), "+.2f")
                shared = span(f"{low:.2f} to {high:.2f}", low, high)
            except InputError as error:
                rate = psnr = shared = missing(str(error))
                notes.append(f"BD figures{whose} against {anchor.name} are n/a: {error}.")
            else:
                # Curves that share PSNRs may share no rate.
                try:
                    psnr = number(bd_psnr_db(anchor, curve), "+.3f")
                except InputError as error:
                    psnr = missing(str(error))
                    notes.append(f"bd_psnr_db{whose} against {anchor.name} is n/a: {error}.")
            rows.append((name or unnamed, anchor.name, rate, psnr, shared))
    notes.append(
        f"Interpolation: {BD_METHOD}. Negative BD-rate, positive BD-PSNR: better than the anchor."
    )
    columns = ("curve", "against", "bd_rate_percent", "bd_psnr_db", "shared_psnr_db")
    return Table(title, columns, tuple(rows), tuple(notes))


def rate_change_table(
    results: Sequence[Result], published: PublishedCurves, *, is_source_told: bool = False
) -> Table:
    """The change of rate of each single model against each published curve at the model's PSNR.

    Args:
        is_source_told: whether a table above has the note on the source of the published curves.
    """
    anchors = [anchor.curve for anchor in published.curves]
    rows, reasons = [], []
    for result in results:
        (psnr_db,), (bpp,) = result.curve.psnr_db, result.curve.bpp
        name = result.curve.name
        cells, lacking = [name, number(psnr_db, ".3f"), number(bpp, ".4f")], []
        for anchor in anchors:
            try:
                cells.append(number(rate_change_percent(anchor, bpp, psnr_db), "+.1f"))
            except InputError as error:
                cells.append(missing(str(error)))
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
    """The source of the published curves."""
    notes = "; ".join(f"{curve.name}: {curve.note}" for curve in published.curves if curve.note)
    return (
        f"Published curves: {published.source} on {published.images}, {published.repository}, commit "
        f"{published.commit[:12]} ({notes})."
    )


def _machine_columns(name: str, equal: str) -> Iterator[str]:
    unit = "db" if equal == PSNR else MS_SSIM
    yield from (f"{name}_{part}" for part in ("percent", f"low_{unit}", f"high_{unit}"))
