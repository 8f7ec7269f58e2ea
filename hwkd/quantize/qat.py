"""A codec's convolutions quantized in place, with Brevitas: quantizers, inputs, calibration, other bits."""

import math
import warnings
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise
from types import MethodType
from typing import TypeAlias, cast

import torch
from brevitas.core.restrict_val import PowerOfTwoRestrictValue
from brevitas.core.scaling import ParameterFromRuntimeStatsScaling
from brevitas.inject import ExtendedInjector
from brevitas.inject.enum import FloatToIntImplType
from brevitas.nn import QuantConv2d, QuantConvTranspose2d
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

from hwkd.bits import WEIGHT_BITS, BitPlan
from hwkd.errors import InputError
from hwkd.models.base import HyperpriorCodec
from hwkd.models.families.family import InputKind, LayerInput, in_words, student_names
from hwkd.qualities import DEFAULT_QUALITY, HIGHEST, LOWEST, Y_HAT_STEP, lmbda_at

# What each layer of a codec takes as input, read off the model's structure: it decides the input's quantizer.
#
# - pixels: the 8-bit image, k / 255. Already on its grid: nothing to round. In the `patch` family the layers see
#   k / 255 - 0.5; the offset is a constant that an exporter folds into the bias (there is no padding in those layers).
# - symbols: integers of 8 bits, scale exactly 1, clipped to [-128, 127]: z_hat into h_s in every family, and y_hat into
#   the first layer of g_s in `gdn` and `relu`, which so runs int8 kernels directly. A trained latent stays well inside;
#   what lies beyond is clipped, and `calibrate` counts it.
# - integers: whole numbers beyond 8 bits, scale exactly 1, not clipped: y_hat into `g_s.linear` and `g_s.stem` of the
#   `patch` family. The patches' means reach about 100 steps at lmbda 0.025 and grow with its root, to several hundred;
#   most channels carry a few steps. A power-of-two scale that fits the former into 8 bits rounds the latter away (a step
#   of 4 cost 7 dB on Kodak), and clipping cuts the brightness. An exporter splits integers beyond 8 bits into two int8
#   digits, which costs the stem M x C more MACs per 256 pixels (1 or 2 % of the codec).
# - fractions: y_hat / gain into those two layers where one `patch` codec serves all rates: rounded to multiples of
#   Y_HAT_STEP (hwkd/qualities.py), in training as well, straight-through, and not clipped. The grid is the same at every
#   quality: the layers' inputs have the range of the image, not that of the symbols. A low quality makes the steps of the
#   symbols large. A symbol is 4 of its steps at the highest quality and up to 40 at the lowest, so rounding them to
#   whole ones adds little beside what quantization took. An exporter multiplies
#   the symbols' centroids by a step for each channel and rounds.
# - activation: anything else; its scale is learned. Unsigned where the structure shows that it cannot be negative.

TRANSFORMS = ("g_a", "h_a", "h_s", "g_s")
ENTROPY_PATH = "h_s."
"""Prefix of the layers that a decoder must compute bit-exactly: power-of-two scales only."""

Layer = nn.Conv2d | nn.ConvTranspose2d


def conv_layers(codec: HyperpriorCodec) -> dict[str, Layer]:
    """The convolutions of the four transforms by name (`g_a.0`, `g_s.trunk.1.mix`), in order of definition."""
    return {
        f"{transform}.{name}": module
        for transform in TRANSFORMS
        for name, module in getattr(codec, transform).named_modules()
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
    }


def layer_inputs(codec: HyperpriorCodec) -> dict[str, LayerInput]:
    """The input of every layer of `conv_layers`.

    Raises:
        InputError: a model with latents that are not integers (mbt2018-mean). Such a model only serves as a teacher.
    """
    if not codec.family.is_student:
        raise InputError(
            f"a {type(codec).__name__} cannot be quantized, its latents are not integers; "
            f"it serves as a teacher: distil it into family {in_words(student_names(), 'or')}"
        )
    why_not = codec.family.why_not_quantized(codec.spec)
    if why_not is not None:
        raise InputError(why_not)
    special: dict[str, LayerInput] = {
        "h_s.0": LayerInput("symbols", signed=True),
        # |y|, or log(1 + |y|).
        "h_a.0": LayerInput("activation", signed=False),
        **codec.family.given_inputs(codec.spec),
    }
    non_negative = _layers_after_relu(codec)
    return {
        name: special.get(name, LayerInput("activation", signed=name not in non_negative))
        for name in conv_layers(codec)
    }


