"""`hwkd evaluate`: quality and rate of models, measured on real bytes."""

import argparse
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import MISSING, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hwkd.cli.model_names import SHIPPED_FIRST, refuse_unknown
from hwkd.cli.tables import TableOptions, emit_all
from hwkd.cli.talk import stderr_console
from hwkd.codec.codec import Codec
from hwkd.codec.shipped import shipped_or_as_given
from hwkd.errors import HwkdError, InputError
from hwkd.images import SUFFIXES, ImageSource, open_images
from hwkd.measure.bundles import macs_per_pixel
from hwkd.measure.classic import evaluate_classic
from hwkd.measure.pillow_formats import ALL_LABELS, JXL, check_codecs, lacking, made
from hwkd.measure.quality import Evaluation, ImageQuality, curve_of, evaluate, evaluate_bundle
from hwkd.metrics import Curve
from hwkd.options import option, whole
from hwkd.qualities import CURVE_QUALITIES, HIGHEST, LOWEST, check_within, lmbda_at, nearest
from hwkd.report.rates import bd_table
from hwkd.report.table import Table, missing, number
from hwkd.results import Result, TrainedModel, read_curve, write_result
from hwkd.runtime.bundle import BUNDLE_SUFFIX, Bundle, is_bundle
from hwkd.runtime.manifest import NOT_RECORDED, Card

if TYPE_CHECKING:
    from hwkd.distill.run_folder import LoadedModel
    from hwkd.images import Pixels
    from hwkd.models.base import HyperpriorCodec

HELP = "PSNR, MS-SSIM and bits per pixel of models, measured on real bytes"

EXAMPLES = """examples:
  hwkd evaluate runs/student --data photos/
  hwkd evaluate rates.hwkd --data kodak/ --classic --save-results rates.json
  hwkd evaluate rates.hwkd -q 10,50,90 --per-image
  hwkd evaluate runs/q3 runs/q5 runs/q7 --curve student --against hyperprior.json jpeg.json
  hwkd evaluate runs/student:float runs/student student.hwkd --data photos/
  hwkd evaluate runs/student --per-image --format csv -o student.csv
"""


# The subjects of `hwkd evaluate`: bundles, and models that torch runs; and the known facts of their training.

COUNTED_SIZE = (768, 512)
"""Width and height of the images, Kodak's, that MACs per pixel hold for: a multiple of 64, so nothing is padded."""


@dataclass(frozen=True)
class EvaluatedPoint:
    """A model at one rate, ready to evaluate.

    Attributes:
        quality: None for a model of one rate.
        lmbda: None if it is not known.
        evaluate: evaluates this codec, with the arguments of hwkd.measure.quality.evaluate after the codec.
    """

    quality: int | None
    lmbda: float | None
    evaluate: Callable[..., Evaluation]


@dataclass(frozen=True)
class EvaluatedModel:
    """A model: one point, or the points of a model of all rates in order of their quality.

    Attributes:
        trained: counts MACs and reads the known facts of the training, the same for every point.
    """

    name: str
    points: tuple[EvaluatedPoint, ...]
    trained: Callable[[], TrainedModel]

    @property
    def serves_all_rates(self) -> bool:
        """Whether the model is a curve by itself."""
        return self.points[0].quality is not None


def load_evaluated(text: str, qualities: Sequence[int] | None) -> EvaluatedModel:
    """The model that `text` names: a bundle, or anything that `hwkd.distill.run_folder.load_model` takes.

    Args:
        qualities: qualities of a model of all rates; None for those of CURVE_QUALITIES that it has.
    Raises:
        InputError: a quality that the bundle lacks; also as the two functions that load it.
        HwkdError: as the two functions that load it.
    """
    if is_bundle(text):
        return _bundle(Codec.load(text), qualities)
    from hwkd.distill.run_folder import load_model

    return _in_torch(text, load_model(text), qualities)


def _bundle(codec: Codec, qualities: Sequence[int] | None) -> EvaluatedModel:
    manifest = codec.bundle.manifest
    points = tuple(
        EvaluatedPoint(
            quality,
            manifest.lmbda if quality is None else lmbda_at(quality),
            partial(evaluate_bundle, codec, quality=quality),
        )
        for quality in _qualities_of(manifest.name, manifest.qualities, qualities)
    )
    name = f"{manifest.name}{BUNDLE_SUFFIX}"
    return EvaluatedModel(name, points, partial(_of_bundle, codec.bundle))


