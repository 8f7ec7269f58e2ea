"""What the shipped bundles' graphs spend outside of convolutions, by the runtimes' own profiles, and the rates that follow.

    python tests/bench/bench_movement.py

Prints, for each bundle, network and runtime: milliseconds in convolutions, pixel shuffles, conversions, joins and the rest;
then `hwkd.measure.predict.movement.RATES` and REFERENCE_NS that follow. One thread, 768x512. GDN's own arithmetic (powers,
products, roots) is left out: predictions count it as `nonlinear`.
"""

import itertools
import json
import math
import os
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import onnx
from scipy.optimize import nnls

from hwkd.codec.shipped import shipped
from hwkd.measure.bundles import read_costs
from hwkd.measure.predict.movement import KINDS, movement
from hwkd.runtime.bundle import read_bundle

WIDTH, HEIGHT = 768, 512
RUNS, WARM_UP = 12, 2
SIDES = {"encoder": ("g_a", "h_a"), "decoder": ("g_s",)}
PRODUCTS = {
    *("Convolution", "GroupConvolution", "Deconvolution", "FullyConnected", "MatMul", "Conv"),
    *("QLinearConv", "QLinearMatMul", "MatMulIntegerToFloat", "ConvTranspose"),
}
OF_GDN = {"Multiply", "PowerStatic", "Sqrt", "Div", "Mul"}
GROUPS = {
    "shuffle": {"DepthToSpace", "SpaceToDepth"},
    "convert": {
        *("FakeQuantize", "QuantizeLinear", "DequantizeLinear", "Convert", "Cast", "Reorder"),
        *("ReorderInput", "ReorderOutput", "Transpose"),
    },
    "join": {"Concat", "Slice", "Split", "VariadicSplit", "StridedSlice", "Pad"},
}
OPENVINO_HINTS = {
    "INFERENCE_PRECISION_HINT": "f32",
    "INFERENCE_NUM_THREADS": 1,
    "NUM_STREAMS": 1,
    "PERFORMANCE_HINT": "LATENCY",
}
TYPES = {1: np.float32, 2: np.uint8, 3: np.int8, 6: np.int32, 7: np.int64}


def inputs(graph: bytes) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    found = {}
    for one in onnx.load_model_from_string(graph).graph.input:
        shape = []
        for d in one.type.tensor_type.shape.dim:
            name, _, part = d.dim_param.partition("/")
            side = HEIGHT if name == "H" else WIDTH
            shape.append(side // int(part or 1) if name else d.dim_value)
        kind = TYPES[one.type.tensor_type.elem_type]
        if kind == np.uint8:
            found[one.name] = rng.integers(0, 255, shape).astype(kind)
        elif one.name in ("y", "z"):
            found[one.name] = rng.normal(0, 8, shape).round().astype(kind)
        else:
            found[one.name] = np.ones(shape, kind)
    return found


def by_openvino(graph: bytes) -> dict[str, float]:
    import openvino

    core = openvino.Core()
    model = core.compile_model(core.read_model(graph), "CPU", OPENVINO_HINTS | {"PERF_COUNT": True})
    request, fed = model.create_infer_request(), inputs(graph)
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    for run in range(RUNS):
        request.infer(fed)
        for node in request.get_profiling_info():
            if run >= WARM_UP and node.real_time.total_seconds() > 0:
                times[node.node_name, node.node_type].append(1e3 * node.real_time.total_seconds())
    return summed({key: float(np.median(ms)) for key, ms in times.items()})


def by_onnxruntime(graph: bytes) -> dict[str, float]:
    import onnxruntime

    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        options.enable_profiling = True
        options.profile_file_prefix = os.path.join(folder, "profile")
        session = onnxruntime.InferenceSession(graph, options, ["CPUExecutionProvider"])
        fed = inputs(graph)
        for _ in range(RUNS):
            session.run(None, fed)
        for event in json.loads(Path(session.end_profiling()).read_text()):
            if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
                times[event["name"], event["args"]["op_name"]].append(event["dur"] / 1e3)
    return summed({key: float(np.median(ms[WARM_UP:])) for key, ms in times.items()})


def summed(nodes: dict[tuple[str, str], float]) -> dict[str, float]:
    found: Counter[str] = Counter()
    for (_, kind), ms in nodes.items():
        group = next((g for g, kinds in GROUPS.items() if kind in kinds), "elementwise")
        found["products" if kind in PRODUCTS else "of gdn" if kind in OF_GDN else group] += ms
    return found


def pointwise_ns() -> float:
    """Nanoseconds of a float MAC of a 1x1 convolution, one thread, OpenVINO: 4 layers of 256 channels at 96x64."""
    import openvino

    channels, layers = 256, 4
    rng = np.random.default_rng(0)
    weight = rng.normal(0, 0.1, (channels, channels, 1, 1)).astype(np.float32)
    names = ["x", *(f"x{i}" for i in range(layers))]
    declared = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, channels, 64, 96])
        for name in (names[0], names[-1])
    ]
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Conv", [one, "w"], [following])
            for one, following in itertools.pairwise(names)
        ],
        "pointwise",
        declared[:1],
        declared[1:],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)])
    core = openvino.Core()
    request = core.compile_model(
        core.read_model(model.SerializeToString()), "CPU", OPENVINO_HINTS
    ).create_infer_request()
    x = rng.normal(0, 1, (1, channels, 64, 96)).astype(np.float32)
    seconds = []
    for _ in range(RUNS + WARM_UP):
        started = time.perf_counter()
        request.infer({"x": x})
        seconds.append(time.perf_counter() - started)
    return 1e9 * float(np.median(seconds[WARM_UP:])) / (layers * channels**2 * 64 * 96)


