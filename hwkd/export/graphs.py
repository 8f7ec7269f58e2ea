"""Encoder and decoder graphs of a quantized codec of any family: where they begin and end, and what makes them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, cast

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from hwkd.errors import HwkdError
from hwkd.export.float_graphs import FrozenGDN
from hwkd.export.graph_writer import FLOAT, INT32, UINT8, Form, GraphWriter, tensor
from hwkd.models.base import HyperpriorCodec
from hwkd.models.compat import GDN
from hwkd.quantize.integer import IntegerLayer
from hwkd.quantize.qat import SYMBOL_MAX, Layer, conv_layers

# Where the graphs of encoder and decoder begin and end.
#
#     encoder: image [1, H, W, 3] uint8 -> y [1, M, H/16, W/16] int32, z [1, Z, H/64, W/64] int32
#     decoder: y [1, M, H/16, W/16] int32 -> image [1, H, W, 3] uint8
#
# The graphs of a codec of all rates take float32 [1, M, 1, 1] besides, which hwkd/runtime/gains.py makes of a quality: the
# encoder `gain` and `limit`, the decoder `step`. The y of its decoder is float32: the centroids of the symbols
# (hwkd/centroids.py).
#
# H and W are multiples of 64, and free. A graph for one size (Form.size) is for an engine that knows floats only:
#
#     encoder: image [1, 3, H, W] float32 in [0, 1] -> y, z float32, to be rounded
#     decoder: y float32, whole numbers or their centroids -> image [1, 3, H, W] float32, to be held to [0, 1] and rounded
#
# Of such a pair of all rates, the encoder takes `gain` alone: its user holds y to the limits, too.

PIXEL_STEP = 1 / 255


@dataclass(frozen=True)
class LatentRanges:
    """Channels and symbols of y and z: y in [-largest_y - 1, largest_y], z likewise.

    Attributes:
        narrow_from: channels of y from this one on hold 8 bits only; M if no channel does. In a codec of all rates
            these are bits of y's steps on the grid of g_s (hwkd/runtime/gains.py).
        has_gains: whether the codec is one of all rates.
    """

    M: int
    Z: int
    largest_y: int
    largest_z: int
    narrow_from: int
    has_gains: bool = False


def open_image(graph: GraphWriter) -> str:
    """The input `image` as values k / 255, [1, 3, H, W] float32.

    Multiplied rather than dequantized from uint8: OpenVINO left the first convolution in float32 after the latter.
    """
    if graph.form.size is not None:
        return "image"
    planes = graph.node("Transpose", ["image"], perm=[0, 3, 1, 2])
    return graph.node("Mul", [graph.cast(planes, FLOAT), graph.scalar(PIXEL_STEP)])


def open_symbols(graph: GraphWriter, latents: LatentRanges) -> str:
    """The input `y` as float32; of a codec of all rates its centroids, in steps of the grid of g_s, not yet rounded to whole
    ones."""
    if latents.has_gains:
        return graph.node("Mul", ["y", "step"])
    return "y" if graph.form.size is not None else graph.cast("y", FLOAT)


def held(graph: GraphWriter, symbols: str, limit: str) -> str:
    """`symbols` of y within -limit to limit, the tensor, as a codec of all rates has it.

    Not from -limit - 1: a symbol of large steps would leave the decoder's digit below.
    """
    low = graph.node("Max", [symbols, graph.node("Neg", [limit])])
    return graph.node("Min", [low, limit])


def encoder_model(graph: GraphWriter, y: str, z: str, latents: LatentRanges) -> onnx.ModelProto:
    """The encoder's graph, with the tensors `y` and `z` rounded and held to their symbols."""
    M, Z, size = latents.M, latents.Z, graph.form.size
    if size is not None:
        return graph.model(
            "encoder",
            [tensor("image", FLOAT, [1, 3, *_of_size(size, 1)]), *_given(latents, "gain")],
            {
                y: tensor("y", FLOAT, [1, M, *_of_size(size, 16)]),
                z: tensor("z", FLOAT, [1, Z, *_of_size(size, 64)]),
            },
        )
    y = graph.cast(_symbols_of_y(graph, y, latents), INT32)
    z = graph.cast(_rounded(graph, z, latents.largest_z), INT32)
    return graph.model(
        "encoder",
        [tensor("image", UINT8, [1, "H", "W", 3]), *_given(latents, "gain", "limit")],
        {
            y: tensor("y", INT32, [1, M, "H/16", "W/16"]),
            z: tensor("z", INT32, [1, Z, "H/64", "W/64"]),
        },
    )


