"""torchao in place of Brevitas: weight-only storage, and the PT2E path for x86. Both take a float codec.

What torchao 0.18 can do with these networks on a CPU decides what stands here. Its int8 and packed int4 tensors
(Int8WeightOnlyConfig, Int4WeightOnlyConfig) serve nn.Linear only, and packed int4 also wants a GPU or a package of
GPU kernels. IntxWeightOnlyConfig serves nn.Conv2d; no scheme serves nn.ConvTranspose2d, and X86InductorQuantizer has
no pattern for it either.
"""

import math
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass
from operator import attrgetter
from typing import cast

import torch
from torch import Tensor, fx, nn

from hwkd.errors import InputError
from hwkd.models.base import HyperpriorCodec
from hwkd.models.compat import GDN
from hwkd.quantize.qat import TRANSFORMS, Layer, conv_layers, quantized_layers
from hwkd.quantize.torchao_compat import (
    IntxWeightOnlyConfig,
    X86InductorQuantizer,
    convert_pt2e,
    get_default_x86_inductor_quantization_config,
    prepare_pt2e,
    quantize_,
)

WEIGHT_ONLY_DTYPES: dict[int, torch.dtype] = {8: torch.int8, 4: getattr(torch, "int4")}  # noqa: B009

_TRANSPOSED = "torchao has no quantized form of transposed convolution"


@dataclass(frozen=True)
class BackendResult:
    """A codec that torchao has quantized.

    Attributes:
        model: the codec with quantized weights, or the graph modules by transform (PT2E).
        converted: names of the layers with integer weights.
        left_in_float: "name: reason" for everything else.
        weight_bytes: weights packed at their bits, scales, zero points and float parameters of `model`'s transforms.
    """

    model: HyperpriorCodec | dict[str, fx.GraphModule]
    converted: tuple[str, ...]
    left_in_float: tuple[str, ...]
    weight_bytes: int


def weight_only(codec: HyperpriorCodec, bits: int) -> BackendResult:
    """A copy of `codec` with convolutions that store `bits`-bit integers and compute in float32.

    Symmetric, one scale per output channel and kernel position (torchao's grid for convolutions). It saves storage,
    not time: each call dequantizes. In memory torchao holds an int4 value in one byte; weight_bytes counts them
    packed, as a file stores them. Left in float: transposed convolutions, and depthwise ones, where this grid is one
    scale per weight.

    Raises:
        InputError: bits other than 4 or 8; a codec that Brevitas quantized already.
    """
    if bits not in WEIGHT_ONLY_DTYPES:
        raise InputError(
            f"the torchao backend stores weights in 8 or 4 bits, got {bits}; "
            "give --bits 8 or --bits 4, or use --backend brevitas"
        )
    _check_float(codec)
    model = deepcopy(codec)
    reasons: dict[str, str] = {}
    for name, layer in conv_layers(model).items():
        if isinstance(layer, nn.ConvTranspose2d):
            reasons[name] = _TRANSPOSED
        elif layer.groups > 1:
            reasons[name] = (
                "a depthwise convolution would take one scale per weight, more bytes than it saves"
            )
    chosen = [name for name in conv_layers(model) if name not in reasons]
    config = IntxWeightOnlyConfig(weight_dtype=WEIGHT_ONLY_DTYPES[bits])
    quantize_(model, config, filter_fn=lambda _, name: name in chosen)
    stored = 0
    for transform in TRANSFORMS:
        for parameter in model.get_submodule(transform).parameters():
            stored += _stored_bytes(parameter, bits)
    return BackendResult(model, tuple(chosen), _sentences(model, reasons), stored)


