"""The state of a run that is not finished: written whole or not at all, read without unpickling objects."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch

from hwkd.errors import InputError
from hwkd.files import write_bytes

FORMAT = 2


@dataclass
class TrainState:
    """Where a run stands.

    phase: "float" or "qat". step: steps done in it. steps: planned in each phase, by name, once known.
    student, projections, aux_optimizer: state dicts. average: of the student's weights. optimizers, plateaus: state dicts,
    one of each for each optimizer. batches: where the crops and their lambdas stand. seconds: of training so far.

    Noise has no state: it is a function of the step (hwkd/models/noise.py), on a GPU too.
    """

    phase: str
    step: int
    steps: dict[str, int]
    student: dict[str, Any]
    projections: dict[str, Any]
    average: dict[str, Any]
    optimizers: list[dict[str, Any]]
    aux_optimizer: dict[str, Any]
    plateaus: list[dict[str, Any]]
    batches: dict[str, Any]
    seconds: float


def state_path(folder: Path) -> Path:
    """Where a run folder keeps its state."""
    return folder / "checkpoint" / "state.pt"


def write_state(folder: Path, state: TrainState) -> None:
    """Replace the run's state. Raises as `hwkd.files.write_bytes`."""
    # Through memory: torch's own writer reports a full disk as a RuntimeError without a cause.
    content = io.BytesIO()
    torch.save({"format": FORMAT, **_shallow(state)}, content)
    write_bytes(state_path(folder), content.getvalue())


def read_state(folder: Path) -> TrainState:
    """The run's state.

    Raises:
        InputError: there is none, or it is damaged.
    """
    path = state_path(folder)
    if not path.exists():
        raise InputError(
            f"{folder} holds no checkpoint to resume from: leave out --resume, or name the run with -o"
        )
    try:
        with ZipFile(path) as parts:
            # torch does not compare the checksums that it writes: a flipped bit would go unnoticed.
            if parts.testzip() is not None:
                raise BadZipFile
        raw = torch.load(path, map_location="cpu", weights_only=True)
        if raw.pop("format") != FORMAT:
            raise InputError(f"{path} is of another format than {FORMAT}")
        return TrainState(**raw)
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    # Damage has no class of its own: torch's unpickler lets out whatever it stumbles over.
    except Exception as error:
        raise InputError(
            f"{path} is damaged ({type(error).__name__}): start over with --force"
        ) from error


def _shallow(state: TrainState) -> dict[str, Any]:
    return {name: getattr(state, name) for name in TrainState.__dataclass_fields__}
