"""Which nodes of a graph a runtime really runs in which precision, read from the runtime itself."""

import re
import tempfile
from collections import Counter
from pathlib import Path

import onnx

from hwkd.runtime.manifest import Executed
from hwkd.runtime.session import runtime_label

_FLOAT_PRODUCTS = {
    "Conv",
    "ConvTranspose",
    "FusedConv",
    "NhwcFusedConv",
    "MatMul",
    "FusedMatMul",
    "Gemm",
}
_INTEGER_PRODUCTS = {
    "QLinearConv",
    "MatMulIntegerToFloat",
    "QLinearMatMul",
    "ConvInteger",
    "MatMulInteger",
}
_OPENVINO_PRODUCTS = {"Convolution", "Deconvolution", "MatMul", "FullyConnected"}
_MOVES = {
    *("Const", "Input", "Output", "Reorder", "Reshape", "Transpose", "Slice", "StridedSlice"),
    *("SpaceToDepth", "DepthToSpace", "ReorderInput", "ReorderOutput", "Concat", "Identity"),
}
"""Nodes that move values and compute none."""

_PRECISIONS = {"I8": "int8", "i8": "int8", "f32": "fp32", "f16": "fp16", "bf16": "bf16"}


def executed(graph: bytes, network: str, runtime: str) -> Executed:
    """The nodes that compute, counted by precision after `runtime` has optimized `graph` for this host.

    counts: "int8", "fp32" and so on for convolutions and matrix products, "elementwise" for all that is left. in_float:
    the layers that do not run in integers, by name.
    """
    nodes = _openvino_nodes(graph) if runtime == "openvino" else _onnxruntime_nodes(graph)
    counts: Counter[str] = Counter()
    in_float = []
    for name, precision in nodes:
        counts[precision] += 1
        if precision not in ("int8", "elementwise"):
            in_float.append(name)
    return Executed(network, runtime_label(runtime), dict(sorted(counts.items())), tuple(in_float))


def _openvino_nodes(graph: bytes) -> list[tuple[str, str]]:
    import openvino

    from hwkd.runtime.openvino_runtime import compiled

    found = []
    model = compiled(openvino.Core().read_model(graph), threads=1).get_runtime_model()
    for node in model.get_ordered_ops():
        about = node.get_rt_info()
        kind = about["layerType"].astype(str)
        if kind in _OPENVINO_PRODUCTS:
            names = about["originalLayersNames"].astype(str).split(",")
            precision = about["primitiveType"].astype(str).rpartition("_")[2]
            found.append((names[0].removesuffix("/WithoutBiases"), _PRECISIONS[precision]))
        elif kind not in _MOVES:
            found.append((node.get_friendly_name(), "elementwise"))
    return found


def _onnxruntime_nodes(graph: bytes) -> list[tuple[str, str]]:
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        options.log_severity_level = 3
        onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        optimized = onnx.load(options.optimized_model_filepath)
    found = []
    for node in optimized.graph.node:
        # The optimizer adds to the names of the nodes that it replaces.
        name = re.sub(r"(_token_\d+|_nchwc)+$", "", node.name)
        if node.op_type in _INTEGER_PRODUCTS:
            found.append((name, "int8"))
        elif node.op_type in _FLOAT_PRODUCTS:
            found.append((name, "fp32"))
        elif node.op_type not in _MOVES:
            found.append((node.name, "elementwise"))
    return found
