"""h_s in whole numbers: equal to the trained layers, never beyond its bound, and the same in every runtime."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from hwkd.errors import HwkdError
from hwkd.export.entropy_path import entropy_path, hyper_model
from hwkd.models.base import HyperpriorCodec
from hwkd.models.patch import PatchCodec
from hwkd.quantize.brevitas_qat import quantized_layers
from hwkd.quantize.integer import Grid, IntegerLayer, integer_layers
from hwkd.runtime.exact import BOUND, ExactLayer, ExactPath
from hwkd.runtime.session import open_session, present_runtimes, sums_exactly

FAMILIES = ("gdn", "patch", "relu")
SCALES = np.exp(np.linspace(np.log(0.11), np.log(256), 64))
"""CompressAI's table, as its get_scale_table describes it."""

pytestmark = pytest.mark.usefixtures("in_one_thread")


@pytest.fixture(scope="module", params=FAMILIES)
def codec(request, tiny_codec_of) -> HyperpriorCodec:
    return tiny_codec_of(request.param)


@pytest.fixture(scope="module")
def path(codec) -> ExactPath:
    return entropy_path(codec, integer_layers(codec), SCALES).path


def many_z(Z: int) -> list[np.ndarray]:
    """Symbols of several sizes: usual ones, any of 8 bits, and the extremes."""
    rng = np.random.default_rng(0)
    usual = [rng.laplace(0, 4, (1, Z, h, w)).round() for h, w in ((1, 1), (3, 5), (8, 12))]
    drawn = rng.integers(-128, 128, (1, Z, 4, 4))
    signs = rng.choice([-128, 127], (1, Z, 6, 3))
    flat = [np.full((1, Z, 2, 3), limit) for limit in (-128, 0, 127)]
    return [np.clip(z, -128, 127).astype(np.int32) for z in (*usual, drawn, signs, *flat)]


@torch.no_grad()
def by_the_trained_layers(codec: HyperpriorCodec, z: np.ndarray) -> np.ndarray:
    """The indexes from the fake-quantized layers themselves, in float64."""
    x = torch.from_numpy(z).double()
    layers = [(n, q) for n, q in quantized_layers(codec).items() if n.startswith("h_s.")]
    is_patch = isinstance(codec, PatchCodec)
    for i, (_, layer) in enumerate(layers):
        step = float(layer.input_quant.scale())
        bits = int(layer.input_quant.bit_width())
        low, high = (-128, 127) if i == 0 else (0, 2**bits - 1)
        x = torch.round(x / step).clamp(low, high) * step
        weight = layer.quant_weight()
        bias_step = (weight.scale * step).double().flatten()
        bias = torch.round(layer.bias.double() / bias_step) * bias_step
        if isinstance(layer, torch.nn.ConvTranspose2d):
            x = F.conv_transpose2d(x, weight.value.double(), bias, 2, 2, 1)
        else:
            x = F.conv2d(x, weight.value.double(), bias, padding=layer.padding)
        if is_patch and i < len(layers) - 1:
            x = F.pixel_shuffle(x, 2)
        if i < len(layers) - 1 or not is_patch:
            x = x.clamp_min(0)  # the ReLU
    if is_patch:
        return torch.round(x).clamp(0, 63).to(torch.uint8).numpy()
    # The nearest of the scales by the logarithm, of the scale rounded to a 256th.
    scale = torch.round(x * 256).clamp(1, 256 * 256).numpy() / 256
    apart = np.abs(np.log(scale)[..., None] - np.log(SCALES))
    return apart.argmin(-1).astype(np.uint8)


def test_the_path_gives_the_trained_layers_indexes(codec, path) -> None:
    seen: Counter[int] = Counter()
    for z in many_z(codec.Z):
        found = path.indexes(z)
        np.testing.assert_array_equal(found, by_the_trained_layers(codec, z))
        seen.update(found.ravel().tolist())
    assert len(seen) > 8


def test_the_trained_codec_finds_the_same_scales(codec, path, photo) -> None:
    """Against the codec's own forward pass, in float32: the scale of each index is the nearest of the table."""
    from hwkd.models.image_tensors import padded

    with torch.no_grad():
        out = codec(padded(photo(128, 128, 3), 64))
    index = path.indexes(out.z_hat.int().numpy())
    ratio = out.scales_hat.clamp(float(SCALES[0]), float(SCALES[-1])).numpy() / SCALES[index]
    # Half a step between neighbours of the table, and for gdn and relu half a 256th of the scale.
    half_step = (SCALES[1] / SCALES[0]) ** 0.5
    limit = half_step * (1 if isinstance(codec, PatchCodec) else 1 + 0.5 / 256 / 0.11)
    assert ratio.max() < limit * 1.0001 and ratio.min() > 1 / limit / 1.0001


