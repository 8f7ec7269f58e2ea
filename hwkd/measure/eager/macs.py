"""Multiply-accumulates of a codec's networks, counted by fvcore."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from fvcore.nn import FlopCountAnalysis
from torch import Tensor, nn

from hwkd.errors import InputError
from hwkd.measure.inference import evaluating
from hwkd.measure.layers import NETWORKS
from hwkd.models.base import HyperpriorCodec


@dataclass(frozen=True)
class MacCount:
    """Multiply-accumulates for one image of width x height pixels, padded to multiples of 64 as the codec pads.

    by_network: of g_a, h_a, h_s, g_s. by_layer: of every layer that has any, by its name in the model.
    not_counted: operators that fvcore met and has no formula for, and how often each is called (GDN's division and
    square root, say; moves such as pixel_shuffle too). ReLU, clamping and views fvcore never lists. Entropy coding
    is outside the networks.

    Convolutions count by their output size, transposed ones by their input size; a 1x1 convolution inside GDN counts.
    """

    width: int
    height: int
    by_network: Mapping[str, int]
    by_layer: Mapping[str, int]
    not_counted: Mapping[str, int]

    @property
    def encode_macs(self) -> int:
        """Of g_a, h_a and h_s: the encoder needs the prior too."""
        return sum(self.by_network[name] for name in ("g_a", "h_a", "h_s"))

    @property
    def decode_macs(self) -> int:
        """Of h_s and g_s."""
        return sum(self.by_network[name] for name in ("h_s", "g_s"))

    @property
    def total_macs(self) -> int:
        """Of g_a + h_a + h_s + g_s, each once (arXiv 2509.10366, section 5): less than encoder plus decoder."""
        return sum(self.by_network.values())

    @property
    def macs_per_pixel(self) -> float:
        """total_macs per pixel of the image as given."""
        return self.total_macs / (self.width * self.height)


def count_macs(codec: HyperpriorCodec, width: int, height: int) -> MacCount:
    """Count the multiply-accumulates of `codec`, a float model, for one image.

    fvcore counts a fused multiply-add as one "flop": its flops are MACs. Every layer is a padded convolution, so a
    count is exactly proportional to the padded area: one block of 64x64 is traced and multiplied.

    Raises:
        InputError: a size under 1x1.
    """
    if width < 1 or height < 1:
        raise InputError(f"an image of {width}x{height} has no MACs to count; give 1x1 or more")
    side = codec.downsampling_factor
    blocks = math.ceil(width / side) * math.ceil(height / side)
    with evaluating(codec):
        device = next(codec.parameters()).device
        analysis = analyse(Networks(codec), torch.zeros(1, 3, side, side, device=device))
        counts = {
            name.removeprefix("codec."): int(count) for name, count in analysis.by_module().items()
        }
        not_counted = analysis.unsupported_ops()
    return MacCount(
        width=width,
        height=height,
        by_network={name: blocks * counts.get(name, 0) for name in NETWORKS},
        by_layer={name: blocks * count for name, count in _own(counts).items() if count},
        not_counted={op.removeprefix("aten::"): int(n) for op, n in sorted(not_counted.items())},
    )


def analyse(model: nn.Module, x: Tensor) -> FlopCountAnalysis:
    """fvcore's count over one pass of `model` on `x`, silent; what it has no formula for is in unsupported_ops()."""
    analysis = FlopCountAnalysis(model, x)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    return analysis.tracer_warnings("none")


class Networks(nn.Module):
    """The four networks in the order they run, without the entropy models between them."""

    def __init__(self, codec: HyperpriorCodec) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """x_hat and the prior's parameters, from latents that are not rounded."""
        y = cast(Tensor, self.codec.g_a(x))
        scales_hat, means_hat = self.codec.entropy_parameters(self.codec.hyper_analysis(y))
        x_hat = cast(Tensor, self.codec.g_s(y))
        return (x_hat, scales_hat) if means_hat is None else (x_hat, scales_hat, means_hat)


def _own(counts: Mapping[str, int]) -> dict[str, int]:
    """Each module's count without that of the modules inside it. `counts` holds every module, nested ones included."""
    inside: Counter[str] = Counter()
    for name, count in counts.items():
        parent = name.rpartition(".")[0]
        inside[parent] += count
    return {
        name: count - inside[name] for name, count in counts.items() if name.startswith(NETWORKS)
    }