def _layers_after_relu(codec: HyperpriorCodec) -> set[str]:
    found: set[str] = set()
    for name, module in codec.named_modules():
        if isinstance(module, nn.Sequential):
            children = list(module.named_children())
            found |= {
                f"{name}.{child}"
                for (_, before), (child, _) in pairwise(children)
                if isinstance(before, nn.ReLU)
            }
        for kind, children_after_relu in codec.after_relu.items():
            if isinstance(module, kind):
                found |= {f"{name}.{child}" for child in children_after_relu}
    return found


# Quantization-aware training with Brevitas: a codec's convolutions become fake-quantized ones, in place.

QuantLayer: TypeAlias = QuantConv2d | QuantConvTranspose2d


def quantize(codec: HyperpriorCodec, plan: BitPlan) -> None:
    """Replace every convolution of g_a, h_a, h_s, g_s by its Brevitas counterpart with the same weights, in place.

    Weights: signed, narrow range, one scale per output channel. Biases: 32 bits. Inputs: as in the comment at the top of
    this file. h_s has power-of-two scales only, and takes integers: the medians of the entropy bottleneck are rounded, so
    z_hat = round(z - median) + median is an integer. Training moves them again: call `round_medians` before evaluating.

    Parameter names stay; each learned activation adds one scalar parameter, and each layer of `family.with_rest` a
    second layer. The order is quantize, then `calibrate` or load_state_dict (a calibrated model's state dict brings the
    scales), then training; a model that is neither calibrated nor loaded would set its scales from its first training
    batches, unseen by a checkpoint.

    Use float32 (1.3 times the time of a float step). bf16 autocast runs, and may be used to train, but products of
    integer and scale are then rounded to 8 significant bits, so that layers leave their grids and h_s is not exact.

    Raises:
        InputError: already quantized; a teacher-only family; a pattern of the plan that matches no layer.
    """
    if quantized_layers(codec):
        raise InputError("this model is already quantized; start from its float checkpoint")
    with_rest = codec.family.with_rest(codec.spec)
    plan.check_patterns([*layer_inputs(codec), *map(rest_of, with_rest)])
    _add_rests(codec)
    inputs = layer_inputs(codec)
    for name, layer in conv_layers(codec).items():
        _put(codec, name, _quantized(layer, name, inputs[name], plan))
    layers = quantized_layers(codec)
    with torch.no_grad():
        for name in with_rest:
            layer = layers[name]
            layers[rest_of(name)].weight.copy_(layer.weight - layer.quant_weight().value)
    round_medians(codec)


# A layer with weights that are finer than a kernel's grid: two layers of the same input with added outputs, of which the
# second holds what rounding takes from the weights of the first. Of b bits each, they hold weights of about 2 b - 1.
#
# `g_a.head` of patch, the last layer before y, has rows with single large weights, and all others share their steps. After
# quantization to 7/8 bits patch-large takes this much more RD than in float at quality 10, 50, 86 and 100 (six crops of
# Kodak): 1.0, 1.5, 4.1, 4.9 % with one layer, 0.7, 1.1, 2.6, 2.7 % with two, for 5 % more MACs in the encoder. In
# patch-medium it changes 0.0, 0.0, 0.2, 0.3 % of RD, in patch-small nothing: they have one layer.


def rest_of(name: str) -> str:
    """The name of the layer that holds what rounding takes from the weights of `name`."""
    return f"{name}_rest"


def with_empty_rests(codec: HyperpriorCodec) -> HyperpriorCodec:
    """A float codec with the layers, all zero, that it has in bits: to count those. `codec` itself is not changed."""
    if not codec.family.with_rest(codec.spec):
        return codec
    copied = deepcopy(codec)
    _add_rests(copied)
    return copied


def _add_rests(codec: HyperpriorCodec) -> None:
    for name in codec.family.with_rest(codec.spec):
        _put(codec, rest_of(name), _empty_rest(cast(nn.Conv2d, codec.get_submodule(name))))


def _empty_rest(layer: nn.Conv2d) -> nn.Conv2d:
    """For `layer`, a 1x1 convolution."""
    with torch.random.fork_rng(devices=[]):
        rest = nn.Conv2d(layer.in_channels, layer.out_channels, 1, bias=False)
    rest.to(layer.weight)
    rest.weight.requires_grad_(layer.weight.requires_grad)
    nn.init.zeros_(rest.weight)
    return rest.train(layer.training)


