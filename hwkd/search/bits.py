"""Bits by layer for a student that must fit a size: what each layer's rounding would cost, by the Fisher information.

The loss changes by 1/2 sum_i F_ii (w_q - w)_i^2, with F the Fisher information of the weights, whose diagonal is taken from
squared gradients (FIT: Zandonati et al. 2022, arXiv 2210.08502, section 3).
"""

import torch
from torch import Tensor, nn

from hwkd.bits import BitPlan
from hwkd.distill.batches import PooledBatches
from hwkd.distill.step import Stepper
from hwkd.models.base import HyperpriorCodec
from hwkd.models.spec import Spec
from hwkd.quantize.allocate import LayerChoice, allocate, monotone
from hwkd.quantize.inputs import Layer, conv_layers
from hwkd.search.cost import MIB
from hwkd.search.layers import stored_bytes, weight_names
from hwkd.search.predicted import LEAST_BITS

FISHER_BATCHES = 8


def chosen_bits(
    student: HyperpriorCodec,
    spec: Spec,
    stepper: Stepper,
    batches: PooledBatches,
    most: BitPlan,
    max_mib: float,
) -> BitPlan:
    """`most` with fewer bits for the layers that lose least by it, so that the weights are stored in `max_mib`.

    Gradients are taken on FISHER_BATCHES of the pool; neither the weights nor the order of the batches change.

    Args:
        student: in float, in training mode, that `stepper` trains.
        most: the bits that the kernels take, of every layer alike.
        max_mib: what LEAST_BITS everywhere fit into.
    """
    if stored_bytes(spec, most) <= max_mib * MIB:
        return most
    counts = weight_names(spec)
    # Scales, biases and GDN are stored whatever the weights have.
    rest = stored_bytes(spec, most) - sum(
        LayerChoice(name, n, {}).stored_bytes(most.weight_bits) for name, n in counts.items()
    )
    fisher = _fisher(student, stepper, batches)
    choices = [
        LayerChoice(name, counts[name], monotone(_losses(layer, fisher[name], most.weight_bits)))
        for name, layer in conv_layers(student).items()
    ]
    chosen = allocate(choices, int(max_mib * MIB) - rest)
    fewer = {name: bits for name, bits in chosen.items() if bits < most.weight_bits}
    return BitPlan(
        most.weight_bits,
        most.act_bits,
        tuple((name, bits, most.act_bits) for name, bits in fewer.items()),
    )


def _fisher(
    student: HyperpriorCodec, stepper: Stepper, batches: PooledBatches
) -> dict[str, Tensor]:
    """The mean squared gradient of each convolution's weights, in their shapes."""
    layers = conv_layers(student)
    sums = {name: torch.zeros_like(layer.weight) for name, layer in layers.items()}
    where = batches.state()
    for number in range(FISHER_BATCHES):
        stepper.gradients(number, batches.next(), bf16=False)
        for name, layer in layers.items():
            assert layer.weight.grad is not None
            sums[name] += layer.weight.grad.square()
    batches.restore(where)
    return {name: total / FISHER_BATCHES for name, total in sums.items()}


@torch.no_grad()
def _losses(layer: Layer, fisher: Tensor, most: int) -> dict[int, float]:
    """What the loss pays, to second order, where the weights have each number of bits."""
    return {
        bits: 0.5 * float((fisher * (_rounded(layer, bits) - layer.weight).square()).sum())
        for bits in range(LEAST_BITS, most + 1)
    }


def _rounded(layer: Layer, bits: int) -> Tensor:
    """The weights on a signed, narrow grid of `bits`, a scale for each output channel (hwkd/quantize/quantizers.py)."""
    axis = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
    others = [d for d in range(layer.weight.dim()) if d != axis]
    limit = 2 ** (bits - 1) - 1
    scale = layer.weight.abs().amax(others, keepdim=True).clamp_min(1e-12) / limit
    rounded: Tensor = (layer.weight / scale).round() * scale
    return rounded
