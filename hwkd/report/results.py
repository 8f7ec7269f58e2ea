"""A folder of results as tables: every model, rates at equal PSNR, quantization, control arms, all at a glance."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from hwkd.errors import InputError
from hwkd.files import data_folder
from hwkd.measure.pillow_formats import ALL_LABELS
from hwkd.metrics import BD_METHOD, bd_rate_percent, shared_range
from hwkd.models.spec import lmbda_of
from hwkd.quantity import NA, PUBLISHED
from hwkd.report.compare.published import (
    HYPERPRIOR,
    Paper,
    PaperRow,
    PublishedCurves,
    read_paper,
    read_published_curves,
)
from hwkd.report.rates import is_on, measured_rate_tables, published_rate_tables
from hwkd.report.table import Table, missing, number, span
from hwkd.results import Result, TrainedModel, read_result
from hwkd.runtime.manifest import NOT_RECORDED
from hwkd.schema import read_json, read_table

# A folder of results: a file for each curve or single model, and the control arms.
#
# NAME.json is a model or curve as it ships. Beside it NAME-float.json may be its float student, NAME-qat.json the
# student quantized in training and NAME-ptq.json the one quantized after training, both computed in torch.
# classic/CODEC.json are JPEG, WebP and others on the same images, sets/SET/ is such a folder for other images.

ARMS = "control-arms.json"
CLASSIC, SETS = "classic", "sets"
"""Folders in a folder of results: of classic codecs on the same images; of results on other images."""

VARIANTS = ("float", "ptq", "qat")
"""The last part of a file's name for another form of the same student."""


@dataclass(frozen=True)
class Arm:
    """One student of a comparison in which one thing changes.

    Attributes:
        steps: steps of training.
        rd_loss: loss at one lmbda for all arms.
    """

    model: str
    arm: str
    steps: int | None
    psnr_db: float
    ms_ssim: float | None
    bpp: float
    rd_loss: float
    note: str | None

    def __post_init__(self) -> None:
        if self.rd_loss <= 0:
            raise InputError(f"rd_loss must be above 0, got {self.rd_loss}")


@dataclass(frozen=True)
class ControlArms:
    """All arms. The first arm of each model is the one that its others are compared with."""

    description: str
    arms: tuple[Arm, ...]


@dataclass(frozen=True)
class ResultFiles:
    """The content of a folder.

    Attributes:
        results: results by the names of their files, without suffix, in order of `in_order`.
        arms: the control arms; None if the folder has none.
        classic: curves of classic codecs, measured with the results, by the names of their files.
        sets: the results on other images, by the names of their folders.
    """

    results: Mapping[str, Result]
    arms: ControlArms | None
    classic: Mapping[str, Result] = field(default_factory=dict)
    sets: Mapping[str, "ResultFiles"] = field(default_factory=dict)

    @property
    def images(self) -> str:
        """The set that all results were measured on, in words, where all say so and it is not IMAGES; else ""."""
        told = {result.images for result in self.results.values()}
        (images,) = told if len(told) == 1 else ("",)
        return "" if is_on(IMAGES, images) else images

    @property
    def shipped(self) -> dict[str, Result]:
        """The results without other forms of students that are here too."""
        return {
            stem: result
            for stem, result in self.results.items()
            if student_of(stem) not in self.results or student_of(stem) == stem
        }


def shipped_results() -> Path:
    """The folder of the results that come with hwkd; it may be missing."""
    return data_folder("profiles") / "results"


def student_of(stem: str) -> str:
    """The name of the student of the file `stem`: "a" for "a-float"."""
    name, _, last = stem.rpartition("-")
    return name if name and last in VARIANTS else stem


def models_of(result: Result) -> tuple[TrainedModel, ...]:
    """A model for each point; with nothing but a name if the file has no models."""
    if result.models:
        return result.models
    name, count = result.curve.name, len(result.curve.bpp)
    names = [name] if count == 1 else [f"{name} point {i}" for i in range(1, count + 1)]
    return tuple(TrainedModel(text) for text in names)


def read_result_files(folder: Path) -> ResultFiles:
    """All results in `folder`: the files directly in it, and those of its folders CLASSIC and SETS.

    Raises:
        InputError: there is no such folder, it has no results, or a file is not a result; the message names it.
    """
    paths = sorted(folder.glob("*.json"))
    if not paths:
        what = "holds no results (.json)" if folder.is_dir() else "is no folder"
        raise InputError(
            f"{folder} {what}; make some with `hwkd evaluate MODEL --data KODAK --save-results "
            f"{folder / 'NAME.json'}`, or give another FOLDER"
        )
    found = {path.stem: read_result(path) for path in paths if path.name != ARMS}
    arms = _read_arms(folder / ARMS) if (folder / ARMS).exists() else None
    classic = {p.stem: read_result(p) for p in (folder / CLASSIC).glob("*.json")}
    return ResultFiles(
        {stem: found[stem] for stem in in_order(found)},
        arms,
        {codec: classic[codec] for codec in sorted(classic, key=_place)},
        {path.name: read_result_files(path) for path in sorted((folder / SETS).glob("*/"))},
    )


