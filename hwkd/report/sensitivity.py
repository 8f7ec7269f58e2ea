"""Sensitivity to bits: its file, its tables, and the recipes it proposes. Pure."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tomli_w

from hwkd.errors import InputError
from hwkd.files import write_text
from hwkd.measure.record import Entry
from hwkd.measure.sensitivity import (
    Allocation,
    CheckedAllocation,
    Coded,
    Sensitivity,
    bits_in_words,
    most_common_bits,
)
from hwkd.models.families.family import family_of
from hwkd.models.spec import Spec, student_spec
from hwkd.quantity import NA
from hwkd.quantize.allocate import KIB
from hwkd.report.table import Table, missing, number, span

# sensitivity.json: the measurements, the proposals, and their source. Pure.

FORMAT = 1
NAME = "sensitivity.json"


@dataclass(frozen=True)
class SensitivitySource:
    """The source of the figures.

    Attributes:
        fingerprint: digest of all that decides a measurement.
        base: how the model got its bits.
        measured_on, checked_on: the images, in words.
        latency: latency of the slower side on the target; None if no target was given.
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
    path: Path,
    told: SensitivitySource,
    found: Sensitivity,
    checked: Sequence[CheckedAllocation] = (),
) -> None:
    """Write all figures, whole or not at all. Raises as hwkd.files.write_text.

    Losses and changes, which follow from the rest, are written too.
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
    """The earlier measurements, by layer and bits; empty if there is no file.

    Raises:
        InputError: the file is of another model or other images, or is not such a file.
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


# Sensitivity to bits as tables: the layers, the allocations, and the bits that these give. Pure.
_NOT_FEWER = "not fewer bits than the layer has"
_NO_ERROR = "infinite: an image came back without error"
LOSS = "rd_loss is bpp + lmbda 255^2 MSE, bpp of real bytes"


def tried_bits(found: Sensitivity) -> list[int]:
    """The bits that any layer was measured in, the most first."""
    return sorted({point.bits for point in found.points}, reverse=True)


def layers_table(found: Sensitivity, model: str, images: str) -> Table:
    """A row for each layer: the change of the loss with its weights in fewer bits, the other layers as they are."""
    tried = tried_bits(found)
    rows = []
    for layer in found.layers:
        changes = found.changes_percent(layer)
        cells = [
            number(changes[b], "+,.3f") if b in changes else missing(_NOT_FEWER) for b in tried
        ]
        rows.append(
            (layer.name, number(layer.weight_count, ","), number(layer.weight_bits), *cells)
        )
    notes = [
        "Change of rd_loss in percent with the weights of one layer at a time in so many bits, measured, nothing trained; "
        f"{LOSS}, lmbda {found.lmbda:g}.",
        f"On {images}. Below 0: the rounding happened to suit these images.",
    ]
    if any(NA in row for row in rows):
        notes.append(f"{NA}: {_NOT_FEWER}.")
    columns = ("layer", "weights", "bits", *(f"{b} bits" for b in tried))
    return Table(f"Sensitivity of {model}", columns, tuple(rows), tuple(notes))


def points_table(found: Sensitivity) -> Table:
    """Every measurement, with its effect on rate and distortion."""
    layers = {layer.name: layer for layer in found.layers}
    base = found.base
    rows = [
        (
            point.layer,
            number(layers[point.layer].weight_bits),
            number(point.bits),
            number(point.coded.rd_loss(found.lmbda) - base.rd_loss(found.lmbda), "+.5f"),
            number(found.change_percent(point.coded), "+.3f"),
            number(point.coded.bpp - base.bpp, "+.5f"),
            number(point.coded.psnr_db - base.psnr_db, "+.4f", _NO_ERROR),
        )
        for point in found.points
    ]
    notes = (
        f"Changes against the model as it is: rd_loss {base.rd_loss(found.lmbda):.4f}, {base.bpp:.4f} bpp, "
        f"{base.psnr_db:.3f} dB.",
    )
    columns = ("layer", "bits", "tried", "rd_loss", "rd_loss_percent", "bpp", "psnr_db")
    return Table("Every measurement", columns, tuple(rows), notes)


