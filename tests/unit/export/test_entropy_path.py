"""h_s in whole numbers: equal to the trained layers, never beyond its bound, and the same in every runtime."""

import copy
import hashlib
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from hwkd.codec.tables import TOTAL, Tables
from hwkd.errors import HwkdError
from hwkd.export.entropy_path import (
    PRIOR_SYMBOLS,
    coding_tables,
    count_symbols,
    entropy_path,
    fitted,
    hyper_model,
    selftest,
)
from hwkd.export.graphs import LatentRanges
from hwkd.models.base import HyperpriorCodec, padded
from hwkd.models.patch import PatchCodec
from hwkd.quantize.integer import Grid, IntegerLayer, integer_layers
from hwkd.quantize.qat import quantized_layers
from hwkd.runtime.exact import BOUND, ExactLayer, ExactPath
from hwkd.runtime.gains import Gains
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
    from hwkd.models.base import padded

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


@pytest.fixture(scope="module")
def codec_coding_tables(tiny_codec_of):
    """The patch codec with z's distributions apart from each other, their medians whole and not 0."""
    moved = copy.deepcopy(tiny_codec_of("patch"))
    medians = torch.tensor([0.0, 3, -2, 0, 1, 40, -7, 5])
    with torch.no_grad():
        z = moved.entropy_bottleneck
        z.quantiles[:, 0, 1] = medians
        z.quantiles[:, 0, 0] = medians - torch.arange(4, 12)
        z.quantiles[:, 0, 2] = medians + torch.arange(12, 4, -1)
    moved.update(force=True)
    return moved


def frequencies(tables: Tables, table: int) -> dict[int, int]:
    """Symbol -> of 2^16, without the escape."""
    cdf = tables.cdf[tables.starts[table] : tables.starts[table + 1]].astype(int)
    first = int(tables.offsets[table])
    return {first + b: int(f) for b, f in enumerate(np.diff(cdf)[:-1])}


def compressais(model, table: int) -> dict[int, int]:
    """The same from CompressAI's own buffers."""
    length = int(model.cdf_length[table])
    counts = np.diff(model.quantized_cdf[table, :length].numpy())[:-1]
    first = int(model.offset[table])
    return {first + b: int(f) for b, f in enumerate(counts)}


def test_tables_of_y_are_compressais(codec_coding_tables) -> None:
    tables = Tables.from_arrays(coding_tables(codec_coding_tables), "y.")
    assert tables.count == 64
    for index in range(64):
        assert frequencies(tables, index) == compressais(
            codec_coding_tables.gaussian_conditional, index
        )


def test_with_counts_the_tables_of_y_fit_them_and_those_of_z_stay(codec_coding_tables) -> None:
    counts = np.zeros((64, 129), np.int64)
    counts[20, 0] = 10**9
    plain, found = coding_tables(codec_coding_tables), coding_tables(codec_coding_tables, counts)
    of_y = Tables.from_arrays(found, "y.")
    assert frequencies(of_y, 20)[0] > 0.99 * TOTAL
    without = Tables.from_arrays(plain, "y.")
    assert frequencies(of_y, 30) == pytest.approx(frequencies(without, 30), abs=64)
    assert all(np.array_equal(plain[n], found[n]) for n in plain if n.startswith("z."))


def test_tables_of_z_are_compressais_moved_by_the_medians(codec_coding_tables) -> None:
    tables = Tables.from_arrays(coding_tables(codec_coding_tables), "z.")
    assert tables.count == codec_coding_tables.Z
    medians = [0, 3, -2, 0, 1, 40, -7, 5]
    for channel, median in enumerate(medians):
        relative = compressais(codec_coding_tables.entropy_bottleneck, channel)
        assert frequencies(tables, channel) == {s + median: f for s, f in relative.items()}


@torch.no_grad()
def test_the_frequencies_are_the_likelihoods_of_the_trained_codec(codec_coding_tables) -> None:
    """What training counts as the rate of z is what the tables charge, up to their 16 bits."""
    tables = Tables.from_arrays(coding_tables(codec_coding_tables), "z.")
    for channel in range(codec_coding_tables.Z):
        counts = frequencies(tables, channel)
        z = torch.zeros((1, codec_coding_tables.Z, 1, len(counts)))
        z[0, channel, 0] = torch.tensor(sorted(counts), dtype=torch.float32)
        _, likelihoods = codec_coding_tables.entropy_bottleneck(z)
        found = np.array([counts[s] for s in sorted(counts)]) / TOTAL
        np.testing.assert_allclose(found, likelihoods[0, channel, 0].numpy(), rtol=0.02, atol=1e-3)


