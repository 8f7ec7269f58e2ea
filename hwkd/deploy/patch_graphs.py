"""Encoder and decoder graphs of the family patch.

torch's pixel_unshuffle and pixel_shuffle become one SpaceToDepth or DepthToSpace each; what ONNX orders in another way is
put in order in the weights beforehand.
"""

from dataclasses import replace
from typing import cast

import numpy as np
import numpy.typing as npt
import onnx

from hwkd.deploy.coder_ends import (
    PIXEL_STEP,
    Latents,
    decoder_model,
    encoder_model,
    open_image,
    open_symbols,
)
from hwkd.deploy.conv_graphs import Layers, chain
from hwkd.deploy.graph import Form, GraphWriter
from hwkd.models.patch import POST, PatchAnalysis, PatchCodec, PatchSynthesis
from hwkd.models.spec import PATCH
from hwkd.quantize.integer import PIXEL_OFFSET, Grid, IntegerLayer

DIGIT = 256
_DIGITS = Grid(1.0, -128, 127)

_ROOTS = 7

Order = npt.NDArray[np.intp]


def patch_encoder(
    codec: PatchCodec, layers: Layers, latents: Latents, form: Form
) -> onnx.ModelProto:
    """g_a, then h_a on log(1 + |y|)."""
    graph = GraphWriter(form)
    g_a = cast(PatchAnalysis, codec.g_a)
    patches = graph.node("SpaceToDepth", [open_image(graph)], blocksize=PATCH)
    order = _space_to_depth_order()
    stem = graph.projection(patches, _reading(layers["g_a.stem"], order))
    trunk = _trunk(graph, stem, "g_a.trunk", len(g_a.trunk), layers)
    linear = graph.projection(patches, _reading(layers["g_a.linear"], order))
    y = graph.node("Add", [linear, graph.projection(trunk, layers["g_a.head"])])
    if latents.has_gains:
        y = graph.node("Mul", [y, "gain"])
    size = graph.node("Add", [graph.node("Abs", [y]), graph.scalar(1.0)])
    z = chain(graph, _log(graph, size), codec.h_a, "h_a", layers)
    return encoder_model(graph, y, z, latents)


