"""Post-training quantization: a trained float model becomes a quantized one in one call, its weights rounded by what they do."""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from copy import deepcopy
from itertools import product
from typing import cast

import torch
import torch.nn.functional as F
from brevitas.nn import QuantConv2d
from torch import Tensor

from hwkd.bits import BitPlan
from hwkd.models.base import HyperpriorCodec, ResidualStream
from hwkd.qualities import DEFAULT_QUALITY, HIGHEST, LOWEST, lmbda_at
from hwkd.quantize.qat import (
    ENTROPY_PATH,
    calibrate,
    conv_layers,
    quantize,
    quantized_layers,
    rest_of,
)


def post_training_quantize(
    codec: HyperpriorCodec,
    plan: BitPlan,
    images: Iterable[Tensor],
    *,
    keeps_weights: bool = False,
) -> HyperpriorCodec:
    """A quantized copy of `codec`, scales and rounding fitted to `images`; `codec` itself is not changed.

    No weight is trained: the channels of the encoder's residual stream are balanced (`balance_stream`), activation scales
    calibrated (`calibrate`), weights rounded so that outputs change least (`round_weights`), which sets the biases too;
    Brevitas' own correction of biases is not used.

    Args:
        codec: trained, float.
        images: batches [B, 3, H, W] in [0, 1], H and W multiples of 64.
        keeps_weights: keep the trained weights, each rounded to the nearest in a pass, so that their bits may be changed.
    Raises:
        InputError: as `quantize` and `calibrate`.
    """
    batches = list(images)
    quantized = deepcopy(codec)
    balance_stream(quantized, plan, batches)
    quantize(quantized, plan)
    calibrate(quantized, batches)
    if not keeps_weights:
        round_weights(quantized, batches)
    quantized.eval()
    return quantized


# The channels of the encoder's residual stream in scales that suit its quantizers.
#
# The last layer before y reads the stream through one scale for all channels: it fits the widest channel, and its steps are
# too coarse for the others. Of what int8 cost patch-large at quality 100 (5.3 % of RD, six crops of Kodak, after 9,850
# steps of training) half came from these steps alone. Where its weights have a second layer for what rounding takes from
# them (qat.py), the scales are free to suit the steps.
# Channels are free to be smaller or larger (ResidualStream), but a channel that is smaller has larger weights, which share
# the steps of their row. So the scales are those with the smallest sum of both errors (as cross-layer equalization,
# arXiv 1906.04721, section 4.1, with an error in place of equal ranges).

_FACTORS_AN_OCTAVE = 8
"""Factors are 2^(k / 8): on a grid, every machine finds the same ones."""


@torch.no_grad()
def balance_stream(codec: HyperpriorCodec, plan: BitPlan, batches: Sequence[Tensor]) -> None:
    """Scale the channels of the encoder's residual stream so that its end errs least in the bits of `plan`, in place.

    The codec computes the same, but for the rounding of floats. A codec without such a stream stays as it is.

    Args:
        codec: float, not quantized yet.
        batches: images, [B, 3, H, W] in [0, 1], H and W multiples of 64; none: nothing is scaled.
    """
    stream = codec.encoder_stream()
    if stream is None or not batches:
        return
    last = stream.ends[0]
    seen: list[Tensor] = []
    with last.register_forward_pre_hook(
        lambda _layer, x: seen.append(x[0].transpose(0, 1).flatten(1))
    ):
        for x in batches:
            codec.g_a(x)
    values = torch.cat(seen, 1).double()
    largest, variance = values.abs().amax(1), values.var(1, correction=0)
    weights = last.weight.flatten(1).double()
    name = next(name for name, layer in conv_layers(codec).items() if layer is last)
    weight_bits, act_bits = plan.bits_for(name)
    if name in codec.family.with_rest(codec.spec):
        weight_bits += plan.bits_for(rest_of(name))[0] - 1

    def error(factors: Tensor) -> float:
        """The sum over y's channels of the squared error, but for a constant factor."""
        scaled = weights * factors
        act_step = (largest / factors).max() / (2 ** (act_bits - 1) - 1)
        weight_steps = scaled.abs().amax(1) / (2 ** (weight_bits - 1) - 1)
        of_acts = act_step.square() * scaled.square().sum()
        of_weights = weight_steps.square().sum() * (variance / factors.square()).sum()
        return float(of_acts + of_weights)

    # Midway between equal ranges and equal weights. A channel that is silent, or not read, has no ratio.
    ratio = largest / weights.norm(dim=0).clamp_min(1e-12)
    ratio = torch.where((ratio > 0) & (weights.norm(dim=0) > 0), ratio, ratio.new_ones(()))
    exponents = (ratio.sqrt().log2() * _FACTORS_AN_OCTAVE).round()
    least = error(2 ** (exponents / _FACTORS_AN_OCTAVE))
    step = _FACTORS_AN_OCTAVE
    while step:
        before = least
        for channel, sign in product(range(len(exponents)), (1, -1)):
            moved = exponents.clone()
            moved[channel] += sign * step
            found = error(2 ** (moved / _FACTORS_AN_OCTAVE))
            if found < least:
                least, exponents = found, moved
        if least >= 0.9999 * before:
            step //= 2
    if least < error(torch.ones_like(exponents)):
        _scale_stream(stream, 2 ** (exponents / _FACTORS_AN_OCTAVE))


