"""A quantized codec as integers, and what became of each layer: what an exporter and a report need."""

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from brevitas.quant_tensor import IntQuantTensor
from torch import Tensor, nn

from hwkd.bits import WEIGHT_BITS
from hwkd.errors import InputError
from hwkd.models.base import HyperpriorCodec
from hwkd.models.compat import GDN
from hwkd.models.families.family import InputKind
from hwkd.quantize.qat import (
    ENTROPY_PATH,
    TRANSFORMS,
    QuantLayer,
    conv_layers,
    layer_inputs,
    quantized_layers,
)

# What became of each layer: its bits, its integers, its bytes, and what stayed in float.

FLOAT_BYTES = 4

LayerKind = Literal["conv", "depthwise", "transposed"]


@dataclass(frozen=True)
class LayerBits:
    """One quantized layer.

    Attributes:
        weight_count: number of weights, without biases.
        power_of_two: whether every scale is a power of two (the entropy path).
        input_kind: as in qat.py.
        act_bits: bits of the input, or None; act_note then has the reason.
        act_scale: the input's step, or None while it is not calibrated.
        act_is_signed: whether the input can be negative.
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

    Attributes:
        values: int8, the shape of the weight, in [-(2^(bits-1) - 1), 2^(bits-1) - 1].
        scale: float32, > 0, one per output channel: [C_out, 1, 1, 1], or [1, C_out, 1, 1] for a transposed
            convolution.
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
    found += codec.family.float_notes
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
        at_most: bits of a stored weight outside the entropy path, for a target with kernels that take no more.
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


# A quantized codec as integers: what an exporter needs of each layer, in numpy.
#
#     output = weight_step * input.step * (conv(q, weight) + bias),    q = clip(round(x / input.step), low, high)
#
# with everything inside the brackets a whole number.

PIXEL_OFFSET = 127.5
"""The `patch` family sees k / 255 - 0.5 = (k - 127.5) / 255; the offset goes into the bias."""


@dataclass(frozen=True)
class Grid:
    """The values step * q for whole q in [low, high]."""

    step: float
    low: int
    high: int


@dataclass(frozen=True)
class IntegerLayer:
    """One convolution in integers.

    Attributes:
        weight: int8, [C_out, C_in / groups, kH, kW]; for a transposed convolution [C_in, C_out, kH, kW].
        weight_step: float32 [C_out], > 0.
        bias: int64 [C_out], on the grid weight_step * input.step.
        input: the grid of the input; for "pixels" the 8-bit samples themselves, for "integers" and "fractions" 16 bits.
    """

    name: str
    kind: LayerKind
    input_kind: InputKind
    input: Grid
    weight: npt.NDArray[np.int8]
    weight_step: npt.NDArray[np.float32]
    bias: npt.NDArray[np.int64]
    stride: int
    padding: int
    output_padding: int
    groups: int

    @property
    def channels_out(self) -> int:
        """C_out."""
        return len(self.weight_step)

    @property
    def taps(self) -> npt.NDArray[np.int8]:
        """The weights by output channel, [C_out, everything else]."""
        w = self.weight.swapaxes(0, 1) if self.kind == "transposed" else self.weight
        return w.reshape(self.channels_out, -1)


def halved(layer: IntegerLayer, channels: npt.NDArray[np.bool_]) -> IntegerLayer:
    """`layer` with one bit less in the weights of the given output channels, [C_out], on a step of twice the size."""
    factor = np.where(channels, 2, 1)
    shape = (1, -1, 1, 1) if layer.kind == "transposed" else (-1, 1, 1, 1)
    return replace(
        layer,
        weight=np.rint(layer.weight / factor.reshape(shape)).astype(np.int8),
        weight_step=layer.weight_step * factor.astype(np.float32),
        bias=np.rint(layer.bias / factor).astype(np.int64),
    )


def held_to_bits(layer: IntegerLayer, bits: int) -> IntegerLayer:
    """`layer` with weights of at most `bits` bits: channels beyond lose their last ones."""
    limit = 2 ** (bits - 1) - 1
    while (over := np.abs(layer.taps.astype(np.int64)).max(1) > limit).any():
        layer = halved(layer, over)
    return layer


@torch.no_grad()
def integer_layers(codec: HyperpriorCodec) -> dict[str, IntegerLayer]:
    """Every layer of the four transforms by name, in order of definition.

    Raises:
        InputError: a codec that is not quantized, or has activation scales that are not set.
    """
    layers = quantized_layers(codec)
    if not layers:
        raise InputError(
            "this model is in float: distil or quantize it first (hwkd distill --bits 8)"
        )
    weights, kinds = integer_weights(codec), layer_inputs(codec)
    return {
        described.name: _integer_layer(
            layers[described.name],
            described,
            weights[described.name],
            has_offset=kinds[described.name].kind == "pixels" and kinds[described.name].signed,
        )
        for described in layer_bits(codec)
    }


def _integer_layer(
    layer: QuantLayer, described: LayerBits, weight: IntegerWeight, *, has_offset: bool
) -> IntegerLayer:
    if described.act_scale is None:
        raise InputError(
            f"the scale of {described.name}'s input is not set: calibrate the model before exporting it"
        )
    grid = _grid(described)
    values = weight.values.numpy()
    step = weight.scale.float().reshape(-1).numpy()
    bias = np.zeros(layer.out_channels)
    if layer.bias is not None:
        bias = np.rint(layer.bias.detach().double().numpy() / (step.astype(np.float64) * grid.step))
    if has_offset:
        bias -= PIXEL_OFFSET * values.reshape(len(values), -1).astype(np.float64).sum(1)
    return IntegerLayer(
        name=described.name,
        kind=described.kind,
        input_kind=described.input_kind,
        input=grid,
        weight=values,
        weight_step=step,
        bias=np.rint(bias).astype(np.int64),
        stride=layer.stride[0],
        padding=layer.padding[0],
        output_padding=layer.output_padding[0],
        groups=layer.groups,
    )


def _grid(described: LayerBits) -> Grid:
    assert described.act_scale is not None
    if described.input_kind == "pixels":
        return Grid(described.act_scale, 0, 255)
    bits = 16 if described.act_bits is None else described.act_bits
    if described.act_is_signed:
        return Grid(described.act_scale, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return Grid(described.act_scale, 0, 2**bits - 1)
