from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from hwkd.errors import HwkdError
from hwkd.export.graph_writer import (
    FLOAT,
    IR_VERSION,
    UINT8,
    Form,
    GraphWriter,
    as_subpixel,
    tensor,
)
from hwkd.quantize.integer import Grid, IntegerLayer
from hwkd.runtime.session import open_session, present_runtimes

PORTABLE = Form()
TRANSPOSED = Form(keeps_transposed=True)
SIGNED = Form(keeps_transposed=True, signed=True)
LAST = Form(channels_last=True)
EACH_FORM = {
    "portable": PORTABLE,
    "transposed": TRANSPOSED,
    "signed": SIGNED,
    "float": Form(is_float=True),
}
UNSIGNED = Grid(0.25, 0, 255)


def built(
    write: Callable[[GraphWriter], str], form: Form = PORTABLE, channels: int = 4
) -> onnx.ModelProto:
    """The graph x -> out that `write` makes of the tensor x, [1, channels, h, w] float32."""
    graph = GraphWriter(form)
    out = write(graph)
    declared = tensor("out", FLOAT, [1, "C", "h2", "w2"])
    return graph.model("test", [tensor("x", FLOAT, [1, channels, "h", "w"])], {out: declared})


def outputs(model: onnx.ModelProto, x: np.ndarray) -> dict[str, np.ndarray]:
    """What every runtime present gives."""
    found = {}
    for runtime in present_runtimes():
        session = open_session(model.SerializeToString(), runtime, 1)
        found[runtime] = session.run({"x": x.astype(np.float32)})["out"]
    return found


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def on_grid(x: np.ndarray, step: float, low: int, high: int) -> np.ndarray:
    return step * np.clip(np.rint(x / step), low, high)


def layer_of(kind: str = "conv", grid: Grid = UNSIGNED, seed: int = 0) -> IntegerLayer:
    """4 channels to 8, of the shapes that the families have; steps are powers of two, so that floats are exact."""
    rng = np.random.default_rng(seed)
    shape = {"conv": (8, 4, 3, 3), "depthwise": (4, 1, 3, 3), "transposed": (4, 8, 5, 5)}[kind]
    channels = 4 if kind == "depthwise" else 8
    return IntegerLayer(
        name=f"g.{kind}",
        kind=kind,
        input_kind="activation",
        input=grid,
        weight=rng.integers(-60, 61, shape).astype(np.int8),
        weight_step=np.exp2(rng.integers(-9, -5, channels)).astype(np.float32),
        bias=rng.integers(-5000, 5000, channels),
        stride=2 if kind == "transposed" else 1,
        padding=2 if kind == "transposed" else 1,
        output_padding=1 if kind == "transposed" else 0,
        groups=4 if kind == "depthwise" else 1,
    )


def by_torch(x: np.ndarray, layer: IntegerLayer, step: float, low: int, high: int) -> np.ndarray:
    """The layer on `x`, rounded to the given grid, in float64."""
    q = torch.from_numpy(on_grid(x, step, low, high))
    shape = [1, -1, 1, 1] if layer.kind == "transposed" else [-1, 1, 1, 1]
    steps = torch.from_numpy(layer.weight_step).double()
    weight = torch.from_numpy(layer.weight).double() * steps.reshape(shape)
    bias = torch.from_numpy(layer.bias).double() * steps * layer.input.step
    if layer.kind == "transposed":
        return F.conv_transpose2d(q, weight, bias, 2, 2, 1).numpy()
    return F.conv2d(q, weight, bias, padding=layer.padding, groups=layer.groups).numpy()


@pytest.mark.usefixtures("in_one_thread")
@pytest.mark.parametrize("kind", ["conv", "depthwise", "transposed"])
@pytest.mark.parametrize("form", EACH_FORM)
@pytest.mark.parametrize("grid", [Grid(0.25, 0, 255), Grid(0.25, -128, 127)], ids=["u8", "s8"])
def test_a_convolution_is_what_torch_computes(kind: str, form: str, grid: Grid) -> None:
    layer = layer_of(kind, grid)
    x = np.random.default_rng(1).uniform(-40, 70, (1, 4, 6, 5))
    step, low, high, off = grid.step, grid.low, grid.high, 1e-4
    if form == "signed" and high > 127:
        # The positive half of int8, at twice the step, for values that cannot be negative. The bias is on that, too.
        x, step, high = np.abs(x), 2 * step, 127
        off += float(layer.weight_step.max()) * step / 2
    if form == "float":
        x = np.rint(x / step) * step
        low, high = -(2**20), 2**20
    # A product of steps, times a sum that float32 holds: exact, in whatever order it is summed.
    expected = by_torch(x, layer, step, low, high)
    for runtime, found in outputs(
        built(lambda graph: graph.convolution("x", layer), EACH_FORM[form]), x
    ).items():
        np.testing.assert_allclose(found, expected, rtol=0, atol=off, err_msg=runtime)


