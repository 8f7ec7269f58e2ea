"""A student before its first step: inherited from another model, or fitted to the data."""

import math
from dataclasses import dataclass

from hwkd.distill.data import CropSource
from hwkd.models.base import HyperpriorCodec
from hwkd.models.build import build
from hwkd.models.fit_to_data import fit_to_data
from hwkd.models.hyperprior import ConvHyperprior
from hwkd.models.inherit import has_gdn, inherit, same_shapes
from hwkd.models.patch import PatchCodec
from hwkd.models.spec import PATCH_VALUES, Spec
from hwkd.quantize.brevitas_qat import round_medians

START_BATCHES = 16


@dataclass(frozen=True)
class Origin:
    """What a student inherits its first weights from. name: for the notes. lmbda: what it was trained for, if known."""

    codec: HyperpriorCodec
    name: str
    lmbda: float | None


def new_student(
    spec: Spec, lmbda: float, origin: Origin | None, crops: CropSource, crop: int, batch: int
) -> tuple[HyperpriorCodec, tuple[str, ...]]:
    """The student of `spec` before its training for `lmbda`, and what a user should know about its start.

    origin: None for a start from random filters, or from the principal components of patches, fitted to `crops`, whose
    sides are `crop` pixels and of which one batch, or several, are taken.
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
        student.start_from_pca(crops.batch(count), lmbda)
        notes.append("the student starts from the principal components of the training patches")
    elif isinstance(student, ConvHyperprior):
        fit_to_data(student, crops.batch(2 * batch))
        notes.append("the student starts from random filters, scaled on one batch")
    trained_for = lmbda if origin is None or origin.lmbda is None else origin.lmbda
    if isinstance(student, PatchCodec) and inherited and trained_for != lmbda:
        # Steps of quantization are as 1 / sqrt(lmbda) at high rate (see `PatchCodec.start_from_pca`).
        student.scale_latents(math.sqrt(lmbda / trained_for))
        notes.append(f"its latents are scaled from lmbda {trained_for:g} to {lmbda:g}")
    if start is not None and not inherited:
        notes.append(f"nothing could be inherited from {name}: its layers do not fit")
    round_medians(student)
    return student, tuple(notes)
