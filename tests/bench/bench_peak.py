"""The share of a processor's int8 speed that the products of the patch bundles reach in OpenVINO, one thread.

    python tests/bench/bench_peak.py [--format md]

The peak is measured in the same run: 1x1 convolutions of 512 channels in 8 bits at 96x64, by the same profile, which is as
fast as this runtime gets on this processor, whatever instructions it has. Time of products: of convolutions by the
runtime's own profile, with what it folds into them. MACs: as fvcore counts them; the second digit of y_hat, and the
encoder's own pass of the context, are not among them, so that the shares are lower bounds.
"""

import argparse

import numpy as np
import onnx
from bench_movement import HEIGHT, SIDES, WIDTH, by_openvino
from onnx import TensorProto, helper, numpy_helper

from hwkd.cli.tables import TableOptions, emit
from hwkd.codec.shipped import shipped
from hwkd.measure.bundles import read_costs
from hwkd.measure.machine import host_facts
from hwkd.report.table import Table
from hwkd.runtime.bundle import read_bundle

CHANNELS, LAYERS, SIZE = 512, 4, (64, 96)


def int8_layers() -> bytes:
    """LAYERS 1x1 convolutions of CHANNELS channels, weights and activations quantized, as ONNX."""
    rng = np.random.default_rng(0)
    scalars = {
        "act_scale": np.float32(1 / 32),
        "act_zero": np.uint8(0),
        "weight_scale": np.float32(1e-3),
        "weight_zero": np.int8(0),
    }
    constants = [numpy_helper.from_array(np.asarray(v), name) for name, v in scalars.items()]
    nodes, x = [], "x"
    for i in range(LAYERS):
        weight = rng.integers(-63, 64, (CHANNELS, CHANNELS, 1, 1)).astype(np.int8)
        constants.append(numpy_helper.from_array(weight, f"q{i}"))
        act, of_weight = ["act_scale", "act_zero"], ["weight_scale", "weight_zero"]
        nodes += [
            helper.make_node("QuantizeLinear", [x, *act], [f"xq{i}"]),
            helper.make_node("DequantizeLinear", [f"xq{i}", *act], [f"xd{i}"]),
            helper.make_node("DequantizeLinear", [f"q{i}", *of_weight], [f"w{i}"]),
            helper.make_node("Conv", [f"xd{i}", f"w{i}"], [f"c{i}"]),
            helper.make_node("Relu", [f"c{i}"], [f"x{i}"]),
        ]
        x = f"x{i}"
    shape = [1, CHANNELS, *SIZE]
    graph = helper.make_graph(
        nodes,
        "int8",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, shape)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    TableOptions.add_to(parser)
    args = parser.parse_args()
    peak = LAYERS * CHANNELS**2 * SIZE[0] * SIZE[1] / 1e6 / by_openvino(int8_layers())["products"]
    rows = []
    for name, path in sorted(shipped().items()):
        bundle = read_bundle(path)
        if bundle.manifest.family != "patch":
            continue
        _, layers = read_costs(bundle).for_image(WIDTH, HEIGHT)
        for side, networks in SIDES.items():
            ms = by_openvino(bundle.parts[f"{side}.onnx"])
            gmac = sum(layer.macs for layer in layers if layer.network in networks) / 1e9
            speed = 1e3 * gmac / ms["products"]
            rows.append(
                (
                    name,
                    side,
                    f"{gmac:.2f}",
                    f"{sum(ms.values()):.1f}",
                    f"{ms['products']:.1f}",
                    f"{speed:.0f}",
                    f"{100 * speed / peak:.0f}",
                    f"{100 * ms['products'] / sum(ms.values()):.0f}",
                )
            )
    columns = (
        "model",
        "network",
        "gmac",
        "ms",
        "products_ms",
        "gmac_per_s",
        "percent of the peak",
        "products, percent of the time",
    )
    note = f"Peak: {peak:.0f} GMAC/s, measured, one thread. Medians; {WIDTH}x{HEIGHT}. Host: {host_facts()}."
    emit(Table("Share of the int8 peak", columns, tuple(rows), (note,)), TableOptions.of(args))


if __name__ == "__main__":
    main()