@pytest.mark.usefixtures("in_one_thread")
@pytest.mark.parametrize(
    ("form", "operator", "moves"),
    [(PORTABLE, "Conv", 1), (TRANSPOSED, "ConvTranspose", 0), (SIGNED, "ConvTranspose", 0)],
)
def test_transposed_convolutions_stay_only_where_the_form_says(
    form: Form, operator: str, moves: int
) -> None:
    model = built(lambda graph: graph.convolution("x", layer_of("transposed")), form)
    counts = Counter(operators(model))
    assert counts[operator] == 1
    assert counts["Conv"] + counts["ConvTranspose"] == 1
    assert counts["DepthToSpace"] == moves


@pytest.mark.usefixtures("in_one_thread")
def test_a_convolution_is_named_as_its_layer() -> None:
    model = built(lambda graph: graph.convolution("x", layer_of("transposed")))
    assert [node.name for node in model.graph.node if node.op_type == "Conv"] == ["g.transposed"]


@pytest.mark.usefixtures("in_one_thread")
@pytest.mark.parametrize("form", [PORTABLE, SIGNED], ids=["portable", "signed"])
@pytest.mark.parametrize("low", [-8, 0])
@pytest.mark.parametrize("bits", [4, 7])
def test_activations_below_8_bits_are_clipped(form: Form, low: int, bits: int) -> None:
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if low else (0, 2**bits - 1)
    x = np.linspace(-300, 300, 4 * 50).reshape(1, 4, 10, 5)
    # 7 bits without a sign fit the positive half of int8 as they are.
    expected = on_grid(x, 0.5, low, high)
    for runtime, found in outputs(
        built(lambda graph: graph.quantized("x", Grid(0.5, low, high)), form), x
    ).items():
        np.testing.assert_array_equal(found, expected.astype(np.float32), err_msg=runtime)


@pytest.mark.usefixtures("in_one_thread")
def test_8_bits_saturate_without_a_clip() -> None:
    for low, high in ((0, 255), (-128, 127)):
        grid = Grid(0.5, low, high)
        model = built(lambda graph, grid=grid: graph.quantized("x", grid))
        assert operators(model) == ["QuantizeLinear", "DequantizeLinear", "Identity"]
        x = np.linspace(-300, 300, 4 * 50).reshape(1, 4, 10, 5)
        for runtime, found in outputs(model, x).items():
            np.testing.assert_array_equal(found, on_grid(x, 0.5, low, high), err_msg=runtime)


@pytest.mark.usefixtures("in_one_thread")
def test_halves_are_rounded_to_even() -> None:
    x = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.5, 126.5]).reshape(1, 4, 2, 1)
    expected = np.array([-2, -2, 0, 0, 2, 2, 4, 126]).reshape(x.shape)
    for runtime, found in outputs(
        built(lambda graph: graph.quantized("x", Grid(1.0, -128, 127))), x
    ).items():
        np.testing.assert_array_equal(found, expected, err_msg=runtime)


@pytest.mark.usefixtures("in_one_thread")
@pytest.mark.parametrize(
    ("form", "grid", "kind", "zero", "step"),
    [
        (PORTABLE, Grid(0.5, 0, 255), np.uint8, 0, 0.5),
        (PORTABLE, Grid(0.5, -128, 127), np.uint8, 128, 0.5),
        (SIGNED, Grid(0.5, 0, 255), np.int8, 0, 1.0),
        (SIGNED, Grid(0.5, -128, 127), np.int8, 0, 0.5),
        (SIGNED, Grid(0.5, 0, 127), np.int8, 0, 0.5),
    ],
)
def test_how_a_grid_is_stored(
    form: Form, grid: Grid, kind: type[np.generic], zero: int, step: float
) -> None:
    model = built(lambda graph: graph.quantized("x", grid), form)
    held = {c.name: numpy_helper.to_array(c) for c in model.graph.initializer}
    node = next(n for n in model.graph.node if n.op_type == "QuantizeLinear")
    assert held[node.input[1]] == step
    assert held[node.input[2]] == zero
    assert held[node.input[2]].dtype == kind


