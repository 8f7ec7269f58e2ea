"""From measured sensitivity to bits for a size, and what they do to images that were not measured on."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from hwkd.images import ImageSource
from hwkd.measure.sensitivity import Coded, Sensitivity
from hwkd.quantize.allocate import LayerChoice, allocate, monotone

if TYPE_CHECKING:
    from hwkd.measure.quality import ImageQuality
    from hwkd.models.base import HyperpriorCodec


@dataclass(frozen=True)
class Allocation:
    """Bits for the weights of every layer.

    weight_bytes: of the whole model, as hwkd.quantize.layers.weight_bytes counts them. added_percent: the sum of what
    each layer's bits alone change of the loss, as measured: what all would change if changes added up. mean_bits: of a
    weight.
    """

    name: str
    bits: Mapping[str, int]
    mean_bits: float
    weight_bytes: int
    added_percent: float


@dataclass(frozen=True)
class Checked:
    """An allocation on the images to check on. coded: what it does there."""

    allocation: Allocation
    coded: Coded


def base_allocation(found: Sensitivity) -> Allocation:
    """The bits that the measured model has."""
    bits = {layer.name: layer.weight_bits for layer in found.layers}
    return _of(found, f"as it is, {bits_in_words(bits)} bits", bits)


def uniform(found: Sensitivity, bits: int) -> Allocation:
    """`bits`, one of those measured, for every layer; a layer that has fewer keeps its own."""
    chosen = {layer.name: min(bits, layer.weight_bits) for layer in found.layers}
    return _of(found, f"uniform {bits} bits", chosen)


def allocated(found: Sensitivity, name: str, at_most_bytes: float) -> Allocation:
    """The bits that cost least within `at_most_bytes` of weights, by what was measured. Raises as `allocate`."""
    choices = _choices(found)
    return _of(found, name, allocate(choices, at_most_bytes, _other_bytes(found)))


def check(
    codec: "HyperpriorCodec",
    base: Allocation,
    allocations: list[Allocation],
    images: ImageSource,
    progress: "Callable[[ImageQuality], None]",
) -> tuple[Checked, ...]:
    """`allocations` of `codec`, each coded to real bytes and decoded; `base`, its own bits, are set again at the end.

    Raises:
        InputError, HwkdError: as hwkd.measure.quality.evaluate.
    """
    from hwkd.measure.quality import evaluate
    from hwkd.quantize.requantize import set_weight_bits

    checked = []
    try:
        for allocation in allocations:
            set_weight_bits(codec, allocation.bits)
            evaluation = evaluate(codec, images, progress=progress)
            mse = fmean(image.mse for image in evaluation.images)
            checked.append(Checked(allocation, Coded(evaluation.bpp, mse, evaluation.psnr_db)))
    finally:
        set_weight_bits(codec, base.bits)
    return tuple(checked)


def bits_in_words(bits: Mapping[str, int]) -> str:
    """ "8", or "2 to 8" where layers differ."""
    fewest, most = min(bits.values()), max(bits.values())
    return str(most) if fewest == most else f"{fewest} to {most}"


def most_common_bits(bits: Mapping[str, int]) -> int:
    """What most layers have; of several the most bits."""
    counts = Counter(bits.values())
    return max(counts, key=lambda count: (counts[count], count))


def _choices(found: Sensitivity) -> list[LayerChoice]:
    return [
        LayerChoice(layer.name, layer.weight_count, monotone(found.changes_percent(layer)))
        for layer in found.layers
    ]


def _other_bytes(found: Sensitivity) -> int:
    own = {layer.name: layer.weight_bits for layer in found.layers}
    return found.weight_bytes - sum(c.stored_bytes(own[c.name]) for c in _choices(found))


def _of(found: Sensitivity, name: str, bits: dict[str, int]) -> Allocation:
    stored = sum(choice.stored_bytes(bits[choice.name]) for choice in _choices(found))
    added = sum(found.changes_percent(layer)[bits[layer.name]] for layer in found.layers)
    in_all = sum(layer.weight_count * bits[layer.name] for layer in found.layers)
    mean = in_all / sum(layer.weight_count for layer in found.layers)
    return Allocation(name, bits, mean, _other_bytes(found) + stored, added)
