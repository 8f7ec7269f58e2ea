"""Run folders: what a finished or unfinished run leaves, and how a model is read back from it."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from hwkd.bits import BitPlan
from hwkd.distill.checkpoint import state_path
from hwkd.distill.config import RunConfig, config_from_json
from hwkd.distill.events import FILE as EVENTS
from hwkd.errors import InputError
from hwkd.models.base import HyperpriorCodec
from hwkd.models.build import build
from hwkd.models.checkpoint import read_checkpoint
from hwkd.models.fill import fill
from hwkd.models.spec import Spec
from hwkd.models.teacher import FLOAT_STUDENT, STUDENT, load_teacher
from hwkd.quantize.brevitas_qat import quantize

RUN_FILES = ("config.json", "metrics.jsonl", EVENTS, "report.md", "report.json")
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
