"""A codec's networks in the form that a board's own compiler takes: TensorRT, one size, floats at the ends.

The board's GPU runs encoder and decoder; h_s and the entropy coder stay on its CPU, with the bundle. Not tried on a
board: the graphs are checked against the trained codec in ONNX Runtime only.
"""

from collections.abc import Mapping

import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from hwkd.codec.codec import Z_PX
from hwkd.errors import InputError
from hwkd.export.graph_writer import Form
from hwkd.export.graphs import LatentRanges, decoder_graph, encoder_graph
from hwkd.models.base import HyperpriorCodec
from hwkd.quantize.integer import IntegerLayer

# In float32 also in a graph of float16: the squares inside GDN would overflow, logarithms and quotients lose too much.
_FLOAT32_OPERATORS = ("Div", "Log", "Mul", "Sqrt")


def board_graphs(
    codec: HyperpriorCodec,
    layers: Mapping[str, IntegerLayer],
    latents: LatentRanges,
    arithmetic: str,
    opset: int,
    size: tuple[int, int],
) -> dict[str, onnx.ModelProto]:
    """encoder.onnx and decoder.onnx for images of exactly `size`.

    Args:
        arithmetic: "int8" for quantized convolutions (signed, as TensorRT wants them: values that cannot be negative
            get 7 bits), "fp16" for float16 with the weights on their grid.
        size: (width, height).
    Raises:
        InputError: a size that is no multiple of 64.
    """
    if any(side % Z_PX or side < Z_PX for side in size):
        raise InputError(
            f"an engine is built for one size, of multiples of {Z_PX}, got {size[0]}x{size[1]}; "
            f"give --size {' x '.join(str(-(-side // Z_PX) * Z_PX) for side in size).replace(' ', '')}"
        )
    is_float = arithmetic != "int8"
    form = Form(keeps_transposed=True, signed=True, is_float=is_float, size=size, opset=opset)
    graphs = {
        "encoder.onnx": encoder_graph(codec, layers, latents, form),
        "decoder.onnx": decoder_graph(codec, layers, latents, form),
    }
    if arithmetic == "fp16":
        return {name: _halved(graph, set(layers)) for name, graph in graphs.items()}
    return graphs


def _halved(model: onnx.ModelProto, layers: set[str]) -> onnx.ModelProto:
    """`model` in float16 within, float32 at the ends."""
    inside_gdn = [
        node.name
        for node in model.graph.node
        if node.op_type in _FLOAT32_OPERATORS
        or (node.op_type == "Conv" and node.name not in layers)
    ]
    halved: onnx.ModelProto = convert_float_to_float16(
        model, keep_io_types=True, node_block_list=inside_gdn
    )
    # The casts at the ends stand last where ONNX wants every node after those that it needs.
    OnnxModel.graph_topological_sort(halved.graph)
    onnx.checker.check_model(halved, full_check=True)
    return halved