def _put(codec: HyperpriorCodec, name: str, layer: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(codec.get_submodule(parent), child, layer)


@torch.no_grad()
def round_medians(codec: HyperpriorCodec) -> None:
    """Round the medians of z's entropy model, [Z, 1, 3] at index 1, to integers, in place."""
    codec.entropy_bottleneck.quantiles[:, :, 1].round_()


def quantized_layers(codec: HyperpriorCodec) -> dict[str, QuantLayer]:
    """The fake-quantized convolutions by name; empty before `quantize`."""
    return {
        name: layer
        for name, layer in conv_layers(codec).items()
        if isinstance(layer, QuantConv2d | QuantConvTranspose2d)
    }


def _quantized(layer: Layer, name: str, layer_input: LayerInput, plan: BitPlan) -> QuantLayer:
    weight_bits, act_bits = plan.bits_for(name)
    power_of_two = name.startswith(ENTROPY_PATH)
    arguments = {
        "in_channels": layer.in_channels,
        "out_channels": layer.out_channels,
        "kernel_size": layer.kernel_size,
        "stride": layer.stride,
        "padding": layer.padding,
        "dilation": layer.dilation,
        "groups": layer.groups,
        "bias": layer.bias is not None,
        "weight_quant": weight_quantizer(weight_bits, power_of_two=power_of_two),
        "bias_quant": BIAS,
        "input_quant": input_quantizer(layer_input, act_bits, power_of_two=power_of_two),
        "return_quant_tensor": False,
    }
    # Building a layer draws initial weights; the caller's stream of random numbers must not notice.
    with torch.random.fork_rng(devices=[]):
        quantized = (
            QuantConvTranspose2d(**arguments, output_padding=layer.output_padding)
            if isinstance(layer, nn.ConvTranspose2d)
            else QuantConv2d(**arguments)
        )
    # At each load of a state dict Brevitas builds a new scale parameter, which an optimizer made before would no
    # longer train; its export wants this very class, so the method is replaced on the object.
    quantized.input_quant.__dict__["_load_from_state_dict"] = MethodType(
        nn.Module._load_from_state_dict, quantized.input_quant
    )
    quantized.weight = layer.weight
    quantized.bias = layer.bias
    quantized.train(layer.training)
    return quantized


# The Brevitas quantizers of hwkd: one for weights, one for biases, and one per kind of input (below).
#
# A weight's grid is w_fq = scale * q with q in [-(2^(b-1) - 1), 2^(b-1) - 1], one scale per output channel, from the
# largest |w| of the channel at each forward pass: no state, so nothing to calibrate or to restore. A learned
# activation's scale is one parameter per tensor; in the entropy path every scale is a power of two.

PIXEL_SCALE = 1 / 255

# A channel with its largest |w| below this value gets the grid of this value. Without a floor a channel of zeros has a
# scale of 1e-12, its 32-bit bias ends at 1e-5, and the channel's constant is lost.
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


# Setting the activations' scales from real images, before training or instead of it.

SYMBOL_MAX = 127

HEADROOM = 1.3
"""Range at the end of the encoder's stream, over the largest value seen. Without it balanced channels cost patch-medium 0.1 to 0.2 % of RD on
whole images (eight of Kodak, quality 1 to 100); 1.7 costs more again."""

# An activation that is silent on the calibration images keeps a range of this at least, so that it can come back in
# training. (Brevitas' own floor, scaling_min_val, acts on the range in training but on the scale in evaluation.)
_SMALLEST_RANGE = 2.0**-10

_QUALITIES = (LOWEST, DEFAULT_QUALITY, HIGHEST)


@dataclass(frozen=True)
class Calibration:
    """Figures of a calibration.

    Attributes:
        images: number of images, each counted once.
        largest_y, largest_z: the largest |y_hat| and |z_hat|, rounded.
        clipped_y_fraction: the share of y outside the 8 bits that `gdn` and `relu` give it at the entry of g_s (not
            clipped in `patch`).
    """

    images: int
    largest_y: int
    largest_z: int
    clipped_y_fraction: float


@torch.no_grad()
def calibrate(codec: HyperpriorCodec, batches: Iterable[Tensor]) -> Calibration:
    """Set each learned activation scale to the mean over `batches` of its input's 99.999th percentile of |value|; in g_a
    of `patch` to the largest |value|.

    In g_a the trunk's channels reach far on a few patches, and clipping would change the latents of these patches by steps: at
    quality 100 the percentile cost 0.4 % of RD more. In g_s finer steps are worth more than those few patches. What reads the
    end of the encoder's stream gets HEADROOM beyond: balanced channels all reach their largest values, and on
    other images one of so many reaches further.

    Runs the float weights on real images (Brevitas' calibration mode) with rounded latents; no weight changes, and
    earlier scales are forgotten. Afterwards each scale is a plain parameter. Deterministic on a CPU.

    A codec of all rates sees each batch at the lowest, the middle and the highest quality at once, so that a scale fits
    what is largest among them; afterwards it stands at DEFAULT_QUALITY, as a new one does.

    Args:
        codec: quantized.
        batches: images, [B, 3, H, W] in [0, 1], H and W multiples of 64.
    Raises:
        InputError: no batch; a codec that is not quantized.
    """
    with warnings.catch_warnings():
        # Brevitas announces at import that an optional package of GPU kernels is absent.
        warnings.simplefilter("ignore", UserWarning)
        from brevitas.graph.calibrate import calibration_mode
    if not quantized_layers(codec):
        raise InputError("this model is not quantized; quantize it before it is calibrated")
    for scaling in _learned_scales(codec):
        scaling.counter = 0
        scaling.buffer.fill_(1)
        scaling.value.fill_(1)
    was_training = codec.training
    codec.eval()
    images, outside, values, largest_y, largest_z = 0, 0, 0, 0, 0
    encoder = {
        layer: torch.zeros(())
        for name, layer in quantized_layers(codec).items()
        if not codec.family.clips_g_a and name.startswith("g_a.") and _learned_scales(layer)
    }

    def see(layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        encoder[layer] = torch.maximum(encoder[layer], arguments[0].abs().max())

    with ExitStack() as stack:
        for layer in encoder:
            stack.enter_context(layer.register_forward_pre_hook(see))
        # Not the codec as a whole: Brevitas takes the entropy model's number `init_scale` for a method of its own.
        for transform in TRANSFORMS:
            stack.enter_context(calibration_mode(getattr(codec, transform)))
        for x in batches:
            images += len(x)
            if codec.serves_all_rates:
                lmbdas = torch.tensor([lmbda_at(quality) for quality in _QUALITIES])
                codec.set_lmbda(lmbdas.repeat_interleave(len(x)))
                x = x.repeat(len(_QUALITIES), 1, 1, 1)
            output = codec(x)
            y_hat, z_hat = output.y_hat, output.z_hat
            outside += int((y_hat.abs() > SYMBOL_MAX).sum())
            values += y_hat.numel()
            largest_y = max(largest_y, round(float(y_hat.abs().max())))
            largest_z = max(largest_z, int(z_hat.abs().max()))
    codec.set_lmbda(lmbda_at(DEFAULT_QUALITY))
    stream = codec.encoder_stream()
    for layer, largest in encoder.items():
        is_end = stream is not None and layer in stream.ends
        for scaling in _learned_scales(layer):
            scaling.value.fill_(HEADROOM * largest if is_end else largest)
    for scaling in _learned_scales(codec):
        is_log2 = isinstance(scaling.restrict_scaling.restrict_value_impl, PowerOfTwoRestrictValue)
        scaling.value.clamp_(min=math.log2(_SMALLEST_RANGE) if is_log2 else _SMALLEST_RANGE)
    codec.train(was_training)
    if not images:
        raise InputError(
            "calibration needs at least one image, got none; give a folder of photographs"
        )
    return Calibration(images, largest_y, largest_z, outside / values)


def is_calibrated(codec: HyperpriorCodec) -> bool:
    """Whether every learned activation scale was set, by `calibrate` or by loading a state dict."""
    scales = _learned_scales(codec)
    return bool(quantized_layers(codec)) and all(s.counter > s.collect_stats_steps for s in scales)


def _learned_scales(codec: nn.Module) -> list[ParameterFromRuntimeStatsScaling]:
    return [m for m in codec.modules() if isinstance(m, ParameterFromRuntimeStatsScaling)]


# Other bits for the weights of a quantized codec, its trained weights and activation scales as they are.


def set_weight_bits(codec: HyperpriorCodec, bits: Mapping[str, int]) -> None:
    """Give the weights of the layers that `bits` names so many bits, in place; nothing is trained or calibrated anew.

    A weight's grid has no state (above): its scales follow from the weights at each forward pass. So the codec
    computes what one does that is quantized with these bits and given the same state dict.

    Args:
        codec: quantized.
        bits: bits of each layer, 2 to 8.
    Raises:
        InputError: a layer that `codec` has not, or bits out of range.
    """
    layers = quantized_layers(codec)
    for name, count in bits.items():
        if name not in layers or count not in WEIGHT_BITS:
            raise InputError(
                f"cannot give layer {name!r} {count} bits: accepted are {WEIGHT_BITS[0]} to {WEIGHT_BITS[-1]} for the "
                f"layers of a quantized model, {', '.join([*layers][:3])}, .."
            )
        proxy = layers[name].weight_quant
        proxy.quant_injector = proxy.quant_injector.let(bit_width=count)
        proxy.init_tensor_quant()
        proxy.train(layers[name].training)
