"""A recipe of `hwkd distill` that trains a model in the bits of an allocation. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

import tomli_w

from hwkd.errors import InputError
from hwkd.measure.allocations import Allocation, bits_in_words, most_common_bits
from hwkd.models.spec import PatchSpec, Spec
from hwkd.models.student import student_spec
from hwkd.quantize.allocate import KIB

QAT_STEPS = 600
"""Of a recipe: minutes on one core for a student of the size of those that ship."""


@dataclass(frozen=True)
class Origin:
    """What a recipe starts from.

    teacher: what teaches, as `--teacher` takes it. run: the folder of the run whose float student is continued; None
    where the teacher itself is. target: None where it is not known. act_bits: of each layer.
    """

    model: str
    spec: Spec
    lmbda: float
    teacher: str
    run: str | None
    target: str | None
    act_bits: Mapping[str, int]


def recipe_text(origin: Origin, allocation: Allocation) -> str:
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
        "lmbda": origin.lmbda,
        "teacher": origin.teacher,
        "start": "teacher" if origin.run is None else origin.run,
        "steps": 0,
        "qat_steps": QAT_STEPS,
    }
    return tomli_w.dumps(content)


def _widths(spec: Spec) -> dict[str, object]:
    """The options that describe a student of this spec."""
    options: dict[str, object] = {
        "family": spec.family,
        "width": list(spec.widths),
        "latent": spec.M,
        "hyper": spec.H,
        "hyper_latent": spec.Z,
    }
    post = spec.post if isinstance(spec, PatchSpec) else None
    if post is not None:
        options["post"] = list(post)
    if student_spec(spec.family, spec.widths, spec.M, spec.H, spec.Z, post) != spec:
        raise InputError(
            f"no recipe was written: the options of hwkd distill cannot describe {spec}; start from its run folder"
        )
    return options
