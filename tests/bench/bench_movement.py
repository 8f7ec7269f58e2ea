"""What the shipped bundles' graphs spend outside of convolutions, by the runtimes' own profiles, and the rates that follow.

    python tests/bench/bench_movement.py

Prints, for each bundle, network and runtime: milliseconds in convolutions, pixel shuffles, conversions, joins and the rest;
then `hwkd.measure.predict.movement.RATES` fitted to them (non-negative least squares of relative errors). One thread, 768x512. GDN's
own arithmetic (powers, products, roots) is left out: predictions count it as `nonlinear`.
"""

import json
import math
import os
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

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
FITTED = {
    ("shuffle",): ("shuffle",),
    ("convert",): ("convert", "requantize"),
    ("elementwise", "join"): ("elementwise",),
}
"""Groups of nodes, and the kinds of values that their time is fitted to."""
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

    hints = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    core = openvino.Core()
    model = core.compile_model(
        core.read_model(graph), "CPU", hints | {"PERFORMANCE_HINT": "LATENCY", "PERF_COUNT": True}
    )
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


def main() -> None:
    started = time.monotonic()
    rows: dict[str, list[tuple[dict[str, float], dict[str, float]]]] = defaultdict(list)
    for name, path in sorted(shipped().items()):
        bundle = read_bundle(Path(path))
        _, layers = read_costs(bundle).for_image(WIDTH, HEIGHT)
        for side, networks in SIDES.items():
            amounts = Counter()
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
                told = ", ".join(f"{k} {v:.1f}" for k, v in sorted(ms.items()))
                print(f"{name} {side} {runtime}: {told} ms; {share:.0f} % moves", flush=True)
                rows[runtime].append((dict(amounts), dict(ms)))
    for runtime, found in rows.items():
        rates: Counter[str] = Counter()
        for groups, kinds in FITTED.items():
            work = np.array([[amounts.get(kind, 0.0) for kind in kinds] for amounts, _ in found])
            ms = np.array([sum(of.get(group, 0.0) for group in groups) for _, of in found])
            scale = work.max(0)
            # Relative errors, but those of less than half a millisecond count as of that.
            weight = 1 / np.maximum(ms, 0.5)
            fitted, _ = nnls(work / scale * weight[:, None], ms * weight)
            rates.update(dict(zip(kinds, fitted / scale, strict=True)))
        off = [
            math.log(
                sum(rates[kind] * amounts.get(kind, 0.0) for kind in KINDS)
                / sum(of.get(group, 0.0) for groups in FITTED for group in groups)
            )
            for amounts, of in found
        ]
        # Least relative errors favour small rates: all are scaled, so that their ln errors are 0 in the mean.
        factor = 1e6 * math.exp(-float(np.mean(off)))
        told = ", ".join(f'"{kind}": {factor * rates[kind]:.2f}' for kind in KINDS)
        print(f'"{runtime}": {{{told}}}, ln_sd {np.std(off):.2f}')
    print(f"{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
