"""The layers of a network with their shapes and MACs: shapes from one traced pass, MACs from fvcore."""

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from fvcore.nn import FlopCountAnalysis
from torch import Tensor, nn

from hwkd.errors import InputError
from hwkd.measure.inference import evaluating
from hwkd.measure.layer_cost import LayerCost
from hwkd.models.base import HyperpriorCodec
from hwkd.models.compat import GDN

_NONLINEAR = (nn.SiLU, nn.Hardswish, nn.Sigmoid, nn.Hardsigmoid)
_POOLS = (nn.MaxPool2d, nn.AvgPool2d)
_NETWORKS = ("g_a", "h_a", "h_s", "g_s")


def codec_layers(codec: HyperpriorCodec, width: int, height: int) -> tuple[LayerCost, ...]:
    """The layers of g_a, h_a, h_s and g_s of a float codec for one image, padded to multiples of 64.

    The MACs sum to `hwkd.measure.macs.count_macs`. As every layer works on the padded area, one block of 64x64 is
    traced and multiplied.

    Raises:
        InputError: a size under 1x1.
    """
    if width < 1 or height < 1:
        raise InputError(f"an image of {width}x{height} has no layers to count; give 1x1 or more")
    side = codec.downsampling_factor
    blocks = math.ceil(width / side) * math.ceil(height / side)

    def pass_through(x: Tensor) -> object:
        y = codec.g_a(x)
        return codec.g_s(y), codec.entropy_parameters(codec.hyper_analysis(y))

    device = next(codec.parameters()).device
    found = network_layers(codec, torch.zeros(1, 3, side, side, device=device), pass_through)
    return tuple(
        replace(
            layer,
            network=layer.name.partition(".")[0],
            in_values=blocks * layer.in_values,
            out_values=blocks * layer.out_values,
            macs=blocks * layer.macs,
        )
        for layer in found
        if layer.name.startswith(_NETWORKS)
    )


def network_layers(
    model: nn.Module, x: Tensor, forward: Callable[[Tensor], object] | None = None
) -> tuple[LayerCost, ...]:
    """The layers of `model` in the order they run on `x`; a layer that runs twice stands twice.

    Args:
        forward: what to run, where that is not `model` itself.
    """
    found: list[LayerCost] = []
    hooks = []
    for name, module in model.named_modules():
        if _operator(module) is not None:
            hooks.append(module.register_forward_hook(_noting(name, found)))
    with evaluating(model):
        try:
            (forward or model)(x)
        finally:
            for hook in hooks:
                hook.remove()
        macs = _macs(model, x, forward)
    runs = {name: sum(layer.name == name for layer in found) for name in {f.name for f in found}}
    return tuple(
        replace(layer, macs=macs.get(layer.name, 0) // runs[layer.name]) for layer in found
    )


def _macs(
    model: nn.Module, x: Tensor, forward: Callable[[Tensor], object] | None
) -> dict[str, int]:
    whole = model if forward is None else _Passing(model, forward)
    analysis = FlopCountAnalysis(whole, x)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    analysis.tracer_warnings("none")
    return {name.removeprefix("model."): int(n) for name, n in analysis.by_module().items()}


class _Passing(nn.Module):
    """`forward` as a module that holds the model, for the tracer."""

    def __init__(self, model: nn.Module, forward: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.model = model
        self._forward = forward

    def forward(self, x: Tensor) -> object:
        return self._forward(x)


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
