"""Quantized codecs whose networks compute the same on every processor, and what they compute.

Weights and scales that are any floats make sums that depend on their order: one that lies at a half is rounded this way by
one kernel and that way by another, and one such value moves many after it. On powers of two every product is a whole number
of small steps and every sum of them is held by float32, so that no order loses anything, and halves go to the even.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hwkd.models.base import HyperpriorCodec, padded
from hwkd.models.build import build
from hwkd.models.compat import GDN
from hwkd.models.patch import PatchCodec
from hwkd.models.spec import Spec
from hwkd.quantize.integer import IntegerLayer, integer_layers, integer_weights, layer_bits
from hwkd.quantize.qat import (
    ENTROPY_PATH,
    conv_layers,
    layer_inputs,
    quantized_layers,
    rest_of,
)

SMALLEST = 2.0**-12
"""Of a weight's step. Finer ones beside coarse ones in one sum would ask for more than the 24 bits of float32."""

LOST = 2.0**-20
"""The share of a value that float32 may lose where the arithmetic is not that of powers of two: in GDN's squares, their sum,
its root and the quotient, in the logarithm of `patch`, in the last step to 255 levels. A dozen operations, each of which
loses up to 2^-24."""


@torch.no_grad()
def put_on_powers_of_two(codec: HyperpriorCodec) -> None:
    """Move the weights and the activation scales of a quantized codec to such steps, in place.

    A pixel is k / 255. The weights that see pixels have steps of 255 times a power of two, and 255 times what float32 takes
    for 1 / 255 is 1 in float32.
    """
    kinds = layer_inputs(codec)
    bits = {one.name: one.weight_bits for one in layer_bits(codec)}
    for name, layer in quantized_layers(codec).items():
        if name.startswith(ENTROPY_PATH):
            continue  # on powers of two as it is
        if kinds[name].kind == "activation":
            scale = layer.input_quant.scale
            (range_,) = (p for p in layer.input_quant.parameters())
            step, parts = _power_of_two(scale()), torch.round(range_ / scale())
            range_.copy_(step * parts)
            assert torch.equal(scale(), step), name
        largest = 2 ** (bits[name] - 1) - 1
        unit = 255.0 if kinds[name].kind == "pixels" else 1.0
        is_transposed = isinstance(layer, nn.ConvTranspose2d)
        weight = layer.weight.transpose(0, 1) if is_transposed else layer.weight
        taps = weight.reshape(len(weight), -1)
        peaks, places = taps.abs().max(1)
        steps = unit * _power_of_two((peaks / largest / unit).clamp_min(SMALLEST))
        whole = (taps / steps[:, None]).round().clamp(-largest, largest)
        # A channel's step is its largest tap's over `largest`: so large one must be.
        rows = torch.arange(len(whole))
        whole[rows, places] = largest * torch.where(taps[rows, places] < 0, -1.0, 1.0)
        weight.copy_((whole * steps[:, None]).reshape(weight.shape))
        assert torch.equal(integer_weights(codec)[name].scale.flatten(), steps), name


def _power_of_two(x: Tensor) -> Tensor:
    return torch.exp2(torch.log2(x).round())


class WholeNumbers(nn.Module):
    """A layer as hwkd/quantize/integer.py defines it, in float64, which holds every sum.

    is_clear: whether none of its inputs so far lay so near a half that a runtime might round it the other way. Those on
    powers of two are the same in every runtime, halves too.
    """

    def __init__(self, layer: IntegerLayer, offset: float, beside: float) -> None:
        """offset: added to what comes in. beside: what the input was computed beside, and lost as much as."""
        super().__init__()
        self.layer, self.offset, self.beside, self.is_clear = layer, offset, beside, True
        self.weight = torch.from_numpy(layer.weight).double()
        self.bias = torch.from_numpy(layer.bias).double()
        # As float32 has it: there a step of 255 on a grid of 1 / 255 is 1.
        self.step = torch.from_numpy(layer.weight_step * np.float32(layer.input.step)).double()

    def forward(self, x: Tensor) -> Tensor:
        layer, x = self.layer, x.double() + self.offset
        steps = x / layer.input.step
        q = steps.round().clamp(layer.input.low, layer.input.high)
        if layer.input_kind == "activation":
            from_half = (steps - steps.floor() - 0.5).abs() * layer.input.step
            is_inside = (steps > layer.input.low - 1) & (steps < layer.input.high + 1)
            is_exact = (x * 2.0**30).frac() == 0
            unsure = is_inside & ~is_exact & (from_half <= LOST * (x.abs() + self.beside))
            self.is_clear &= not bool(unsure.any())
        if layer.kind == "transposed":
            sums = F.conv_transpose2d(
                q, self.weight, self.bias, layer.stride, layer.padding, layer.output_padding
            )
        else:
            sums = F.conv2d(
                q, self.weight, self.bias, layer.stride, layer.padding, groups=layer.groups
            )
        return sums * self.step[:, None, None]


