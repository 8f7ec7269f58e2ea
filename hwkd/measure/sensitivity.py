"""What the bits of each layer's weights cost: one layer at a time, from real bytes."""

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from hwkd.errors import InputError
from hwkd.images import ImageSource, Pixels
from hwkd.metrics import mse, psnr_db
from hwkd.quantize.allocate import LayerChoice, allocate, monotone

if TYPE_CHECKING:
    from hwkd.measure.quality import ImageQuality
    from hwkd.models.base import HyperpriorCodec


DECODER = "g_s."
"""Prefix of the layers that change no stream, only what is decoded from it."""


@dataclass(frozen=True)
class Coded:
    """Means over a set of images. bpp: of the real bytes. mse: of the 8-bit output, on the [0, 1] scale; psnr_db: mean of
    the images' own."""

    bpp: float
    mse: float
    psnr_db: float

    def rd_loss(self, lmbda: float) -> float:
        """bpp + lmbda * 255^2 * mse."""
        return self.bpp + lmbda * 255**2 * self.mse


@dataclass(frozen=True)
class BaseLayer:
    """A layer of the base. weight_count: biases not among them. weight_bits, act_bits: of the base."""

    name: str
    weight_count: int
    weight_bits: int
    act_bits: int


@dataclass(frozen=True)
class BitsPoint:
    """The base, but for the weights of one layer in `bits`."""

    layer: str
    bits: int
    coded: Coded


@dataclass(frozen=True)
class Sensitivity:
    """What was measured of a model.

    lmbda: of the loss. weight_bytes: of the model itself, as hwkd.quantize.integer.weight_bytes counts them; base: what
    it does to the same images as `points`.
    """

    lmbda: float
    weight_bytes: int
    base: Coded
    layers: tuple[BaseLayer, ...]
    points: tuple[BitsPoint, ...]

    def change_percent(self, coded: Coded) -> float:
        """Change of the loss against the base's, in percent."""
        return 100 * (coded.rd_loss(self.lmbda) / self.base.rd_loss(self.lmbda) - 1)

    def changes_percent(self, layer: BaseLayer) -> dict[int, float]:
        """By bits, the most first, with the layer's own at 0."""
        mine = {p.bits: self.change_percent(p.coded) for p in self.points if p.layer == layer.name}
        return {layer.weight_bits: 0.0, **dict(sorted(mine.items(), reverse=True))}


def offered_bits(layers: Sequence[BaseLayer], bits: Collection[int]) -> dict[str, tuple[int, ...]]:
    """By layer, those of `bits` that are fewer than it has, the most first.

    Raises:
        InputError: no layer can have any of them.
    """
    offers = {
        layer.name: tuple(sorted((b for b in bits if b < layer.weight_bits), reverse=True))
        for layer in layers
    }
    if not any(offers.values()):
        most = max(layer.weight_bits for layer in layers)
        raise InputError(
            f"--bits {','.join(map(str, bits))} holds nothing to try: the weights have {most} bits at most, give fewer"
        )
    return offers


def unmeasured(
    layers: Sequence[BaseLayer], lmbda: float, weight_bytes: int, bits: Collection[int]
) -> Sensitivity:
    """What `measure_sensitivity` would give if no bits cost anything: enough to know which sizes there are.

    Raises:
        InputError: as `offered_bits`.
    """
    free = Coded(bpp=1.0, mse=0.0, psnr_db=math.inf)
    points = tuple(
        BitsPoint(name, count, free)
        for name, offer in offered_bits(layers, bits).items()
        for count in offer
    )
    return Sensitivity(lmbda, weight_bytes, free, tuple(layers), points)


def measure_sensitivity(
    codec: "HyperpriorCodec",
    layers: Sequence[BaseLayer],
    lmbda: float,
    images: Sequence[Pixels],
    bits: Collection[int],
    *,
    known: Mapping[tuple[str, int], Coded],
    found: Callable[[Sensitivity], None],
) -> Sensitivity:
    """Code `images` with the base, then with the weights of one layer at a time in each of `bits` that are fewer.

    Nothing is trained, and activation scales stay. A layer of g_s changes no stream: the base's are decoded.

    Args:
        codec: quantized, in the bits of `layers`; its own again at the end.
        images: uint8 arrays [H, W, 3].
        known: by layer and bits, what was measured before and is not measured again.
        found: called with all there is after each layer.
    Raises:
        InputError: nothing to try, or an image that the codec refuses.
        HwkdError: the networks gave values that are not finite.
    """
    from hwkd.measure.eager.coding import make_tables
    from hwkd.quantize.integer import weight_bytes
    from hwkd.quantize.qat import set_weight_bits

    offers = offered_bits(layers, bits)
    # Once: the tables are those of the entropy models, which no layer's bits change.
    make_tables(codec, anew=True)
    stored = weight_bytes(codec)
    streams = _streams(codec, images)
    base = _decoded(codec, images, streams)
    points: list[BitsPoint] = []
    for layer in layers:
        for count in offers[layer.name]:
            coded = known.get((layer.name, count))
            if coded is None:
                set_weight_bits(codec, {layer.name: count})
                try:
                    is_decoder = layer.name.startswith(DECODER)
                    mine = streams if is_decoder else _streams(codec, images)
                    coded = _decoded(codec, images, mine)
                finally:
                    set_weight_bits(codec, {layer.name: layer.weight_bits})
            points.append(BitsPoint(layer.name, count, coded))
        found(Sensitivity(lmbda, stored, base, tuple(layers), tuple(points)))
    return Sensitivity(lmbda, stored, base, tuple(layers), tuple(points))


def _streams(codec: "HyperpriorCodec", images: Sequence[Pixels]) -> list[bytes]:
    from hwkd.measure.eager.coding import encode

    return [encode(codec, image) for image in images]


def _decoded(codec: "HyperpriorCodec", images: Sequence[Pixels], streams: Sequence[bytes]) -> Coded:
    from hwkd.measure.eager.coding import decode

    outputs = [decode(codec, stream) for stream in streams]
    pairs = list(zip(images, outputs, strict=True))
    return Coded(
        bpp=fmean(
            8 * len(stream) / math.prod(image.shape[:2])
            for image, stream in zip(images, streams, strict=True)
        ),
        mse=fmean(mse(image, output) / 255**2 for image, output in pairs),
        psnr_db=fmean(psnr_db(image, output) for image, output in pairs),
    )


# From measured sensitivity to bits for a size, and what they do to images that were not measured on.


@dataclass(frozen=True)
class Allocation:
    """Bits for the weights of every layer.

    weight_bytes: of the whole model, as hwkd.quantize.integer.weight_bytes counts them. added_percent: the sum of what
    each layer's bits alone change of the loss, as measured: what all would change if changes added up. mean_bits: of a
    weight.
    """

    name: str
    bits: Mapping[str, int]
    mean_bits: float
    weight_bytes: int
    added_percent: float


@dataclass(frozen=True)
class CheckedAllocation:
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
) -> tuple[CheckedAllocation, ...]:
    """`allocations` of `codec`, each coded to real bytes and decoded; `base`, its own bits, are set again at the end.

    Raises:
        InputError, HwkdError: as hwkd.measure.quality.evaluate.
    """
    from hwkd.measure.quality import evaluate
    from hwkd.quantize.qat import set_weight_bits

    checked = []
    try:
        for allocation in allocations:
            set_weight_bits(codec, allocation.bits)
            evaluation = evaluate(codec, images, progress=progress)
            mse = fmean(image.mse for image in evaluation.images)
            checked.append(
                CheckedAllocation(allocation, Coded(evaluation.bpp, mse, evaluation.psnr_db))
            )
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
