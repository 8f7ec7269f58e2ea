import copy
import hashlib

import numpy as np
import pytest
import torch

from hwkd.codec.tables import TOTAL, Tables
from hwkd.export.coding_tables import coding_tables, selftest
from hwkd.export.entropy_path import entropy_path
from hwkd.models.image_tensors import padded
from hwkd.quantize.integer import integer_layers
from hwkd.runtime.gains import Gains

pytestmark = pytest.mark.usefixtures("in_one_thread")


@pytest.fixture(scope="module")
def codec(tiny_codec_of):
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


def test_tables_of_y_are_compressais(codec) -> None:
    tables = Tables.from_arrays(coding_tables(codec), "y.")
    assert tables.count == 64
    for index in range(64):
        assert frequencies(tables, index) == compressais(codec.gaussian_conditional, index)


def test_with_counts_the_tables_of_y_fit_them_and_those_of_z_stay(codec) -> None:
    counts = np.zeros((64, 129), np.int64)
    counts[20, 0] = 10**9
    plain, found = coding_tables(codec), coding_tables(codec, counts)
    of_y = Tables.from_arrays(found, "y.")
    assert frequencies(of_y, 20)[0] > 0.99 * TOTAL
    without = Tables.from_arrays(plain, "y.")
    assert frequencies(of_y, 30) == pytest.approx(frequencies(without, 30), abs=64)
    assert all(np.array_equal(plain[n], found[n]) for n in plain if n.startswith("z."))


def test_tables_of_z_are_compressais_moved_by_the_medians(codec) -> None:
    tables = Tables.from_arrays(coding_tables(codec), "z.")
    assert tables.count == codec.Z
    medians = [0, 3, -2, 0, 1, 40, -7, 5]
    for channel, median in enumerate(medians):
        relative = compressais(codec.entropy_bottleneck, channel)
        assert frequencies(tables, channel) == {s + median: f for s, f in relative.items()}


@torch.no_grad()
def test_the_frequencies_are_the_likelihoods_of_the_trained_codec(codec) -> None:
    """What training counts as the rate of z is what the tables charge, up to their 16 bits."""
    tables = Tables.from_arrays(coding_tables(codec), "z.")
    for channel in range(codec.Z):
        counts = frequencies(tables, channel)
        z = torch.zeros((1, codec.Z, 1, len(counts)))
        z[0, channel, 0] = torch.tensor(sorted(counts), dtype=torch.float32)
        _, likelihoods = codec.entropy_bottleneck(z)
        found = np.array([counts[s] for s in sorted(counts)]) / TOTAL
        np.testing.assert_allclose(found, likelihoods[0, channel, 0].numpy(), rtol=0.02, atol=1e-3)


@pytest.fixture(scope="module")
def path(codec):
    scales = codec.gaussian_conditional.scale_table.double().numpy()
    return entropy_path(codec, integer_layers(codec), scales).path


@torch.no_grad()
def real_z(codec, image) -> np.ndarray:
    return torch.round(codec.hyper_analysis(codec.g_a(padded(image, 64))))[0].int().numpy()


def test_the_self_test_asks_for_real_symbols_small_sizes_and_the_extremes(
    codec, path, photo
) -> None:
    real = real_z(codec, photo(96, 128, 0))
    arrays = selftest(path, codec.Z, 31, real)
    digests = arrays.pop("digests")
    assert sorted(arrays) == [f"z_{i}" for i in range(len(arrays))]
    np.testing.assert_array_equal(arrays["z_0"], real)
    shapes = {z.shape[1:] for z in arrays.values()}
    assert {(1, 1), (3, 5), (8, 12)} <= shapes
    for z in list(arrays.values())[1:]:
        assert z.dtype == np.int32 and z.shape[0] == codec.Z
        assert z.min() >= -32 and z.max() <= 31
    assert any((z == -32).all() for z in arrays.values())
    assert any((z == 31).all() for z in arrays.values())
    assert any(z.min() == -32 and z.max() == 31 for z in arrays.values())
    assert len(digests) == len(arrays)
    for z, digest in zip(arrays.values(), digests, strict=True):
        index = path.indexes(z[None])[0]
        said = "x".join(str(n) for n in index.shape).encode() + index.tobytes()
        assert digest == hashlib.sha256(said).hexdigest()


def test_the_self_test_is_the_same_when_it_is_made_again(codec, path) -> None:
    real = np.zeros((codec.Z, 1, 2), np.int32)
    first, again = (selftest(path, codec.Z, 127, real) for _ in range(2))
    assert first.keys() == again.keys()
    for name, array in first.items():
        np.testing.assert_array_equal(array, again[name])
    other = selftest(path, codec.Z, 127, real, seed=1)
    assert any((other[name] != first[name]).any() for name in first)


def test_the_self_test_of_all_rates_has_a_row_of_digests_for_each_quality(path) -> None:
    """Of the lowest, the middle and the highest: each that of the shifted indexes."""
    anchors = np.zeros((2, 12), np.int16)
    anchors[0], anchors[1] = -5 * 256, 9 * 256
    arrays = selftest(path, 8, 31, np.zeros((8, 1, 2), np.int32), gains=Gains(anchors, 0, 127))
    assert arrays["qualities"].tolist() == [1, 50, 100]
    cases = [name for name in arrays if name.startswith("z_")]
    assert arrays["digests"].shape == (3, len(cases))
    # Between -5 and 9 at 49 of 99 parts: 1.93.
    for row, shift in zip(arrays["digests"], (-5, 2, 9), strict=True):
        for name, digest in zip(cases, row, strict=True):
            index = path.indexes(arrays[name][None], np.full(12, shift))[0]
            said = "x".join(str(n) for n in index.shape).encode() + index.tobytes()
            assert digest == hashlib.sha256(said).hexdigest()
