import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hwkd.bits import BitPlan
from hwkd.errors import InputError
from hwkd.models.base import HyperpriorCodec
from hwkd.models.build import build
from hwkd.models.patch import PatchCodec
from hwkd.models.spec import HyperpriorSpec
from hwkd.quantize.integer import (
    Grid,
    IntegerLayer,
    halved,
    held_to_bits,
    integer_layers,
    integer_weights,
    layer_bits,
    left_in_float,
    weight_bytes,
)
from hwkd.quantize.ptq import post_training_quantize
from hwkd.quantize.qat import calibrate, conv_layers, layer_inputs, quantize, quantized_layers


@pytest.fixture
def quantized(codec: HyperpriorCodec, images: Tensor) -> HyperpriorCodec:
    with torch.no_grad():
        for layer in conv_layers(codec).values():
            layer.bias.normal_(0, 0.3)
    return post_training_quantize(codec, BitPlan(6, 7), [images])


def inputs_of_layers(codec: HyperpriorCodec, x: Tensor) -> dict[str, Tensor]:
    seen: dict[str, Tensor] = {}
    hooks = [
        layer.register_forward_pre_hook(
            lambda _, args, name=name: seen.__setitem__(name, args[0].detach())
        )
        for name, layer in quantized_layers(codec).items()
    ]
    with torch.no_grad():
        codec(x)
    for hook in hooks:
        hook.remove()
    return seen


def weight_shape(layer: IntegerLayer) -> list[int]:
    return [1, -1, 1, 1] if layer.kind == "transposed" else [-1, 1, 1, 1]


def computed(layer: IntegerLayer, q: Tensor) -> Tensor:
    """The layer's output on whole numbers `q`, in float64, from what IntegerLayer says of itself."""
    weight = torch.from_numpy(layer.weight).double()
    bias = torch.from_numpy(layer.bias).double()
    if layer.kind == "transposed":
        acc = F.conv_transpose2d(
            q, weight, bias, layer.stride, layer.padding, layer.output_padding, layer.groups
        )
    else:
        acc = F.conv2d(q, weight, bias, layer.stride, layer.padding, groups=layer.groups)
    step = torch.from_numpy(layer.weight_step).double() * layer.input.step
    return acc * step[:, None, None]


@pytest.mark.usefixtures("in_one_thread")
def test_weight_times_step_is_the_fake_quantized_weight(quantized: HyperpriorCodec) -> None:
    found = integer_layers(quantized)
    assert list(found) == list(conv_layers(quantized))
    for name, layer in quantized_layers(quantized).items():
        step = torch.from_numpy(found[name].weight_step).reshape(weight_shape(found[name]))
        product = torch.from_numpy(found[name].weight).float() * step
        assert torch.equal(product, layer.quant_weight().value), name
        assert found[name].weight.dtype == np.int8
        assert found[name].weight_step.dtype == np.float32


@pytest.mark.usefixtures("in_one_thread")
def test_every_layer_computes_in_integers_what_it_computes_fake_quantized(
    quantized: HyperpriorCodec, images: Tensor
) -> None:
    found, seen = integer_layers(quantized), inputs_of_layers(quantized, images)
    kinds = layer_inputs(quantized)
    for name, layer in quantized_layers(quantized).items():
        if kinds[name].kind == "pixels":
            q = torch.round(images.double() * 255)
            if isinstance(quantized, PatchCodec):
                q = F.pixel_unshuffle(q, 16)
        else:
            grid = found[name].input
            # Divided in float32, as in training: a value between two whole numbers may go either way.
            q = torch.round(seen[name] / grid.step).clamp(grid.low, grid.high).double()
        with torch.no_grad():
            expected = layer(seen[name]).double()
        apart = float((computed(found[name], q) - expected).abs().max())
        # What float32 loses in sums of some hundred terms, and the rounding of the bias of `patch` with its offset.
        bias_step = float((found[name].weight_step * found[name].input.step).max())
        assert apart <= 2e-5 * float(expected.abs().max()) + 0.51 * bias_step, name


@pytest.mark.usefixtures("in_one_thread")
def test_a_bias_is_the_nearest_whole_number_of_steps(quantized: HyperpriorCodec) -> None:
    found = integer_layers(quantized)
    for name, layer in quantized_layers(quantized).items():
        assert found[name].bias.dtype == np.int64
        steps = found[name].weight_step.astype(np.float64) * found[name].input.step
        exact = layer.bias.detach().double().numpy() / steps
        if isinstance(quantized, PatchCodec) and name in ("g_a.linear", "g_a.stem"):
            # k / 255 - 0.5 = (k - 127.5) / 255, and every weight sees the offset: there is no padding.
            sums = found[name].weight.astype(np.float64).reshape(len(exact), -1).sum(1)
            exact = np.rint(exact) - 127.5 * sums
        assert np.abs(found[name].bias - exact).max() <= 0.5, name


