"""A student before its first step: inherited from another model, or fitted to the data."""

import math
from dataclasses import dataclass

import torch

from hwkd.distill.data import CropSource
from hwkd.models.base import HyperpriorCodec
from hwkd.models.build import build
from hwkd.models.fit_to_data import fit_to_data
from hwkd.models.hyperprior import ConvHyperprior
from hwkd.models.inherit import has_gdn, inherit, same_shapes
from hwkd.models.patch import PatchCodec
from hwkd.models.spec import PATCH_VALUES, Spec
from hwkd.qualities import LMBDA_OF_UNIT_GAIN
from hwkd.quantize.brevitas_qat import round_medians

START_BATCHES = 16


@dataclass(frozen=True)
class Origin:
    """What a student inherits its first weights from. name: for the notes. lmbda: what it was trained for, if known."""

    codec: HyperpriorCodec
    name: str
    lmbda: float | None


def new_student(
    spec: Spec, lmbda: float | None, origin: Origin | None, crops: CropSource, crop: int, batch: int
) -> tuple[HyperpriorCodec, tuple[str, ...]]:
    """The student of `spec` before its training for `lmbda`, and what a user should know about its start.

    lmbda: None for a student of all rates. origin: None for a start from random filters, or from the principal components
    of patches, fitted to `crops`, whose sides are `crop` pixels and of which one batch, or several, are taken.
    """
    student = build(spec)
    notes: list[str] = []
    start = None if origin is None else origin.codec
    name = "" if origin is None else origin.name
    inherited = () if start is None else inherit(student, start)
    if start is not None and same_shapes(student, start):
        student.load_state_dict(start.state_dict())
        notes.append(f"the student starts as a copy of {name}")
    elif inherited:
        notes.append(f"the student inherits {', '.join(inherited)} from {name}")
        if isinstance(student, ConvHyperprior) and has_gdn(start) and not has_gdn(student):
            fit_to_data(student, crops.batch(2 * batch))
            notes.append("its filters are rescaled on one batch, because GDN's gain is missing")
    elif isinstance(student, PatchCodec):
        patches = crop**2 * 3 // PATCH_VALUES
        count = max(START_BATCHES * batch, 2 * PATCH_VALUES // patches)
        student.start_from_pca(crops.batch(count), LMBDA_OF_UNIT_GAIN if lmbda is None else lmbda)
        notes.append("the student starts from the principal components of the training patches")
    elif isinstance(student, ConvHyperprior):
        fit_to_data(student, crops.batch(2 * batch))
        notes.append("the student starts from random filters, scaled on one batch")
    if isinstance(student, PatchCodec) and isinstance(start, PatchCodec) and inherited:
        assert origin is not None
        notes += _other_rate(student, lmbda, start, origin.lmbda)
    if start is not None and not inherited:
        notes.append(f"nothing could be inherited from {name}: its layers do not fit")
    round_medians(student)
    return student, tuple(notes)


def _other_rate(
    student: PatchCodec, lmbda: float | None, start: PatchCodec, start_lmbda: float | None
) -> list[str]:
    """Fit the steps of an inherited student to its own lambda; what was done, in words."""
    if student.gains is not None and start.gains is not None:
        return []
    if start.gains is not None:
        assert lmbda is not None  # a student without gains has one rate
        logs = start.gains.log_at(torch.tensor([lmbda]))[0, : student.M]
        student.scale_latents(logs.exp(), shift_scales=True)
        return [f"its latents are those of lmbda {lmbda:g}, of a model of all rates"]
    to = LMBDA_OF_UNIT_GAIN if lmbda is None else lmbda
    if start_lmbda is None or start_lmbda == to:
        return []
    # Steps of quantization are as 1 / sqrt(lmbda) at high rate (see `PatchCodec.start_from_pca`).
    student.scale_latents(math.sqrt(to / start_lmbda))
    return [f"its latents are scaled from lmbda {start_lmbda:g} to {to:g}"]
