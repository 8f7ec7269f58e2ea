"""Which nodes of a graph a runtime really runs in which precision, read from the runtime itself."""

import re
import tempfile
from collections import Counter
from pathlib import Path

import onnx

from hwkd.runtime.manifest import Executed
from hwkd.runtime.session import runtime_label

_CONVOLUTIONS = {"Conv", "ConvTranspose", "QLinearConv", "FusedConv", "NhwcFusedConv"}
_OPENVINO_CONVOLUTIONS = {"Convolution", "Deconvolution"}
_MOVES = {
    *("Const", "Input", "Output", "Reorder", "Reshape", "Transpose", "Slice", "StridedSlice"),
    *("SpaceToDepth", "DepthToSpace", "ReorderInput", "ReorderOutput", "Concat", "Identity"),
}
"""Nodes that move values and compute none."""

_PRECISIONS = {"I8": "int8", "i8": "int8", "f32": "fp32", "f16": "fp16", "bf16": "bf16"}


def executed(graph: bytes, network: str, runtime: str) -> Executed:
    """The nodes that compute, counted by precision after `runtime` has optimized `graph` for this host.

    counts: "int8", "fp32" and so on for convolutions, "elementwise" for all that is left. in_float: the convolutions,
    by the layer's name, that do not run in integers.
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
        if kind in _OPENVINO_CONVOLUTIONS:
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
        if node.op_type in _CONVOLUTIONS:
            # The optimizer adds to the names of the nodes that it replaces.
            name = re.sub(r"(_token_\d+|_nchwc)+$", "", node.name)
            found.append((name, "int8" if node.op_type == "QLinearConv" else "fp32"))
        elif node.op_type not in _MOVES:
            found.append((node.name, "elementwise"))
    return found