def _scale_stream(stream: ResidualStream, factors: Tensor) -> None:
    """Divide channel c of the stream by factors[c]."""
    for layer in stream.writers:
        layer.weight.div_(factors.to(layer.weight)[:, None, None, None])
        assert layer.bias is not None
        layer.bias.div_(factors.to(layer.bias))
    for layer in (*stream.readers, *stream.ends):
        layer.weight.mul_(factors.to(layer.weight)[:, None, None])


# Weights rounded to the integers that change the outputs least, on real images, after training.
#
# Nearest rounding errs at random in each weight. But the inputs of a layer are unlike: the mean of a patch is a hundred
# times as large as most of what g_s.linear takes, so the error of one column decides the layer's. Here each output
# channel gets the scale and the integers that make the smallest error of its outputs, by the covariance of the layer's
# inputs: the weights that are rounded later make up for the error of one weight (GPTQ, arXiv 2210.17323). `head` makes up
# for errors of `linear`, because their outputs are added. The bias takes what is left of the mean.

_RANGES = tuple(1 - 0.0125 * i for i in range(12))
"""Tried ranges, as shares of the largest weight of an output channel, which ends at the last integer. Below 1 that weight is
clipped, and all others get a finer grid. A few percent set the grid so that the weight of the largest input lies on it."""
_DAMPING = 1e-4
"""Share of the mean variance that is added to each input's: inputs that never vary would make the covariance singular."""
_SUMMED = {"g_a.linear": "g_a.head", "g_s.linear": "g_s.head"}
"""Layers of `patch`, of one value a place, with outputs that are added: the second makes up for the first."""


