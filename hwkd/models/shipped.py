"""The teachers that come with hwkd: a safetensors file and a JSON card each, in hwkd/weights/."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hwkd.errors import HwkdError, unknown
from hwkd.files import write_text
from hwkd.models.spec import Spec, spec_from_json

WEIGHTS = Path(__file__).resolve().parents[1] / "weights"


@dataclass(frozen=True)
class Card:
    """What is known about a shipped teacher; the card's JSON has the same fields.

    file: the weights' name beside the card. lmbda: of R + lmbda * 255^2 * MSE. steps: of training; training: the
    recipe, the machine and the hours, in words. data: what it was trained on, with the licence. kodak_psnr_db,
    kodak_bpp: means over Kodak's 24 images, None where not measured; the rate is that of real bytes. sha256: of the
    weights' file.
    """

    name: str
    file: str
    spec: Spec
    lmbda: float
    steps: int
    training: str
    data: str
    kodak_psnr_db: float | None
    kodak_bpp: float | None
    sha256: str


def shipped_names() -> list[str]:
    """The names of the shipped teachers, sorted."""
    return sorted(path.stem for path in WEIGHTS.glob("*.json"))


def shipped_path(name: str) -> Path:
    """The file of weights of a shipped teacher. Raises as `read_card`."""
    return WEIGHTS / read_card(name).file


def read_card(name: str) -> Card:
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
        return Card(**{**raw, "spec": spec_from_json(json.dumps(raw["spec"]))})
    except (OSError, ValueError, KeyError, TypeError, HwkdError) as error:
        raise HwkdError(
            f"{path} is not a card of a teacher ({error}); install hwkd again"
        ) from error


def write_card(card: Card) -> None:
    """Write `card` beside the weights, for `read_card`."""
    write_text(WEIGHTS / f"{card.name}.json", json.dumps(asdict(card), indent=2) + "\n")
