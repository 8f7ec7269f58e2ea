import math

import numpy as np
import pytest

from hwkd.errors import InputError
from hwkd.metrics import (
    MS_SSIM,
    Curve,
    bd_psnr_db,
    bd_rate_percent,
    mse,
    psnr_db,
    rate_change_percent,
    shared_range,
)

ANCHOR = Curve("anchor", (0.25, 0.5, 1.0, 2.0), (28.0, 31.0, 34.0, 38.0))


def test_psnr_of_a_constant_error_is_its_closed_form():
    a = np.full((4, 5, 3), 100, np.uint8)
    assert psnr_db(a, a + 10) == pytest.approx(20 * math.log10(25.5))
    assert mse(a + 10, a) == 100.0


def test_psnr_averages_the_error_over_all_channels_first():
    a = np.zeros((1, 1, 3), np.uint8)
    b = np.array([[[30, 0, 0]]], np.uint8)
    assert psnr_db(a, b) == pytest.approx(10 * math.log10(255**2 / 300))


def test_psnr_of_identical_images_is_infinite():
    a = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert psnr_db(a, a) == math.inf


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.3])
def test_bd_rate_of_a_rate_times_a_factor_is_that_factor(factor):
    test = Curve("test", tuple(factor * r for r in ANCHOR.bpp), ANCHOR.psnr_db)
    assert bd_rate_percent(ANCHOR, test) == pytest.approx(100 * (factor - 1))


def test_bd_psnr_of_a_shifted_curve_is_the_shift():
    test = Curve("test", ANCHOR.bpp, tuple(d - 0.7 for d in ANCHOR.psnr_db))
    assert bd_psnr_db(ANCHOR, test) == pytest.approx(-0.7)


def test_bd_rate_of_two_straight_lines_is_the_integral_over_the_shared_range():
    # log10 bpp = psnr / 10 - 3 and = psnr / 10 - 3 + (psnr - 30) / 20: over 30..40 they are 0.25 apart on average.
    a = Curve("a", (1.0, 10.0), (30.0, 40.0))
    b = Curve("b", (10**-0.75, 10**0.75, 10**2.25), (25.0, 35.0, 45.0))
    assert shared_range(a, b) == (30.0, 40.0)
    assert bd_rate_percent(a, b) == pytest.approx(100 * (10**0.25 - 1))


def test_bd_figures_do_not_depend_on_the_order_of_points():
    test = Curve("test", (2.2, 0.2, 0.9), (38.0, 28.0, 34.0))
    ordered = Curve("test", (0.2, 0.9, 2.2), (28.0, 34.0, 38.0))
    assert bd_rate_percent(ANCHOR, test) == bd_rate_percent(ANCHOR, ordered)


def test_bd_figures_need_two_points():
    with pytest.raises(
        InputError, match="curve 'one' has one point; a BD figure needs two or more"
    ):
        bd_rate_percent(ANCHOR, Curve("one", (0.5,), (30.0,)))


def test_bd_rate_needs_shared_psnrs():
    far = Curve("far", (3.0, 4.0), (40.0, 42.0))
    with pytest.raises(InputError, match=r"'far' \(40.000 to 42.000 dB\).*share no range"):
        bd_rate_percent(ANCHOR, far)
    with pytest.raises(InputError, match=r"'far' \(3.000 to 4.000 bpp\).*share no range"):
        bd_psnr_db(ANCHOR, far)


def test_bd_rate_at_equal_ms_ssim_is_over_its_distance_from_1_in_db():
    # 0.9, 0.99 and 0.999 are 10, 20 and 30 dB: log10 bpp = dB / 10 - 2, and half of that rate.
    a = Curve("a", (0.1, 1.0), (30.0, 31.0), (0.9, 0.99))
    b = Curve("b", (0.5, 5.0), (36.0, 50.0), (0.99, 0.999))
    wide = Curve("wide", (0.1, 1.0, 10.0), (30.0, 31.0, 32.0), (0.9, 0.99, 0.999))
    assert shared_range(wide, b, MS_SSIM) == (0.99, 0.999)
    assert bd_rate_percent(wide, b, MS_SSIM) == pytest.approx(-50)
    with pytest.raises(InputError, match=r"'b' \(0.990 to 0.999 in MS-SSIM\).*share no range"):
        bd_rate_percent(a, b, MS_SSIM)


@pytest.mark.parametrize(
    ("ms_ssim", "message"),
    [
        (None, "curve 'c' tells no MS-SSIM"),
        ((0.9, 1.0), "curve 'c' has an MS-SSIM of 1; below 1 is accepted"),
        ((0.9, 0.89), "a BD figure needs MS-SSIM that grows with the rate"),
    ],
)
def test_ms_ssim_that_has_no_place_on_the_axis_is_told(ms_ssim, message):
    anchor = Curve("anchor", (0.1, 1.0), (30.0, 31.0), (0.8, 0.99))
    with pytest.raises(InputError, match=message):
        bd_rate_percent(anchor, Curve("c", (0.1, 1.0), (30.0, 31.0), ms_ssim), MS_SSIM)


def test_bd_figures_need_quality_that_grows_with_the_rate():
    bent = Curve("bent", (0.3, 0.6, 0.9), (30.0, 33.0, 32.0))
    with pytest.raises(InputError, match="curve 'bent' does not rise from"):
        bd_rate_percent(ANCHOR, bent)


def test_change_of_rate_at_one_psnr_is_read_off_the_anchors_logarithm():
    # log10 bpp = psnr / 10 - 3: at 35 dB the anchor takes 10^0.5 bpp.
    line = Curve("line", (1.0, 10.0), (30.0, 40.0))
    assert rate_change_percent(line, 2 * 10**0.5, 35.0) == pytest.approx(100)
    assert rate_change_percent(line, 5.0, 40.0) == pytest.approx(-50)
    assert rate_change_percent(line, 1.0, 30.0) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("psnr", [27.99, 38.01])
def test_there_is_no_change_of_rate_beyond_the_anchor(psnr):
    message = f"{psnr:.2f} dB is outside of anchor's 28.00 to 38.00 dB"
    with pytest.raises(InputError, match=message):
        rate_change_percent(ANCHOR, 0.5, psnr)


def test_a_change_of_rate_needs_an_anchor_that_is_a_rising_curve():
    with pytest.raises(InputError, match="curve 'one' has one point"):
        rate_change_percent(Curve("one", (0.5,), (30.0,)), 0.5, 30.0)
    with pytest.raises(InputError, match="curve 'bent' does not rise from"):
        rate_change_percent(Curve("bent", (0.3, 0.6, 0.9), (30.0, 33.0, 32.0)), 0.5, 31.0)


@pytest.mark.parametrize(
    ("bpp", "psnr", "message"),
    [
        ((), (), "has 0 rates"),
        ((1.0,), (30.0, 31.0), "has 1 rates, 2 PSNRs"),
        ((0.0,), (30.0,), "must be above 0"),
        ((1.0,), (math.inf,), "not finite"),
    ],
)
def test_curve_refuses_what_is_not_a_curve(bpp, psnr, message):
    with pytest.raises(InputError, match=message):
        Curve("c", bpp, psnr)
