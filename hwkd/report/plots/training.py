"""How training went: the loss of held-out crops over the steps, a line for each run. Pure."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hwkd.errors import InputError
from hwkd.quantity import three_digits
from hwkd.report.plots.plot import Point, Scatter, Series, counted, exact
from hwkd.report.table import Table

# What a run's metrics.jsonl says of its training. Pure.


@dataclass(frozen=True)
class LogEntry:
    """One line: after `step` steps of `phase` ("float", "qat"). seconds: since the phase began, waiting left out.

    validation_rd: the rate-distortion loss of held-out crops, n/a (None) where none were held out. rd, bpp, mse:
    of the last batch.
    """

    phase: str
    step: int
    seconds: float | None
    validation_rd: float | None
    rd: float | None
    bpp: float | None
    mse: float | None


@dataclass(frozen=True)
class TrainingLog:
    """The entries of a run, in order. name: of the run."""

    name: str
    entries: tuple[LogEntry, ...]


def read_training_log(path: Path, name: str) -> TrainingLog:
    """The log in the file at `path`, a JSON object a line; a last line that a killed run left half written is passed over.

    Raises:
        InputError: no such file, or a line that is no entry; the message names it.
    """
    try:
        # A machine that lost its power leaves bytes of any kind at the end.
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise InputError(
            f"cannot read the training log {path} ({error}); give a folder that `hwkd distill` wrote"
        ) from error
    entries = []
    for number, line in enumerate(lines, 1):
        try:
            entries.append(_entry(json.loads(line)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if number == len(lines):
                break
            raise InputError(
                f"{path}, line {number} is no entry of a training log ({line[:80]!r}); `hwkd distill` writes objects "
                'with "phase" and "step"'
            ) from error
    return TrainingLog(name, tuple(entries))


def _entry(raw: dict[str, object]) -> LogEntry:
    def number(key: str) -> float | None:
        value = raw.get(key)
        return None if value is None else float(value)  # type: ignore[arg-type]

    return LogEntry(
        str(raw["phase"]),
        int(raw["step"]),  # type: ignore[call-overload]
        number("seconds"),
        number("validation_rd"),
        number("rd"),
        number("bpp"),
        number("mse"),
    )


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
