"""What a quality feeds the networks of a bundle of all rates, and which gains are refused."""

import math
from dataclasses import replace

import numpy as np
import pytest

from hwkd.errors import InputError
from hwkd.runtime.bundle import pack_arrays, unpack_arrays
from hwkd.runtime.gains import Gains, read_gains

UNITS = 256
"""Of a stored gain, in a step of the table of scales."""

STEP = math.log(256 / 0.11) / 63
"""Of the table of scales, by its logarithm."""

# Three channels, two anchors: gains of 0, 16 and -16 steps of the table at quality 1, and of 16 in all at 100.
ANCHORS = np.array([[0, 16 * UNITS, -16 * UNITS], [16 * UNITS] * 3], np.int16)


@pytest.fixture
def three(all_rates):
    """A manifest of a bundle with three channels of y."""
    return replace(all_rates, M=3, largest_y=32639)


def test_a_rate_holds_what_the_networks_take() -> None:
    rate = Gains(ANCHORS, 1, 32639).rate(1)
    for array in (rate.gain, rate.limit, rate.shift, rate.step):
        assert array.shape == (1, 3, 1, 1) and array.dtype == np.float32
    assert rate.quality == 1
    assert rate.gain.ravel() == pytest.approx([1, math.exp(16 * STEP), math.exp(-16 * STEP)])
    assert rate.shift.ravel().tolist() == [0, 16, -16]
    # Four times what the gain lacks of the highest one: 4 e^(16 STEP) = 28.65, 4, and 4 e^(32 STEP) = 205.2.
    steps = [4 * math.exp(16 * STEP), 4, 4 * math.exp(32 * STEP)]
    assert rate.step.ravel() == pytest.approx(steps)
    # Two digits hold 32639 / 28.65 = 1139.2; one holds 127 / 4 = 31.75, and nothing of 205.
    assert rate.limit.ravel().tolist() == [1139, 31, 0]


def test_at_the_highest_quality_every_symbol_is_four_steps_exactly() -> None:
    rate = Gains(ANCHORS, 1, 32639).rate(100)
    assert rate.step.ravel().tolist() == [4, 4, 4]
    assert rate.limit.ravel().tolist() == [8159, 31, 31]


@pytest.mark.parametrize("quality", range(1, 101))
def test_no_symbol_within_its_limit_leaves_its_digits_and_one_more_would(quality: int) -> None:
    rate = Gains(ANCHORS, 1, 32639).rate(quality)
    held = np.array([32639, 127, 127])
    limit, step = (a.ravel().astype(np.float64) for a in (rate.limit, rate.step))
    assert (np.rint(limit * step) <= held).all()
    assert (np.rint((limit + 1) * step) > held).all()


def test_no_limit_exceeds_the_bundles_own() -> None:
    assert Gains(ANCHORS, 3, 127).rate(100).limit.ravel().tolist() == [127, 127, 127]


def test_a_rate_is_made_once() -> None:
    gains = Gains(ANCHORS, 1, 127)
    assert gains.rate(7) is gains.rate(7)


def test_what_is_packed_is_read_back(three) -> None:
    held = unpack_arrays(pack_arrays(Gains(ANCHORS, 2, 32639).to_arrays()))
    again = read_gains(held, three)
    np.testing.assert_array_equal(again.anchors, ANCHORS)
    assert (again.narrow_from, again.largest_y) == (2, 32639)


MOST = 64 * UNITS
RIGHT = {"anchors": ANCHORS, "narrow_from": np.array(2, np.int32)}


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"more": np.zeros(1)}, "its arrays are anchors, more, narrow_from"),
        ({"anchors": ANCHORS.astype(np.int32)}, "anchors are int32 [2, 3], and M is 3"),
        ({"anchors": ANCHORS[:, :2]}, "anchors are int16 [2, 2], and M is 3"),
        ({"anchors": ANCHORS[0]}, "anchors are int16 [3], and M is 3"),
        ({"anchors": ANCHORS[1:]}, "1 anchors, and 2 to 16 are accepted"),
        ({"anchors": np.repeat(ANCHORS[1:], 17, 0)}, "17 anchors, and 2 to 16 are accepted"),
        (
            {"anchors": ANCHORS + np.array([[MOST], [0]], np.int16)},
            f"they reach from {16 * UNITS} to {16 * UNITS + MOST}, and {MOST} is the most",
        ),
        ({"anchors": ANCHORS[::-1]}, "channels differ at quality 100"),
        ({"narrow_from": np.array(2)}, "narrow_from is no number"),
        ({"narrow_from": np.array([2], np.int32)}, "narrow_from is no number"),
        ({"narrow_from": np.array(4, np.int32)}, "narrow_from is 4, and M is 3"),
        ({"narrow_from": np.array(-1, np.int32)}, "narrow_from is -1, and M is 3"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_damaged_gains_are_refused(three, changes: dict[str, np.ndarray], cause: str) -> None:
    with pytest.raises(InputError) as caught:
        read_gains({**RIGHT, **changes}, three)
    assert str(caught.value) == f"the bundle's gains are damaged ({cause}): get the bundle again"


@pytest.mark.parametrize("missing", sorted(RIGHT))
def test_an_array_that_is_missing_is_told(three, missing: str) -> None:
    held = {name: array for name, array in RIGHT.items() if name != missing}
    with pytest.raises(InputError, match=r"gains are damaged \(its arrays are "):
        read_gains(held, three)
