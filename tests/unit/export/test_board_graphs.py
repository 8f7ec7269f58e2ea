"""Graphs for a board's own compiler, run in ONNX Runtime in the board's stead."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto

from hwkd.errors import InputError
from hwkd.export.board_graphs import board_graphs
from hwkd.export.graphs import latents_of
from hwkd.models.base import padded
from hwkd.quantize.integer import Grid, IntegerLayer, integer_layers
from hwkd.runtime.session import open_session, present_runtimes
from tests.fakes.exact_codec import exact, on_their_grids

FAMILIES = ("gdn", "patch", "relu")
SIZE = (192, 128)

pytestmark = [
    pytest.mark.usefixtures("in_one_thread"),
    pytest.mark.skipif("onnxruntime" not in present_runtimes(), reason="needs ONNX Runtime"),
]


@pytest.fixture
def made(tiny_codec_of, photo):
    """made(family, arithmetic): the codec, an image as a tensor and the two graphs."""

    def make(family: str, arithmetic: str):
        x = padded(photo(128, 192, 4), 64)
        codec, latents = latents_of(tiny_codec_of(family), [x])
        return codec, x, board_graphs(codec, integer_layers(codec), latents, arithmetic, 13, SIZE)

    return make


def run(graph: onnx.ModelProto, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    return open_session(graph.SerializeToString(), "onnxruntime", 1).run(inputs)


def with_signed_inputs(layer: IntegerLayer) -> IntegerLayer:
    """`layer` as TensorRT takes it: of what cannot be negative the positive half of int8, on twice the step."""
    grid = layer.input
    if grid.high <= 127 or grid.low < 0:
        return layer
    bias = np.rint(layer.bias / 2).astype(np.int64)
    return replace(layer, input=Grid(2 * grid.step, 0, 127), bias=bias)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("arithmetic", ["int8", "fp16"])
def test_the_graphs_give_nearly_what_the_codec_gives(
    made, tiny_specs, family: str, arithmetic: str
) -> None:
    codec, x, graphs = made(family, arithmetic)
    found = run(graphs["encoder.onnx"], image=x.numpy())
    if arithmetic == "int8":
        layers = {n: with_signed_inputs(layer) for n, layer in integer_layers(codec).items()}
        same = exact(codec, layers)
    else:
        same = on_their_grids(codec, tiny_specs[family])
    with torch.no_grad():
        y = same.g_a(x.double())
        symbols = torch.round(y)
        expected = {"y": y, "z": same.hyper_analysis(y), "image": same.g_s(symbols)}
    found |= run(graphs["decoder.onnx"], y=symbols.float().numpy())
    for name, values in expected.items():
        assert found[name].dtype == np.float32
        assert found[name].shape == tuple(values.shape)
        # The same layers on the same grids. In int8 a pixel of an odd number lies at a half of its grid, and may go to
        # either side: a step of 127 in one input. Half precision keeps 11 bits, in each of some 14 layers.
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
    codec, latents = latents_of(tiny_codec_of("relu"), [])
    with pytest.raises(InputError) as caught:
        board_graphs(codec, integer_layers(codec), latents, "fp16", 13, size)
    assert str(caught.value) == (
        f"an engine is built for one size, of multiples of 64, got {size[0]}x{size[1]}; give --size {advice}"
    )