@dataclass(frozen=True)
class Row:
    """A network of a bundle: values by kind, and the milliseconds outside of its products."""

    name: str
    amounts: Mapping[str, float]
    ms: float

    def ln_error(self, ns: Mapping[str, float]) -> float:
        predicted = sum(ns[kind] * self.amounts.get(kind, 0.0) for kind in KINDS) / 1e6
        return math.log(predicted / self.ms)


def fitted(rows: list[Row]) -> dict[str, float]:
    """Nanoseconds a value by kind: least squares of relative errors, none below 0."""
    work = np.array([[row.amounts.get(kind, 0.0) for kind in KINDS] for row in rows])
    ms = np.array([row.ms for row in rows])
    scale = work.max(0)
    found, _ = nnls(work / scale / ms[:, None], np.ones(len(rows)))
    ns = dict(zip(KINDS, 1e6 * found / scale, strict=True))
    # Least relative errors favour small rates: all are scaled, so that their ln errors are 0 in the mean.
    factor = math.exp(-fmean(row.ln_error(ns) for row in rows))
    return {kind: factor * value for kind, value in ns.items()}


def main() -> None:
    started = time.monotonic()
    rows: dict[str, list[Row]] = defaultdict(list)
    for name, path in sorted(shipped().items()):
        bundle = read_bundle(Path(path))
        _, layers = read_costs(bundle).for_image(WIDTH, HEIGHT)
        for side, networks in SIDES.items():
            amounts: Counter[str] = Counter()
            for of_layer in movement([x for x in layers if x.network in networks]).values():
                amounts.update(of_layer)
            for runtime, profile in (("openvino", by_openvino), ("onnxruntime", by_onnxruntime)):
                own = f"{side}-onnxruntime.onnx"
                use = own if runtime == "onnxruntime" and own in bundle.parts else f"{side}.onnx"
                ms = profile(bundle.parts[use])
                if bundle.manifest.family != "gdn":
                    ms["elementwise"] += ms.pop("of gdn", 0.0)
                rest = sum(v for k, v in ms.items() if k not in ("products", "of gdn"))
                share = 100 * rest / sum(ms.values())
                groups = ", ".join(f"{k} {v:.1f}" for k, v in sorted(ms.items()))
                print(f"{name} {side} {runtime}: {groups} ms; {share:.0f} % moves", flush=True)
                rows[runtime].append(Row(name, amounts, rest))
    for runtime, found in rows.items():
        left_out = [
            row.ln_error(fitted([other for other in found if other.name != row.name]))
            for row in found
        ]
        ns = ", ".join(f'"{kind}": {value:.2f}' for kind, value in fitted(found).items())
        ln_sd = math.sqrt(fmean(off**2 for off in left_out))
        print(f'"{runtime}": {{{ns}}}, ln_sd {ln_sd:.2f}, each model left out')
    print(f"REFERENCE_NS {pointwise_ns():.4f}")
    print(f"{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
