"""What became of each layer: its bits, its integers, its bytes, and what stayed in float."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from brevitas.quant_tensor import IntQuantTensor
from torch import Tensor, nn

from hwkd.bits import WEIGHT_BITS
from hwkd.models.base import HyperpriorCodec
from hwkd.models.compat import GDN
from hwkd.models.patch import PatchCodec
from hwkd.quantize.brevitas_qat import QuantLayer, quantized_layers
from hwkd.quantize.inputs import ENTROPY_PATH, TRANSFORMS, InputKind, conv_layers, layer_inputs

FLOAT_BYTES = 4

LayerKind = Literal["conv", "depthwise", "transposed"]


@dataclass(frozen=True)
class LayerBits:
    """One quantized layer.

    weight_count: number of weights, biases not among them. power_of_two: every scale is one (the entropy path).
    input_kind: as in inputs.py. act_bits: bits of the input, or None with act_note saying why.
    act_scale: the input's step, or None while it is not calibrated. act_is_signed: whether it can be negative.
    """

    name: str
    kind: LayerKind
    weight_bits: int
    weight_count: int
    power_of_two: bool
    input_kind: InputKind
    act_bits: int | None
    act_note: str
    act_scale: float | None
    act_is_signed: bool


@dataclass(frozen=True)
class IntegerWeight:
    """A layer's weights on their grid: w_fq == scale * values, exactly, in float32.

    values: int8, the shape of the weight, in [-(2^(bits-1) - 1), 2^(bits-1) - 1].
    scale: float32, > 0, one per output channel: [C_out, 1, 1, 1], or [1, C_out, 1, 1] for a transposed convolution.
    """

    values: Tensor
    scale: Tensor
    bits: int


_NOTES: dict[InputKind, str] = {
    "pixels": "8-bit pixels, on their grid as they are",
    "symbols": "integers, scale 1, clipped to 8 bits",
    "integers": "integers beyond 8 bits, scale 1, not clipped",
    "fractions": "rounded to a given grid beyond 8 bits, not clipped",
    "activation": "",
}


@torch.no_grad()
def layer_bits(codec: HyperpriorCodec) -> tuple[LayerBits, ...]:
    """The quantized layers in order of definition; empty for a float codec."""
    layers = quantized_layers(codec)
    return tuple(
        _described(name, layers[name], layer_input.kind)
        for name, layer_input in (layer_inputs(codec).items() if layers else ())
    )


def left_in_float(codec: HyperpriorCodec) -> tuple[str, ...]:
    """One sentence for each layer or operation of the four transforms that computes in float32."""
    found = []
    quantized = quantized_layers(codec)
    for name in conv_layers(codec):
        if name not in quantized:
            found.append(f"{name}: float32 weights and input, it was not quantized")
    for transform in TRANSFORMS:
        for name, module in codec.get_submodule(transform).named_modules(prefix=transform):
            if isinstance(module, GDN):
                inverse = "inverse GDN" if module.inverse else "GDN"
                found.append(
                    f"{name}: {inverse}, its squares, 1x1 convolution, root and product are float32"
                )
    if isinstance(codec, PatchCodec):
        found.append("g_a and g_s: the residual additions of every block are float32")
        found.append("g_a and g_s: the sum of linear and head is float32")
        found.append("h_a: its input log(1 + |y|) is float32")
    if quantized:
        found.append(
            "biases: stored as float32, used as 32-bit integers times input scale x weight scale"
        )
    return tuple(found)


@torch.no_grad()
def integer_weights(codec: HyperpriorCodec) -> dict[str, IntegerWeight]:
    """The integers behind the fake-quantized weights, per layer; empty for a float codec."""
    found = {}
    for name, layer in quantized_layers(codec).items():
        w_fq = _weight_on_grid(layer)
        values = torch.round(w_fq.value / w_fq.scale).to(torch.int8)
        found[name] = IntegerWeight(values, w_fq.scale.clone(), int(w_fq.bit_width))
    return found


def weight_bytes(codec: HyperpriorCodec, at_most: int = WEIGHT_BITS[-1]) -> int:
    """Bytes of the parameters of the four transforms at their stored bits.

    sum over quantized layers of ceil(weights x bits / 8) + 4 x output channels (scales), plus 4 per other parameter:
    biases, GDN, learned activation scales, and every weight of a float layer. Does not count the entropy models,
    which a bundle stores as integer tables.

    Args:
        at_most: bits of a stored weight outside the entropy path, for a target whose kernels take no more.
    """
    total = 0
    packed: set[int] = set()
    for name, layer in quantized_layers(codec).items():
        bits = int(_weight_on_grid(layer).bit_width)
        if not name.startswith(ENTROPY_PATH):
            bits = min(bits, at_most)
        total += math.ceil(layer.weight.numel() * bits / 8) + FLOAT_BYTES * layer.out_channels
        packed.add(id(layer.weight))
    for transform in TRANSFORMS:
        for parameter in codec.get_submodule(transform).parameters():
            if id(parameter) not in packed:
                total += FLOAT_BYTES * parameter.numel()
    return total


def _weight_on_grid(layer: QuantLayer) -> IntQuantTensor:
    return layer.weight_quant(layer.weight)


def _described(name: str, layer: QuantLayer, kind: InputKind) -> LayerBits:
    # Asking an activation quantizer for its scale runs it; in evaluation mode that observes nothing.
    on_grid = layer.input_quant
    bits, scale = int(on_grid.bit_width()), float(on_grid.scale())
    is_set = kind != "activation" or _is_set(layer)
    return LayerBits(
        name=name,
        kind=_kind(layer),
        weight_bits=int(_weight_on_grid(layer).bit_width),
        weight_count=layer.weight.numel(),
        power_of_two=name.startswith(ENTROPY_PATH),
        input_kind=kind,
        act_bits=None if kind in ("integers", "fractions") else bits,
        act_note=_NOTES[kind],
        act_scale=scale if is_set else None,
        act_is_signed=bool(on_grid.is_signed),
    )


def _is_set(layer: QuantLayer) -> bool:
    scaling = layer.input_quant.fused_activation_quant_proxy.tensor_quant.scaling_impl
    return bool(scaling.counter > scaling.collect_stats_steps)


def _kind(layer: QuantLayer) -> LayerKind:
    if isinstance(layer, nn.ConvTranspose2d):
        return "transposed"
    return "depthwise" if layer.groups > 1 else "conv"