@pytest.mark.usefixtures("in_one_thread")
def test_biases_are_whole_numbers_except_for_tensorrt() -> None:
    layer = layer_of("conv", Grid(0.25, 0, 255))
    exact = layer.bias * layer.weight_step * np.float32(0.25)
    for form, is_whole in ((PORTABLE, True), (SIGNED, False), (EACH_FORM["float"], False)):
        model = built(lambda graph: graph.convolution("x", layer), form)
        held = {c.name: numpy_helper.to_array(c) for c in model.graph.initializer}
        bias = held["g.conv.bias"]
        assert bias.dtype == (np.int32 if is_whole else np.float32)
        if is_whole:
            np.testing.assert_array_equal(bias, layer.bias)
        # On a grid of twice the step there are half as many places.
        limit = layer.weight_step * 0.25 if form is SIGNED else 1e-6
        real = bias * layer.weight_step * 0.25 if is_whole else bias
        assert (np.abs(real - exact) <= limit).all()


@pytest.mark.usefixtures("in_one_thread")
def test_a_float_graph_rounds_nothing_and_holds_its_weights_on_their_grid() -> None:
    layer = layer_of("conv")
    model = built(lambda graph: graph.convolution("x", layer), EACH_FORM["float"])
    assert operators(model) == ["Conv", "Identity"]
    held = {c.name: numpy_helper.to_array(c) for c in model.graph.initializer}
    expected = layer.weight * layer.weight_step[:, None, None, None]
    np.testing.assert_array_equal(held["g.conv.weight"], expected)
    assert held["g.conv.weight"].dtype == np.float32


@pytest.mark.usefixtures("in_one_thread")
def test_layers_that_ask_for_one_grid_share_its_pair() -> None:
    layer = layer_of("conv", Grid(0.25, 0, 255))

    def write(graph: GraphWriter, other: IntegerLayer) -> str:
        both = [graph.convolution("x", layer), graph.convolution("x", other)]
        return graph.node("Add", both)

    same = replace(layer_of("conv", layer.input, seed=1), name="g.other")
    assert operators(built(lambda graph: write(graph, same))).count("QuantizeLinear") == 1
    apart = replace(same, input=Grid(0.5, 0, 255))
    assert operators(built(lambda graph: write(graph, apart))).count("QuantizeLinear") == 2


def order_of(model: onnx.ModelProto, *kinds: str) -> list[str]:
    return [kind for kind in operators(model) if kind in kinds]


def shuffle_by_torch(x: np.ndarray, block: int) -> np.ndarray:
    return F.pixel_shuffle(torch.from_numpy(x), block).numpy()


@pytest.mark.usefixtures("in_one_thread")
def test_a_shuffle_is_torchs() -> None:
    x = np.arange(96.0).reshape(1, 8, 4, 3)
    expected = shuffle_by_torch(x, 2)
    for runtime, found in outputs(
        built(lambda graph: graph.shuffled("x", 2), channels=8), x
    ).items():
        np.testing.assert_array_equal(found, expected, err_msg=runtime)


@pytest.mark.usefixtures("in_one_thread")
def test_operators_on_each_value_are_written_before_the_shuffle_and_the_dead_one_is_dropped() -> (
    None
):
    def write(graph: GraphWriter) -> str:
        shuffled = graph.relu(graph.shuffled("x", 2))
        return graph.quantized(shuffled, Grid(0.5, 0, 15))

    # Clipped and rounded at a quarter of the size, moved once as 8 bits; for ONNX Runtime the pair stands right before
    # what comes next, too.
    pair = ["QuantizeLinear", "DequantizeLinear"]
    for form, behind in ((PORTABLE, []), (LAST, pair)):
        model = built(write, form, channels=8)
        assert operators(model) == ["Relu", "Clip", *pair, "DepthToSpace", *behind, "Identity"]
    x = np.random.default_rng(0).uniform(-4, 12, (1, 8, 3, 5))
    expected = on_grid(np.maximum(shuffle_by_torch(x, 2), 0), 0.5, 0, 15)
    for runtime, found in outputs(model, x).items():
        np.testing.assert_array_equal(found, expected.astype(np.float32), err_msg=runtime)


@pytest.mark.usefixtures("in_one_thread")
def test_without_quantization_after_it_a_shuffle_stays_where_it_was() -> None:
    model = built(lambda graph: graph.node("Neg", [graph.shuffled("x", 2)]), channels=8)
    assert operators(model) == ["DepthToSpace", "Neg", "Identity"]