def decoder_model(graph: GraphWriter, x_hat: str, latents: LatentRanges) -> onnx.ModelProto:
    """The decoder's graph: `x_hat`, [1, 3, H, W], held to [0, 1] and rounded to 8 bits."""
    M, size = latents.M, graph.form.size
    if size is not None:
        return graph.model(
            "decoder",
            [tensor("y", FLOAT, [1, M, *_of_size(size, 16)]), *_given(latents, "step")],
            {x_hat: tensor("image", FLOAT, [1, 3, *_of_size(size, 1)])},
        )
    samples = graph.each(
        "QuantizeLinear", x_hat, graph.scalar(PIXEL_STEP), graph.scalar(0, np.uint8)
    )
    image = graph.node("Transpose", [samples], perm=[0, 2, 3, 1])
    return graph.model(
        "decoder",
        [
            tensor("y", FLOAT if latents.has_gains else INT32, [1, M, "H/16", "W/16"]),
            *_given(latents, "step"),
        ],
        {image: tensor("image", UINT8, [1, "H", "W", 3])},
    )


def _given(latents: LatentRanges, *names: str) -> list[onnx.ValueInfoProto]:
    """The inputs `names` of a codec of all rates."""
    shape = [1, latents.M, 1, 1]
    return [tensor(name, FLOAT, shape) for name in names] if latents.has_gains else []


def _of_size(size: tuple[int, int], position_px: int) -> tuple[int, int]:
    width, height = size
    return height // position_px, width // position_px


def _symbols_of_y(graph: GraphWriter, y: str, latents: LatentRanges) -> str:
    if latents.has_gains:
        return held(graph, graph.node("Round", [y]), "limit")
    if not 0 < latents.narrow_from < latents.M:
        return _rounded(graph, y, latents.largest_y)
    limit = np.full((1, latents.M, 1, 1), latents.largest_y, np.float32)
    limit[:, latents.narrow_from :] = SYMBOL_MAX
    low = graph.node("Max", [graph.node("Round", [y]), graph.constant("y_low", -limit - 1)])
    return graph.node("Min", [low, graph.constant("y_high", limit)])


def _rounded(graph: GraphWriter, x: str, largest: int) -> str:
    bounds = (graph.scalar(-float(largest) - 1), graph.scalar(float(largest)))
    return graph.node("Clip", [graph.node("Round", [x]), *bounds])


# What a codec's operations read of their inputs: hwkd/export/checks.py makes the reach of a tile of it.


@dataclass(frozen=True)
class ReceptiveStep:
    """The inputs that one operation reads: output positions [first, last] need inputs from `before` to `after`."""

    kernel: int = 1
    stride: int = 1
    padding: int = 0
    up: int = 1

    def inputs(self, first: int, last: int) -> tuple[int, int]:
        """The first and the last position of the input that [first, last] of the output need."""
        first, last = first // self.up, last // self.up
        return (
            first * self.stride - self.padding,
            last * self.stride - self.padding + self.kernel - 1,
        )


@dataclass(frozen=True)
class Operations:
    """The operations of each transform in order; where there are two branches, of the longer one.

    Attributes:
        means: the parts of y that its means read; empty where y has no means, or they depend on z alone.
    """

    g_a: tuple[ReceptiveStep, ...]
    h_a: tuple[ReceptiveStep, ...]
    h_s: tuple[ReceptiveStep, ...]
    g_s: tuple[ReceptiveStep, ...]
    means: tuple[ReceptiveStep, ...] = ()


def convolution_steps(codec: HyperpriorCodec, prefix: str) -> tuple[ReceptiveStep, ...]:
    """The steps of the convolutions with a name that begins with `prefix`, in order of definition."""
    return tuple(
        _step(layer) for name, layer in conv_layers(codec).items() if name.startswith(prefix)
    )


