"""Run folders: what a finished or unfinished run leaves: its models, its diary, its state."""

import io
import json
import shutil
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch

from hwkd.bits import BitPlan
from hwkd.distill.config import RunConfig, config_from_json
from hwkd.errors import InputError
from hwkd.files import append_line, write_bytes
from hwkd.models.base import HyperpriorCodec
from hwkd.models.build import build
from hwkd.models.checkpoint import check_memory, fill, read_checkpoint
from hwkd.models.spec import Spec
from hwkd.models.teacher import FLOAT_STUDENT, STUDENT, load_teacher
from hwkd.quantize.qat import quantize

# A run's diary, events.jsonl: when it was started, resumed, restarted, and by how many processes.

FILE = "events.jsonl"

KINDS = ("started", "resumed", "restarted", "lost", "interrupted", "finished")


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


@dataclass(frozen=True)
class Event:
    """kind: of KINDS. launcher: as `hwkd.distill.distributed.Processes`. phase, step: from where it goes on, if not the
    start. time: UTC."""

    kind: str
    processes: int
    launcher: str = ""
    phase: str = ""
    step: int = 0
    time: str = field(default_factory=_now)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"an event is one of {', '.join(KINDS)}, got {self.kind!r}")

    def sentence(self) -> str:
        """For people."""
        who = "1 process" if self.processes == 1 else f"{self.processes} processes"
        at = f"step {self.step} of the {self.phase} phase"
        match self.kind:
            case "started":
                what = f"started by {who}"
            case "resumed":
                what = f"resumed by {who} from {at}"
            case "restarted":
                what = f"a process was lost: torchrun started {who} again, from {at if self.phase else 'the beginning'}"
            case "lost":
                what = "the first process lost another one"
            case "interrupted":
                what = "interrupted by the user"
            case _:
                what = "finished training"
        return f"{self.time} {what}"


def append_event(folder: Path, event: Event) -> None:
    """Add `event` to the diary of the run in `folder`. Raises as `hwkd.files.append_line`."""
    append_line(folder / FILE, json.dumps(asdict(event)))


def read_events(folder: Path) -> tuple[Event, ...]:
    """The diary of the run in `folder`; empty where there is none. Lines that are no events are passed over."""
    try:
        # A machine that lost its power leaves bytes of any kind at the end.
        lines = (folder / FILE).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ()
    events = []
    for line in lines:
        try:
            events.append(Event(**json.loads(line)))
        except (ValueError, TypeError):
            continue  # half a line of a killed process
    return tuple(events)


# Run folders: what a finished or unfinished run leaves, and how a model is read back from it.

RUN_FILES = ("config.json", "metrics.jsonl", FILE, "report.md", "report.json")
"""What a run writes beside its weights and checkpoint."""


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to evaluate. bits: None for a float model; lmbda: None where it is not known."""

    name: str
    codec: HyperpriorCodec
    spec: Spec
    lmbda: float | None
    bits: BitPlan | None
    sha256: str | None


def read_config(folder: Path) -> RunConfig:
    """The configuration of a run folder. Raises InputError where there is none."""
    path = folder / "config.json"
    if not path.is_file():
        raise InputError(f"{folder} is not a run folder: it holds no config.json (hwkd distill -o)")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path} ({error}): give another run folder") from error
    try:
        return config_from_json(text)
    except InputError as error:
        raise InputError(f"{folder}: {error}; give another folder") from error


def check_folder(folder: Path, *, resume: bool, force: bool) -> None:
    """Refuse a folder that a run cannot be started in, or (resume) continued in; nothing is written.

    Raises:
        InputError: no folder but a file; files of its own that a run would overwrite; a run already, without `force`;
            nothing to resume.
    """
    for place in (folder, *folder.parents):
        if place.exists() and not place.is_dir():
            raise InputError(f"{place} is a file, a run needs a folder: give another with -o")
    if resume:
        if not (folder / "config.json").is_file():
            raise InputError(
                f"{folder} holds no run to resume: leave out --resume, or name the run with -o"
            )
        read_config(folder)
        if not state_path(folder).exists():
            raise InputError(
                f"{folder} holds no checkpoint to resume from: leave out --resume, or name the run with -o"
            )
        return
    held = [name for name in (*RUN_FILES, FLOAT_STUDENT, STUDENT) if (folder / name).exists()]
    if held:
        if "config.json" not in held:
            raise InputError(
                f"{folder} holds {held[0]}, which a run would overwrite: give another -o"
            )
        read_config(folder)
    if not force and (state_path(folder).exists() or (folder / STUDENT).exists()):
        raise InputError(
            f"{folder} holds a run already: continue it with --resume, start it over with --force, or give another -o"
        )


def forget_run(folder: Path) -> None:
    """Remove what a run writes, and nothing else, from `folder`."""
    for name in (*RUN_FILES, FLOAT_STUDENT, STUDENT):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(state_path(folder).parent, ignore_errors=True)


def load_run(folder: Path, *, as_float: bool = False) -> LoadedModel:
    """The student of a run folder.

    as_float: the student at the end of the float phase instead of the quantized one.
    Raises:
        InputError: not a run folder, or the run has not come so far.
    """
    config = read_config(folder)
    path = folder / (FLOAT_STUDENT if as_float else STUDENT)
    if not path.is_file():
        raise InputError(
            f"{folder} holds no {path.name} yet: the run is not finished, "
            f"continue it with `hwkd distill ... --resume -o {folder}`"
        )
    held = read_checkpoint(path)
    codec = build(config.spec)
    bits = None if as_float else config.bits
    if bits is not None:
        quantize(codec, bits)
    codec.eval().requires_grad_(False)
    fill(codec, held.state, str(path))
    name = folder.resolve().name + (" (float)" if as_float else "")
    return LoadedModel(name, codec, config.spec, config.lmbda, bits, held.sha256)


def load_model(text: str) -> LoadedModel:
    """The model that `text` names: a run folder, or anything `load_teacher` takes.

    RUN:float names the student at the end of a run's float phase.
    """
    folder, _, which = text.partition(":")
    if Path(folder).is_dir() and which in ("", "float"):
        return load_run(Path(folder), as_float=which == "float")
    teacher = load_teacher(text)
    return LoadedModel(
        teacher.name, teacher.model, teacher.spec, teacher.lmbda, None, teacher.sha256
    )


# The state of a run that is not finished: written whole or not at all, read without unpickling objects.

FORMAT = 2


@dataclass
class TrainState:
    """Where a run stands.

    phase: "float" or "qat". step: steps done in it. steps: planned in each phase, by name, once known.
    student, projections, aux_optimizer: state dicts. average: of the student's weights. optimizers, plateaus: state dicts,
    one of each for each optimizer. batches: where the crops and their lambdas stand. seconds: of training so far.

    Noise has no state: it is a function of the step (hwkd/models/base.py), on a GPU too.
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
        check_memory(error, path)
        raise InputError(
            f"{path} is damaged ({type(error).__name__}): start over with --force"
        ) from error


def _shallow(state: TrainState) -> dict[str, Any]:
    return {name: getattr(state, name) for name in TrainState.__dataclass_fields__}
