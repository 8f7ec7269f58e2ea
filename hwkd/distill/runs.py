"""Run folders: what a finished or unfinished run leaves, and how a model is read back from it."""

from dataclasses import dataclass
from pathlib import Path

from hwkd.distill.config import RunConfig, config_from_json
from hwkd.errors import InputError
from hwkd.models.base import HyperpriorCodec
from hwkd.models.build import build
from hwkd.models.checkpoint import read_checkpoint
from hwkd.models.fill import fill
from hwkd.models.spec import Spec
from hwkd.models.teacher import FLOAT_STUDENT, STUDENT, load_teacher
from hwkd.quantize.bits import BitPlan
from hwkd.quantize.brevitas_qat import quantize


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
    return config_from_json(path.read_text(encoding="utf-8"))


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
    name = f"{folder.name} (float)" if as_float else folder.name
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