def worst_sum(layer: ExactLayer, low: int, high: int) -> int:
    """The largest |acc| that any input of `low`..`high` can give, input by input."""
    taps = layer.weight.reshape(len(layer.weight), -1)
    most = np.maximum(taps * low, taps * high).sum(1) + layer.bias
    least = np.minimum(taps * low, taps * high).sum(1) + layer.bias
    return int(np.maximum(most, -least).max())


def test_no_input_reaches_the_bound(path) -> None:
    low, high = -128, 127
    for layer in path.layers:
        worst = worst_sum(layer, low, high)
        assert worst <= layer.largest(max(-low, high)).max() < BOUND
        low, high = layer.low, layer.high


def test_tiny_layers_are_not_shortened(codec) -> None:
    layers = integer_layers(codec)
    found = entropy_path(codec, layers, SCALES)
    assert found.shortened == ()
    if isinstance(codec, PatchCodec):
        for exact, name in zip(found.path.layers, ("h_s.0", "h_s.3", "h_s.6"), strict=True):
            np.testing.assert_array_equal(exact.weight, layers[name].weight)


def wide_layers(rng: np.random.Generator) -> dict[str, IntegerLayer]:
    """Three layers as `patch` has them, with so many channels that the sums of some outputs could reach the bound."""

    def layer(name: str, C_in: int, C_out: int, kind: str, largest: np.ndarray) -> IntegerLayer:
        weight = rng.integers(-127, 128, (C_out, C_in, 3, 3))
        weight = np.clip(weight, -largest[:, None, None, None], largest[:, None, None, None])
        first = kind == "symbols"
        return IntegerLayer(
            name=name,
            kind="conv",
            input_kind=kind,
            input=Grid(1.0, -128, 127) if first else Grid(0.25, 0, 255),
            weight=weight.astype(np.int8),
            weight_step=np.full(C_out, 2.0**-7, np.float32),
            bias=rng.integers(-(2**18), 2**18, C_out),
            stride=1,
            padding=1,
            output_padding=0,
            groups=1,
        )

    def mixed(count: int) -> np.ndarray:
        return rng.choice([1, 20, 60, 127], count)

    return {
        "g_a.stem": layer("g_a.stem", 2, 2, "symbols", mixed(2)),  # not of the path
        "h_s.0": layer("h_s.0", 96, 4 * 96, "symbols", mixed(4 * 96)),
        "h_s.3": layer("h_s.3", 96, 4 * 48, "activation", mixed(4 * 48)),
        "h_s.6": layer("h_s.6", 48, 24, "activation", mixed(24)),
    }


def test_channels_are_shortened_as_far_as_the_bound_asks_and_no_further(tiny_codec_of) -> None:
    layers = wide_layers(np.random.default_rng(0))
    found = entropy_path(tiny_codec_of("patch"), layers, SCALES)
    said = []
    low, high = -128, 127
    for exact, name in zip(found.path.layers, ("h_s.0", "h_s.3", "h_s.6"), strict=True):
        given = layers[name]
        step = 1.0 if name == "h_s.6" else 0.25
        plain_shift = np.log2(step / (2.0**-7 * given.input.step)).astype(int)
        lost = plain_shift - exact.shift
        weight, bias = given.weight.astype(int), given.bias
        for bits in range(int(lost.max()) + 1):
            sums = np.abs(weight).reshape(len(bias), -1).sum(1) * max(-low, high) + np.abs(bias)
            is_last = lost == bits
            # A channel that lost this many bits could not have lost fewer, and holds what was left of it.
            assert (sums[is_last] < BOUND).all() and (sums[lost > bits] >= BOUND).all()
            np.testing.assert_array_equal(exact.weight[is_last], weight[is_last])
            np.testing.assert_array_equal(exact.bias[is_last], bias[is_last])
            weight, bias = np.rint(weight / 2).astype(int), np.rint(bias / 2).astype(int)
        assert worst_sum(exact, low, high) < BOUND
        if lost.any():
            count = np.count_nonzero(lost)
            said.append(f"{name}: {count} of {len(lost)} channels by {lost.max()} bits at most")
        low, high = exact.low, exact.high
    assert found.shortened == tuple(said)
    assert len(said) >= 2


def sessions(path: ExactPath, Z: int, M: int, threads: int) -> dict:
    model = hyper_model(path, Z, M).SerializeToString()
    exact = filter(sums_exactly, present_runtimes())
    return {runtime: open_session(model, runtime, threads) for runtime in exact}


