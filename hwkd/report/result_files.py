"""A folder of results: a file for each curve or single model, and the control arms.

NAME.json is a model or curve as it ships. Beside it NAME-float.json may be its float student, NAME-qat.json the
student quantized in training and NAME-ptq.json the one quantized after training, both computed in torch.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hwkd.data import data_folder
from hwkd.errors import HwkdError, InputError
from hwkd.results import Result, TrainedModel, read_result
from hwkd.schema import read_table

ARMS = "control-arms.json"
VARIANTS = ("float", "ptq", "qat")
"""The last part of a file's name for another form of the same student."""


@dataclass(frozen=True)
class Arm:
    """One student of a comparison in which one thing changes. steps: of training. rd_loss: at one lmbda for all."""

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
    """All arms, those of a model after its first one, which they are compared with."""

    description: str
    arms: tuple[Arm, ...]


@dataclass(frozen=True)
class ResultFiles:
    """What a folder holds: results by the names of their files, without suffix, in order of `in_order`."""

    results: Mapping[str, Result]
    arms: ControlArms | None

    @property
    def shipped(self) -> dict[str, Result]:
        """Those that are not another form of a student that is here too."""
        return {
            stem: result
            for stem, result in self.results.items()
            if student_of(stem) not in self.results or student_of(stem) == stem
        }


def shipped_results() -> Path:
    """The folder of the results that come with hwkd, which need not be there."""
    return data_folder("profiles") / "results"


def student_of(stem: str) -> str:
    """The name of the student that the file `stem` is of: "a" for "a-float"."""
    name, _, last = stem.rpartition("-")
    return name if name and last in VARIANTS else stem


def models_of(result: Result) -> tuple[TrainedModel, ...]:
    """A model for each point, with nothing but a name where the file does not say."""
    if result.models:
        return result.models
    name, count = result.curve.name, len(result.curve.bpp)
    names = [name] if count == 1 else [f"{name} point {i}" for i in range(1, count + 1)]
    return tuple(TrainedModel(text) for text in names)


def read_result_files(folder: Path) -> ResultFiles:
    """All results in `folder`, the files directly in it.

    Raises:
        InputError: no such folder, none in it, or a file that is no result; the message names it.
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
    return ResultFiles({stem: found[stem] for stem in in_order(found)}, arms)


def in_order(results: Mapping[str, Result]) -> list[str]:
    """The names, those with the most MACs first, students whose MACs are not known last; a student's forms together."""

    def key(stem: str) -> tuple[float, str, str]:
        student = student_of(stem)
        forms = [r for name, r in results.items() if student_of(name) == student]
        kmacs = [m.kmac_per_pixel or 0.0 for result in forms for m in models_of(result)]
        return -max(kmacs), student, stem

    return sorted(results, key=key)


def _read_arms(path: Path) -> ControlArms:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise HwkdError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"{path} is not JSON ({error}); make it again") from error
    if not isinstance(raw, dict):
        raise InputError(f'{path} holds no object; {{"description": .., "arms": [..]}} is accepted')
    return read_table(ControlArms, raw, str(path))