def _values(layer: QuantConv2d, x: Tensor) -> Tensor:
    """The inputs of `layer` from `x` at each place, [places, K], rounded by its quantizer, in the order of its weights."""
    x = layer.input_quant(x)
    x = x.value if hasattr(x, "value") else x
    if layer.kernel_size == (1, 1) and layer.stride == (1, 1):
        values = x.flatten(2)
    else:
        values = F.unfold(x, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
    return values.transpose(1, 2).flatten(0, 1)


class _Inputs:
    """First and second moments of the inputs of one layer, or of two layers with added outputs, the one beside the other."""

    def __init__(self, *layers: QuantConv2d) -> None:
        self.layers = layers
        self.seen: list[Tensor] = []
        self.count = 0
        self.sum: Tensor | float = 0.0
        self.products: Tensor | float = 0.0

    def see(self, layer: QuantConv2d, arguments: tuple[Tensor, ...]) -> None:
        """Add what `layer` takes in one pass; the layers are called in their order."""
        self.seen.append(_values(layer, arguments[0]))
        if layer is self.layers[-1]:
            values = torch.cat(self.seen, 1)
            self.seen = []
            self.count += len(values)
            # In float32 the largest products hide what the smallest inputs vary.
            values = values.double()
            self.sum = self.sum + values.sum(0)
            self.products = self.products + values.T @ values

    def mean_and_covariance(self) -> tuple[Tensor, Tensor]:
        """[K] and [K, K]."""
        assert isinstance(self.sum, Tensor) and isinstance(self.products, Tensor)
        mean = self.sum / self.count
        covariance = self.products / self.count - mean[:, None] * mean
        start = 0
        for layer in self.layers:
            variance = covariance.diagonal()[start : start + layer.weight[0].numel()]
            variance += _DAMPING * variance.mean().clamp_min(1e-12)
            start += len(variance)
        return mean, covariance


@torch.no_grad()
def round_weights(codec: HyperpriorCodec, batches: Iterable[Tensor]) -> None:
    """Put the weights of g_a and g_s on their grids so that the layers' outputs change least, in place.

    Not those of h_a and h_s, nor of grouped convolutions, of nine weights a channel: nearest rounding is good there.
    The weights fit these bits only: if the bits will change later (`set_weight_bits`), the codec must keep its trained
    weights.
    Deterministic on a CPU.

    Args:
        codec: quantized and calibrated.
        batches: images, [B, 3, H, W] in [0, 1], H and W multiples of 64.
    """
    layers = {
        name: layer
        for name, layer in quantized_layers(codec).items()
        if isinstance(layer, QuantConv2d)
        and layer.groups == 1
        and not name.startswith(("h_a.", ENTROPY_PATH))
    }
    rests = {layers[name]: layers.pop(rest_of(name)) for name in codec.family.with_rest(codec.spec)}
    groups = [
        _Inputs(*(layers[one] for one in (name, _SUMMED.get(name)) if one in layers))
        for name in layers
        if name not in _SUMMED.values()
    ]
    codec.eval()
    with ExitStack() as stack:
        for group in groups:
            for layer in group.layers:
                stack.enter_context(layer.register_forward_pre_hook(group.see))
        for x in batches:
            if codec.serves_all_rates:
                qualities = (LOWEST, DEFAULT_QUALITY, HIGHEST)
                lmbdas = torch.tensor([lmbda_at(quality) for quality in qualities])
                codec.set_lmbda(lmbdas.repeat_interleave(len(x)))
                x = x.repeat(len(qualities), 1, 1, 1)
            codec(x)
    codec.set_lmbda(lmbda_at(DEFAULT_QUALITY))
    for group in groups:
        mean, covariance = group.mean_and_covariance()
        first, *others = group.layers
        K = first.weight[0].numel()
        if not others:
            _round_layer(first, rests.get(first), mean, covariance)
            continue
        # What the second makes up for: the part of the first's inputs that is a linear function of its own.
        from_second = torch.linalg.solve(covariance[K:, K:], covariance[K:, :K]).T
        of_first = covariance[:K, :K] - from_second @ covariance[K:, :K]
        change = _round_layer(first, rests.get(first), mean[:K], of_first)
        second = others[0]
        made_up = change @ from_second
        second.weight.sub_(made_up.to(second.weight).reshape(second.weight.shape))
        assert second.bias is not None
        second.bias.add_((made_up @ mean[K:]).to(second.bias))
        _round_layer(second, rests.get(second), mean[K:], covariance[K:, K:])


def _round_layer(
    layer: QuantConv2d, rest: QuantConv2d | None, mean: Tensor, covariance: Tensor
) -> Tensor:
    """Round the weights of one layer, with those of the layer that takes its rest; the change of both together, [O, K]."""
    if rest is None:
        change = _round_one(layer, covariance)
    else:
        nearest = layer.quant_weight().value
        rest.weight.copy_(layer.weight - nearest)
        layer.weight.copy_(nearest)
        change = _round_one(rest, covariance)
    if layer.bias is not None:
        layer.bias.sub_((change @ mean).to(layer.bias))
    return change


def _round_one(layer: QuantConv2d, covariance: Tensor) -> Tensor:
    weights = layer.weight.flatten(1).double()
    largest = 2 ** (round(float(layer.weight_quant.bit_width())) - 1) - 1
    nearest = layer.quant_weight().value.flatten(1).double()
    best, least = nearest, _error(nearest - weights, covariance)
    scales = weights.abs().amax(1) / largest
    order = covariance.diagonal().argsort(descending=True, stable=True)
    factor = _factor_of_inverse(covariance[order][:, order])
    for part in _RANGES:
        found = _rounded(weights, (part * scales)[:, None], largest, order, factor)
        error = _error(found - weights, covariance)
        # The layer's grid follows from its largest weight: a channel that does not reach its last integer has another.
        reaches = (found.abs().amax(1) / (part * scales)).round() == largest
        is_better = (reaches & (error < least))[:, None]
        best = torch.where(is_better, found, best)
        least = torch.where(is_better[:, 0], error, least)
    layer.weight.copy_(best.reshape(layer.weight.shape))
    return cast(Tensor, best - weights)


def _error(change: Tensor, covariance: Tensor) -> Tensor:
    """The mean squared change of each output about its mean, [O]."""
    return ((change @ covariance) * change).sum(1)


def _factor_of_inverse(covariance: Tensor) -> Tensor:
    """U, upper triangular, with U^T U the inverse of `covariance`."""
    smallest = 1e-9 * covariance.diagonal().mean()
    damped = covariance
    while True:
        lower, failed = torch.linalg.cholesky_ex(damped)
        if not failed:
            factor, failed = torch.linalg.cholesky_ex(torch.cholesky_inverse(lower), upper=True)
            if not failed:
                return cast(Tensor, factor)
        # Inputs that are all but functions of others: rounding took what was left of them.
        damped = covariance + smallest * torch.eye(len(covariance)).to(covariance)
        smallest = 10 * smallest


def _rounded(
    weights: Tensor, scales: Tensor, largest: int, order: Tensor, factor: Tensor
) -> Tensor:
    """`weights`, [O, K], on the grids of `scales`, [O, 1]: inputs of the largest variance first, the rest makes up.

    Args:
        order: order of the inputs.
        factor: factor of the inverse of their covariance, in this order.
    """
    left = weights[:, order].clone()
    found = torch.empty_like(left)
    for column in range(left.shape[1]):
        value = left[:, column : column + 1]
        found[:, column : column + 1] = (value / scales).round().clamp(-largest, largest) * scales
        error = (value - found[:, column : column + 1]) / factor[column, column]
        left[:, column + 1 :] -= error * factor[column : column + 1, column + 1 :]
    back = torch.empty_like(found)
    back[:, order] = found
    return back
