"""What a run's metrics.jsonl says of its training. Pure."""

import json
from dataclasses import dataclass
from pathlib import Path

from hwkd.errors import InputError


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
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
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