def _in_torch(text: str, loaded: "LoadedModel", qualities: Sequence[int] | None) -> EvaluatedModel:
    has = (LOWEST, HIGHEST) if loaded.codec.serves_all_rates else None
    points = tuple(
        EvaluatedPoint(
            quality,
            loaded.lmbda if quality is None else lmbda_at(quality),
            partial(_evaluate_in_torch, loaded.codec, quality),
        )
        for quality in _qualities_of(loaded.name, has, qualities)
    )
    return EvaluatedModel(loaded.name, points, partial(_of_torch, text, loaded))


def _qualities_of(
    name: str, has: tuple[int, int] | None, asked: Sequence[int] | None
) -> tuple[int | None, ...]:
    """The qualities to evaluate; (None,) for a model of one rate.

    Args:
        has: the lowest and the highest quality of the model; None for a model of one rate.
        asked: the user's qualities; None for CURVE_QUALITIES, moved into the model's range.
    """
    if has is None:
        return (None,)
    if asked is None:
        return nearest(CURVE_QUALITIES, has)
    for quality in asked:
        check_within(name, has, quality)
    return tuple(sorted(asked))


def _evaluate_in_torch(
    codec: "HyperpriorCodec",
    quality: int | None,
    images: "Iterable[tuple[str, Pixels]]",
    *,
    progress: Callable[[ImageQuality], None] | None = None,
) -> Evaluation:
    if quality is not None:
        codec.set_lmbda(lmbda_at(quality))
    return evaluate(codec, images, progress=progress)


def _of_bundle(bundle: Bundle) -> TrainedModel:
    manifest = bundle.manifest
    try:
        kmac_per_pixel = macs_per_pixel(bundle) / 1e3
    except InputError:
        kmac_per_pixel = None  # a bundle without its costs can be evaluated too
    precision = f"int8 {manifest.weight_bits}/{manifest.act_bits}"
    return trained_by_card(manifest.name, manifest.lmbda, kmac_per_pixel, precision, manifest.card)


def _of_torch(text: str, loaded: "LoadedModel") -> TrainedModel:
    from hwkd.export.export import training_card
    from hwkd.measure.eager.macs import count_macs
    from hwkd.models.build import build
    from hwkd.quantize.qat import with_empty_rests

    bits = loaded.bits
    # A float model is counted, whatever the bits.
    model = build(loaded.spec) if bits is None else with_empty_rests(build(loaded.spec))
    kmac_per_pixel = count_macs(model, *COUNTED_SIZE).macs_per_pixel / 1e3
    precision = "fp32" if bits is None else f"simulated {bits.weights_in_words()}/{bits.act_bits}"
    return trained_by_card(
        loaded.name, loaded.lmbda, kmac_per_pixel, precision, training_card(text)
    )


def trained_by_card(
    name: str, lmbda: float | None, kmac_per_pixel: float | None, precision: str, card: Card | None
) -> TrainedModel:
    """The known facts of a model. Its steps are those of both phases of its own run.

    Args:
        card: None if there is no card.
    """
    steps = hours = hardware = None
    if card is not None:
        if card.float_steps is not None and card.quantized_steps is not None:
            steps = card.float_steps + card.quantized_steps
        hours = card.hours
        hardware = None if card.hardware == NOT_RECORDED else card.hardware
    return TrainedModel(
        name,
        lmbda=lmbda,
        kmac_per_pixel=kmac_per_pixel,
        steps=steps,
        hours=hours,
        hardware=hardware,
        precision=precision,
    )


# The curves that evaluated models form, and the file they are saved in.


@dataclass(frozen=True)
class Evaluated:
    """One point and its evaluation on the images."""

    model: EvaluatedModel
    point: EvaluatedPoint
    evaluation: Evaluation


@dataclass(frozen=True)
class CurveModels:
    """Models that form a curve.

    Attributes:
        name: None if the user has not named it; then it is not meant as a curve.
    """

    name: str | None
    models: tuple[EvaluatedModel, ...]

    def points(self, evaluated: Sequence[Evaluated]) -> list[Evaluated]:
        """The points of this curve among `evaluated`, in order of rate."""
        own = [one for one in evaluated if any(one.model is model for model in self.models)]
        return sorted(own, key=lambda one: one.evaluation.bpp)

    def curve(self, evaluated: Sequence[Evaluated]) -> Curve:
        """The curve; with MS-SSIM only if every point has it.

        Raises:
            InputError: it has no name, or a point without error.
        """
        if self.name is None:
            raise InputError("name the curve that the models form with --curve NAME")
        return curve_of(self.name, [one.evaluation for one in self.points(evaluated)])


