"""Graphs for a board's own compiler, run in ONNX Runtime in the board's stead."""

import math

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto

from hwkd.deploy.board_graphs import board_graphs
from hwkd.deploy.latents import latents_of
from hwkd.errors import InputError
from hwkd.models.image_tensors import padded
from hwkd.quantize.integer import integer_layers
from hwkd.runtime.session import open_session, present_runtimes

FAMILIES = ("gdn", "patch", "rates", "relu")
SIZE = (192, 128)

pytestmark = [
    pytest.mark.usefixtures("in_one_thread"),
    pytest.mark.skipif("onnxruntime" not in present_runtimes(), reason="needs ONNX Runtime"),
]


@pytest.fixture
def made(tiny_codec_of, photo):
    """made(family, arithmetic): the codec, an image as a tensor and the two graphs."""

    def make(family: str, arithmetic: str):
        codec = tiny_codec_of(family)
        x = padded(photo(128, 192, 4), 64)
        latents = latents_of(codec, [x])
        return codec, x, board_graphs(codec, integer_layers(codec), latents, arithmetic, 13, SIZE)

    return make


def run(graph: onnx.ModelProto, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    return open_session(graph.SerializeToString(), "onnxruntime", 1).run(inputs)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("arithmetic", ["int8", "fp16"])
def test_the_graphs_give_nearly_what_the_codec_gives(made, family: str, arithmetic: str) -> None:
    codec, x, graphs = made(family, arithmetic)
    gain, step = {}, {}
    if codec.serves_all_rates:
        codec.set_lmbda(0.025)
        values = codec.gains.log().exp().detach().numpy()
        # y over its gain in steps of g_s, of which the largest gain has four.
        gain, step = {"gain": values}, {"step": 4 * math.sqrt(0.18 / 0.025) / values}
    found = run(graphs["encoder.onnx"], image=x.numpy(), **gain)
    with torch.no_grad():
        y = codec.g_a(x)
        coded = codec.residual(y)
        symbols = torch.round(coded)
        expected = {"y": coded, "z": codec.hyper_analysis(y), "image": codec.g_s(symbols)}
    found |= run(graphs["decoder.onnx"], y=symbols.numpy(), **step)
    for name, values in expected.items():
        assert found[name].dtype == np.float32
        assert found[name].shape == tuple(values.shape)
        # int8 here has 7 bits for what cannot be negative, fp16 rounds no activation to a grid: alike, not equal.
        off = np.abs(found[name] - values.numpy()).mean()
        assert off < 0.15 * float(values.std()), name


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("arithmetic", ["int8", "fp16"])
def test_the_graphs_are_right_by_onnx_and_of_one_size(made, family: str, arithmetic: str) -> None:
    _, _, graphs = made(family, arithmetic)
    assert list(graphs) == ["encoder.onnx", "decoder.onnx"]
    for graph in graphs.values():
        onnx.checker.check_model(graph, full_check=True)
        assert [o.version for o in graph.opset_import if not o.domain] == [13]
        for value in (*graph.graph.input, *graph.graph.output):
            assert value.type.tensor_type.elem_type == TensorProto.FLOAT
            assert all(d.dim_value > 0 for d in value.type.tensor_type.shape.dim)


def kinds_of_constants(graph: onnx.ModelProto) -> dict[str, int]:
    return {c.name: c.data_type for c in graph.graph.initializer}


def test_weights_are_stored_in_half_or_in_8_bits(made) -> None:
    codec, _, in_half = made("relu", "fp16")
    _, _, in_8_bits = made("relu", "int8")
    names = [name for name in integer_layers(codec) if not name.startswith("h_s.")]
    for graphs, kind in ((in_half, TensorProto.FLOAT16), (in_8_bits, TensorProto.INT8)):
        kinds = {k: v for graph in graphs.values() for k, v in kinds_of_constants(graph).items()}
        assert {kinds[f"{name}.weight"] for name in names} == {kind}


def test_no_convolution_in_half_is_gdns(made) -> None:
    """Squares overflow in half: whatever GDN computes stays in float32."""
    _, _, graphs = made("gdn", "fp16")
    for graph in graphs.values():
        kinds = kinds_of_constants(graph)
        gdn = [kind for name, kind in kinds.items() if name.endswith((".gamma", ".beta"))]
        assert len(gdn) == 6 and set(gdn) == {TensorProto.FLOAT}


def test_int8_is_signed_throughout(made) -> None:
    """TensorRT takes int8 with the zero point 0, and no other."""
    _, _, graphs = made("patch", "int8")
    for graph in graphs.values():
        zeros = {
            c.name: onnx.numpy_helper.to_array(c)
            for c in graph.graph.initializer
            if c.data_type in (TensorProto.INT8, TensorProto.UINT8)
        }
        asked = [n.input[2] for n in graph.graph.node if n.op_type == "QuantizeLinear"]
        assert asked
        assert all(zeros[name].dtype == np.int8 and not zeros[name].any() for name in asked)


@pytest.mark.parametrize(
    ("size", "advice"), [((100, 64), "128x64"), ((64, 32), "64x64"), ((192, 129), "192x192")]
)
def test_a_size_that_no_engine_is_built_for_is_refused(
    tiny_codec_of, photo, size: tuple[int, int], advice: str
) -> None:
    codec = tiny_codec_of("relu")
    latents = latents_of(codec, [])
    with pytest.raises(InputError) as caught:
        board_graphs(codec, integer_layers(codec), latents, "fp16", 13, size)
    assert str(caught.value) == (
        f"an engine is built for one size, of multiples of 64, got {size[0]}x{size[1]}; give --size {advice}"
    )