@pytest.fixture(scope="module")
def path_coding_tables(codec_coding_tables):
    scales = codec_coding_tables.gaussian_conditional.scale_table.double().numpy()
    return entropy_path(codec_coding_tables, integer_layers(codec_coding_tables), scales).path


@torch.no_grad()
def real_z(codec, image) -> np.ndarray:
    return torch.round(codec.hyper_analysis(codec.g_a(padded(image, 64))))[0].int().numpy()


def test_the_self_test_asks_for_real_symbols_small_sizes_and_the_extremes(
    codec_coding_tables, path_coding_tables, photo
) -> None:
    real = real_z(codec_coding_tables, photo(96, 128, 0))
    arrays = selftest(path_coding_tables, codec_coding_tables.Z, 31, real)
    digests = arrays.pop("digests")
    assert sorted(arrays) == [f"z_{i}" for i in range(len(arrays))]
    np.testing.assert_array_equal(arrays["z_0"], real)
    shapes = {z.shape[1:] for z in arrays.values()}
    assert {(1, 1), (3, 5), (8, 12)} <= shapes
    for z in list(arrays.values())[1:]:
        assert z.dtype == np.int32 and z.shape[0] == codec_coding_tables.Z
        assert z.min() >= -32 and z.max() <= 31
    assert any((z == -32).all() for z in arrays.values())
    assert any((z == 31).all() for z in arrays.values())
    assert any(z.min() == -32 and z.max() == 31 for z in arrays.values())
    assert len(digests) == len(arrays)
    for z, digest in zip(arrays.values(), digests, strict=True):
        index = path_coding_tables.indexes(z[None])[0]
        said = "x".join(str(n) for n in index.shape).encode() + index.tobytes()
        assert digest == hashlib.sha256(said).hexdigest()


def test_the_self_test_is_the_same_when_it_is_made_again(
    codec_coding_tables, path_coding_tables
) -> None:
    real = np.zeros((codec_coding_tables.Z, 1, 2), np.int32)
    first, again = (
        selftest(path_coding_tables, codec_coding_tables.Z, 127, real) for _ in range(2)
    )
    assert first.keys() == again.keys()
    for name, array in first.items():
        np.testing.assert_array_equal(array, again[name])
    other = selftest(path_coding_tables, codec_coding_tables.Z, 127, real, seed=1)
    assert any((other[name] != first[name]).any() for name in first)


def test_the_self_test_of_all_rates_has_a_row_of_digests_for_each_quality(
    path_coding_tables,
) -> None:
    """Of the lowest, the middle and the highest: each that of the shifted indexes."""
    anchors = np.zeros((2, 12), np.int16)
    anchors[0], anchors[1] = -5 * 256, 9 * 256
    arrays = selftest(
        path_coding_tables, 8, 31, np.zeros((8, 1, 2), np.int32), gains=Gains(anchors, 0, 127)
    )
    assert arrays["qualities"].tolist() == [1, 50, 100]
    cases = [name for name in arrays if name.startswith("z_")]
    assert arrays["digests"].shape == (3, len(cases))
    # Between -5 and 9 at 49 of 99 parts: 1.93.
    for row, shift in zip(arrays["digests"], (-5, 2, 9), strict=True):
        for name, digest in zip(cases, row, strict=True):
            index = path_coding_tables.indexes(arrays[name][None], np.full(12, shift))[0]
            said = "x".join(str(n) for n in index.shape).encode() + index.tobytes()
            assert digest == hashlib.sha256(said).hexdigest()


def table_of(*frequencies: int, offset: int) -> Tables:
    """One table; the last frequency is the escape's."""
    cdf = np.concatenate(([0], np.cumsum(frequencies))).astype(np.uint32)
    return Tables(cdf, np.array([0, len(cdf)], np.int64), np.array([offset], np.int32))


