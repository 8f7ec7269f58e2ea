"""sensitivity.json: what was measured, what was proposed, and where it comes from. Pure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hwkd.errors import InputError
from hwkd.files import write_text
from hwkd.measure.allocations import Checked
from hwkd.measure.record import Entry
from hwkd.measure.sensitivity import Coded, Sensitivity

FORMAT = 1
NAME = "sensitivity.json"


@dataclass(frozen=True)
class Told:
    """Where the figures come from.

    fingerprint: of all that decides a measurement. base: how the model got its bits. measured_on, checked_on: the images,
    in words. latency: of the slower side on the target; None where none was given.
    """

    fingerprint: str
    model: str
    base: str
    measured_on: str
    checked_on: str
    command: str
    created: str
    host: str
    versions: Mapping[str, str]
    latency: Entry | None = None


def write_sensitivity(
    path: Path, told: Told, found: Sensitivity, checked: Sequence[Checked] = ()
) -> None:
    """Write all of it, whole or not at all. Raises as hwkd.files.write_text.

    Losses and changes, which follow from the rest, are told too.
    """

    def coded(value: Coded) -> dict[str, Any]:
        return {**asdict(value), "rd_loss": value.rd_loss(found.lmbda)}

    points = [
        {
            "layer": point.layer,
            "bits": point.bits,
            **coded(point.coded),
            "rd_loss_percent": found.change_percent(point.coded),
        }
        for point in found.points
    ]
    allocations = [{**asdict(c.allocation), **coded(c.coded)} for c in checked]
    content = {
        "format": FORMAT,
        **asdict(told),
        "found": {"weight_bytes": "computed", "added_percent": "computed", "others": "measured"},
        "lmbda": found.lmbda,
        "weight_bytes": found.weight_bytes,
        "as_it_is": coded(found.base),
        "layers": [asdict(layer) for layer in found.layers],
        "points": points,
        "allocations": allocations,
    }
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def read_points(path: Path, fingerprint: str) -> dict[tuple[str, int], Coded]:
    """What was measured before, by layer and bits; nothing where there is no file.

    Raises:
        InputError: the file is of another model or other images, or not such a file.
    """
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']}, not {FORMAT}")
        is_same = content["fingerprint"] == fingerprint
        points = {
            (point["layer"], point["bits"]): Coded(
                float(point["bpp"]), float(point["mse"]), float(point["psnr_db"])
            )
            for point in content["points"]
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is not what `hwkd sensitivity` writes ({error}): give another -o, or --force to write over it"
        ) from error
    if not is_same:
        raise InputError(
            f"{path} was measured on another model, other bits of it, or other images: give another -o, or --force to "
            "start over"
        )
    return points
