"""How training went: the loss of held-out crops over the steps, a line for each run. Pure."""

from collections.abc import Iterator, Sequence

from hwkd.report.numbers import three_digits
from hwkd.report.plot_words import counted, exact
from hwkd.report.plots.plot import Point, Scatter, Series
from hwkd.report.table import Table
from hwkd.report.training_log import LogEntry, TrainingLog

KEY = "training"


def training_plot(logs: Sequence[TrainingLog]) -> Scatter | None:
    """The rate-distortion loss of held-out crops over steps, all phases laid end to end; None where no log has any."""
    laid = [(log, list(_laid(log))) for log in logs]
    shown = [(log, entries) for log, entries in laid if entries]
    if not shown:
        return None
    without = [log.name for log, entries in laid if not entries]
    notes = (
        "Steps: those of all phases, one after the other. Loss: bpp + lmbda 255^2 MSE with x in [0, 1], of crops that no "
        "step trained on, with estimated rates. Runs for different lmbda, or with other crops, do not compare.",
        *([f"Not shown, as no crops were held out: {', '.join(without)}."] if without else []),
    )
    return Scatter(
        key=KEY,
        title="Training",
        x_label="training step",
        y_label="rate-distortion loss of held-out crops",
        series=tuple(_series(log, entries) for log, entries in shown),
        caption=_caption(shown),
        table=_table(shown),
        notes=notes,
    )


def _laid(log: TrainingLog) -> Iterator[tuple[int, LogEntry, float]]:
    """(step since the first phase began, entry, loss) of the entries that have a loss of held-out crops."""
    before, last, phase = 0, 0, None
    for entry in log.entries:
        if phase is not None and entry.phase != phase:
            before += last
        phase, last = entry.phase, entry.step
        if entry.validation_rd is not None:
            yield before + entry.step, entry, entry.validation_rd


def _series(log: TrainingLog, entries: Sequence[tuple[int, LogEntry, float]]) -> Series:
    first = log.entries[0].phase
    points = tuple(
        Point(step, loss, log.name, detail=_detail(entry, first)) for step, entry, loss in entries
    )
    return Series(log.name, points, is_line=True)


def _detail(entry: LogEntry, first: str) -> str:
    """The phase after the first, with its own step."""
    return "" if entry.phase == first else f"phase {entry.phase}, step {entry.step}"


def _caption(shown: Sequence[tuple[TrainingLog, Sequence[tuple[int, LogEntry, float]]]]) -> str:
    runs = []
    for log, entries in shown:
        (first_step, _, first), (last_step, last_entry, last) = entries[0], entries[-1]
        best_step, _, best = min(entries, key=lambda item: item[2])
        phase = "" if last_entry.phase == log.entries[0].phase else f", in phase {last_entry.phase}"
        runs.append(
            f"{log.name} from {three_digits(first)} at step {first_step:,} to {three_digits(last)} at step {last_step:,}{phase} "
            f"(lowest {three_digits(best)} at step {best_step:,})"
        )
    return (
        "Rate-distortion loss of held-out crops over the training step: lower is better. "
        f"{counted(len(shown), 'run')}: {'; '.join(runs)}."
    )


def _table(
    shown: Sequence[tuple[TrainingLog, Sequence[tuple[int, LogEntry, float]]]],
) -> Table:
    rows = tuple(
        (log.name, entry.phase, str(entry.step), str(step), exact(loss), exact(entry.seconds))
        for log, entries in shown
        for step, entry, loss in entries
    )
    columns = ("run", "phase", "step of phase", "step", "validation_rd", "seconds of phase")
    return Table("Training", columns, rows)