def frequencies_fitted_tables(tables: Tables) -> list[int]:
    return np.diff(tables.cdf.astype(int)).tolist()


PRIOR = table_of(16000, 33500, 16000, 36, offset=-1)


def counts(*of_magnitude: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.int64]]":
    return np.array([of_magnitude], np.int64)


def test_without_counts_the_table_stays_as_it_is_but_for_rounding() -> None:
    found = frequencies_fitted_tables(fitted(PRIOR, counts(0, 0, 0)))
    assert found == pytest.approx([16000, 33500, 16000, 36], abs=4)
    assert sum(found) == TOTAL


def test_many_counts_decide_and_both_signs_share_a_magnitude() -> None:
    found = frequencies_fitted_tables(fitted(PRIOR, counts(6_000_000, 4_000_000, 0)))
    assert found == pytest.approx([0.2 * TOTAL, 0.6 * TOTAL, 0.2 * TOTAL, 1], rel=1e-3, abs=2)


def test_as_many_counts_as_the_prior_weighs_go_half_way() -> None:
    found = frequencies_fitted_tables(fitted(PRIOR, counts(PRIOR_SYMBOLS, 0, 0)))
    assert found[1] == pytest.approx(TOTAL * (33500 / TOTAL + 1) / 2, rel=1e-3)
    assert found[0] == found[2] == pytest.approx(8000, rel=1e-3)


def test_magnitudes_without_a_bin_count_as_escapes() -> None:
    found = frequencies_fitted_tables(fitted(PRIOR, counts(500_000, 0, 300_000, 200_000)))
    assert found[3] == pytest.approx(0.5 * TOTAL, rel=1e-2)


def test_every_symbol_keeps_a_bin_however_seldom_it_is() -> None:
    found = frequencies_fitted_tables(fitted(PRIOR, counts(10**12, 0, 0)))
    assert min(found) == 1 and sum(found) == TOTAL


def test_symbols_are_counted_under_the_index_that_the_decoder_computes(
    tiny_codec_of, photo
) -> None:
    codec = tiny_codec_of("patch")
    codec.update(force=True)
    scales = codec.gaussian_conditional.scale_table.double().numpy()
    path = entropy_path(codec, integer_layers(codec), scales).path
    latents = LatentRanges(codec.M, codec.Z, 127, 127, 0)
    x = torch.from_numpy(photo(64, 128, 3)).permute(2, 0, 1)[None].float() / 255
    found = count_symbols(codec, path, latents, [x, x])
    with torch.no_grad():
        y = codec.g_a(x)
        z = codec.hyper_analysis(y).round().int().numpy()
    magnitude, index = y.round().abs().int().numpy(), path.indexes(z)
    assert found.sum() == 2 * y.numel()
    assert len(np.unique(index)) > 1
    for at in np.unique(index):
        expected = 2 * np.bincount(magnitude[index == at], minlength=129)
        assert found[at].tolist() == expected.tolist()


def test_with_gains_symbols_are_counted_at_six_qualities_within_their_limits(
    tiny_codec_of, photo
) -> None:
    codec = tiny_codec_of("rates")
    scales = codec.gaussian_conditional.scale_table.double().numpy()
    path = entropy_path(codec, integer_layers(codec), scales).path
    latents = LatentRanges(codec.M, codec.Z, 127, 127, 4, True)
    gains = Gains(codec.gains.at_anchors(), 4, 127)
    x = torch.from_numpy(photo(64, 128, 3)).permute(2, 0, 1)[None].float() / 255
    found = count_symbols(codec, path, latents, [x], gains)
    expected = np.zeros((64, 129), np.int64)
    for quality in (1, 20, 40, 60, 80, 100):
        codec.set_lmbda(0.0018 * 100 ** ((quality - 1) / 99))
        with torch.no_grad():
            y = codec.g_a(x)
            z = codec.hyper_analysis(y).round().int().numpy()
            coded = codec.residual(y).round().abs().numpy()
        rate = gains.rate(quality)
        index = path.indexes(z, rate.shift.ravel())
        magnitude = np.minimum(coded, rate.limit).astype(int)
        np.add.at(expected, (index, magnitude), 1)
    assert found.tolist() == expected.tolist()
