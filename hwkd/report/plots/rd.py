"""Rate and distortion as a plot: our results, published curves and the paper's models. Pure."""

from collections.abc import Iterator
from pathlib import Path

from hwkd.errors import InputError
from hwkd.quantity import NA, PUBLISHED
from hwkd.report.compare.published import Paper, PublishedCurves
from hwkd.report.plots.figures import draw_plot
from hwkd.report.plots.plot import PAPER, Point, Scatter, Series, exact
from hwkd.report.rates import is_on, source_note
from hwkd.report.results import IMAGES, ResultFiles, models_of
from hwkd.report.table import Table
from hwkd.results import Result, TrainedModel

KEY = "rd"
X_LABEL, Y_LABEL = "bits per pixel", "PSNR (dB)"

_BEYOND = 1.6
"""How far the axis of rates goes on beyond our own points, as a factor: published curves go on for long."""
_BEYOND_DB = 2.0


def rd_plot(files: ResultFiles, published: PublishedCurves, paper: Paper) -> Scatter | None:
    """PSNR over bits per pixel, which are on a logarithmic axis as BD-rates average over their logarithm; None where
    there are no results.

    Other forms of a student that ships (float, QAT, PTQ) are left out: they would lie on its curve.
    """
    # Curves first: single models lie upon them, and must be seen.
    results = sorted(files.shipped.values(), key=lambda result: len(result.curve.bpp) == 1)
    if not results:
        return None
    ours = tuple(_ours(result) for result in results)
    others = (
        *(
            Series(curve.name, _points(curve.name, curve.bpp, curve.psnr_db), True, True)
            for curve in published.curves
        ),
        _paper_series(paper),
    )
    shown = [point for series in (*ours, others[-1]) for point in series.points]
    rates, psnrs = [point.x for point in shown], [point.y for point in shown]
    return Scatter(
        key=KEY,
        title="Rate and distortion",
        x_label=X_LABEL,
        y_label=Y_LABEL,
        series=(*ours, *others),
        caption=_caption(ours, others),
        table=_table(results, others),
        notes=tuple(_notes(results, published, paper)),
        is_x_log=True,
        x_range=(min(rates) / _BEYOND, max(rates) * _BEYOND),
        y_range=(min(psnrs) - _BEYOND_DB, max(psnrs) + _BEYOND_DB),
    )


def _ours(result: Result) -> Series:
    curve = result.curve
    points = tuple(
        Point(bpp, psnr, model.label, detail=_detail(model))
        for bpp, psnr, model in zip(curve.bpp, curve.psnr_db, models_of(result), strict=True)
    )
    return Series(curve.name, points, is_line=len(points) > 1)


def _detail(model: TrainedModel) -> str:
    lmbda = None if model.lmbda is None else f"lmbda {model.lmbda:g}"
    return ", ".join(text for text in (lmbda, model.precision) if text)


def _points(name: str, bpp: tuple[float, ...], psnr_db: tuple[float, ...]) -> tuple[Point, ...]:
    return tuple(Point(x, y, name, detail=PUBLISHED) for x, y in zip(bpp, psnr_db, strict=True))


def _paper_series(paper: Paper) -> Series:
    points = tuple(Point(row.bpp, row.psnr_db, row.name, detail=PUBLISHED) for row in paper.rows)
    return Series(PAPER, points, is_published=True)


def _caption(ours: tuple[Series, ...], others: tuple[Series, ...]) -> str:
    curves = [_extent(series) for series in ours if len(series.points) > 1]
    single = [f"{s.name} ({_place(s.points[0])})" for s in ours if len(s.points) == 1]
    best = max((point for series in ours for point in series.points), key=lambda p: p.y)
    return (
        "PSNR in dB over bits per pixel, which are on a logarithmic axis: higher and further left is better. "
        + (f"Curves measured here: {'; '.join(curves)}. " if curves else "")
        + (f"Single models measured here: {', '.join(single)}. " if single else "")
        + f"The highest PSNR measured here is that of {best.name} ({_place(best)}). "
        + f"Published, in black and grey: {', '.join(series.name for series in others)}."
    )


def _extent(series: Series) -> str:
    first, last = (f(series.points, key=lambda p: p.x) for f in (min, max))
    return f"{series.name} from {_place(first)} to {_place(last)}"


def _place(point: Point) -> str:
    return f"{point.x:.3f} bpp, {point.y:.2f} dB"


def _table(results: list[Result], others: tuple[Series, ...]) -> Table:
    rows = []
    for result in results:
        curve = result.curve
        for model, bpp, psnr in zip(models_of(result), curve.bpp, curve.psnr_db, strict=True):
            lmbda, precision = exact(model.lmbda), model.precision or NA
            rows.append(
                (curve.name, model.label, f"{bpp:.4f}", f"{psnr:.3f}", lmbda, precision, "measured")
            )
    for series in others:
        rows += [
            (series.name, p.name, f"{p.x:.4f}", f"{p.y:.3f}", NA, NA, PUBLISHED)
            for p in series.points
        ]
    columns = ("curve", "model", "bpp", "psnr_db", "lmbda", "precision", "found")
    return Table("Rate and distortion", columns, tuple(rows))


def _notes(results: list[Result], published: PublishedCurves, paper: Paper) -> Iterator[str]:
    by_description: dict[str, list[str]] = {}
    for result in results:
        by_description.setdefault(result.description, []).append(result.curve.name)
    for description, names in by_description.items():
        whose = "all curves and models of ours" if len(by_description) == 1 else ", ".join(names)
        yield f"Measured: {whose}, {description or 'how is not recorded'}; means over the images."
    elsewhere = [r.curve.name for r in results if not is_on(IMAGES, r.images or r.description)]
    if elsewhere:
        yield (
            f"Not said to be measured on {IMAGES}, as the published figures are: {', '.join(elsewhere)}. On other images "
            "they cannot be compared."
        )
    yield source_note(published)
    yield f"{PAPER}: {paper.source}, with the paper's two digits, on {paper.images}."


# Our results and published curves as one figure: PSNR over bits per pixel. matplotlib is imported where it draws.


def draw_rd(files: ResultFiles, published: PublishedCurves, paper: Paper, path: Path) -> None:
    """Write the plot of hwkd.report.plots.rd to `path`, in the format that its suffix names.

    Raises:
        InputError: there are no results.
        HwkdError: matplotlib is not installed; as hwkd.files.replacing.
    """
    plot = rd_plot(files, published, paper)
    if plot is None:
        raise InputError("there is no curve to plot: give results that hold one")
    draw_plot(plot, [path])
