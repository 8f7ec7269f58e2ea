"""Where rounded latents are decoded."""

import math

import numpy as np
import pytest
from scipy.stats import truncnorm

from hwkd.centroids import LARGEST, PULLS, decoded


def test_a_pull_goes_to_the_mean_of_the_gaussian_within_the_interval() -> None:
    scales = 0.11 * (256 / 0.11) ** (np.arange(64) / 63)
    for size in (1, 2):
        near, far = size - 0.5, size + 0.5
        mean = truncnorm.mean(near / scales, far / scales, scale=scales)
        np.testing.assert_allclose(size - PULLS[:, size], mean, atol=1 / 512 + 1e-6)


def test_a_value_rounds_to_its_symbol_again() -> None:
    """As the means of a context need it."""
    assert not PULLS[:, 0].any()
    assert PULLS.min() >= 0 and PULLS.max() < 0.5
    symbols = np.arange(-9, 10, dtype=np.int32)[None].repeat(64, 0)
    indexes = np.arange(64, dtype=np.uint8)[:, None].repeat(19, 1)
    np.testing.assert_array_equal(np.round(decoded(symbols, indexes)), symbols)


def test_pulls_are_whole_parts_so_that_no_machine_has_others() -> None:
    np.testing.assert_array_equal(PULLS * 256, np.round(PULLS * 256))


@pytest.mark.parametrize("shape", [(), (0,), (5,), (3, 4, 6)])
def test_each_symbol_goes_towards_zero_by_its_index_and_size(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(len(shape))
    symbols = rng.integers(-5, 6, shape, np.int32)
    indexes = rng.integers(0, 64, shape, np.uint8)
    found = decoded(symbols, indexes)
    assert found.dtype == np.float32 and found.shape == shape
    for at in np.ndindex(shape):
        pull = PULLS[indexes[at], min(abs(int(symbols[at])), LARGEST)]
        assert found[at] == symbols[at] - math.copysign(pull, symbols[at])


def test_what_is_given_stays_as_it_was_and_need_not_lie_in_one_piece() -> None:
    rng = np.random.default_rng(0)
    symbols = rng.integers(-5, 6, (4, 6, 8), np.int16)
    indexes = rng.integers(0, 64, (4, 6, 8), np.uint8)
    kept = symbols.copy()
    part = (slice(None), slice(1, 4), slice(2, 7))
    np.testing.assert_array_equal(
        decoded(symbols[part], indexes[part]), decoded(symbols, indexes)[part]
    )
    np.testing.assert_array_equal(symbols, kept)
