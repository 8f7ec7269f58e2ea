import numpy as np
import pytest
import torch

from hwkd.codec.tables import TOTAL, Tables
from hwkd.export.coder_ends import Latents
from hwkd.export.entropy_path import entropy_path
from hwkd.export.fitted_tables import PRIOR_SYMBOLS, count_symbols, fitted
from hwkd.quantize.integer import integer_layers
from hwkd.runtime.gains import Gains

pytestmark = pytest.mark.usefixtures("in_one_thread")


def table_of(*frequencies: int, offset: int) -> Tables:
    """One table; the last frequency is the escape's."""
    cdf = np.concatenate(([0], np.cumsum(frequencies))).astype(np.uint32)
    return Tables(cdf, np.array([0, len(cdf)], np.int64), np.array([offset], np.int32))


def frequencies(tables: Tables) -> list[int]:
    return np.diff(tables.cdf.astype(int)).tolist()


PRIOR = table_of(16000, 33500, 16000, 36, offset=-1)


def counts(*of_magnitude: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.int64]]":
    return np.array([of_magnitude], np.int64)


def test_without_counts_the_table_stays_as_it_is_but_for_rounding() -> None:
    found = frequencies(fitted(PRIOR, counts(0, 0, 0)))
    assert found == pytest.approx([16000, 33500, 16000, 36], abs=4)
    assert sum(found) == TOTAL


def test_many_counts_decide_and_both_signs_share_a_magnitude() -> None:
    found = frequencies(fitted(PRIOR, counts(6_000_000, 4_000_000, 0)))
    assert found == pytest.approx([0.2 * TOTAL, 0.6 * TOTAL, 0.2 * TOTAL, 1], rel=1e-3, abs=2)


def test_as_many_counts_as_the_prior_weighs_go_half_way() -> None:
    found = frequencies(fitted(PRIOR, counts(PRIOR_SYMBOLS, 0, 0)))
    assert found[1] == pytest.approx(TOTAL * (33500 / TOTAL + 1) / 2, rel=1e-3)
    assert found[0] == found[2] == pytest.approx(8000, rel=1e-3)


def test_magnitudes_without_a_bin_count_as_escapes() -> None:
    found = frequencies(fitted(PRIOR, counts(500_000, 0, 300_000, 200_000)))
    assert found[3] == pytest.approx(0.5 * TOTAL, rel=1e-2)


def test_every_symbol_keeps_a_bin_however_seldom_it_is() -> None:
    found = frequencies(fitted(PRIOR, counts(10**12, 0, 0)))
    assert min(found) == 1 and sum(found) == TOTAL


def test_symbols_are_counted_under_the_index_that_the_decoder_computes(
    tiny_codec_of, photo
) -> None:
    codec = tiny_codec_of("patch")
    codec.update(force=True)
    scales = codec.gaussian_conditional.scale_table.double().numpy()
    path = entropy_path(codec, integer_layers(codec), scales).path
    latents = Latents(codec.M, codec.Z, 127, 127, 0)
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
    latents = Latents(codec.M, codec.Z, 127, 127, 4, True)
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
