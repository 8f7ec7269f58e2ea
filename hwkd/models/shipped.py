"""The teachers that come with hwkd: a safetensors file and a JSON card each, in hwkd/weights/."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwkd.errors import HwkdError, unknown
from hwkd.models.spec import Spec, spec_from_json

WEIGHTS = Path(__file__).resolve().parents[1] / "weights"
SHIPPED_START = "shipped "
"""What stands before the name of a model that ships, where a run says what it went on from."""


@dataclass(frozen=True)
class WeightsCard:
    """What is known about a shipped teacher; the card's JSON has the same fields. Numbers that are not known or not measured
    are None.

    Attributes:
        file: name of the weights' file beside the card.
        lmbda: of R + lmbda * 255^2 * MSE. None for a model of all rates; its figures are those of quality 50.
        steps: training steps.
        training: how it was trained, in words.
        hours: how long the training took.
        hardware: what ran the training.
        data: the training data.
        licence: the licence of that data.
        limits: known limits, in sentences.
        kodak_psnr_db, kodak_bpp: means over Kodak's 24 images; the rate is of real bytes.
        sha256: digest of the weights' file.
    """

    name: str
    file: str
    spec: Spec
    lmbda: float | None
    steps: int
    training: str
    hours: float | None
    hardware: str
    data: str
    licence: str
    limits: tuple[str, ...]
    kodak_psnr_db: float | None
    kodak_bpp: float | None
    sha256: str


def shipped_names() -> list[str]:
    """The names of the shipped teachers, sorted."""
    return sorted(path.stem for path in WEIGHTS.glob("*.json"))


def shipped_path(name: str) -> Path:
    """The file of weights of a shipped teacher. Raises as `read_card`."""
    return WEIGHTS / read_card(name).file


def read_card(name: str) -> WeightsCard:
    """The card of a shipped teacher.

    Raises:
        InputError: no teacher of this name.
        HwkdError: the card is damaged.
    """
    path = WEIGHTS / f"{name}.json"
    if name not in shipped_names():
        raise unknown("shipped teacher", name, shipped_names())
    try:
        raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        spec = spec_from_json(json.dumps(raw["spec"]))
        return WeightsCard(**{**raw, "spec": spec, "limits": tuple(raw["limits"])})
    except (OSError, ValueError, KeyError, TypeError, HwkdError) as error:
        raise HwkdError(
            f"{path} is not a card of a teacher ({error}); install hwkd again"
        ) from error


def is_half(name: str) -> bool:
    """Whether the weights of the transforms are stored in float16, by the file's header. Raises as `read_card`."""
    path = shipped_path(name)
    try:
        content = path.read_bytes()
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        return any(held["dtype"] == "F16" for key, held in header.items() if key != "__metadata__")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise HwkdError(f"{path} is not a file of weights ({error}); install hwkd again") from error
