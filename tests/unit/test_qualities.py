import math

import numpy as np
import pytest

from hwkd import qualities
from hwkd.errors import InputError
from hwkd.qualities import gains, index_shifts, lmbda_at, log_gains

# Two channels, three anchors: at quality 1, 50.5 and 100.
ANCHORS = np.array([[-990, 0], [0, 0], [990, 256]], np.int16)


def test_lambda_is_geometric_between_its_ends() -> None:
    assert lmbda_at(1) == pytest.approx(0.0018)
    assert lmbda_at(100) == pytest.approx(0.18)
    assert lmbda_at(34) / lmbda_at(1) == pytest.approx(100 ** (33 / 99))


@pytest.mark.parametrize("quality", [0, 101, -1, True, 50.0, "50"])
def test_another_quality_is_refused(quality: object) -> None:
    with pytest.raises(InputError, match="whole number from 1 to 100"):
        lmbda_at(quality)  # type: ignore[arg-type]


def test_gains_are_linear_between_anchors_and_rounded_halves_up() -> None:
    # 99 steps of quality over two stretches: 990 falls by 20 a quality. The second channel rises by 512 / 99 = 5.17.
    assert log_gains(ANCHORS, 1).tolist() == [-990, 0]
    assert log_gains(ANCHORS, 2).tolist() == [-970, 0]
    assert log_gains(ANCHORS, 50).tolist() == [-10, 0]
    assert log_gains(ANCHORS, 51).tolist() == [10, 3]  # 256 / 99 = 2.59
    assert log_gains(ANCHORS, 99).tolist() == [970, 251]
    assert log_gains(ANCHORS, 100).tolist() == [990, 256]


def test_a_gain_shifts_the_index_by_its_logarithm() -> None:
    assert index_shifts(ANCHORS, 1).tolist() == [-4, 0]  # -990 / 256 = -3.87
    assert index_shifts(ANCHORS, 100).tolist() == [4, 1]
    step = math.log(256 / 0.11) / 63
    assert gains(ANCHORS, 100) == pytest.approx([math.exp(990 / 256 * step), math.exp(step)])


def test_a_shift_of_half_a_step_goes_up() -> None:
    anchors = np.array([[128, -128, 127, -129]] * 2, np.int16)
    assert index_shifts(anchors, 1).tolist() == [1, 0, 0, -1]


def test_at_the_highest_quality_a_symbol_is_four_steps_of_g_s() -> None:
    steps = 1 / (qualities.LARGEST_GAIN * qualities.Y_HAT_STEP)
    assert steps == pytest.approx(4)
