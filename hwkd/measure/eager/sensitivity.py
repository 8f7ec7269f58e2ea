"""The model with the layers to measure: a float one quantized after training, or a quantized run as it is."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwkd import __version__
from hwkd.bits import ACT_BITS, WEIGHT_BITS, BitPlan
from hwkd.distill.data import Crops, Image, calibration_crops, load_images
from hwkd.distill.run_folder import load_model
from hwkd.errors import InputError
from hwkd.images import Pixels
from hwkd.measure.sensitivity import BaseLayer
from hwkd.models.base import HyperpriorCodec
from hwkd.models.spec import Spec
from hwkd.qualities import DEFAULT_QUALITY, LMBDA_HIGH, LMBDA_LOW, lmbda_at
from hwkd.quantize.integer import layer_bits
from hwkd.quantize.precision import plan_precision
from hwkd.quantize.ptq import post_training_quantize
from hwkd.quantize.qat import ENTROPY_PATH, set_weight_bits
from hwkd.target import Target

CROPS = 6
"""Images to measure on: a few hundredths of a percent of the loss are then chance, where 7 bits everywhere cost half a one."""
_SEED = 1
"""Seed of the crops; those of the calibration have 0."""


@dataclass(frozen=True)
class Base:
    """A quantized codec, to be measured layer by layer.

    Attributes:
        how: origin of its bits, as a clause.
    """

    name: str
    codec: HyperpriorCodec
    spec: Spec
    lmbda: float
    layers: tuple[BaseLayer, ...]
    sha256: str | None
    how: str


def load_base(
    text: str, data: Path | None, side: int, lmbda: float | None, target: Target | None
) -> Base:
    """The base that `text` names: with 8-bit activations, and weights of the most bits that `target` takes, or a run's own.
    A run's h_s keeps the bits that it was trained in: every target computes its integers in float.

    Args:
        text: as `hwkd.distill.run_folder.load_model`.
        data: images to calibrate a float model on; None for the embedded training photographs.
        side: side of the crops to calibrate on, in pixels.
        lmbda: lambda of the loss, at which a model of all rates codes; None for the model's own, that of DEFAULT_QUALITY
            where it has all rates.
        target: the device; None for any.
    Raises:
        InputError: no such model, one that cannot be quantized, or no known lmbda; as `calibration_crops`.
    """
    loaded = load_model(text)
    lmbda = loaded.lmbda if lmbda is None else lmbda
    if lmbda is None and loaded.codec.serves_all_rates:
        lmbda = lmbda_at(DEFAULT_QUALITY)
    if lmbda is None:
        raise InputError(
            f"{text} does not say its lmbda, which the loss bpp + lmbda 255^2 MSE needs: give it with --lmbda"
        )
    if loaded.codec.serves_all_rates and not LMBDA_LOW <= lmbda <= LMBDA_HIGH:
        raise InputError(
            f"{text} serves lmbdas from {LMBDA_LOW:g} to {LMBDA_HIGH:g}, got {lmbda:g}: give one of these with --lmbda"
        )
    most = WEIGHT_BITS[-1]
    if target is not None:
        plan_on = plan_precision(target, most, ACT_BITS[-1], family=loaded.spec.family)
        most = plan_on.preferred("encoder").weight_storage_bits
    if loaded.bits is None:
        plan = BitPlan(most, ACT_BITS[-1])
        how = f"quantized after training to {plan.weight_bits}/{plan.act_bits} bits"
        codec = post_training_quantize(
            loaded.codec, plan, calibration_crops(data, side), keeps_weights=True
        )
    else:
        plan, codec = loaded.bits, loaded.codec
        how = f"a quantized run as it is, {plan.weights_in_words()}/{plan.act_bits} bits"
        wide = [
            layer.name
            for layer in layer_bits(codec)
            if layer.weight_bits > most and not layer.name.startswith(ENTROPY_PATH)
        ]
        set_weight_bits(codec, dict.fromkeys(wide, most))
        if wide:
            how += f", its weights held to {most}"
    codec.set_lmbda(lmbda)
    layers = tuple(
        BaseLayer(layer.name, layer.weight_count, layer.weight_bits, plan.bits_for(layer.name)[1])
        for layer in layer_bits(codec)
    )
    return Base(loaded.name, codec, loaded.spec, lmbda, layers, loaded.sha256, how)


def measured_crops(data: Path | None, side: int) -> tuple[list[Pixels], str]:
    """The images to measure on, CROPS of [side, side, 3], and in words what they are.

    Raises:
        InputError: as `hwkd.distill.data.load_images`.
    """
    held = load_images(data, side, 0, lambda _name: None)
    # Nothing is trained here, so those that a run holds out are as good as the others.
    images: Sequence[tuple[str, Image]] = (*held.train, *held.held_out)
    crops = Crops(images, side, _SEED)
    batch = (crops.batch(CROPS) * 255).round().permute(0, 2, 3, 1).numpy().astype(np.uint8)
    return [np.ascontiguousarray(crop) for crop in batch], (
        f"{CROPS} crops of {side}x{side} of {held.source}"
    )


def fingerprint(base: Base, crops: Sequence[Pixels]) -> str:
    """A sha256 of all that decides a measurement: the model, its bits and scales, the loss, and the images."""
    digest = hashlib.sha256(repr((__version__, str(base.spec), base.lmbda, base.layers)).encode())
    for name, held in sorted(base.codec.state_dict().items()):
        digest.update(name.encode())
        digest.update(held.detach().cpu().contiguous().numpy().tobytes())
    for crop in crops:
        digest.update(repr(crop.shape).encode())
        digest.update(crop.tobytes())
    return digest.hexdigest()