@pytest.mark.usefixtures("in_one_thread")
def test_what_no_output_needs_is_dropped() -> None:
    def write(graph: GraphWriter) -> str:
        graph.convolution(graph.node("Neg", ["x"]), layer_of("conv"))
        return graph.node("Abs", ["x"])

    assert operators(built(write)) == ["Abs", "Identity"]


@pytest.mark.usefixtures("in_one_thread")
def test_the_graph_says_its_opset_and_is_equal_when_it_is_written_again() -> None:
    def write(graph: GraphWriter) -> str:
        return graph.relu(graph.convolution("x", layer_of("transposed")))

    for opset in (13, 17):
        model = built(write, Form(opset=opset))
        assert [(o.domain, o.version) for o in model.opset_import] == [("", opset)]
        assert model.ir_version == IR_VERSION
    first, again = (built(write).SerializeToString(deterministic=True) for _ in range(2))
    assert first == again


@pytest.mark.usefixtures("in_one_thread")
@pytest.mark.parametrize("form", [PORTABLE, TRANSPOSED], ids=["portable", "transposed"])
def test_a_chain_of_layers_is_what_torch_computes(form: Form) -> None:
    first = layer_of("transposed", Grid(0.25, -128, 127))
    weight = np.random.default_rng(3).integers(-60, 61, (8, 8, 3, 3)).astype(np.int8)
    second = replace(layer_of("conv", Grid(0.5, 0, 15), seed=2), weight=weight, name="g.second")
    x = np.random.default_rng(4).uniform(-40, 40, (1, 4, 3, 4))
    inside = np.maximum(by_torch(x, first, 0.25, -128, 127), 0)
    expected = by_torch(inside, second, 0.5, 0, 15)
    model = built(
        lambda graph: graph.convolution(graph.relu(graph.convolution("x", first)), second), form
    )
    for runtime, found in outputs(model, x).items():
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4, err_msg=runtime)


@pytest.mark.usefixtures("in_one_thread")
def test_a_constant_is_stored_once() -> None:
    def write(graph: GraphWriter) -> str:
        two = [graph.scalar(2.0), graph.scalar(2.0)]
        return graph.node("Add", [graph.node("Mul", ["x", two[0]]), two[1]])

    assert len(built(write).graph.initializer) == 1


PROJECTION = replace(
    layer_of("conv", Grid(0.25, -128, 127)),
    name="g.projection",
    weight=np.random.default_rng(5).integers(-60, 61, (8, 4, 1, 1)).astype(np.int8),
    padding=0,
)
SQUARE = replace(
    PROJECTION,
    name="g.square",
    weight=np.random.default_rng(7).integers(-60, 61, (8, 4, 3, 3)).astype(np.int8),
    padding=1,
)
POSITIVE = replace(SQUARE, name="g.positive", input=Grid(0.25, 0, 255))


@pytest.mark.usefixtures("in_one_thread")
@pytest.mark.parametrize(
    "layers",
    [(PROJECTION,), (SQUARE,), (POSITIVE,), (PROJECTION, SQUARE)],
    ids=["1x1", "3x3", "3x3 of positive values", "a sum"],
)
def test_a_sum_in_floats_is_that_of_the_convolutions(layers: tuple[IntegerLayer, ...]) -> None:
    x = np.random.default_rng(6).uniform(-40, 40, (1, 4, 3, 4))
    expected = sum(
        by_torch(x, layer, layer.input.step, layer.input.low, layer.input.high) for layer in layers
    )
    for form, operator in ((PORTABLE, "Conv"), (LAST, "MatMul")):
        model = built(lambda graph: graph.in_floats(*(("x", layer) for layer in layers)), form)
        names = [layer.name for layer in layers]
        named = [node.op_type for node in model.graph.node if node.name in names]
        assert named == [operator] * len(layers)
        for runtime, found in outputs(model, x).items():
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3, err_msg=runtime)


@pytest.mark.usefixtures("in_one_thread")
@pytest.mark.parametrize("layer", [PROJECTION, SQUARE], ids=["1x1", "3x3"])
def test_both_forms_of_a_layer_hold_the_same_bytes(layer: IntegerLayer) -> None:
    held = []
    for form in (PORTABLE, LAST):
        model = built(lambda graph: graph.in_floats(("x", layer)), form)
        held += [
            numpy_helper.to_array(one).tobytes()
            for one in model.graph.initializer
            if one.name == f"{layer.name}.weight"
        ]
    # The weight as it was made, row by row.
    assert held == [layer.weight.tobytes()] * 2


