from dataclasses import replace

import numpy as np
import pytest

from hwkd.export.executed import executed
from hwkd.export.graph_writer import FLOAT, ONNX_RUNTIME, Form, GraphWriter, tensor
from hwkd.quantize.integer import Grid, IntegerLayer
from hwkd.runtime.bundle import read_bundle
from hwkd.runtime.session import present_runtimes, runtime_label


def layer(name: str) -> IntegerLayer:
    rng = np.random.default_rng(0)
    return IntegerLayer(
        name=name,
        kind="conv",
        input_kind="activation",
        input=Grid(0.25, 0, 255),
        weight=rng.integers(-60, 61, (8, 8, 3, 3)).astype(np.int8),
        weight_step=np.full(8, 0.01, np.float32),
        bias=np.zeros(8, np.int64),
        stride=1,
        padding=1,
        output_padding=0,
        groups=1,
    )


def two_convolutions(form: Form) -> bytes:
    """x -> g.0 -> absolute value -> g.2 -> square root of the square."""
    graph = GraphWriter(form)
    inside = graph.node("Abs", [graph.convolution("x", layer("g.0"))])
    outside = graph.convolution(inside, layer("g.2"))
    root = graph.node("Sqrt", [graph.node("Mul", [outside, outside])])
    declared = {root: tensor("out", FLOAT, [1, 8, "h", "w"])}
    return graph.model("test", [tensor("x", FLOAT, [1, 8, "h", "w"])], declared).SerializeToString()


@pytest.mark.parametrize("runtime", present_runtimes())
def test_float_convolutions_are_named(runtime: str) -> None:
    found = executed(two_convolutions(Form(is_float=True)), "decoder", runtime)
    assert (found.network, found.runtime) == ("decoder", runtime_label(runtime))
    assert found.in_float == ("g.0", "g.2")
    assert found.counts["fp32"] == 2
    assert "int8" not in found.counts


@pytest.mark.skipif("onnxruntime" not in present_runtimes(), reason="needs ONNX Runtime")
def test_onnx_runtime_runs_what_8_bits_come_out_of_in_integers() -> None:
    graph = GraphWriter(Form())
    outside = graph.convolution(graph.relu(graph.convolution("x", layer("g.0"))), layer("g.2"))
    root = graph.node("Sqrt", [graph.node("Mul", [outside, outside])])
    declared = {root: tensor("out", FLOAT, [1, 8, "h", "w"])}
    model = graph.model("test", [tensor("x", FLOAT, [1, 8, "h", "w"])], declared)
    found = executed(model.SerializeToString(), "encoder", "onnxruntime")
    assert found.counts["int8"] == 1
    assert found.in_float == ("g.2",)
    # At least: x is quantized, what comes out of g.0 is dequantized, then the product and the root.
    assert found.counts["elementwise"] >= 4


@pytest.mark.skipif("onnxruntime" not in present_runtimes(), reason="needs ONNX Runtime")
def test_onnx_runtime_runs_a_matrix_product_in_integers_though_its_weight_is_stored_turned() -> (
    None
):
    graph = GraphWriter(ONNX_RUNTIME)
    one_by_one = replace(layer("g.0"), weight=layer("g.0").weight[:, :, :1, :1], padding=0)
    root = graph.node("Sqrt", [graph.projection("x", one_by_one)])
    declared = {root: tensor("out", FLOAT, [1, 8, "h", "w"])}
    model = graph.model("test", [tensor("x", FLOAT, [1, 8, "h", "w"])], declared)
    found = executed(model.SerializeToString(), "encoder", "onnxruntime")
    assert found.counts["int8"] == 1
    assert found.in_float == ()


@pytest.mark.skipif("openvino" not in present_runtimes(), reason="needs OpenVINO")
def test_openvino_tells_of_every_convolution() -> None:
    found = executed(two_convolutions(Form()), "encoder", "openvino")
    # Which of them have integer kernels is the processor's business.
    assert found.counts.get("int8", 0) + len(found.in_float) == 2
    assert set(found.in_float) <= {"g.0", "g.2"}
    assert found.counts["elementwise"] >= 1


@pytest.mark.parametrize("family", ["gdn", "patch", "relu"])
@pytest.mark.parametrize("runtime", present_runtimes())
def test_a_bundle_says_what_became_of_every_layer(
    tiny_bundle_of, tiny_codec_of, family: str, runtime: str
) -> None:
    from hwkd.quantize.inputs import conv_layers

    said = {
        one.network: one
        for one in read_bundle(tiny_bundle_of(family)).manifest.executed
        if one.runtime == runtime_label(runtime)
    }
    names = list(conv_layers(tiny_codec_of(family)))
    layers = {
        "encoder": [n for n in names if n.startswith(("g_a.", "h_a."))],
        "hyper": [n for n in names if n.startswith("h_s.")],
        "decoder": [n for n in names if n.startswith("g_s.")],
    }
    # The 1x1 convolutions inside GDN are no quantized layers.
    gdns = {"encoder": 3, "hyper": 0, "decoder": 3} if family == "gdn" else dict.fromkeys(layers, 0)
    assert said.keys() == layers.keys()
    for network, own in layers.items():
        products = sum(n for kind, n in said[network].counts.items() if kind != "elementwise")
        assert products == len(own) + gdns[network]
        assert len(said[network].in_float) == products - said[network].counts.get("int8", 0)
        if network != "hyper":  # whose nodes are not named after layers
            named = [name for name in said[network].in_float if name in own]
            assert len(said[network].in_float) == len(named) + gdns[network]
    assert said["hyper"].counts["fp32"] == len(layers["hyper"])
