"""The layers of a network with their shapes and MACs: shapes from one traced pass, MACs from fvcore."""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from hwkd.errors import InputError
from hwkd.measure.eager.macs import Networks, analyse
from hwkd.measure.inference import evaluating
from hwkd.measure.layers import NETWORKS, LayerCost
from hwkd.models.base import HyperpriorCodec
from hwkd.models.compat import GDN

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
    found = network_layers(Networks(codec), torch.zeros(1, 3, side, side, device=device))
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
        if _operator(module) is not None:
            hooks.append(module.register_forward_hook(_noting(name, found)))
    with evaluating(model):
        try:
            model(x)
        finally:
            for hook in hooks:
                hook.remove()
        macs = analyse(model, x).by_module()
    runs = Counter(layer.name for layer in found)
    return tuple(replace(layer, macs=int(macs[layer.name]) // runs[layer.name]) for layer in found)


def _operator(module: nn.Module) -> str | None:
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


def _noting(
    name: str, found: list[LayerCost]
) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        x = inputs[0]
        operator = _operator(module)
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