def groups_of(models: Sequence[EvaluatedModel], name: str | None) -> tuple[CurveModels, ...]:
    """The curves that `models` form: each model of all rates is one; the models of one rate together are another.

    Args:
        name: the user's name for the curve of the models of one rate, or else for the only curve.
    Raises:
        InputError: there is a name, and two curves could have it.
    """
    whole = [model for model in models if model.serves_all_rates]
    single = tuple(model for model in models if not model.serves_all_rates)
    if name is not None and not single and len(whole) > 1:
        raise InputError(
            f"--curve names one curve, and {' and '.join(model.name for model in whole)} are one each: leave it out"
        )
    own_name = None if single else name
    groups = [CurveModels(own_name or model.name, (model,)) for model in whole]
    if single:
        groups.append(CurveModels(name, single))
    return tuple(groups)


def check_savable(groups: Sequence[CurveModels]) -> None:
    """Raise InputError if one file cannot hold the curves."""
    if len(groups) > 1:
        raise InputError(
            f"--save-results holds one curve, and the models form {len(groups)}: evaluate them one at a time"
        )


def _check_finite(evaluated: Sequence[Evaluated]) -> None:
    for one in evaluated:
        if one.evaluation.exact:
            quality = "" if one.point.quality is None else f" at quality {one.point.quality}"
            raise InputError(
                f"--save-results holds finite figures, and {one.evaluation.exact[0]} came back from {one.model.name}{quality} "
                "without error, so that the mean PSNR is infinite: leave that image out"
            )


def save_results(
    path: Path, group: CurveModels, evaluated: Sequence[Evaluated], description: str, images: str
) -> None:
    """Write the curve of `group` with the known facts of each point.

    Args:
        description, images: as of hwkd.results.Result.
    Raises:
        InputError: a point is not finite.
        Others: as hwkd.results.write_result.
    """
    _check_finite(evaluated)
    named = replace(group, name=group.name or group.models[0].name)
    known = {id(model): model.trained() for model in group.models}
    trained = tuple(_trained(known[id(one.model)], one) for one in named.points(evaluated))
    write_result(path, Result(named.curve(evaluated), description, trained, images))


def _trained(known: TrainedModel, one: Evaluated) -> TrainedModel:
    """`known` with the point's quality, lambda and loss."""
    lmbda = one.point.lmbda
    loss = None if lmbda is None else one.evaluation.rd_loss(lmbda)
    return replace(known, quality=one.point.quality, lmbda=lmbda, rd_loss=loss)


def _bd_table(
    title: str,
    groups: Sequence[CurveModels],
    evaluated: Sequence[Evaluated],
    anchors: Sequence[Curve],
) -> Table:
    """The BD figures of the curves that have a name; of all where none has."""
    named = [group for group in groups if group.name is not None] or groups
    curves = [(group.name, partial(group.curve, evaluated)) for group in named]
    return bd_table(title, curves, anchors)


NO_LIKELIHOODS = "a bundle holds no likelihoods"
NO_LMBDA = "its lmbda is not known"
EXACT_SHOWN = 3
"""Number of images that a note names."""

_COLUMNS = ("psnr_db", "ms_ssim", "bpp", "bpp_estimated", "rd_loss")


