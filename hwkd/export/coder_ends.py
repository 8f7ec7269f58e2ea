"""Where the graphs of encoder and decoder begin and end.

    encoder: image [1, H, W, 3] uint8 -> y [1, M, H/16, W/16] int32, z [1, Z, H/64, W/64] int32
    decoder: y [1, M, H/16, W/16] int32 -> image [1, H, W, 3] uint8

The graphs of a codec of all rates take float32 [1, M, 1, 1] besides, which hwkd/runtime/gains.py makes of a quality: the
encoder `gain` and `limit`, the decoder `step`.

H and W are multiples of 64, and free. A graph for one size (Form.size) is for an engine that knows floats only:

    encoder: image [1, 3, H, W] float32 in [0, 1] -> y, z float32, to be rounded
    decoder: y float32, whole numbers -> image [1, 3, H, W] float32, to be held to [0, 1] and rounded

Of such a pair of all rates, the encoder takes `gain` alone: its user holds y to the limits, too.
"""

from dataclasses import dataclass

import numpy as np
import onnx

from hwkd.export.graph_writer import FLOAT, INT32, UINT8, GraphWriter, tensor
from hwkd.quantize.qat import SYMBOL_MAX

PIXEL_STEP = 1 / 255


@dataclass(frozen=True)
class Latents:
    """Channels and symbols of y and z: y in [-largest_y - 1, largest_y], z likewise.

    narrow_from: channels of y from this one on hold 8 bits only; M where all do not. In a codec of all rates these are bits of
    y's steps on the grid of g_s (hwkd/runtime/gains.py).
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


def open_symbols(graph: GraphWriter, latents: Latents) -> str:
    """The input `y` as float32; of a codec of all rates in steps of the grid of g_s, not yet rounded to whole ones."""
    y = "y" if graph.form.size is not None else graph.cast("y", FLOAT)
    return graph.node("Mul", [y, "step"]) if latents.has_gains else y


def held(graph: GraphWriter, symbols: str, limit: str) -> str:
    """`symbols` of y within -limit to limit, the tensor, as a codec of all rates has it.

    Not from -limit - 1: a symbol of large steps would leave the decoder's digit below.
    """
    low = graph.node("Max", [symbols, graph.node("Neg", [limit])])
    return graph.node("Min", [low, limit])


def encoder_model(graph: GraphWriter, y: str, z: str, latents: Latents) -> onnx.ModelProto:
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


def decoder_model(graph: GraphWriter, x_hat: str, latents: Latents) -> onnx.ModelProto:
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
        [tensor("y", INT32, [1, M, "H/16", "W/16"]), *_given(latents, "step")],
        {image: tensor("image", UINT8, [1, "H", "W", 3])},
    )


def _given(latents: Latents, *names: str) -> list[onnx.ValueInfoProto]:
    """The inputs `names` of a codec of all rates."""
    shape = [1, latents.M, 1, 1]
    return [tensor(name, FLOAT, shape) for name in names] if latents.has_gains else []


def _of_size(size: tuple[int, int], position_px: int) -> tuple[int, int]:
    width, height = size
    return height // position_px, width // position_px


def _symbols_of_y(graph: GraphWriter, y: str, latents: Latents) -> str:
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