@pytest.mark.usefixtures("in_one_thread")
def test_a_shuffle_of_rows_of_blocks_is_the_same_in_each_form() -> None:
    x = np.arange(144.0).reshape(1, 12, 4, 3)
    # (row, column, C) to torch's (C, row, column).
    expected = shuffle_by_torch(x.reshape(4, 3, 4, 3).transpose(1, 0, 2, 3).reshape(x.shape), 2)
    for form in (PORTABLE, LAST):
        model = built(lambda graph: graph.shuffled("x", 2, "DCR"), form, channels=12)
        assert ("DepthToSpace" in [node.op_type for node in model.graph.node]) == (form == PORTABLE)
        for runtime, found in outputs(model, x).items():
            np.testing.assert_array_equal(found, expected, err_msg=runtime)


@pytest.mark.usefixtures("in_one_thread")
def test_pixels_reach_a_layer_as_they_are() -> None:
    grid = Grid(float(np.float32(1 / 255)), 0, 255)
    layer = replace(
        PROJECTION,
        weight=np.random.default_rng(5).integers(-60, 61, (8, 48, 1, 1)).astype(np.int8),
        input=grid,
    )
    graph = GraphWriter(LAST)
    out = graph.in_floats((graph.pixels("image", 4, grid), layer))
    named = [tensor("image", UINT8, [1, "H", "W", 3])]
    model = graph.model("pixels", named, {out: tensor("y", FLOAT, [1, 8, "h", "w"])})
    assert "QuantizeLinear" not in [node.op_type for node in model.graph.node]
    image = np.random.default_rng(0).integers(0, 256, (1, 8, 12, 3)).astype(np.uint8)
    # (row, column, colour) of each block of 4.
    rows = image.reshape(2, 4, 3, 4, 3).transpose(1, 3, 4, 0, 2).reshape(1, 48, 2, 3)
    expected = by_torch(rows / 255, layer, grid.step, 0, 255)
    for runtime in present_runtimes():
        found = open_session(model.SerializeToString(), runtime, 1).run({"image": image})["y"]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3, err_msg=runtime)


def transposed_layer(C_in: int, C_out: int, rng: np.random.Generator) -> IntegerLayer:
    return IntegerLayer(
        name="g_s.0",
        kind="transposed",
        input_kind="activation",
        input=Grid(0.125, -128, 127),
        weight=rng.integers(-127, 128, (C_in, C_out, 5, 5)).astype(np.int8),
        weight_step=(rng.integers(1, 100, C_out) / 64).astype(np.float32),
        bias=rng.integers(-(2**20), 2**20, C_out),
        stride=2,
        padding=2,
        output_padding=1,
        groups=1,
    )


@settings(max_examples=30, deadline=None)
@given(
    C_in=st.integers(1, 4),
    C_out=st.integers(1, 4),
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    seed=st.integers(0, 999),
)
def test_it_is_the_transposed_convolution(
    C_in: int, C_out: int, height: int, width: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    layer = transposed_layer(C_in, C_out, rng)
    plain = as_subpixel(layer)
    x = torch.from_numpy(rng.integers(-128, 128, (1, C_in, height, width))).double()
    expected = F.conv_transpose2d(
        x,
        torch.from_numpy(layer.weight).double(),
        torch.from_numpy(layer.bias).double(),
        stride=2,
        padding=2,
        output_padding=1,
    )
    weight, bias = torch.from_numpy(plain.weight).double(), torch.from_numpy(plain.bias).double()
    assert (plain.kind, plain.stride, plain.padding, plain.groups) == ("conv", 1, 1, 1)
    found = F.pixel_shuffle(F.conv2d(x, weight, bias, padding=1), 2)
    assert found.shape == (1, C_out, 2 * height, 2 * width)
    assert torch.equal(found, expected)
    # The step of each of the four channels that one becomes.
    np.testing.assert_array_equal(plain.weight_step, np.repeat(layer.weight_step, 4))
    assert plain.input == layer.input


def test_a_transposed_convolution_of_another_shape_is_refused() -> None:
    layer = transposed_layer(2, 3, np.random.default_rng(0))
    for changed in (
        replace(layer, weight=layer.weight[:, :, :3, :3]),
        replace(layer, stride=1),
        replace(layer, padding=1),
        replace(layer, output_padding=0),
        replace(layer, groups=2),
        replace(layer, kind="conv"),
    ):
        with pytest.raises(HwkdError, match=r"^g_s\.0: no sub-pixel form is known for a "):
            as_subpixel(changed)
