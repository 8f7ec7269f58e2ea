"""The Brevitas quantizers of hwkd: one for weights, one for biases, and one per kind of input (inputs.py).

A weight's grid is w_fq = scale * q with q in [-(2^(b-1) - 1), 2^(b-1) - 1], one scale per output channel, from the
largest |w| of the channel at each forward pass: no state, so nothing to calibrate or to restore. A learned
activation's scale is one parameter per tensor; in the entropy path every scale is a power of two.
"""

import torch
from brevitas.inject import ExtendedInjector
from brevitas.inject.enum import FloatToIntImplType
from brevitas.proxy import ActQuantProxyFromInjector
from brevitas.quant.fixed_point import (
    Int8ActPerTensorFixedPoint,
    Int8WeightPerChannelFixedPoint,
    Uint8ActPerTensorFixedPoint,
)
from brevitas.quant.scaled_int import (
    Int8ActPerTensorFloat,
    Int8WeightPerChannelFloat,
    Int32Bias,
    Uint8ActPerTensorFloat,
)
from torch import Tensor, nn

from hwkd.qualities import Y_HAT_STEP
from hwkd.quantize.inputs import InputKind, LayerInput

PIXEL_SCALE = 1 / 255

# A channel whose largest |w| lies below gets the grid of this value. Without a floor a channel of zeros has a scale of
# 1e-12, its 32-bit bias ends at 1e-5, and the channel's constant is lost.
_SMALLEST_WEIGHT_RANGE = 2.0**-14
# In the entropy path the accumulator, bias included, must stay below 2^22: h_s of `patch` ends in
# biases up to 63, and 63 / 2^22 = 2^-16 is the finest product of input and weight scale that can hold them.
_SMALLEST_ENTROPY_WEIGHT_RANGE = 2.0**-5

Quantizer = type[ExtendedInjector]


class GivenGrid(nn.Module):
    """The quantizer of values that are known to lie on a grid: constant scale, nothing learned or observed.

    With `is_rounded`, values are rounded to the grid and clipped to `grid_bits` signed bits; in training only clipped,
    so that the uniform noise that stands for rounding reaches the layer as it does in float training.
    """

    scale: Tensor
    zero_point: Tensor
    bit_width: Tensor

    def __init__(self, grid_scale: float, grid_bits: int, is_rounded: bool) -> None:
        super().__init__()
        self.is_rounded = is_rounded
        self.register_buffer("scale", torch.tensor(grid_scale), persistent=False)
        self.register_buffer("zero_point", torch.tensor(0.0), persistent=False)
        self.register_buffer("bit_width", torch.tensor(float(grid_bits)), persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(x on its grid, scale, zero point, bits), as Brevitas' quantizers return."""
        if self.is_rounded:
            limit = 2.0 ** (self.bit_width.item() - 1)
            x = x if self.training else torch.round(x / self.scale) * self.scale
            x = torch.clamp(x, -limit * self.scale, (limit - 1) * self.scale)
        return x, self.scale, self.zero_point, self.bit_width


class RoundedGrid(GivenGrid):
    """Values are rounded to the grid, in training with a straight-through gradient; nothing is clipped."""

    def __init__(self, grid_scale: float, grid_bits: int) -> None:
        super().__init__(grid_scale, grid_bits, is_rounded=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """As `GivenGrid`."""
        rounded = torch.round(x / self.scale) * self.scale
        x = x + (rounded - x).detach() if self.training else rounded
        return super().forward(x)


class _GivenInput(ExtendedInjector):  # type: ignore[misc]
    proxy_class = ActQuantProxyFromInjector
    tensor_quant = GivenGrid
    narrow_range = False
    float_to_int_impl_type = FloatToIntImplType.ROUND


class _Pixels(_GivenInput):
    signed = False
    grid_scale = PIXEL_SCALE
    grid_bits = 8
    is_rounded = False


class _Symbols(_GivenInput):
    signed = True
    grid_scale = 1.0
    grid_bits = 8
    is_rounded = True


class _Integers(_GivenInput):
    signed = True
    grid_scale = 1.0
    grid_bits = 16
    is_rounded = False


class _Fractions(_GivenInput):
    tensor_quant = RoundedGrid  # type: ignore[assignment]  # an injector takes no annotations
    signed = True
    grid_scale = Y_HAT_STEP
    grid_bits = 16


_GIVEN: dict[InputKind, Quantizer] = {
    "pixels": _Pixels,
    "symbols": _Symbols,
    "integers": _Integers,
    "fractions": _Fractions,
}

BIAS: Quantizer = Int32Bias
"""32-bit biases at the accumulator's scale: (input scale) x (weight scale of the channel)."""


def weight_quantizer(bits: int, *, power_of_two: bool) -> Quantizer:
    """Signed, narrow range, one scale per output channel."""
    if power_of_two:
        base, floor = Int8WeightPerChannelFixedPoint, _SMALLEST_ENTROPY_WEIGHT_RANGE
    else:
        base, floor = Int8WeightPerChannelFloat, _SMALLEST_WEIGHT_RANGE
    return base.let(bit_width=bits, scaling_min_val=floor)  # type: ignore[no-any-return]


def input_quantizer(layer_input: LayerInput, bits: int, *, power_of_two: bool) -> Quantizer:
    """One scale per tensor; `bits` counts for inputs of kind "activation" only."""
    if layer_input.kind != "activation":
        return _GIVEN[layer_input.kind]
    if power_of_two:
        base = Int8ActPerTensorFixedPoint if layer_input.signed else Uint8ActPerTensorFixedPoint
    else:
        base = Int8ActPerTensorFloat if layer_input.signed else Uint8ActPerTensorFloat
    return base.let(bit_width=bits)  # type: ignore[no-any-return]