def exact(
    codec: HyperpriorCodec, layers: Mapping[str, IntegerLayer] | None = None
) -> HyperpriorCodec:
    """A copy of a quantized codec whose four transforms compute with its integers, or with `layers`, in float64."""
    made = copy.deepcopy(codec).eval()
    for transform in (made.g_a, made.h_a, made.h_s, made.g_s):
        transform.double()
    kinds = layer_inputs(codec)
    for name, layer in (layers or integer_layers(codec)).items():
        is_patch = isinstance(codec, PatchCodec)
        parent, _, child = name.rpartition(".")
        # `patch` gives k / 255 - 0.5 to its first layers, and h_a the logarithm of 1 + |y|.
        offset = 0.5 if is_patch and kinds[name].kind == "pixels" else 0.0
        exact_layer = WholeNumbers(layer, offset, beside=1.0 if is_patch else 0.0)
        setattr(made.get_submodule(parent), child, exact_layer)
    return made


def weights_on_their_grid(codec: HyperpriorCodec, name: str) -> Tensor:
    """Those of the layer called `name` of a quantized codec, with what its rest adds."""
    layers = quantized_layers(codec)
    parts = [layers[one] for one in (name, rest_of(name)) if one in layers]
    return sum((layer.quant_weight().value for layer in parts[1:]), parts[0].quant_weight().value)


@torch.no_grad()
def on_their_grids(codec: HyperpriorCodec, spec: Spec) -> HyperpriorCodec:
    """The float codec with the quantized one's weights and biases, in float64: activations stay off any grid."""
    plain = build(spec).eval()
    plain.load_state_dict(codec.state_dict(), strict=False)
    integers = integer_layers(codec)
    for name, layer in conv_layers(plain).items():
        layer.weight.copy_(weights_on_their_grid(codec, name))
        bias = integers[name].bias.astype(np.float64)
        if isinstance(codec, PatchCodec) and name in ("g_a.linear", "g_a.stem"):
            # They see k / 255 - 0.5, and the integers see k.
            bias += 127.5 * integers[name].taps.sum(1, dtype=np.int64)
        steps = integers[name].weight_step * np.float32(integers[name].input.step)
        layer.bias.copy_(torch.from_numpy(bias * steps))
    return plain.double()


@dataclass(frozen=True)
class Pass:
    """What an exact codec makes of an image, nothing rounded: y [M, h, w], z [Z, h, w], and x_hat [H, W, 3] of y's symbols
    in levels of 0 to 255, padding included."""

    image: npt.NDArray[np.uint8]
    y: npt.NDArray[np.float64]
    z: npt.NDArray[np.float64]
    x_hat: npt.NDArray[np.float64]

    @property
    def symbols(self) -> npt.NDArray[np.int32]:
        """y rounded."""
        return np.rint(self.y).astype(np.int32)


@torch.no_grad()
def exact_image(codec: HyperpriorCodec, y: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
    """x_hat of the symbols `y` by the `exact` codec, as in `Pass`."""
    x_hat = codec.g_s(torch.from_numpy(y)[None].double())
    return 255 * x_hat[0].permute(1, 2, 0).numpy()


@torch.no_grad()
def clear_pass(
    codec: HyperpriorCodec,
    photo: Callable[[int, int, int], npt.NDArray[np.uint8]],
    height: int,
    width: int,
    seed: int,
) -> Pass:
    """The `exact` codec's pass of the first of photo(height, width, seed), seed + 1, ... in which no input of a layer is near
    a half. With ReLU that is the first one; with GDN one in some of 64x128, for few values are.

    With GDN it is in black and white. A runtime computes the convolution before it on the values k / 255 in float32, of which
    0 and 1 alone are whole numbers of steps.
    """
    layers = [m for m in codec.modules() if isinstance(m, WholeNumbers)]
    has_gdn = any(isinstance(m, GDN) for m in codec.modules())
    for tried in range(seed, seed + 500):
        image = photo(height, width, tried)
        if has_gdn:
            image = np.where(image < 128, 0, 255).astype(np.uint8)
        for layer in layers:
            layer.is_clear = True
        y = codec.g_a(padded(image, 64))[0]
        z = codec.hyper_analysis(y[None])[0]
        symbols = np.rint(y.numpy()).astype(np.int32)
        found = Pass(image, y.numpy(), z.numpy(), exact_image(codec, symbols))
        if all(layer.is_clear for layer in layers):
            return found
    raise AssertionError("no image without a value near a half")


def assert_nearest(
    found: npt.NDArray[np.generic], real: npt.NDArray[np.float64], low: int, high: int, what: str
) -> None:
    """Every whole number of `found` is the one nearest to `real`, held to low..high: off by a half at most."""
    assert found.shape == real.shape, what
    off = np.abs(found.astype(np.int64) - real.clip(low, high))
    assert (off <= 0.5 + LOST * (np.abs(real) + 1)).all(), f"{what}: off by {off.max()}"
