"""Encoder and decoder graphs of the family patch (hwkd/models/patch.py).

torch's pixel_unshuffle and pixel_shuffle become one SpaceToDepth or DepthToSpace each; what ONNX orders in another way is
put in order in the weights beforehand.
"""

import copy
from collections.abc import Iterable
from dataclasses import replace
from typing import cast

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor

from hwkd.export.graph_writer import Form, GraphWriter
from hwkd.export.graphs import (
    PIXEL_STEP,
    Graphs,
    LatentRanges,
    Layers,
    Operations,
    ReceptiveStep,
    chain,
    convolution_steps,
    decoder_model,
    encoder_model,
    held,
    open_image,
    open_symbols,
)
from hwkd.models.families.patch import PATCH, POST
from hwkd.models.patch import MeanContext, PatchAnalysis, PatchCodec, PatchSynthesis
from hwkd.qualities import LMBDA_HIGH, Y_HAT_STEP
from hwkd.quantize.integer import PIXEL_OFFSET, Grid, IntegerLayer
from hwkd.quantize.qat import SYMBOL_MAX
from hwkd.runtime.gains import HIGHEST_STEP, WIDE_MAX

DIGIT = 256
_DIGITS = Grid(1.0, -128, 127)

_ROOTS = 7

Order = npt.NDArray[np.intp]


def _encoder(
    codec: PatchCodec, layers: Layers, latents: LatentRanges, form: Form
) -> onnx.ModelProto:
    """g_a, then h_a on log(1 + |y|)."""
    graph = GraphWriter(form)
    g_a = cast(PatchAnalysis, codec.g_a)
    if form.size is None:
        patches = graph.pixels("image", PATCH, layers["g_a.stem"].input)
    else:
        patches = graph.node("SpaceToDepth", [open_image(graph)], blocksize=PATCH)
    order = _space_to_depth_order()
    stem = graph.in_floats((patches, _reading(layers["g_a.stem"], order)))
    trunk = _trunk(graph, stem, "g_a.trunk", len(g_a.trunk), layers)
    linear = _reading(layers["g_a.linear"], order)
    heads = [layers[name] for name in ("g_a.head", "g_a.head_rest") if name in layers]
    y = graph.in_floats((patches, linear), *[(trunk, head) for head in heads])
    if latents.has_gains:
        y = graph.node("Mul", [y, "gain"])
    coded = _without_means(graph, y, codec, layers)
    size = graph.node("Add", [graph.node("Abs", [y]), graph.scalar(1.0)])
    z = chain(graph, _log(graph, size), codec.h_a, "h_a", layers)
    return encoder_model(graph, coded, z, latents)