@torch.no_grad()
def pt2e(codec: HyperpriorCodec, batches: Iterable[Tensor]) -> BackendResult:
    """g_a and g_s as int8 graphs by PT2E with the X86InductorQuantizer, calibrated on `batches`.

    export -> prepare -> calibrate -> convert. The graphs run in eager PyTorch as they are, with quantize and
    dequantize nodes, and in int8 kernels once compiled by torch.compile. They take the shape of the first batch, and
    of its latent, only. h_a and h_s stay in float: PT2E's float scales would break the exactness of h_s.

    Args:
        codec: float.
        batches: images, [B, 3, H, W] in [0, 1], all of one shape, H and W multiples of 64.
    Raises:
        InputError: no batch, or batches of different shapes; a codec that Brevitas quantized already.
    """
    _check_float(codec)
    images = list(batches)
    shapes = {tuple(x.shape) for x in images}
    if len(shapes) != 1:
        raise InputError(
            f"PT2E needs calibration batches of one shape, got {sorted(shapes) if shapes else 'none'}; "
            "crop the images to one size"
        )
    model = deepcopy(codec).eval()
    latents: list[Tensor] = []  # as g_s reads them: less their means, at their centroids
    hook = model.g_s.register_forward_pre_hook(lambda _, given: latents.append(given[0]))
    with torch.no_grad():
        for x in images:
            model(x)
    hook.remove()
    graphs = {
        "g_a": _int8_graph(model.g_a, images),
        "g_s": _int8_graph(model.g_s, latents),
    }
    converted = [f"{t}.{name}" for t, graph in graphs.items() for name in _int8_layers(graph)]
    reasons = {
        name: _reason_for_pt2e(name, layer)
        for name, layer in conv_layers(model).items()
        if name not in converted
    }
    stored = sum(_tensor_bytes(graph) for graph in graphs.values())
    for transform in ("h_a", "h_s"):
        stored += sum(4 * p.numel() for p in model.get_submodule(transform).parameters())
    return BackendResult(graphs, tuple(converted), _sentences(model, reasons), stored)


def _check_float(codec: HyperpriorCodec) -> None:
    if quantized_layers(codec):
        raise InputError(
            "the torchao backend needs a float model, this one is quantized with Brevitas; give its float checkpoint"
        )


def _stored_bytes(parameter: Tensor, bits: int) -> int:
    values = getattr(parameter, "qdata", None)
    if values is None:
        return parameter.numel() * parameter.element_size()
    # Symmetric zero points are all zero and need no place in a file.
    scale = cast(Tensor, getattr(parameter, "scale"))  # noqa: B009
    return math.ceil(int(values.numel()) * bits / 8) + scale.numel() * scale.element_size()


def _int8_graph(module: nn.Module, inputs: list[Tensor]) -> fx.GraphModule:
    quantizer = X86InductorQuantizer()
    quantizer.set_global(get_default_x86_inductor_quantization_config())
    exported = torch.export.export(module, (inputs[0],)).module()
    prepared = prepare_pt2e(exported, quantizer)
    for x in inputs:
        prepared(x)
    return cast(fx.GraphModule, convert_pt2e(prepared))


def _tensor_bytes(graph: fx.GraphModule) -> int:
    """Bytes of the tensors that the graph reads; the float weights it was made from are still attached to it."""
    names = {str(node.target) for node in graph.graph.nodes if node.op == "get_attr"}
    tensors: list[Tensor] = [attrgetter(name)(graph) for name in sorted(names)]
    return sum(int(t.numel()) * int(t.element_size()) for t in tensors)


def _int8_layers(graph: fx.GraphModule) -> list[str]:
    """Names of the modules with a convolution that takes a dequantized input and a dequantized weight."""
    found = []
    for node in graph.graph.nodes:
        if node.op != "call_function" or not str(node.target).startswith("aten.conv"):
            continue
        if all("dequantize" in str(getattr(a, "target", "")) for a in node.args[:2]):
            path, _ = list(node.meta["nn_module_stack"].values())[-1]
            found.append(path)
    return found


def _reason_for_pt2e(name: str, layer: Layer) -> str:
    if not name.startswith(("g_a.", "g_s.")):
        return "PT2E is applied to g_a and g_s only"
    if isinstance(layer, nn.ConvTranspose2d):
        return _TRANSPOSED
    return "X86InductorQuantizer found no pattern for it"


def _sentences(model: HyperpriorCodec, reasons: dict[str, str]) -> tuple[str, ...]:
    gdns = {
        f"{transform}.{name}": "the 1x1 convolution inside GDN computes its weights from parameters at each call"
        for transform in TRANSFORMS
        for name, module in model.get_submodule(transform).named_modules()
        if isinstance(module, GDN)
    }
    return tuple(f"{name}: {reason}" for name, reason in (reasons | gdns).items())