def allocations_table(
    found: Sensitivity, checked: Sequence[CheckedAllocation], images: str, notes: Sequence[str]
) -> Table:
    """A row for each allocation, on the images to check on; the first is the model as it is."""
    first = checked[0].coded.rd_loss(found.lmbda)
    rows = []
    for each in checked:
        allocation, coded = each.allocation, each.coded
        loss, bits = coded.rd_loss(found.lmbda), allocation.bits.values()
        rows.append(
            (
                allocation.name,
                span(bits_in_words(allocation.bits), min(bits), max(bits)),
                number(allocation.mean_bits, ".2f"),
                number(allocation.weight_bytes / KIB, ",.1f"),
                number(coded.bpp, ".4f"),
                number(coded.psnr_db, ".3f", _NO_ERROR),
                number(loss, ".4f"),
                number(100 * (loss / first - 1), "+,.2f"),
                number(allocation.added_percent, "+,.2f"),
            )
        )
    said = (
        f"Measured on {images}, which the allocations were not made from; nothing trained. {LOSS}.",
        "weight_kib: computed, scales and biases included. added_percent: the layers' own changes added up, from the other "
        "images; far from rd_loss_percent where layers' errors do not add.",
        *notes,
    )
    columns = (
        *("allocation", "bits", "mean_bits", "weight_kib", "bpp", "psnr_db"),
        *("rd_loss", "rd_loss_percent", "added_percent"),
    )
    return Table(
        "Allocations", columns, tuple(rows), said, ("mean_bits", "added_percent", "rd_loss")
    )


def allocations_in_words(
    found: Sensitivity,
    checked: Sequence[CheckedAllocation],
    proposed: Iterable[Allocation],
    images: str,
) -> str:
    """What the `proposed` ones of these allocations save and cost against the first, the model as it is."""
    first, names = checked[0], [allocation.name for allocation in proposed]
    parts = []
    for each in checked:
        if each.allocation.name in names:
            loss = each.coded.rd_loss(found.lmbda) / first.coded.rd_loss(found.lmbda)
            parts.append(
                f"{each.allocation.name}: {each.allocation.weight_bytes / KIB:,.1f} KiB in place of "
                f"{first.allocation.weight_bytes / KIB:,.1f}, rd_loss {100 * (loss - 1):+,.2f} %"
            )
    return f"{'; '.join(parts)}, measured on {images}."


def bits_table(checked: Sequence[CheckedAllocation]) -> Table:
    """The bits of each layer in each of these allocations."""
    names = [each.allocation.name for each in checked]
    rows = tuple(
        (layer, *(number(each.allocation.bits[layer]) for each in checked))
        for layer in checked[0].allocation.bits
    )
    return Table("Bits of each layer", ("layer", *names), rows)


# A recipe of `hwkd distill` that trains a model in the bits of an allocation. Pure.

QAT_STEPS = 600
"""Steps in a recipe: minutes on one core for a student of the size of those that ship."""


@dataclass(frozen=True)
class RecipeBase:
    """The base of a recipe.

    Attributes:
        teacher: the teacher, as `--teacher` takes it.
        run: the folder of the run that has the float student to continue; None to continue the teacher itself.
        target: None if it is not known.
        act_bits: bits of the activations, by layer.
    """

    model: str
    spec: Spec
    lmbda: float
    teacher: str
    run: str | None
    target: str | None
    act_bits: Mapping[str, int]


def recipe_text(origin: RecipeBase, allocation: Allocation) -> str:
    """The recipe as a file. Without a target in `origin` it needs `--target` on the command line.

    Raises:
        InputError: the options of `hwkd distill` cannot describe the model's widths.
    """
    bits = allocation.bits
    most = most_common_bits(bits)
    acts = most_common_bits(origin.act_bits)
    said = f"{allocation.name}: {allocation.weight_bytes / KIB:,.1f} KiB of weights"
    content: dict[str, object] = {
        "description": f"{origin.model} in {bits_in_words(bits)} bits, chosen by hwkd sensitivity ({said})",
        **({} if origin.target is None else {"target": origin.target}),
        "bits": f"{most}/{acts}",
        "layer_bits": [
            f"{name}={count}/{origin.act_bits[name]}"
            for name, count in bits.items()
            if (count, origin.act_bits[name]) != (most, acts)
        ],
        **({} if origin.run is not None else _widths(origin.spec)),
        **({"all_rates": True} if origin.spec.serves_all_rates else {"lmbda": origin.lmbda}),
        "teacher": origin.teacher,
        "start": "teacher" if origin.run is None else origin.run,
        "steps": 0,
        "qat_steps": QAT_STEPS,
    }
    return tomli_w.dumps(content)


def _widths(spec: Spec) -> dict[str, object]:
    """The options that describe a student of this spec."""
    options = family_of(spec).options(spec)
    post = None if "post" not in options else tuple(options["post"])
    made = student_spec(
        *(spec.family, spec.widths, spec.M, spec.H, spec.Z, post), all_rates=spec.serves_all_rates
    )
    if made != spec:
        raise InputError(
            f"no recipe was written: the options of hwkd distill cannot describe {spec}; start from its run folder"
        )
    return options