def _decoder(
    codec: PatchCodec, layers: Layers, latents: LatentRanges, form: Form
) -> onnx.ModelProto:
    """g_s."""
    graph = GraphWriter(form)
    g_s = cast(PatchSynthesis, codec.g_s)
    steps = _with_means(graph, open_symbols(graph, latents), codec, layers)
    if latents.has_gains and not form.is_float:
        steps = graph.node("Round", [steps])
    digits = _digits(graph, steps, latents.narrow_from)
    stem = graph.in_floats(*_of_digits(digits, layers["g_s.stem"], latents.narrow_from))
    trunk = _trunk(graph, stem, "g_s.trunk", len(g_s.trunk), layers)
    order, of_post = _depth_to_space_order(), _space_to_depth_order(POST)
    linear = _of_digits(digits, _writing(layers["g_s.linear"], order), latents.narrow_from)
    head = _writing(layers["g_s.head"], order)
    quarter = graph.shuffled(graph.in_floats(*linear, (trunk, head)), PATCH // POST, "DCR")
    for i in range(len(g_s.post)):
        conv_in = _reading(layers[f"g_s.post.{i}.conv_in"], of_post)
        conv_out = _writing(layers[f"g_s.post.{i}.conv_out"], of_post)
        inside = graph.relu(graph.convolution(quarter, conv_in))
        quarter = graph.node("Add", [quarter, graph.in_floats((inside, conv_out))])
    x_hat = graph.each(
        "Add", graph.shuffled(quarter, POST, "DCR"), graph.scalar(PIXEL_OFFSET * PIXEL_STEP)
    )
    return decoder_model(graph, x_hat, latents)


def _trunk(graph: GraphWriter, x: str, name: str, blocks: int, layers: Layers) -> str:
    for i in range(blocks):
        block = f"{name}.{i}"
        mixed = graph.relu(graph.convolution(x, layers[f"{block}.mix_in"]))
        mixed = graph.relu(graph.convolution(mixed, layers[f"{block}.mix"]))
        x = graph.node("Add", [x, graph.in_floats((mixed, layers[f"{block}.mix_out"]))])
        fed = graph.relu(graph.convolution(x, layers[f"{block}.feed_in"]))
        x = graph.node("Add", [x, graph.in_floats((fed, layers[f"{block}.feed_out"]))])
    return x


def _without_means(graph: GraphWriter, y: str, codec: PatchCodec, layers: Layers) -> str:
    """y less the means of its odd places, which come from its even ones as they will be decoded."""
    context = cast(PatchSynthesis, codec.g_s).context
    if context is None:
        return y
    first, rest = _split(graph, y, context.channels, codec.M)
    gain, _ = _split(graph, "gain", context.channels, None)
    rounded = graph.node("Round", [first])
    if graph.form.size is None:
        limit, _ = _split(graph, "limit", context.channels, None)
        rounded = held(graph, rounded, limit)
    means = _means(graph, graph.node("Div", [rounded, gain]), context, layers, 1.0)
    means = graph.node("Mul", [means, gain])
    return graph.node("Concat", [graph.node("Sub", [first, means]), rest], axis=1)


def _with_means(graph: GraphWriter, steps: str, codec: PatchCodec, layers: Layers) -> str:
    """`steps`, centroids in steps of the grid of g_s, with the means of the odd places added: those of the symbols."""
    context = cast(PatchSynthesis, codec.g_s).context
    if context is None:
        return steps
    first, rest = _split(graph, steps, context.channels, codec.M)
    coded, _ = _split(graph, "y", context.channels, None)
    step, _ = _split(graph, "step", context.channels, None)
    symbols = graph.node("Mul", [graph.node("Round", [coded]), step])
    means = _means(graph, symbols, context, layers, Y_HAT_STEP)
    return graph.node("Concat", [graph.node("Add", [first, means]), rest], axis=1)


def _means(
    graph: GraphWriter, y_hat: str, context: MeanContext, layers: Layers, step: float
) -> str:
    """The means of `y_hat`, its even places decoded, both in units of `step`; zero at even places."""
    scale = context.scale.double().numpy() / step
    is_odd = _odd_places(graph, y_hat)
    is_even = graph.node("Sub", [graph.scalar(1.0), is_odd])
    inverse = (1 / scale).astype(np.float32)[None, :, None, None]
    known = graph.node("Mul", [y_hat, graph.constant("context_inverse_scale", inverse)])
    known = graph.node("Mul", [known, is_even])
    hidden = graph.relu(graph.convolution(known, layers["g_s.context.conv_in"]))
    last = layers["g_s.context.conv_out"]
    scaled = replace(last, weight_step=(last.weight_step * scale).astype(np.float32))
    return graph.node("Mul", [graph.in_floats((hidden, scaled)), is_odd])


def _odd_places(graph: GraphWriter, x: str) -> str:
    """1 where row + column of `x` is odd, 0 elsewhere, [1, 1, h, w]."""
    if graph.form.size is not None:
        width, height = (side // PATCH for side in graph.form.size)
        odd = (np.arange(height)[:, None] + np.arange(width)) % 2
        return graph.constant("odd_places", odd.astype(np.float32)[None, None])
    one_channel, _ = _split(graph, x, 1, None)
    # Counted, as the size is free: rows and columns from 1.
    ones = graph.node(
        "Add", [graph.node("Mul", [one_channel, graph.scalar(0.0)]), graph.scalar(1.0)]
    )
    rows, columns = (
        graph.node("CumSum", [ones, graph.constant(f"axis_{axis}", np.array(axis))])
        for axis in (2, 3)
    )
    return graph.node("Mod", [graph.node("Add", [rows, columns]), graph.scalar(2.0)], fmod=1)


def _split(graph: GraphWriter, x: str, first: int, channels: int | None) -> tuple[str, str]:
    """The `first` channels of `x`, and the rest up to `channels`; None: no rest is wanted."""

    def part(start: int, stop: int) -> str:
        bounds = [graph.constant(f"channel_{at}", np.array([at], np.int64)) for at in (start, stop)]
        return graph.node("Slice", [x, *bounds, graph.constant("channel_axis", np.array([1]))])

    return part(0, first), "" if channels is None else part(first, channels)


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
    digits: tuple[str, str | None], layer: IntegerLayer, wide: int
) -> list[tuple[str, IntegerLayer]]:
    """The terms (x, layer) whose sum is `layer` of `digits`, as `GraphWriter.in_floats` takes them."""
    low, high = digits
    # In steps of the layer's own grid, which then stands in the step of its weights.
    layer = replace(
        layer, weight_step=layer.weight_step * np.float32(layer.input.step), input=_DIGITS
    )
    if high is None:
        return [(low, layer)]
    of_high = replace(
        layer,
        name=f"{layer.name}.high",
        weight=layer.weight[:, :wide],
        weight_step=layer.weight_step * np.float32(DIGIT),
        bias=np.zeros_like(layer.bias),
    )
    return [(low, layer), (high, of_high)]


def _reading(layer: IntegerLayer, order: Order) -> IntegerLayer:
    """`layer` for an input with permuted channels: channel i is the layer's former channel order[i]."""
    return replace(layer, weight=layer.weight[:, order])


def _writing(layer: IntegerLayer, order: Order) -> IntegerLayer:
    """`layer` with its output channel order[i] at place i."""
    return replace(
        layer,
        weight=layer.weight[order],
        weight_step=layer.weight_step[order],
        bias=layer.bias[order],
    )


def _space_to_depth_order(block: int = PATCH) -> Order:
    """pixel_unshuffle has channels (colour, row, column), SpaceToDepth (row, column, colour)."""
    places = np.arange(3 * block * block).reshape(3, block, block)
    return places.transpose(1, 2, 0).reshape(-1)


def _depth_to_space_order() -> Order:
    """pixel_shuffle(16) then pixel_unshuffle(4) as one DepthToSpace(4), to channels as SpaceToDepth(4) has them.

    A row of the patch is 4 p + r: p moves to space, r stays a channel of the quarter resolution; columns likewise.
    """
    places = np.arange(3 * PATCH * PATCH).reshape(3, PATCH // POST, POST, PATCH // POST, POST)
    return places.transpose(1, 3, 2, 4, 0).reshape(-1)


# Which symbols a codec's latents can take once it is exported, seen on images.

_WIDE_FROM = SYMBOL_MAX // 2
"""A channel of `patch` gets a second digit if its symbols exceed this on the images seen: other images may have twice as
much."""

_CHANNELS_A_KERNEL = 8


@torch.no_grad()
def _latents(codec: PatchCodec, images: Iterable[Tensor]) -> tuple[PatchCodec, LatentRanges]:
    """The channels that hold more than 8 bits come first, those of a context before all: g_s reads their high digits in a
    product of their own.

    In a codec of all rates what counts is y in steps of the grid of g_s; a symbol has the fewest of them at the highest
    quality, where y has the most symbols: there it is seen.
    """
    has_gains = codec.serves_all_rates
    codec.set_lmbda(LMBDA_HIGH)
    largest = torch.zeros(codec.M)
    for x in images:
        largest = torch.maximum(largest, codec.g_a(x).abs().amax((0, 2, 3)))
    is_wide = largest * (HIGHEST_STEP if has_gains else 1) > _WIDE_FROM
    if not is_wide.any():
        return codec, LatentRanges(codec.M, codec.Z, SYMBOL_MAX, SYMBOL_MAX, 0, has_gains)
    context = cast(PatchSynthesis, codec.g_s).context
    if context is not None:
        # A mean comes on top of its symbol.
        is_wide[: context.channels] = True
    codec = copy.deepcopy(codec)
    codec.reorder_latents(torch.argsort((~is_wide).int(), stable=True))
    channels = -(-int(is_wide.sum()) // _CHANNELS_A_KERNEL) * _CHANNELS_A_KERNEL
    narrow_from = min(channels, codec.M)
    return codec, LatentRanges(codec.M, codec.Z, WIDE_MAX, SYMBOL_MAX, narrow_from, has_gains)


def _operations(codec: PatchCodec) -> Operations:
    g_s = convolution_steps(codec, "g_s.")
    pairs = 2 * len(cast(PatchSynthesis, codec.g_s).post)
    trunk, post = g_s[: len(g_s) - pairs], g_s[len(g_s) - pairs :]
    shuffle = ReceptiveStep(up=2)
    first, second, last = convolution_steps(codec, "h_s.")
    return Operations(
        g_a=(ReceptiveStep(kernel=PATCH, stride=PATCH), *convolution_steps(codec, "g_a.")),
        h_a=convolution_steps(codec, "h_a."),
        h_s=(first, shuffle, second, shuffle, last),
        g_s=(*trunk, ReceptiveStep(up=PATCH // POST), *post, ReceptiveStep(up=POST)),
        means=convolution_steps(codec, "g_s.context.conv_in"),
    )


GRAPHS = Graphs(_encoder, _decoder, _latents, _operations)
