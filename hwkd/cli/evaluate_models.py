"""What `hwkd evaluate` measures: bundles, and models that torch runs; and what is known of how they were made."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from hwkd.codec.codec import Codec
from hwkd.errors import InputError
from hwkd.measure.bundle_costs import read_costs
from hwkd.results import TrainedModel
from hwkd.runtime.bundle import BUNDLE_SUFFIX, Bundle, is_bundle
from hwkd.runtime.card import NOT_RECORDED, Card

if TYPE_CHECKING:
    from hwkd.distill.runs import LoadedModel
    from hwkd.measure.quality import Evaluation

COUNTED_SIZE = (768, 512)
"""Width and height of the images, Kodak's, that MACs per pixel are told for: a multiple of 64, so nothing is padded."""


@dataclass(frozen=True)
class EvaluatedModel:
    """A model ready to evaluate.

    lmbda: None where it is not known. evaluate: as hwkd.measure.quality.evaluate, of its codec. trained: counts and
    reads what is known of it, its loss aside.
    """

    name: str
    lmbda: float | None
    evaluate: "Callable[..., Evaluation]"
    trained: Callable[[], TrainedModel]


def load_evaluated(text: str) -> EvaluatedModel:
    """The model that `text` names: a bundle, or anything `hwkd.distill.runs.load_model` takes.

    Raises:
        InputError, HwkdError: as the two that load it.
    """
    from hwkd.measure.quality import evaluate, evaluate_bundle

    if is_bundle(text):
        codec = Codec.load(text)
        manifest = codec.bundle.manifest
        return EvaluatedModel(
            f"{manifest.name}{BUNDLE_SUFFIX}",
            manifest.lmbda,
            partial(evaluate_bundle, codec),
            partial(_bundle, codec.bundle),
        )
    from hwkd.distill.runs import load_model

    loaded = load_model(text)
    return EvaluatedModel(
        loaded.name, loaded.lmbda, partial(evaluate, loaded.codec), partial(_in_torch, text, loaded)
    )


def _bundle(bundle: Bundle) -> TrainedModel:
    manifest = bundle.manifest
    width, height = COUNTED_SIZE
    try:
        macs, _ = read_costs(bundle).for_image(width, height)
        kmac_per_pixel = macs.total_macs / (1e3 * width * height)
    except InputError:
        kmac_per_pixel = None  # a bundle need not tell its costs to be evaluated
    precision = f"int8 {manifest.weight_bits}/{manifest.act_bits}"
    return trained_by_card(manifest.name, manifest.lmbda, kmac_per_pixel, precision, manifest.card)


def _in_torch(text: str, loaded: "LoadedModel") -> TrainedModel:
    from hwkd.deploy.training_card import training_card
    from hwkd.measure.macs import count_macs
    from hwkd.models.build import build

    # The float model is counted, whatever the bits.
    kmac_per_pixel = count_macs(build(loaded.spec), *COUNTED_SIZE).macs_per_pixel / 1e3
    bits = loaded.bits
    precision = "fp32" if bits is None else f"simulated {bits.weights_in_words()}/{bits.act_bits}"
    return trained_by_card(
        loaded.name, loaded.lmbda, kmac_per_pixel, precision, training_card(text)
    )


def trained_by_card(
    name: str, lmbda: float | None, kmac_per_pixel: float | None, precision: str, card: Card | None
) -> TrainedModel:
    """All that is known; card: None where there is none. Its steps are those of both phases of the model's own run."""
    steps = hours = hardware = None
    if card is not None:
        if card.float_steps is not None and card.quantized_steps is not None:
            steps = card.float_steps + card.quantized_steps
        hours = card.hours
        hardware = None if card.hardware == NOT_RECORDED else card.hardware
    return TrainedModel(
        name,
        lmbda=lmbda,
        kmac_per_pixel=kmac_per_pixel,
        steps=steps,
        hours=hours,
        hardware=hardware,
        precision=precision,
    )
