"""What each layer of a codec takes as input, read off the model's structure: it decides the input's quantizer.

- pixels: the 8-bit image, k / 255. Already on its grid: nothing to round. In the `patch` family the layers see
  k / 255 - 0.5; the offset is a constant that an exporter folds into the bias (there is no padding in those layers).
- symbols: integers of 8 bits, scale exactly 1, clipped to [-128, 127]: z_hat into h_s in every family, and y_hat into
  the first layer of g_s in `gdn` and `relu`, which so runs int8 kernels directly. A trained latent stays well inside;
  what lies beyond is clipped, and `calibrate` counts it.
- integers: whole numbers beyond 8 bits, scale exactly 1, not clipped: y_hat into `g_s.linear` and `g_s.stem` of the
  `patch` family. The patches' means reach about 100 steps at lmbda 0.025 and grow with its root, to several hundred;
  most channels carry a few steps. A power-of-two scale that fits the former into 8 bits rounds the latter away (a step
  of 4 cost 7 dB on Kodak), and clipping cuts the brightness. An exporter splits integers beyond 8 bits into two int8
  digits, which costs the stem M x C more MACs per 256 pixels (1 or 2 % of the codec).
- fractions: y_hat / gain into those two layers where one `patch` codec serves all rates: rounded to multiples of
  Y_HAT_STEP (hwkd/qualities.py), in training as well, straight-through, and not clipped. The grid is the same at every
  quality: what the layers see has the range of the image, not that of the symbols, whose steps a low quality makes
  large. A symbol is 4 of its steps at the highest quality and up to 40 at the lowest, so that rounding them to whole ones
  adds little beside what quantization took. An exporter multiplies symbols by a step for each channel and rounds.
- activation: anything else; its scale is learned. Unsigned where the structure shows that it cannot be negative.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from torch import nn

from hwkd.errors import InputError
from hwkd.models.base import HyperpriorCodec
from hwkd.models.hyperprior import ConvHyperprior, MeanScaleCodec
from hwkd.models.patch import Block, Deblock, MeanContext, PatchCodec

TRANSFORMS = ("g_a", "h_a", "h_s", "g_s")
ENTROPY_PATH = "h_s."
"""Prefix of the layers that a decoder must compute bit-exactly: power-of-two scales only."""

Layer = nn.Conv2d | nn.ConvTranspose2d
InputKind = Literal["pixels", "symbols", "integers", "fractions", "activation"]

_AFTER_RELU = {
    Block: ("mix", "mix_out", "feed_out"),
    Deblock: ("conv_out",),
    MeanContext: ("conv_out",),
}


@dataclass(frozen=True)
class LayerInput:
    """The input of one layer: its kind (see the module's docstring), and whether it can be negative."""

    kind: InputKind
    signed: bool


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
        InputError: a model whose latents are not integers (mbt2018-mean), which only serves as a teacher.
    """
    if isinstance(codec, MeanScaleCodec) or not isinstance(codec, ConvHyperprior | PatchCodec):
        raise InputError(
            f"a {type(codec).__name__} cannot be quantized, its latents are not integers; "
            "it serves as a teacher: distil it into family gdn, relu or patch"
        )
    if isinstance(codec, PatchCodec) and codec.has_context and not codec.serves_all_rates:
        raise InputError(
            "a codec of one rate whose means have a context is not quantized: train it for all rates, or without context"
        )
    special: dict[str, LayerInput] = {
        "h_s.0": LayerInput("symbols", signed=True),
        # |y|, or log(1 + |y|).
        "h_a.0": LayerInput("activation", signed=False),
    }
    if isinstance(codec, PatchCodec):
        for name in ("g_a.linear", "g_a.stem"):
            special[name] = LayerInput("pixels", signed=True)
        for name in ("g_s.linear", "g_s.stem"):
            special[name] = LayerInput(
                "fractions" if codec.serves_all_rates else "integers", signed=True
            )
    else:
        special["g_a.0"] = LayerInput("pixels", signed=False)
        special["g_s.0"] = LayerInput("symbols", signed=True)
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
        for kind, children_after_relu in _AFTER_RELU.items():
            if isinstance(module, kind):
                found |= {f"{name}.{child}" for child in children_after_relu}
    return found
