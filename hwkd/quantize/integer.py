"""A quantized codec as integers: what an exporter needs of each layer, in numpy.

    output = weight_step * input.step * (conv(q, weight) + bias),    q = clip(round(x / input.step), low, high)

with everything inside the brackets a whole number.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from hwkd.errors import InputError
from hwkd.models.base import HyperpriorCodec
from hwkd.quantize.brevitas_qat import QuantLayer, quantized_layers
from hwkd.quantize.inputs import InputKind, layer_inputs
from hwkd.quantize.layers import IntegerWeight, LayerBits, LayerKind, integer_weights, layer_bits

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

    weight: int8; [C_out, C_in / groups, kH, kW], of a transposed convolution [C_in, C_out, kH, kW].
    weight_step: float32 [C_out], > 0. bias: int64 [C_out], on the grid weight_step * input.step.
    input: the grid of what enters; for "pixels" the 8-bit samples themselves, for "integers" and "fractions" 16
    bits.
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
        InputError: a codec that is not quantized, or whose activation scales are not set.
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
