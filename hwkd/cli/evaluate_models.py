"""What `hwkd evaluate` measures: bundles, and models that torch runs; and what is known of how they were made."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from hwkd.codec.codec import Codec
from hwkd.errors import InputError
from hwkd.measure.bundle_costs import read_costs
from hwkd.qualities import CURVE_QUALITIES, HIGHEST, LOWEST, lmbda_at
from hwkd.results import TrainedModel
from hwkd.runtime.bundle import BUNDLE_SUFFIX, Bundle, is_bundle
from hwkd.runtime.card import NOT_RECORDED, Card

if TYPE_CHECKING:
    from hwkd.distill.run_folder import LoadedModel
    from hwkd.images import Pixels
    from hwkd.measure.quality import Evaluation, ImageQuality
    from hwkd.models.base import HyperpriorCodec

COUNTED_SIZE = (768, 512)
"""Width and height of the images, Kodak's, that MACs per pixel are told for: a multiple of 64, so nothing is padded."""


@dataclass(frozen=True)
class EvaluatedPoint:
    """A model at one rate, ready to evaluate.

    quality: None of a model of one rate. lmbda: None where it is not known. evaluate: as hwkd.measure.quality.evaluate, of
    its codec.
    """

    quality: int | None
    lmbda: float | None
    evaluate: "Callable[..., Evaluation]"


@dataclass(frozen=True)
class EvaluatedModel:
    """A model: one point, or those of a model of all rates in order of their quality.

    trained: counts and reads what is known of it, whatever the point.
    """

    name: str
    points: tuple[EvaluatedPoint, ...]
    trained: Callable[[], TrainedModel]

    @property
    def serves_all_rates(self) -> bool:
        """Whether it is a curve by itself."""
        return self.points[0].quality is not None


def load_evaluated(text: str, qualities: Sequence[int] | None) -> EvaluatedModel:
    """The model that `text` names: a bundle, or anything `hwkd.distill.run_folder.load_model` takes.

    Args:
        qualities: of a model of all rates; None: CURVE_QUALITIES, those that it has.
    Raises:
        InputError: a quality that the bundle lacks; as the two that load it.
        HwkdError: as they.
    """
    if is_bundle(text):
        return _bundle(Codec.load(text), qualities)
    from hwkd.distill.run_folder import load_model

    return _in_torch(text, load_model(text), qualities)


def _bundle(codec: Codec, qualities: Sequence[int] | None) -> EvaluatedModel:
    from hwkd.measure.quality import evaluate_bundle

    manifest = codec.bundle.manifest
    points = tuple(
        EvaluatedPoint(
            quality,
            manifest.lmbda if quality is None else lmbda_at(quality),
            partial(evaluate_bundle, codec, quality=quality),
        )
        for quality in _qualities(manifest.name, manifest.qualities, qualities)
    )
    name = f"{manifest.name}{BUNDLE_SUFFIX}"
    return EvaluatedModel(name, points, partial(_of_bundle, codec.bundle))


def _in_torch(text: str, loaded: "LoadedModel", qualities: Sequence[int] | None) -> EvaluatedModel:
    has = (LOWEST, HIGHEST) if loaded.codec.serves_all_rates else None
    points = tuple(
        EvaluatedPoint(
            quality,
            loaded.lmbda if quality is None else lmbda_at(quality),
            partial(_evaluate_in_torch, loaded.codec, quality),
        )
        for quality in _qualities(loaded.name, has, qualities)
    )
    return EvaluatedModel(loaded.name, points, partial(_of_torch, text, loaded))


def _qualities(
    name: str, has: tuple[int, int] | None, asked: Sequence[int] | None
) -> tuple[int | None, ...]:
    """The qualities of a model that has those from the first to the second of `has`; (None,) of a model of one rate."""
    if has is None:
        return (None,)
    low, high = has
    if asked is None:
        return tuple(sorted({min(max(quality, low), high) for quality in CURVE_QUALITIES}))
    for quality in asked:
        if not low <= quality <= high:
            raise InputError(
                f"a quality of {name} must be a whole number from {low} to {high}, got {quality}"
            )
    return tuple(sorted(asked))


def _evaluate_in_torch(
    codec: "HyperpriorCodec",
    quality: int | None,
    images: "Iterable[tuple[str, Pixels]]",
    *,
    progress: "Callable[[ImageQuality], None] | None" = None,
) -> "Evaluation":
    from hwkd.measure.quality import evaluate

    if quality is not None:
        codec.set_lmbda(lmbda_at(quality))
    return evaluate(codec, images, progress=progress)


def _of_bundle(bundle: Bundle) -> TrainedModel:
    manifest = bundle.manifest
    width, height = COUNTED_SIZE
    try:
        macs, _ = read_costs(bundle).for_image(width, height)
        kmac_per_pixel = macs.total_macs / (1e3 * width * height)
    except InputError:
        kmac_per_pixel = None  # a bundle need not tell its costs to be evaluated
    precision = f"int8 {manifest.weight_bits}/{manifest.act_bits}"
    return trained_by_card(manifest.name, manifest.lmbda, kmac_per_pixel, precision, manifest.card)


def _of_torch(text: str, loaded: "LoadedModel") -> TrainedModel:
    from hwkd.export.training_card import training_card
    from hwkd.measure.eager.macs import count_macs
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