def _qualities(text: str) -> tuple[int, ...]:
    """An argparse type: qualities with commas between, each once."""
    parse = whole(LOWEST, HIGHEST)
    found = tuple(parse(part) for part in text.split(","))
    if len(set(found)) < len(found):
        raise argparse.ArgumentTypeError(f"must be different qualities, got {text!r}")
    return found


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(TableOptions):
    """The options of `hwkd evaluate`, except those that control how its tables are printed."""

    models: tuple[str, ...] = option(
        "the name of a bundle or teacher that ships (see `hwkd models`), a run folder, a checkpoint, or a bundle; "
        f"{SHIPPED_FIRST}",
        "MODEL",
        shipped_or_as_given,
        default=MISSING,
        positional=True,
        nargs="+",
    )
    data: Path | None = option(
        f"folder of images ({' '.join(SUFFIXES)}), searched to the bottom; default: the embedded photographs",
        "DIR",
    )
    qualities: tuple[int, ...] | None = option(
        f"of a model of all rates, {LOWEST} to {HIGHEST}: its points, which are a curve by themselves (default: "
        f"{','.join(map(str, CURVE_QUALITIES))})",
        "N,N",
        _qualities,
        short="-q",
    )
    per_image: bool = option("a row for every image above each average", default=False)
    curve: str | None = option(
        "take the models of one rate as the points of one curve of this name, or name the curve of a model of all rates",
        "NAME",
    )
    classic: tuple[str, ...] | None = option(
        f"code the images with {', '.join(ALL_LABELS)} (default: all of them; jxl takes the extra of that name) at many "
        "qualities as well: their curves, and BD-rates of the models' curves against them",
        "CODEC",
        nargs="*",
        choices=tuple(ALL_LABELS),
    )
    against: tuple[Path, ...] = option(
        "curves in CompressAI's results form; gives BD-rate and BD-PSNR of every curve of two points or more",
        "CURVE.json",
        default=(),
        action="extend",
        nargs="+",
    )
    save_results: Path | None = option(
        "write the averages as one curve in CompressAI's results form, with what is known of each model; "
        "`hwkd compare --results` reads it",
        "FILE.json",
    )
    save_classic: Path | None = option(
        "with --classic: write the curve of each codec to this folder (webp.json, ..); as FOLDER/classic it is what "
        "`hwkd compare --results FOLDER` sets models against",
        "DIR",
    )


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `hwkd evaluate` to `parser`."""
    EvaluateOptions.add_to(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluate, print, and return the exit code."""
    options = EvaluateOptions.of(args)
    # Wrong input is reported before the slow part.
    anchors = [read_curve(path) for path in options.against]
    classic = _codecs(options.classic)
    if options.save_classic is not None and classic is None:
        raise InputError("--save-classic writes what --classic measures: add it, or leave it out")
    refuse_unknown(options.models)
    given = open_images(options.data)
    images = given.readable()

    models = [load_evaluated(text, options.qualities) for text in options.models]
    if options.qualities is not None and not any(model.serves_all_rates for model in models):
        raise InputError(
            f"{models[0].name} codes at one rate and takes no quality; leave --qualities out, or give a model of all rates"
        )
    groups = groups_of(models, options.curve)
    if options.save_results:
        check_savable(groups)
    evaluated: list[Evaluated] = []
    # A line with the progress, on a terminal only.
    try:
        with stderr_console().status("evaluating") as status:
            for model in models:
                for point in model.points:
                    what = _named(model.name, point.quality)

                    def show(image: ImageQuality, what: str = what) -> None:
                        status.update(f"{what}: {image.name} done")

                    evaluation = point.evaluate(images, progress=show)
                    evaluated.append(Evaluated(model, point, evaluation))
            found = _classic(classic or (), images, status.update)
    except BaseException:
        # Results of hours are written now: nothing that comes later, not even Ctrl-C, can lose them.
        if evaluated:
            emit_all((_quality_table(evaluated, str(images), options.per_image),), options)
        raise
    tables = [_quality_table(evaluated, str(images), options.per_image)]
    if anchors:
        tables.append(_bd_table("Against published curves", groups, evaluated, anchors))
    if classic is not None:
        tables += _classic_tables(found, str(images), groups, evaluated)
    # The curves of classic codecs are long, so they come after the tables made of them.
    curves = [table for table in tables if classic is not None and table.columns[0] == "codec"]
    first = [table for table in tables if table not in curves]
    left_out: tuple[str, ...] = ()
    if options.per_image:
        # Where not every row has room, the averages are what matters.
        first[0] = _quality_table(evaluated, str(images), per_image=False)
        left_out = ("the figures of each image",)
    emit_all(tuple(tables), options, first=((*first, *curves), left_out))
    said = f"hwkd evaluate on {images}; bpp of real bytes"
    if options.save_results:
        save_results(options.save_results, groups[0], evaluated, said, str(images))
    if options.save_classic is not None:
        for codec, curve in _classic_curves(found).items():
            result = Result(curve, made((codec,)), images=str(images))
            write_result(options.save_classic / f"{codec}.json", result)
    unread = len(given.paths) - len(images.paths)
    if unread:
        raise HwkdError(
            f"{unread} of {len(given.paths)} images were left out for the reasons above; the figures are those of the others"
        )
    return 0