@pytest.mark.usefixtures("in_one_thread")
def test_the_grid_of_each_kind_of_input(quantized: HyperpriorCodec) -> None:
    found = integer_layers(quantized)
    ranges = {
        ("pixels", True): (0, 255),  # signed only by the offset, which stands in the bias
        ("pixels", False): (0, 255),
        ("symbols", True): (-128, 127),
        ("integers", True): (-(2**15), 2**15 - 1),
        ("fractions", True): (-(2**15), 2**15 - 1),
        ("activation", True): (-64, 63),
        ("activation", False): (0, 127),
    }
    for name, layer_input in layer_inputs(quantized).items():
        grid = found[name].input
        assert (grid.low, grid.high) == ranges[layer_input.kind, layer_input.signed], name
        assert found[name].input_kind == layer_input.kind
        if layer_input.kind == "pixels":
            assert grid.step == pytest.approx(1 / 255)
        elif layer_input.kind == "fractions":
            assert grid.step == pytest.approx(1 / (4 * math.sqrt(0.18 / 0.025)))
        elif layer_input.kind != "activation":
            assert grid.step == 1


@pytest.mark.usefixtures("in_one_thread")
def test_a_float_codec_has_no_integers(codec: HyperpriorCodec) -> None:
    with pytest.raises(InputError) as caught:
        integer_layers(codec)
    assert str(caught.value) == (
        "this model is in float: distil or quantize it first (hwkd distill --bits 8)"
    )


@pytest.mark.usefixtures("in_one_thread")
def test_scales_that_were_never_set_are_named(codec: HyperpriorCodec) -> None:
    quantize(codec, BitPlan())
    with pytest.raises(InputError, match=r"^the scale of \S+'s input is not set: calibrate"):
        integer_layers(codec)


def random_layer(kind: str, seed: int = 0) -> IntegerLayer:
    rng = np.random.default_rng(seed)
    shape = (4, 5, 3, 3) if kind == "transposed" else (5, 4, 3, 3)
    return IntegerLayer(
        name="a",
        kind=kind,
        input_kind="activation",
        input=Grid(0.5, 0, 255),
        weight=rng.integers(-127, 128, shape).astype(np.int8),
        weight_step=np.array([0.25, 0.5, 1, 2, 4], np.float32),
        bias=rng.integers(-1000, 1000, 5),
        stride=1,
        padding=1,
        output_padding=0,
        groups=1,
    )


def real_weights(layer: IntegerLayer) -> np.ndarray:
    return layer.weight.astype(np.float64) * layer.weight_step.reshape(weight_shape(layer))


@pytest.mark.usefixtures("in_one_thread")
@pytest.mark.parametrize("kind", ["conv", "transposed"])
def test_taps_are_the_weights_by_output_channel(kind: str) -> None:
    layer = random_layer(kind)
    for channel in range(5):
        own = layer.weight[:, channel] if kind == "transposed" else layer.weight[channel]
        np.testing.assert_array_equal(layer.taps[channel], own.reshape(-1))


@pytest.mark.usefixtures("in_one_thread")
@pytest.mark.parametrize("kind", ["conv", "transposed"])
def test_a_halved_channel_stays_within_half_a_step_and_no_other_changes(kind: str) -> None:
    layer = random_layer(kind)
    chosen = np.array([True, False, True, False, False])
    shorter = halved(layer, chosen)
    np.testing.assert_array_equal(shorter.weight_step, layer.weight_step * [2, 1, 2, 1, 1])
    np.testing.assert_array_equal(shorter.taps[~chosen], layer.taps[~chosen])
    np.testing.assert_array_equal(shorter.bias[~chosen], layer.bias[~chosen])
    limit = 0.5 * shorter.weight_step.reshape(weight_shape(layer))
    assert (np.abs(real_weights(shorter) - real_weights(layer)) <= limit).all()
    assert (np.abs(shorter.bias - layer.bias / np.where(chosen, 2, 1)) <= 0.5).all()
    assert shorter.weight.dtype == np.int8 and shorter.bias.dtype == np.int64