@pytest.mark.parametrize("threads", [1, 2])
def test_every_runtime_gives_the_paths_indexes(codec, path, threads: int) -> None:
    for runtime, session in sessions(path, codec.Z, codec.M, threads).items():
        for z in many_z(codec.Z):
            found = session.run({"z": z})["index"]
            np.testing.assert_array_equal(found, path.indexes(z), err_msg=runtime)


@pytest.mark.parametrize("threads", [1, 2])
def test_every_runtime_is_exact_up_to_the_bound(threads: int) -> None:
    """One layer whose sums come close to 2^22; all but their last two bits are shown, six at a time."""
    rng = np.random.default_rng(2)
    C_in, C_out = 24, 64
    weight = rng.choice([-127, -126, 125, 127], (C_out, C_in, 3, 3))
    taps = np.abs(weight).reshape(C_out, -1).sum(1)
    bias = BOUND - 1 - 128 * taps
    layer = ExactLayer(weight, bias, np.full(C_out, 2), 0, 2**20 - 1, block=2)
    assert (layer.largest(128) == BOUND - 1).all()
    path = ExactPath((layer,), (np.arange(2**20) % 64).astype(np.uint8))
    z = [rng.integers(-128, 128, (1, C_in, h, w)).astype(np.int32) for h, w in ((3, 3), (9, 14))]
    z += [np.where(weight[c] > 0, 127, -128)[None].astype(np.int32) for c in range(4)]
    largest = (np.abs(weight[0]) * np.where(weight[0] > 0, 127, 128)).sum() + bias[0]
    assert largest > 0.99 * BOUND
    for runtime, session in sessions(path, C_in, C_out // 4, threads).items():
        for one in z:
            found = session.run({"z": one})["index"]
            np.testing.assert_array_equal(found, path.indexes(one), err_msg=runtime)


def test_the_graph_is_in_floats_throughout_and_its_weights_are_stored_in_8_bits(
    codec, path
) -> None:
    model = hyper_model(path, codec.Z, codec.M)
    kinds = {node.op_type for node in model.graph.node}
    assert not any("Quantize" in kind or "Integer" in kind or "QLinear" in kind for kind in kinds)
    sizes = {c.name: len(c.raw_data) for c in model.graph.initializer}
    for i, layer in enumerate(path.layers):
        assert sizes[f"weight_{i}"] == layer.weight.size


def test_a_scale_that_is_no_power_of_two_is_refused(codec) -> None:
    layers = integer_layers(codec)
    name = next(n for n in reversed(layers) if n.startswith("h_s."))
    steps = layers[name].weight_step.copy()
    steps[3] *= np.float32(1.5)
    layers[name] = replace(layers[name], weight_step=steps)
    with pytest.raises(HwkdError) as caught:
        entropy_path(codec, layers, SCALES)
    assert str(caught.value) == f"{name}: a scale is no power of two, so its path is not exact"


@pytest.mark.parametrize("family", ["gdn", "relu"])
def test_each_of_the_scales_is_its_own_nearest_and_borders_are_geometric_means(
    tiny_codec_of, family: str
) -> None:
    codec = tiny_codec_of(family)
    places = entropy_path(codec, integer_layers(codec), SCALES).path.places
    assert places is not None and places.dtype == np.uint8
    assert len(places) == 256 * 256 + 1  # from 0 to the largest scale in steps of a 256th
    for index, scale in enumerate(SCALES):
        for place in (int(np.floor(scale * 256)), int(np.ceil(scale * 256))):
            assert places[min(place, 65536)] == index
    assert places[0] == 0
    for index in range(63):
        border = np.sqrt(SCALES[index] * SCALES[index + 1])
        assert places[int(np.floor(border * 256))] == index
        assert places[int(np.floor(border * 256)) + 1] == index + 1


def test_the_patch_family_needs_no_table(tiny_codec_of) -> None:
    codec = tiny_codec_of("patch")
    path = entropy_path(codec, integer_layers(codec), SCALES).path
    assert path.places is None
    assert (path.layers[-1].low, path.layers[-1].high) == (0, 63)


def test_with_gains_the_graph_adds_a_whole_number_to_each_channel(tiny_codec_of) -> None:
    codec = tiny_codec_of("rates")
    path = entropy_path(codec, integer_layers(codec), SCALES).path
    model = hyper_model(path, codec.Z, codec.M, has_gains=True).SerializeToString()
    shift = np.arange(-30, 30, 5, dtype=np.float32).reshape(1, 12, 1, 1)
    z = np.random.default_rng(0).integers(-128, 128, (1, codec.Z, 3, 2)).astype(np.int32)
    expected = path.indexes(z, shift.ravel())
    assert (expected != path.indexes(z)).any()
    for runtime in present_runtimes():
        found = open_session(model, runtime, 1).run({"z": z, "shift": shift})["index"]
        np.testing.assert_array_equal(found, expected, err_msg=runtime)