def _place(codec: str) -> tuple[int, str]:
    """Where a codec stands in a table: as in ALL_LABELS, others after them."""
    known = list(ALL_LABELS)
    return known.index(codec) if codec in known else len(known), codec


def in_order(results: Mapping[str, Result]) -> list[str]:
    """The names, those with the most MACs first, students with unknown MACs last; a student's forms together."""

    def key(stem: str) -> tuple[float, str, str]:
        student = student_of(stem)
        forms = [r for name, r in results.items() if student_of(name) == student]
        kmacs = [m.kmac_per_pixel or 0.0 for result in forms for m in models_of(result)]
        return -max(kmacs), student, stem

    return sorted(results, key=key)


def _read_arms(path: Path) -> ControlArms:
    raw = read_json(path, "make it again, or take it out of the folder")
    if not isinstance(raw, dict):
        raise InputError(f'{path} holds no object; {{"description": .., "arms": [..]}} is accepted')
    return read_table(ControlArms, raw, str(path))


# Every measured model beside published ones: its description, its costs and its quality. Pure.

QUALITY = 5
"""Quality of the published hyperprior beside our models. Its lmbda is the one that rd_loss is computed with."""
LMBDA = lmbda_of(QUALITY)

IMAGES = "Kodak"
"""The images of every measurement; a results file names them in its description."""

MEASURED = "measured here"
NOT_PUBLISHED = "not published"
_COLUMNS = (
    *("model", "figures", "kmac_per_pixel", "precision", "lmbda", "steps", "hours"),
    *("psnr_db", "ms_ssim", "bpp", "rd_loss"),
)

_LEAST = ("figures", "lmbda", "steps", "hours", "rd_loss", "ms_ssim", "precision")


def models_table(
    results: Mapping[str, Result], published: PublishedCurves, paper: Paper, images: str = ""
) -> Table:
    """A row for every point of `results`; then the published hyperprior and the paper's rows, which are on IMAGES.

    Args:
        images: the set that all results are on, in words, where it is another: nothing is published on it.
    """
    rows: list[tuple[str, ...]] = [
        (
            model.label,
            MEASURED,
            number(model.kmac_per_pixel, ".1f", NOT_RECORDED),
            model.precision or missing(NOT_RECORDED),
            number(model.lmbda, "g", NOT_RECORDED),
            number(model.steps, "", NOT_RECORDED),
            number(model.hours, ".2f", NOT_RECORDED),
            number(psnr_db, ".3f"),
            number(ms_ssim, ".5f", NOT_RECORDED),
            number(bpp, ".4f"),
            number(model.rd_loss, ".4f", NOT_RECORDED)
            if _has_the_lmbda(model.lmbda)
            else missing("not trained for the lmbda that it is told at"),
        )
        for result in results.values()
        for model, psnr_db, ms_ssim, bpp in _points(result)
    ]
    if images:
        notes = tuple(_our_notes(results, is_elsewhere_told=True))
        return Table(f"Models on {images}", _COLUMNS, tuple(rows), notes, _LEAST)
    rows += [_hyperprior_row(published, paper), *(_paper_row(paper, row) for row in paper.rows)]
    notes = (*_our_notes(results), *_published_notes(published, paper))
    return Table(f"Models on {IMAGES}", _COLUMNS, tuple(rows), notes, _LEAST)


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
        *(f"{HYPERPRIOR} q{QUALITY}", PUBLISHED, number(kmac, ".1f"), "float", number(LMBDA, "g")),
        *(missing(NOT_PUBLISHED), missing(NOT_PUBLISHED)),
        *(number(curve.psnr_db[i], ".3f"), number(curve.ms_ssim[i], ".5f")),
        *(number(curve.bpp[i], ".4f"), missing("only mean PSNRs are published")),
    )


def _paper_row(paper: Paper, row: PaperRow) -> tuple[str, ...]:
    return (
        *(f"paper: {row.name}", PUBLISHED, number(_kmac_per_pixel(paper, row), ".1f"), "float"),
        *[missing(NOT_PUBLISHED)] * 3,
        *(number(row.psnr_db, ".2f"), missing(NOT_PUBLISHED)),
        *(number(row.bpp, ".2f"), missing(NOT_PUBLISHED)),
    )


def _kmac_per_pixel(paper: Paper, row: PaperRow) -> float:
    return row.gmacs * 1e6 / (paper.width * paper.height)


def _our_notes(results: Mapping[str, Result], *, is_elsewhere_told: bool = False) -> Iterator[str]:
    said = dict.fromkeys(result.description for result in results.values() if result.description)
    if said:
        yield f"{MEASURED}: {'; '.join(said)}. Means over the images, 8-bit output decoded from the bytes."
    elsewhere = [
        result.curve.name
        for result in results.values()
        if not is_on(IMAGES, result.images or result.description)
    ]
    if elsewhere and not is_elsewhere_told:
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


# The cost of quantization: students in integers against their float selves. Pure.

