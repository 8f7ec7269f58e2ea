"""`hwkd evaluate`: quality and rate of models, from real bytes."""

import argparse
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from hwkd.cli.evaluate_curves import (
    NA,
    Evaluated,
    Group,
    bd_table,
    check_savable,
    curve_of,
    groups_of,
    save_results,
)
from hwkd.cli.evaluate_models import load_evaluated
from hwkd.cli.model_names import SHIPPED_FIRST, refuse_unknown
from hwkd.cli.options import whole
from hwkd.cli.output import add_output_options, emit_all
from hwkd.codec.shipped import shipped_or_as_given
from hwkd.errors import InputError
from hwkd.images import SUFFIXES, ImageSource, open_images
from hwkd.measure.classic_quality import (
    LABELS,
    check_codecs,
    evaluate_classic,
    made,
)
from hwkd.qualities import CURVE_QUALITIES, HIGHEST, LOWEST
from hwkd.report.table import Table
from hwkd.results import read_curve

if TYPE_CHECKING:
    from hwkd.measure.quality import Evaluation, ImageQuality

HELP = "PSNR, MS-SSIM and bits per pixel of models, measured on real bytes"

EXAMPLES = """examples:
  hwkd evaluate runs/student --data photos/
  hwkd evaluate rates.hwkd --data kodak/ --classic --save-results rates.json
  hwkd evaluate rates.hwkd -q 10,50,90 --per-image
  hwkd evaluate runs/q3 runs/q5 runs/q7 --curve student --against hyperprior.json jpeg.json
  hwkd evaluate runs/student:float runs/student student.hwkd --data photos/
  hwkd evaluate runs/student --per-image --format csv -o student.csv
"""

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
        "-q",
        "--qualities",
        type=_qualities,
        metavar="N,N",
        help=f"of a model of all rates, {LOWEST} to {HIGHEST}: its points, which are a curve by themselves (default: "
        f"{','.join(map(str, CURVE_QUALITIES))})",
    )
    parser.add_argument(
        "--per-image", action="store_true", help="a row for every image above each average"
    )
    parser.add_argument(
        "--curve",
        metavar="NAME",
        help="take the models of one rate as the points of one curve of this name, or name the curve of a model of all rates",
    )
    parser.add_argument(
        "--classic",
        nargs="*",
        choices=tuple(LABELS),
        metavar="CODEC",
        help=f"code the images with {', '.join(LABELS)} (default: all three) at many qualities as well: their curves, and "
        "BD-rates of the models' curves against them",
    )
    parser.add_argument(
        "--against",
        type=Path,
        action="extend",
        nargs="+",
        default=[],
        metavar="CURVE.json",
        help="curves in CompressAI's results form; gives BD-rate and BD-PSNR of every curve of two points or more",
    )
    parser.add_argument(
        "--save-results",
        type=Path,
        metavar="FILE.json",
        help="write the averages as one curve in CompressAI's results form, with what is known of each model; "
        "`hwkd compare --results` reads it",
    )
    add_output_options(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluate, print, and return the exit code."""
    # What the user got wrong is said before the slow part.
    anchors = [read_curve(path) for path in args.against]
    classic = None if args.classic is None else tuple(dict.fromkeys(args.classic or LABELS))
    check_codecs(classic or ())
    images = open_images(args.data)
    refuse_unknown(args.models)

    models = [load_evaluated(text, args.qualities) for text in args.models]
    if args.qualities is not None and not any(model.serves_all_rates for model in models):
        raise InputError(
            f"{models[0].name} codes at one rate and takes no quality; leave --qualities out, or give a model of all rates"
        )
    groups = groups_of(models, args.curve)
    if args.save_results:
        check_savable(groups)
    evaluated = []
    # A line that says how far it is, on a terminal only.
    with Console(stderr=True).status("evaluating") as status:
        for model in models:
            for point in model.points:
                what = _named(model.name, point.quality)

                def show(image: "ImageQuality", what: str = what) -> None:
                    status.update(f"{what}: {image.name} done")

                evaluation = point.evaluate(images, progress=show)
                evaluated.append(Evaluated(model, point, evaluation))
        found = _classic(classic or (), images, status.update)
    tables = [_quality_table(evaluated, str(images), args.per_image)]
    if anchors:
        tables.append(bd_table("Against published curves", groups, evaluated, anchors))
    if classic is not None:
        tables += _classic_tables(found, str(images), groups, evaluated)
    if args.save_results:
        said = f"hwkd evaluate on {images}; bpp of real bytes"
        save_results(args.save_results, groups[0], evaluated, said)
    emit_all(tuple(tables), args)
    return 0


def _classic(
    codecs: tuple[str, ...], images: ImageSource, show: Callable[[str], None]
) -> "dict[str, dict[int, Evaluation]]":
    """By codec and quality: what it does to the images."""

    def progress(codec: str, quality: int, image: "ImageQuality") -> None:
        show(f"{_named(LABELS[codec], quality)}: {image.name} done")

    return {
        codec: evaluate_classic(codec, images, progress=partial(progress, codec))
        for codec in codecs
    }


def _quality_table(evaluated: list[Evaluated], where: str, per_image: bool) -> Table:
    has_qualities = any(one.point.quality is not None for one in evaluated)
    rows = []
    notes = []
    for one in evaluated:
        model, point, evaluation = one.model, one.point, one.evaluation
        names = [model.name]
        if has_qualities:
            names.append(NA if point.quality is None else str(point.quality))
        if per_image:
            for image in evaluation.images:
                rows.append((*names, image.name, *_cells(image, point.lmbda)))
        average = ("average",) if per_image else ()
        rows.append((*names, *average, *_cells(evaluation, point.lmbda)))
        if evaluation.ms_ssim_reason:
            notes.append(f"ms_ssim of {model.name} is n/a: {evaluation.ms_ssim_reason}.")
        if evaluation.bpp_estimated is None:
            notes.append(f"bpp_estimated of {model.name} is n/a: a bundle holds no likelihoods.")
        if point.lmbda is None:
            notes.append(f"rd_loss of {model.name} is n/a: its lmbda is not known.")
    notes.append(
        "Averages are means over the images. psnr_db and ms_ssim: 8-bit output decoded from the real bytes; bpp: those "
        "bytes, header included; bpp_estimated: likelihoods; rd_loss: bpp + lmbda 255^2 MSE"
        + (", with the lmbda of the quality." if has_qualities else ".")
    )
    named = ("model", *(("quality",) if has_qualities else ()))
    columns = (*named, *(("image",) if per_image else ()), *_COLUMNS)
    return Table(f"Quality on {where}", columns, tuple(rows), tuple(dict.fromkeys(notes)))


def _cells(figures: "Evaluation | ImageQuality", lmbda: float | None) -> tuple[str, ...]:
    return (
        *_three_cells(figures),
        NA if figures.bpp_estimated is None else f"{figures.bpp_estimated:.4f}",
        NA if lmbda is None else f"{figures.rd_loss(lmbda):.4f}",
    )


def _three_cells(figures: "Evaluation | ImageQuality") -> tuple[str, ...]:
    """psnr_db, ms_ssim and bpp."""
    return (
        f"{figures.psnr_db:.3f}",
        NA if figures.ms_ssim is None else f"{figures.ms_ssim:.5f}",
        f"{figures.bpp:.4f}",
    )


def _classic_tables(
    found: "dict[str, dict[int, Evaluation]]",
    where: str,
    groups: tuple[Group, ...],
    evaluated: list[Evaluated],
) -> tuple[Table, Table]:
    """The points of the classic codecs, and the curves of the models against theirs."""
    labels = [LABELS[codec] for codec in found]
    names = labels[0] if len(labels) == 1 else f"{', '.join(labels[:-1])} and {labels[-1]}"
    rows = tuple(
        (LABELS[codec], str(quality), *_three_cells(evaluation))
        for codec, by_quality in found.items()
        for quality, evaluation in by_quality.items()
    )
    notes = (f"{made(found)}. Figures as of the models; quality: Pillow's setting.",)
    columns = ("codec", "quality", "psnr_db", "ms_ssim", "bpp")
    curves = []
    for codec, by_quality in found.items():
        # A point without error has no place on a curve.
        points = [e for e in by_quality.values() if math.isfinite(e.psnr_db)]
        curves += [curve_of(LABELS[codec], points)] if points else []
    return (
        Table(f"{names} on {where}", columns, rows, notes),
        bd_table(f"Against {names} on the same images", groups, evaluated, curves),
    )


def _named(name: str, quality: int | None) -> str:
    return name if quality is None else f"{name} quality {quality}"


def _qualities(text: str) -> tuple[int, ...]:
    """An argparse type: qualities with commas between, each once."""
    parse = whole(LOWEST, HIGHEST)
    found = tuple(parse(part) for part in text.split(","))
    if len(set(found)) < len(found):
        raise argparse.ArgumentTypeError(f"must be different qualities, got {text!r}")
    return found
