"""Multiply-accumulates of a codec's networks and of each layer, counted by fvcore."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import cast

import torch
from fvcore.nn import FlopCountAnalysis
from torch import Tensor, nn

from hwkd.errors import InputError
from hwkd.measure.layers import NETWORKS, LayerCost
from hwkd.models.base import HyperpriorCodec
from hwkd.models.compat import GDN

# Multiply-accumulates of a codec's networks, counted by fvcore.


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
    with eval_mode(codec):
        device = next(codec.parameters()).device
        analysis = analyse(FourNetworks(codec), torch.zeros(1, 3, side, side, device=device))
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


class FourNetworks(nn.Module):
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


# The layers of a network with their shapes and MACs: shapes from one traced pass, MACs from fvcore.

_NONLINEAR = (nn.SiLU, nn.Hardswish, nn.Sigmoid, nn.Hardsigmoid)
_POOLS = (nn.MaxPool2d, nn.AvgPool2d)


def codec_layers(codec: HyperpriorCodec, width: int, height: int) -> tuple[LayerCost, ...]:
    """The layers of g_a, h_a, h_s and g_s of a float codec for one image, padded to multiples of 64.

    The MACs sum to `hwkd.measure.eager.macs.count_macs`. As every layer works on the padded area, one block of 64x64 is
    traced and multiplied.

    Raises:
        InputError: a size under 1x1.
    """
    if width < 1 or height < 1:
        raise InputError(f"an image of {width}x{height} has no layers to count; give 1x1 or more")
    side = codec.downsampling_factor
    blocks = math.ceil(width / side) * math.ceil(height / side)
    device = next(codec.parameters()).device
    found = network_layers(FourNetworks(codec), torch.zeros(1, 3, side, side, device=device))
    named = [(layer.name.removeprefix("codec."), layer) for layer in found]
    return tuple(
        replace(layer.times(blocks), name=name, network=name.partition(".")[0])
        for name, layer in named
        if name.startswith(NETWORKS)
    )


def network_layers(model: nn.Module, x: Tensor) -> tuple[LayerCost, ...]:
    """The layers of `model` in the order they run on `x`; a layer that runs twice stands twice."""
    found: list[LayerCost] = []
    hooks = []
    for name, module in model.named_modules():
        if operator_of(module) is not None:
            hooks.append(module.register_forward_hook(layer_noter(name, found)))
    with eval_mode(model):
        try:
            model(x)
        finally:
            for hook in hooks:
                hook.remove()
        macs = analyse(model, x).by_module()
    runs = Counter(layer.name for layer in found)
    return tuple(replace(layer, macs=int(macs[layer.name]) // runs[layer.name]) for layer in found)


def operator_of(module: nn.Module) -> str | None:
    """What LayerCost calls the module; None for one that is no layer of its own."""
    match module:
        case GDN():
            return "gdn"
        case nn.ConvTranspose2d():
            return "transposed"
        case nn.Conv2d():
            return "conv"
        case nn.Linear():
            return "dense"
    if isinstance(module, _NONLINEAR):
        return "nonlinear"
    return "pool" if isinstance(module, _POOLS) else None


def layer_noter(
    name: str, found: list[LayerCost]
) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    """A forward hook that adds the module's LayerCost, without MACs, to `found`."""

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        x = inputs[0]
        operator = operator_of(module)
        assert operator is not None
        kernel = stride = groups = 1
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            kernel, stride, groups = max(module.kernel_size), max(module.stride), module.groups
        weights = [p.numel() for p in module.parameters(recurse=False) if p.dim() > 1]
        channels = 1 if x.dim() > 2 else -1
        found.append(
            LayerCost(
                name=name,
                network="",
                operator=operator,
                c_in=x.shape[channels],
                c_out=output.shape[channels],
                kernel=kernel,
                stride=stride,
                groups=groups,
                in_values=x.numel(),
                out_values=output.numel(),
                weights=sum(weights),
                macs=0,
            )
        )

    return note


# Running a codec to measure it: in evaluation mode, without gradients, its own modes restored afterwards.


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Within the block `model` is in evaluation mode and no gradients are kept.

    Each submodule returns to the mode it had, so that parts frozen in evaluation mode stay frozen.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        # Not inference_mode: the codec's tables are made here, and inference tensors could not be loaded over.
        with torch.no_grad():
            yield
    finally:
        for module, was_training in modes:
            module.training = was_training
