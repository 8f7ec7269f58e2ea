"""What quantization costs: students in integers against their float selves. Pure."""

from collections.abc import Iterator
from statistics import fmean

from hwkd.errors import InputError
from hwkd.metrics import BD_METHOD, bd_rate_percent, shared_psnr_range
from hwkd.report.cells import NA
from hwkd.report.result_files import ResultFiles, models_of, student_of
from hwkd.report.table import Table
from hwkd.results import Result

_FORMS = {
    "ptq": "quantized after training, in torch",
    "qat": "quantized in training, in torch",
    "": "as it ships",
}
"""What the files beside a float student hold, by the last part of their name."""


def quantized_table(files: ResultFiles) -> Table | None:
    """A row for every quantized form of a student whose float form is here too; None where there is no such student."""
    rows, reasons = [], []
    for student, form, result, reference in _pairs(files):
        try:
            low, high = shared_psnr_range(reference.curve, result.curve)
            percent = f"{bd_rate_percent(reference.curve, result.curve):+.2f}"
            shared = f"{low:.2f} to {high:.2f}"
        except InputError as error:
            percent = shared = NA
            reasons.append(f"bd_rate_percent of {student}, {form}, is {NA}: {error}.")
        changes = loss_changes_percent(reference, result)
        loss = f"{fmean(changes):+.2f}" if changes else NA
        if not changes:
            reasons.append(
                f"rd_loss_percent of {student}, {form}, is {NA}: the files do not tell losses of equal lmbdas."
            )
        precision = ", ".join(
            dict.fromkeys(m.precision for m in models_of(result) if m.precision is not None)
        )
        rows.append((student, form, precision or NA, percent, shared, loss, str(len(changes))))
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
    """Student, form in words, its result, that of the float student."""
    for stem in files.results:
        student = student_of(stem)
        if stem != f"{student}-float":
            continue
        for form, words in _FORMS.items():
            name = f"{student}-{form}" if form else student
            if name in files.results:
                yield student, words, files.results[name], files.results[stem]