@pytest.mark.usefixtures("in_one_thread")
@pytest.mark.parametrize("kind", ["conv", "transposed"])
@pytest.mark.parametrize("bits", range(2, 9))
def test_weights_held_to_bits_lose_no_more_than_they_must(kind: str, bits: int) -> None:
    layer = random_layer(kind)
    small = np.array([1, 3, 10, 50, 127])
    shape = weight_shape(layer)
    weight = np.sign(layer.weight) * np.minimum(np.abs(layer.weight), small.reshape(shape))
    layer = replace(layer, weight=weight.astype(np.int8))
    held = held_to_bits(layer, bits)
    limit = 2 ** (bits - 1) - 1
    largest = np.abs(held.taps.astype(int)).max(1)
    assert (largest <= limit).all()
    factor = held.weight_step / layer.weight_step
    is_longer = np.abs(layer.taps.astype(int)).max(1) > limit
    # A channel that fits already is left alone; of the others one bit more would not have fit.
    np.testing.assert_array_equal(factor[~is_longer], 1)
    assert (largest[is_longer] * 2 >= limit).all()
    # Halved again and again, each time to the nearest: half a step of the last one, a quarter of the one before, ...
    off = np.abs(real_weights(held) - real_weights(layer))
    assert (off <= 1.0 * held.weight_step.reshape(shape)).all()


@pytest.mark.usefixtures("in_one_thread")
def test_weights_with_enough_bits_are_left_alone() -> None:
    layer = random_layer("conv")
    assert held_to_bits(layer, 8) is layer


def test_report_covers_every_layer(codec: HyperpriorCodec, images: Tensor) -> None:
    quantize(codec, BitPlan(4, 6))
    assert all(
        layer.act_scale is None for layer in layer_bits(codec) if layer.input_kind == "activation"
    )
    calibrate(codec, [images])
    report = layer_bits(codec)
    assert [layer.name for layer in report] == list(conv_layers(codec))
    for layer in report:
        assert layer.weight_bits == 4
        assert layer.power_of_two == layer.name.startswith("h_s.")
        assert layer.act_scale is not None and layer.act_scale > 0
        beyond_8 = {"activation": 6, "integers": None, "fractions": None}
        assert layer.act_bits == beyond_8.get(layer.input_kind, 8)
        assert bool(layer.act_note) == (layer.input_kind != "activation")


def test_kinds_of_layers() -> None:
    codec = build(HyperpriorSpec("relu", (8, 8, 8), 12, 8, 8))
    quantize(codec, BitPlan())
    kinds = {layer.name: layer.kind for layer in layer_bits(codec)}
    assert kinds["g_a.0"] == "conv" and kinds["g_s.0"] == "transposed"


def test_float_codec_has_no_report_and_all_layers_left_in_float(codec: HyperpriorCodec) -> None:
    assert layer_bits(codec) == ()
    assert integer_weights(codec) == {}
    sentences = left_in_float(codec)
    for name in conv_layers(codec):
        assert f"{name}: float32 weights and input, it was not quantized" in sentences


def test_gdn_and_biases_are_listed() -> None:
    codec = build(HyperpriorSpec("gdn", (8, 8, 8), 12, 8, 8))
    quantize(codec, BitPlan())
    sentences = left_in_float(codec)
    assert "g_a.1: GDN, its squares, 1x1 convolution, root and product are float32" in sentences
    assert sum("inverse GDN" in s for s in sentences) == 3
    assert sentences[-1].startswith("biases: ")
    assert len(sentences) == 7


def test_float_bytes_are_four_per_parameter(codec: HyperpriorCodec) -> None:
    count = sum(
        p.numel() for t in (codec.g_a, codec.h_a, codec.h_s, codec.g_s) for p in t.parameters()
    )
    assert weight_bytes(codec) == 4 * count


def test_quantized_bytes_by_hand() -> None:
    codec = build(HyperpriorSpec("relu", (2, 2, 2), 3, 2, 1))
    # weights, output channels (= biases) of g_a, g_s, h_a, h_s
    layers = [
        *[(3 * 2 * 25, 2), (2 * 2 * 25, 2), (2 * 2 * 25, 2), (2 * 3 * 25, 3)],
        *[(3 * 2 * 25, 2), (2 * 2 * 25, 2), (2 * 2 * 25, 2), (2 * 3 * 25, 3)],
        *[(3 * 2 * 9, 2), (2 * 2 * 25, 2), (2 * 1 * 25, 1)],
        *[(1 * 2 * 25, 2), (2 * 2 * 25, 2), (2 * 3 * 9, 3)],
    ]
    # Learned activation scales: every layer but g_a.0 (pixels), g_s.0 and h_s.0 (symbols).
    scales = len(layers) - 3
    quantize(codec, BitPlan(3, 8))
    expected = sum(-(-3 * n // 8) + 4 * c + 4 * c for n, c in layers) + 4 * scales
    assert weight_bytes(codec) == expected
    # Held to two bits, but for the entropy path: the last three.
    held = [
        -(-bits * n // 8) for bits, part in ((2, layers[:-3]), (3, layers[-3:])) for n, _ in part
    ]
    assert weight_bytes(codec, 2) == sum(held) + sum(8 * c for _, c in layers) + 4 * scales
