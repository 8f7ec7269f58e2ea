"""Every model that was measured, beside published ones: what it is, what it took, what it reaches. Pure."""

import math
from collections.abc import Iterator, Mapping

from hwkd.models.quality import lmbda_of
from hwkd.report.cells import NA, PUBLISHED
from hwkd.report.compare.published import Paper, PaperRow
from hwkd.report.published_curves import HYPERPRIOR, PublishedCurves
from hwkd.report.result_files import models_of
from hwkd.report.table import Table
from hwkd.results import Result, TrainedModel

QUALITY = 5
"""Of the published hyperprior that stands beside our models, and its lmbda that rd_loss is told at."""
LMBDA = lmbda_of(QUALITY)

IMAGES = "Kodak"
"""What everything was measured on; a file of results says so in its description."""

MEASURED = "measured here"
_COLUMNS = (
    *("model", "figures", "kmac_per_pixel", "precision", "lmbda", "steps", "hours"),
    *("psnr_db", "ms_ssim", "bpp", "rd_loss"),
)


def models_table(results: Mapping[str, Result], published: PublishedCurves, paper: Paper) -> Table:
    """A row for every point of `results`, then the published hyperprior, then the paper's rows."""
    rows: list[tuple[str, ...]] = [
        (
            model.label,
            MEASURED,
            _number(model.kmac_per_pixel, 1),
            model.precision or NA,
            NA if model.lmbda is None else f"{model.lmbda:g}",
            _number(model.steps, 0),
            _number(model.hours, 2),
            f"{psnr_db:.3f}",
            _number(ms_ssim, 5),
            f"{bpp:.4f}",
            _number(model.rd_loss if _has_the_lmbda(model.lmbda) else None, 4),
        )
        for result in results.values()
        for model, psnr_db, ms_ssim, bpp in _points(result)
    ]
    rows += [_hyperprior_row(published, paper), *(_paper_row(paper, row) for row in paper.rows)]
    notes = (*_our_notes(results), *_published_notes(published, paper))
    return Table(f"Models on {IMAGES}", _COLUMNS, tuple(rows), notes)


def _points(result: Result) -> Iterator[tuple[TrainedModel, float, float | None, float]]:
    curve = result.curve
    ms_ssim = curve.ms_ssim or (None,) * len(curve.bpp)
    yield from zip(models_of(result), curve.psnr_db, ms_ssim, curve.bpp, strict=True)


def _has_the_lmbda(lmbda: float | None) -> bool:
    return lmbda is not None and math.isclose(lmbda, LMBDA)


def _hyperprior_row(published: PublishedCurves, paper: Paper) -> tuple[str, ...]:
    curve = published.named(HYPERPRIOR)
    i = QUALITY - 1
    # The paper's teacher is this very model, so its count is this model's.
    kmac = _kmac_per_pixel(paper, paper.rows[0])
    return (
        *(f"{HYPERPRIOR} q{QUALITY}", PUBLISHED, f"{kmac:.1f}", "float", f"{LMBDA:g}", NA, NA),
        *(f"{curve.psnr_db[i]:.3f}", f"{curve.ms_ssim[i]:.5f}", f"{curve.bpp[i]:.4f}", NA),
    )


def _paper_row(paper: Paper, row: PaperRow) -> tuple[str, ...]:
    return (
        *(f"paper: {row.name}", PUBLISHED, f"{_kmac_per_pixel(paper, row):.1f}", "float"),
        *(NA, NA, NA, f"{row.psnr_db:.2f}", NA, f"{row.bpp:.2f}", NA),
    )


def _kmac_per_pixel(paper: Paper, row: PaperRow) -> float:
    return row.gmacs * 1e6 / (paper.width * paper.height)


def _our_notes(results: Mapping[str, Result]) -> Iterator[str]:
    said = dict.fromkeys(result.description for result in results.values() if result.description)
    if said:
        yield f"{MEASURED}: {'; '.join(said)}. Means over the images, 8-bit output decoded from the bytes."
    elsewhere = [
        result.curve.name
        for result in results.values()
        if IMAGES.casefold() not in result.description.casefold()
    ]
    if elsewhere:
        yield (
            f"Not said to be measured on {IMAGES}, as the published figures are: {', '.join(elsewhere)}. On other images "
            "they cannot be compared."
        )
    yield (
        f"rd_loss: bpp + lmbda 255^2 MSE with x in [0, 1], mean over the images, of models trained for lmbda {LMBDA:g}; "
        f"{NA} for those of another lmbda. kmac_per_pixel: g_a, h_a, h_s and g_s, each once, counted by fvcore."
    )
    yield (
        "precision: int8 WEIGHTS/ACTIVATIONS in bits, as a bundle computes; simulated: the same bits rounded in torch's "
        "float arithmetic."
    )
    trained: dict[str, list[str]] = {}
    for result in results.values():
        for hardware in dict.fromkeys(model.hardware for model in models_of(result)):
            trained.setdefault(hardware or "hardware that is not recorded", []).append(
                result.curve.name
            )
    for hardware, names in trained.items():
        whose = "all" if len(trained) == 1 else ", ".join(dict.fromkeys(names))
        yield f"Trained on {hardware}: {whose}."
    yield (
        "steps, hours: of the model's own run; those of a run that it started from and of its teacher are not in them. "
        f"{NA} in a row that was {MEASURED}: not recorded."
    )


def _published_notes(published: PublishedCurves, paper: Paper) -> Iterator[str]:
    curve = published.named(HYPERPRIOR)
    i = QUALITY - 1
    least = curve.bpp[i] + LMBDA * 255**2 * 10 ** (-curve.psnr_db[i] / 10)
    yield (
        f"{HYPERPRIOR} q{QUALITY}: {published.source}, {published.repository}, commit {published.commit[:12]}, "
        f"{curve.path}. Its rd_loss is {NA}, as only mean PSNRs are published: by these it is {least:.3f} or more."
    )
    yield (
        f"paper: {paper.source}, with the paper's two digits; quality on {paper.images}. lmbda, steps, hours and MS-SSIM "
        "are not in its tables."
    )


def _number(value: float | None, digits: int) -> str:
    return NA if value is None else f"{value:.{digits}f}"