_FORMS = {
    "ptq": "quantized after training, in torch",
    "qat": "quantized in training, in torch",
    "": "as it ships",
}
"""The content of the files beside a float student, by the last part of their name."""


def quantized_table(files: ResultFiles) -> Table | None:
    """A row for every quantized form of a student with a float form here; None if there is no such student."""
    rows, reasons = [], []
    for student, form, result, reference in _pairs(files):
        try:
            low, high = shared_range(reference.curve, result.curve)
            percent = number(bd_rate_percent(reference.curve, result.curve), "+.2f")
            shared = span(f"{low:.2f} to {high:.2f}", low, high)
        except InputError as error:
            percent = shared = missing(str(error))
            reasons.append(f"bd_rate_percent of {student}, {form}, is {NA}: {error}.")
        changes = loss_changes_percent(reference, result)
        lack = "the files do not tell losses of equal lmbdas"
        loss = number(fmean(changes) if changes else None, "+.2f", lack)
        if not changes:
            reasons.append(f"rd_loss_percent of {student}, {form}, is {NA}: {lack}.")
        precision = ", ".join(
            dict.fromkeys(m.precision for m in models_of(result) if m.precision is not None)
        )
        told = precision or missing(NOT_RECORDED)
        rows.append((student, form, told, percent, shared, loss, number(len(changes))))
    if not rows:
        return None
    notes = (
        f"Against the same student in float. bd_rate_percent: {BD_METHOD}. rd_loss_percent: change of bpp + lmbda 255^2 "
        "MSE, each model against the float one of its lmbda, mean over that many models. Positive: quantization costs "
        "that much. A student quantized in training was trained further, from the float one: its change holds that, too.",
        *reasons,
    )
    columns = (
        *("student", "form", "precision", "bd_rate_percent", "shared_psnr_db"),
        *("rd_loss_percent", "models"),
    )
    return Table("Quantized against float", columns, tuple(rows), notes)


def loss_changes_percent(reference: Result, result: Result) -> list[float]:
    """The change of each model's rd_loss against that of the reference's model of the same lmbda, in percent."""
    losses = {model.lmbda: model.rd_loss for model in reference.models}
    changes = []
    for model in result.models:
        before = None if model.lmbda is None else losses.get(model.lmbda)
        if before is not None and model.rd_loss is not None:
            changes.append(100 * (model.rd_loss / before - 1))
    return changes


def _pairs(files: ResultFiles) -> Iterator[tuple[str, str, Result, Result]]:
    """Student, form in words, its result, and the result of the float student."""
    for stem in files.results:
        student = student_of(stem)
        if stem != f"{student}-float":
            continue
        for form, words in _FORMS.items():
            name = f"{student}-{form}" if form else student
            if name in files.results:
                yield student, words, files.results[name], files.results[stem]


# The control arms: the effect of each part of a recipe. Pure.


def arms_table(control: ControlArms) -> Table:
    """A row for each arm, in the file's order, with the change of its loss against its model's first arm."""
    first: dict[str, float] = {}
    rows = []
    for arm in control.arms:
        reference = first.setdefault(arm.model, arm.rd_loss)
        rows.append(
            (
                arm.model,
                arm.arm,
                number(arm.steps, "", NOT_RECORDED),
                number(arm.psnr_db, ".3f"),
                number(arm.ms_ssim, ".5f", NOT_RECORDED),
                number(arm.bpp, ".4f"),
                number(arm.rd_loss, ".4f"),
                number(100 * (arm.rd_loss / reference - 1), "+.2f"),
            )
        )
    notes = (
        f"{control.description.rstrip('.')}.",
        "rd_loss_percent: change of rd_loss against the model's first arm; negative is better.",
        *(f"{arm.model}, {arm.arm}: {arm.note.rstrip('.')}." for arm in control.arms if arm.note),
    )
    columns = ("model", "arm", "steps", "psnr_db", "ms_ssim", "bpp", "rd_loss", "rd_loss_percent")
    return Table("Control arms", columns, tuple(rows), notes)


# All tables of a folder of results in their order.


def results_tables(files: ResultFiles, fmt: str) -> tuple[Table, ...]:
    """The tables for which there is a file: models as they ship, rates against codecs measured on the same images and against
    published curves, quantization, control arms; then rates on other images.

    Args:
        fmt: one of hwkd.report.table.FORMATS; one cell for people is several cells for machines.

    Raises:
        HwkdError: the published figures are missing or damaged, or a package for BD-rates is not installed.
    """
    tables: list[Table] = []
    if files.results:
        published = read_published_curves()
        results = list(files.results.values())
        tables.append(models_table(files.shipped, published, read_paper(), files.images))
        tables += measured_rate_tables(results, list(files.classic.values()), fmt)
        if not files.images:
            tables += published_rate_tables(results, published, fmt)
        quantized = quantized_table(files)
        if quantized is not None:
            tables.append(quantized)
    if files.arms is not None:
        tables.append(arms_table(files.arms))
    for other in files.sets.values():
        tables += measured_rate_tables(
            list(other.results.values()), list(other.classic.values()), fmt
        )
    return tuple(tables)