def _step(layer: Layer) -> ReceptiveStep:
    kernel, stride, padding = layer.kernel_size[0], layer.stride[0], layer.padding[0]
    if isinstance(padding, str):
        raise TypeError(f"padding {padding!r} has no number")
    if type(layer).__name__.endswith("ConvTranspose2d"):
        # Output o takes the inputs i with o = stride i - padding + k: as many on both sides of o / stride.
        return ReceptiveStep(
            kernel=2 * (kernel // (2 * stride)) + 1, padding=kernel // (2 * stride), up=stride
        )
    return ReceptiveStep(kernel, stride, padding)


# What makes the graphs of a family: `graphs` of its descriptor (hwkd/models/families/family.py) names one of these.

Layers = Mapping[str, IntegerLayer]
MakeGraph = Callable[[Any, Layers, LatentRanges, Form], onnx.ModelProto]
"""Makes a graph of a codec of the family."""


@dataclass(frozen=True)
class Graphs:
    """What export must know of the codecs of a family.

    Attributes:
        encoder: makes the graph of g_a, h_a and rounding.
        decoder: makes the graph of g_s and rounding.
        latents: as `latents_of`.
        operations: gives what the codec's networks read of their inputs.
    """

    encoder: MakeGraph
    decoder: MakeGraph
    latents: Callable[[Any, Iterable[Tensor]], tuple[Any, LatentRanges]]
    operations: Callable[[Any], Operations]


def graphs_of(codec: HyperpriorCodec) -> Graphs:
    """The `Graphs` of the codec's family."""
    place = codec.family.graphs
    assert place is not None  # nothing else is quantized
    module, _, name = place.partition(":")
    graphs = getattr(import_module(module), name)
    assert isinstance(graphs, Graphs)
    return graphs


def encoder_graph(
    codec: HyperpriorCodec, layers: Layers, latents: LatentRanges, form: Form
) -> onnx.ModelProto:
    """g_a, h_a and rounding."""
    return graphs_of(codec).encoder(codec, layers, latents, form)


def decoder_graph(
    codec: HyperpriorCodec, layers: Layers, latents: LatentRanges, form: Form
) -> onnx.ModelProto:
    """g_s and rounding."""
    return graphs_of(codec).decoder(codec, layers, latents, form)


@torch.no_grad()
def latents_of(
    codec: HyperpriorCodec, images: Iterable[Tensor]
) -> tuple[HyperpriorCodec, LatentRanges]:
    """`codec` with its channels of y in the order that the graphs need, and the latents' ranges.

    A copy where the order changes: `codec` keeps its own.

    Args:
        images: [1, 3, H, W] in [0, 1], sides multiples of 64.
    """
    return graphs_of(codec).latents(codec, images)


def chain(graph: GraphWriter, x: str, transform: nn.Module, name: str, layers: Layers) -> str:
    """The layers of a Sequential called `name`, one after the other."""
    for i, module in enumerate(cast(nn.Sequential, transform)):
        layer = layers.get(f"{name}.{i}")
        if layer is not None:
            x = graph.convolution(x, layer)
        elif isinstance(module, nn.ReLU):
            x = graph.relu(x)
        elif isinstance(module, GDN):
            x = _gdn(graph, x, FrozenGDN(module), f"{name}.{i}")
        else:
            raise HwkdError(f"{name}.{i} is a {type(module).__name__}, which no graph is known for")
    return x


def _gdn(graph: GraphWriter, x: str, gdn: FrozenGDN, name: str) -> str:
    """x / sqrt(beta + gamma x^2), or times it for the inverse, in float32."""
    weights = [
        graph.constant(f"{name}.gamma", gdn.gamma.numpy()),
        graph.constant(f"{name}.beta", gdn.beta.numpy()),
    ]
    square = graph.node("Mul", [x, x])
    norm = graph.node("Sqrt", [graph.node("Conv", [square, *weights], kernel_shape=[1, 1])])
    return graph.node("Mul" if gdn.inverse else "Div", [x, norm])
