"""h_s in whole numbers, with its bound proven, and as the float32 graph that every runtime computes alike.

Every scale of h_s is a power of two, so between two layers stands a shift: q = clip(round(acc 2^-shift)). A float32
convolution of whole numbers is exact in any order of summation while no sum reaches 2^24; the bound kept here is 2^22,
and a Round after each convolution takes away what a fast algorithm may leave behind the point. Related: Balle et al.
2019, "Integer networks for data compression with latent-variable models" (ICLR).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx

from hwkd.errors import HwkdError
from hwkd.export.graph_writer import FLOAT, INT32, OPENVINO, GraphWriter, tensor
from hwkd.export.subpixel import as_subpixel
from hwkd.models.base import HyperpriorCodec
from hwkd.models.patch import PatchCodec
from hwkd.quantize.integer import IntegerLayer, halved
from hwkd.runtime.exact import BOUND, INDEXES, SYMBOL_LIMIT, ExactLayer, ExactPath

PLACES_PER_UNIT = 256
"""Places of the table of indexes per unit of scale: a 28th of the finest step between CompressAI's scales."""


@dataclass(frozen=True)
class EntropyPath:
    """The proven path. shortened: channels that lost weight bits to the bound, "h_s.2: 12 of 96 channels by 1"."""

    path: ExactPath
    shortened: tuple[str, ...]


def entropy_path(
    codec: HyperpriorCodec, layers: Mapping[str, IntegerLayer], scale_table: npt.NDArray[np.float64]
) -> EntropyPath:
    """h_s of a quantized codec.

    Args:
        scale_table: CompressAI's scales, [64], rising.
    Raises:
        HwkdError: a scale that is no power of two.
    """
    hyper = [layer for name, layer in layers.items() if name.startswith("h_s.")]
    is_patch = isinstance(codec, PatchCodec)
    found, shortened = [], []
    largest = SYMBOL_LIMIT
    for i, layer in enumerate(hyper):
        if layer.kind == "transposed":
            plain, block = as_subpixel(layer), 2
        else:
            plain, block = layer, _shuffle_after(is_patch, is_last=i == len(hyper) - 1)
        plain, lost = _bounded(plain, largest)
        if lost.any():
            # A channel before the shuffle stands for one of the layer's own.
            shortened.append(
                f"{layer.name}: {np.count_nonzero(lost)} of {len(lost)} channels by {lost.max()} bits at most"
            )
        if i < len(hyper) - 1:
            after = hyper[i + 1].input
            step, low, high = after.step, max(after.low, 0), after.high
        elif is_patch:
            step, low, high = 1.0, 0, INDEXES - 1
        else:
            step, low, high = 1 / PLACES_PER_UNIT, 0, _last_place(scale_table)
        found.append(
            ExactLayer(
                weight=plain.weight.astype(np.int64),
                bias=plain.bias,
                shift=_shifts(plain, step),
                low=low,
                high=high,
                block=block,
            )
        )
        largest = high
    places = None if is_patch else _places(scale_table)
    return EntropyPath(ExactPath(tuple(found), places), tuple(shortened))


def hyper_model(path: ExactPath, Z: int, M: int, *, has_gains: bool = False) -> onnx.ModelProto:
    """The graph: z [1, Z, H/64, W/64] int32 -> index [1, M, H/16, W/16] float32, whole numbers.

    Of a codec of all rates it takes `shift` besides, whole numbers [1, M, 1, 1] float32, which are added to the last
    layer's q before it is clipped.

    OpenVINO casts to uint8 in its slow reference kernel (1.5 of 10 ms): that is left to numpy.

    Weights are int8 and become float32 in the graph; nothing is marked as quantized, so that no runtime turns to
    integer kernels, which may saturate.
    """
    graph = GraphWriter(OPENVINO)
    x = graph.cast("z", FLOAT)
    for i, layer in enumerate(path.layers):
        weight = graph.constant(f"weight_{i}", layer.weight.astype(np.int8))
        bias = graph.constant(f"bias_{i}", layer.bias.astype(np.float32))
        kernel = layer.weight.shape[2]
        acc = graph.named(
            f"h_s.layer_{i}",
            "Conv",
            [x, graph.cast(weight, FLOAT), bias],
            {"kernel_shape": [kernel] * 2, "pads": [kernel // 2] * 4},
        )
        factor = np.exp2(-layer.shift.astype(np.float32))[None, :, None, None]
        scaled = graph.node(
            "Mul", [graph.node("Round", [acc]), graph.constant(f"factor_{i}", factor)]
        )
        bounds = (graph.scalar(float(layer.low)), graph.scalar(float(layer.high)))
        q = graph.node("Round", [scaled])
        if has_gains and i == len(path.layers) - 1:
            q = graph.node("Add", [q, "shift"])
        x = graph.node("Clip", [q, *bounds])
        if layer.block > 1:
            x = graph.shuffled(x, layer.block)
    if path.places is not None:
        places = graph.constant("places", path.places.astype(np.float32))
        x = graph.node("Gather", [places, graph.cast(x, INT32)])
    return graph.model(
        "hyper",
        [
            tensor("z", INT32, [1, Z, "H/64", "W/64"]),
            *([tensor("shift", FLOAT, [1, M, 1, 1])] if has_gains else []),
        ],
        {x: tensor("index", FLOAT, [1, M, "H/16", "W/16"])},
    )


def _shuffle_after(is_patch: bool, *, is_last: bool) -> int:
    return 2 if is_patch and not is_last else 1


def _bounded(layer: IntegerLayer, largest: int) -> tuple[IntegerLayer, npt.NDArray[np.int64]]:
    """`layer` with weight bits taken, one by one, from the channels whose sums could reach the bound, and how many."""
    lost = np.zeros(layer.channels_out, np.int64)
    while True:
        exact = ExactLayer(layer.weight.astype(np.int64), layer.bias, lost, 0, 0, 1)
        over = exact.largest(largest) >= BOUND
        if not over.any():
            return layer, lost
        lost += over
        layer = halved(layer, over)


def _shifts(layer: IntegerLayer, step: float) -> npt.NDArray[np.int64]:
    """log2(step / step of the accumulator) of each channel."""
    ratio = np.log2(step / (layer.weight_step.astype(np.float64) * layer.input.step))
    if not (ratio == np.rint(ratio)).all():
        raise HwkdError(f"{layer.name}: a scale is no power of two, so its path is not exact")
    shifts: npt.NDArray[np.int64] = ratio.astype(np.int64)
    return shifts


def _last_place(scale_table: npt.NDArray[np.float64]) -> int:
    return int(np.ceil(scale_table[-1] * PLACES_PER_UNIT))


def _places(scale_table: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """The index at each scale place / PLACES_PER_UNIT: that of the nearest scale of the table, by its logarithm.

    CompressAI takes the next larger one. On Kodak the nearest gave 0.1 to 0.6 % fewer bits for y (patch-q5, 6 images).
    """
    borders = np.sqrt(scale_table[1:] * scale_table[:-1])
    scales = np.arange(_last_place(scale_table) + 1) / PLACES_PER_UNIT
    return np.searchsorted(borders, scales).astype(np.uint8)
