"""`hwkd evaluate`: quality and rate of models, from real bytes."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from hwkd.cli.evaluate_models import EvaluatedModel, load_evaluated
from hwkd.cli.model_names import SHIPPED_FIRST, refuse_unknown
from hwkd.cli.output import add_output_options, emit_all
from hwkd.codec.known import shipped_or_as_given
from hwkd.errors import InputError
from hwkd.images import SUFFIXES, open_images
from hwkd.metrics import BD_METHOD, Curve, bd_psnr_db, bd_rate_percent, shared_psnr_range
from hwkd.report.table import Table
from hwkd.results import Result, TrainedModel, read_curve, write_result

if TYPE_CHECKING:
    from hwkd.measure.quality import Evaluation, ImageQuality

HELP = "PSNR, MS-SSIM and bits per pixel of models, measured on real bytes"

EXAMPLES = """examples:
  hwkd evaluate runs/student --data photos/
  hwkd evaluate runs/q3 runs/q5 runs/q7 --curve student --against hyperprior.json jpeg.json
  hwkd evaluate runs/student:float runs/student student.hwkd --data photos/
  hwkd evaluate runs/student --per-image --format csv -o student.csv
"""

NA = "n/a"
_COLUMNS = ("psnr_db", "ms_ssim", "bpp", "bpp_estimated", "rd_loss")


def configure(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the arguments of `hwkd evaluate`."""
    parser.add_argument(
        "models",
        nargs="+",
        type=shipped_or_as_given,
        metavar="MODEL",
        help="the name of a bundle or teacher that ships (see `hwkd models`), a run folder, a checkpoint, or a bundle; "
        f"{SHIPPED_FIRST}",
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help=f"folder of images ({' '.join(SUFFIXES)}), searched to the bottom; default: the embedded photographs",
    )
    parser.add_argument(
        "--per-image", action="store_true", help="a row for every image above each model's average"
    )
    parser.add_argument(
        "--curve", metavar="NAME", help="take the models as the points of one curve of this name"
    )
    parser.add_argument(
        "--against",
        type=Path,
        action="extend",
        nargs="+",
        default=[],
        metavar="CURVE.json",
        help="curves in CompressAI's results form; gives BD-rate and BD-PSNR of --curve (two models or more)",
    )
    parser.add_argument(
        "--save-results",
        type=Path,
        metavar="FILE.json",
        help="write the averages of all models as one curve in CompressAI's results form, with what is known of each model; "
        "`hwkd compare --results` reads it",
    )
    add_output_options(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluate, print, and return the exit code."""
    # What the user got wrong is said before the slow part.
    anchors = [read_curve(path) for path in args.against]
    images = open_images(args.data)
    refuse_unknown(args.models)

    models = [load_evaluated(text) for text in args.models]
    evaluations = []
    # A line that says how far it is, on a terminal only.
    with Console(stderr=True).status("evaluating") as status:
        for model in models:

            def show(image: "ImageQuality", name: str = model.name) -> None:
                status.update(f"{name}: {image.name} done")

            evaluations.append(model.evaluate(images, progress=show))
    tables = [_quality_table(models, evaluations, str(images), args.per_image)]
    if anchors:
        tables.append(_bd_table(_curve(args.curve, evaluations) if args.curve else None, anchors))
    if args.save_results:
        curve = _curve(args.curve or models[0].name, evaluations)
        said = f"hwkd evaluate on {images}; bpp of real bytes"
        write_result(args.save_results, Result(curve, said, _trained(models, evaluations)))
    emit_all(tuple(tables), args)
    return 0


def _quality_table(
    models: list[EvaluatedModel], evaluations: "list[Evaluation]", where: str, per_image: bool
) -> Table:
    rows = []
    notes = []
    for model, evaluation in zip(models, evaluations, strict=True):
        if per_image:
            for image in evaluation.images:
                rows.append((model.name, image.name, *_cells(image, model.lmbda)))
        average = ("average",) if per_image else ()
        rows.append((model.name, *average, *_cells(evaluation, model.lmbda)))
        if evaluation.ms_ssim_reason:
            notes.append(f"ms_ssim of {model.name} is n/a: {evaluation.ms_ssim_reason}.")
        if evaluation.bpp_estimated is None:
            notes.append(f"bpp_estimated of {model.name} is n/a: a bundle holds no likelihoods.")
        if model.lmbda is None:
            notes.append(f"rd_loss of {model.name} is n/a: its lmbda is not known.")
    notes.append(
        "Averages are means over the images. psnr_db and ms_ssim: 8-bit output decoded from the real bytes; bpp: those "
        "bytes, header included; bpp_estimated: likelihoods; rd_loss: bpp + lmbda 255^2 MSE."
    )
    columns = ("model", *(("image",) if per_image else ()), *_COLUMNS)
    return Table(f"Quality on {where}", columns, tuple(rows), tuple(notes))


def _cells(figures: "Evaluation | ImageQuality", lmbda: float | None) -> tuple[str, ...]:
    return (
        f"{figures.psnr_db:.3f}",
        NA if figures.ms_ssim is None else f"{figures.ms_ssim:.5f}",
        f"{figures.bpp:.4f}",
        NA if figures.bpp_estimated is None else f"{figures.bpp_estimated:.4f}",
        NA if lmbda is None else f"{figures.rd_loss(lmbda):.4f}",
    )


def _curve(name: str, evaluations: "list[Evaluation]") -> Curve:
    """The evaluations as one curve, in order of rate; MS-SSIM only where every one has it."""
    points = sorted(evaluations, key=lambda e: e.bpp)
    ms_ssim = [e.ms_ssim for e in points if e.ms_ssim is not None]
    return Curve(
        name,
        tuple(e.bpp for e in points),
        tuple(e.psnr_db for e in points),
        tuple(ms_ssim) if len(ms_ssim) == len(points) else None,
    )


def _trained(
    models: list[EvaluatedModel], evaluations: "list[Evaluation]"
) -> tuple[TrainedModel, ...]:
    """What is known of each model, with its loss, in the order of `_curve`."""
    points = sorted(zip(models, evaluations, strict=True), key=lambda point: point[1].bpp)
    return tuple(
        replace(model.trained(), rd_loss=None if lmbda is None else evaluation.rd_loss(lmbda))
        for model, evaluation in points
        for lmbda in (model.lmbda,)
    )


def _bd_table(curve: Curve | None, anchors: list[Curve]) -> Table:
    """BD-rate and BD-PSNR of `curve` against each anchor; n/a with the reason in a note where there is none."""
    rows, notes = [], []
    name = curve.name if curve else NA
    for anchor in anchors:
        try:
            if curve is None:
                raise InputError("name the curve that the models form with --curve NAME")
            low, high = shared_psnr_range(anchor, curve)
            cells = (
                f"{bd_rate_percent(anchor, curve):+.2f}",
                f"{bd_psnr_db(anchor, curve):+.3f}",
                f"{low:.2f} to {high:.2f}",
            )
        except InputError as error:
            cells = (NA, NA, NA)
            notes.append(f"BD figures against {anchor.name} are n/a: {error}.")
        rows.append((name, anchor.name, *cells))
    notes.append(
        f"Interpolation: {BD_METHOD}. Negative BD-rate, positive BD-PSNR: better than the anchor."
    )
    columns = ("curve", "against", "bd_rate_percent", "bd_psnr_db", "shared_psnr_db")
    return Table("Against published curves", columns, tuple(rows), tuple(notes))