def patch_decoder(
    codec: PatchCodec, layers: Layers, latents: Latents, form: Form
) -> onnx.ModelProto:
    """g_s."""
    graph = GraphWriter(form)
    g_s = cast(PatchSynthesis, codec.g_s)
    digits = _digits(graph, open_symbols(graph, latents), latents.narrow_from)
    order = _depth_to_space_order()
    stem = _of_digits(graph, digits, layers["g_s.stem"], latents.narrow_from)
    trunk = _trunk(graph, stem, "g_s.trunk", len(g_s.trunk), layers)
    linear = _of_digits(graph, digits, _writing(layers["g_s.linear"], order), latents.narrow_from)
    head = graph.projection(trunk, _writing(layers["g_s.head"], order))
    quarter = graph.shuffled(graph.node("Add", [linear, head]), PATCH // POST)
    for i in range(len(g_s.post)):
        inside = graph.relu(graph.convolution(quarter, layers[f"g_s.post.{i}.conv_in"]))
        outside = graph.convolution(inside, layers[f"g_s.post.{i}.conv_out"])
        quarter = graph.node("Add", [quarter, outside])
    x_hat = graph.each(
        "Add", graph.shuffled(quarter, POST), graph.scalar(PIXEL_OFFSET * PIXEL_STEP)
    )
    return decoder_model(graph, x_hat, latents)


def _trunk(graph: GraphWriter, x: str, name: str, blocks: int, layers: Layers) -> str:
    for i in range(blocks):
        block = f"{name}.{i}"
        mixed = graph.relu(graph.convolution(x, layers[f"{block}.mix_in"]))
        mixed = graph.relu(graph.convolution(mixed, layers[f"{block}.mix"]))
        x = graph.node("Add", [x, graph.projection(mixed, layers[f"{block}.mix_out"])])
        fed = graph.relu(graph.convolution(x, layers[f"{block}.feed_in"]))
        x = graph.node("Add", [x, graph.projection(fed, layers[f"{block}.feed_out"])])
    return x


def _log(graph: GraphWriter, x: str) -> str:
    """ln x, x >= 1.

    By roots: (r - 1 / r) / 2 is sinh(ln r), which for r = x^(1/128) is ln x / 128, too large by ln(x)^2 / 98304 of it: 0.11 %
    at the largest symbol that there is, 0.01, a third of a step of h_a's 8-bit input.
    """
    if not graph.form.log_by_roots:
        return graph.node("Log", [x])
    root = x
    for _ in range(_ROOTS):
        root = graph.node("Sqrt", [root])
    twice = graph.node("Sub", [root, graph.node("Div", [graph.scalar(1.0), root])])
    return graph.node("Mul", [twice, graph.scalar(2.0 ** (_ROOTS - 1))])


def _digits(graph: GraphWriter, y: str, wide: int) -> tuple[str, str | None]:
    """(low, high) with y = low + 256 high, both of 8 bits: low of all channels, high of the first `wide` ones.

    Whole numbers beyond 8 bits (the patches' means) so run in int8 kernels, exactly. None: no channel is wide, or floats
    hold them anyway.
    """
    if not wide or graph.form.is_float:
        return y, None
    channels = [
        graph.constant("wide_from", np.array([0])),
        graph.constant("wide_to", np.array([wide])),
        graph.constant("channel_axis", np.array([1])),
    ]
    # Not y / 256 rounded: halves go to the even, and of 128 the low digit would be 128.
    above = graph.node("Add", [y, graph.scalar(DIGIT / 2)])
    all_high = graph.node("Floor", [graph.node("Mul", [above, graph.scalar(1 / DIGIT)])])
    low = graph.node("Sub", [y, graph.node("Mul", [all_high, graph.scalar(float(DIGIT))])])
    return low, graph.node("Slice", [all_high, *channels])


def _of_digits(
    graph: GraphWriter, digits: tuple[str, str | None], layer: IntegerLayer, wide: int
) -> str:
    low, high = digits
    # In steps of the layer's own grid, which then stands in the step of its weights.
    layer = replace(layer, weight_step=layer.weight_step * np.float32(layer.input.step))
    result = graph.projection(low, replace(layer, input=_DIGITS))
    if high is None:
        return result
    of_high = replace(
        layer,
        name=f"{layer.name}.high",
        weight=layer.weight[:, :wide],
        weight_step=layer.weight_step * np.float32(DIGIT),
        bias=np.zeros_like(layer.bias),
        input=_DIGITS,
    )
    return graph.node("Add", [result, graph.projection(high, of_high)])


def _reading(layer: IntegerLayer, order: Order) -> IntegerLayer:
    """`layer` for an input whose channel i is the one that it knew as order[i]."""
    return replace(layer, weight=layer.weight[:, order])


def _writing(layer: IntegerLayer, order: Order) -> IntegerLayer:
    """`layer` with its output channel order[i] at place i."""
    return replace(
        layer,
        weight=layer.weight[order],
        weight_step=layer.weight_step[order],
        bias=layer.bias[order],
    )


def _space_to_depth_order() -> Order:
    """pixel_unshuffle has channels (colour, row, column), SpaceToDepth (row, column, colour)."""
    return np.arange(3 * PATCH * PATCH).reshape(3, PATCH, PATCH).transpose(1, 2, 0).reshape(-1)


def _depth_to_space_order() -> Order:
    """pixel_shuffle(16) then pixel_unshuffle(4) as one DepthToSpace(4).

    A row of the patch is 4 p + r: p moves to space, r stays a channel of the quarter resolution; columns likewise.
    """
    places = np.arange(3 * PATCH * PATCH).reshape(3, PATCH // POST, POST, PATCH // POST, POST)
    return places.transpose(0, 2, 4, 1, 3).reshape(-1)