def _codecs(asked: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """The codecs to measure; all of them where none is named. Raises InputError where Pillow lacks one."""
    codecs = None if asked is None else tuple(dict.fromkeys(asked or ALL_LABELS))
    # JPEG XL is an extra: where it is not asked for by name, its row says why it is missing.
    check_codecs(codec for codec in codecs or () if asked or codec != JXL)
    return codecs


def _classic(
    codecs: tuple[str, ...], images: ImageSource, show: Callable[[str], None]
) -> dict[str, dict[int, Evaluation]]:
    """The evaluation of each codec at each quality, by codec and quality; none of a codec that is not here."""

    def progress(codec: str, quality: int, image: ImageQuality) -> None:
        show(f"{_named(ALL_LABELS[codec], quality)}: {image.name} done")

    return {
        codec: {}
        if lacking(codec)
        else evaluate_classic(codec, images, progress=partial(progress, codec))
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
            names.append(number(point.quality, "", "it codes at one rate"))
        if per_image:
            for image in evaluation.images:
                rows.append((*names, image.name, *_cells(image, point.lmbda)))
        average = ("average",) if per_image else ()
        rows.append((*names, *average, *_cells(evaluation, point.lmbda)))
        if evaluation.ms_ssim_reason:
            notes.append(f"ms_ssim of {model.name} is n/a: {evaluation.ms_ssim_reason}.")
        if evaluation.exact:
            notes.append(_exact_note(_named(model.name, point.quality), evaluation))
        if evaluation.bpp_estimated is None:
            notes.append(f"bpp_estimated of {model.name} is n/a: {NO_LIKELIHOODS}.")
        if point.lmbda is None:
            notes.append(f"rd_loss of {model.name} is n/a: {NO_LMBDA}.")
    notes.append(
        "Averages are means over the images. psnr_db and ms_ssim: 8-bit output decoded from the real bytes; bpp: those "
        "bytes, header included; bpp_estimated: likelihoods; rd_loss: bpp + lmbda 255^2 MSE"
        + (", with the lmbda of the quality." if has_qualities else ".")
    )
    named = ("model", *(("quality",) if has_qualities else ()))
    columns = (*named, *(("image",) if per_image else ()), *_COLUMNS)
    return Table(f"Quality on {where}", columns, tuple(rows), tuple(dict.fromkeys(notes)))


def _exact_note(name: str, evaluation: Evaluation) -> str:
    """A note on the effect of an image without error on the mean."""
    exact, count = evaluation.exact, len(evaluation.images)
    mean = evaluation.psnr_db_of_mean_error
    others = "no image has any" if math.isinf(mean) else f"that of the mean error is {mean:.3f} dB"
    return (
        f"psnr_db of {name} is inf, as {', '.join(exact[:EXACT_SHOWN])} came back without error "
        f"({len(exact)} of {count} images): {others}."
    )


def _cells(figures: Evaluation | ImageQuality, lmbda: float | None) -> tuple[str, ...]:
    return (
        *_three_cells(figures),
        number(figures.bpp_estimated, ".4f", NO_LIKELIHOODS),
        number(None if lmbda is None else figures.rd_loss(lmbda), ".4f", NO_LMBDA),
    )


def _three_cells(figures: Evaluation | ImageQuality) -> tuple[str, ...]:
    """Cells of psnr_db, ms_ssim and bpp."""
    return (
        number(figures.psnr_db, ".3f", "infinite: an image came back without error"),
        number(figures.ms_ssim, ".5f", figures.ms_ssim_reason or ""),
        number(figures.bpp, ".4f"),
    )


def _classic_tables(
    found: dict[str, dict[int, Evaluation]],
    where: str,
    groups: tuple[CurveModels, ...],
    evaluated: list[Evaluated],
) -> tuple[Table, Table]:
    """The points of the classic codecs, and the models' curves against theirs."""
    labels = [ALL_LABELS[codec] for codec in found]
    names = labels[0] if len(labels) == 1 else f"{', '.join(labels[:-1])} and {labels[-1]}"
    columns = ("codec", "quality", "psnr_db", "ms_ssim", "bpp")
    rows = [
        (ALL_LABELS[codec], number(quality), *_three_cells(evaluation))
        for codec, by_quality in found.items()
        for quality, evaluation in by_quality.items()
    ]
    absent = [codec for codec, by_quality in found.items() if not by_quality]
    rows += [(ALL_LABELS[codec], *[missing(lacking(codec))] * 4) for codec in absent]
    there = [codec for codec in found if codec not in absent]
    notes = (
        f"{made(there)}. Figures as of the models; quality: Pillow's setting.",
        *(f"{ALL_LABELS[codec]} is n/a: {lacking(codec)}." for codec in absent),
    )
    curves = list(_classic_curves(found).values())
    return (
        Table(f"{names} on {where}", columns, tuple(rows), notes),
        _bd_table(f"Against {names} on the same images", groups, evaluated, curves),
    )


def _classic_curves(found: dict[str, dict[int, Evaluation]]) -> dict[str, Curve]:
    """The curves of the codecs that are here, by codec."""
    curves = {}
    for codec, by_quality in found.items():
        # A point without error has no place on a curve.
        points = [e for e in by_quality.values() if math.isfinite(e.psnr_db)]
        if points:
            curves[codec] = curve_of(ALL_LABELS[codec], points)
    return curves


def _named(name: str, quality: int | None) -> str:
    return name if quality is None else f"{name} quality {quality}"
