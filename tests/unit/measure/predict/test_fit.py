import numpy as np
import pytest

from hwkd.errors import InputError
from hwkd.measure.predict.fit import fit

DEVICES, NETWORKS, TERMS = 40, 24, 4
NOISE = 0.03


def made(noise=NOISE, devices=DEVICES):
    """(work [N, K], theta [D, K], ln_times [D, N]) drawn from the model itself: devices differ most in speed as a whole."""
    rng = np.random.default_rng(1)
    work = rng.lognormal(0, 1.5, (NETWORKS, TERMS)) * np.array([1e9, 1e8, 1e6, 30])
    mu = -np.log([1e8, 1e7, 1e5, 3])
    theta = mu + rng.normal(0, 0.7, (devices, 1)) + rng.normal(0, 0.3, (devices, TERMS))
    true = np.log(np.exp(theta) @ work.T)
    return work, theta, true + rng.normal(0, noise, true.shape)


def test_constants_behind_made_timings_are_found_again():
    work, theta, ln_times = made()
    fitted = fit(work, ln_times)
    error = fitted.theta - theta
    assert np.sqrt(np.mean(error**2)) < 0.06
    assert fitted.sigma == pytest.approx(NOISE, rel=0.15)


def test_the_covariance_tells_how_far_off_the_constants_are():
    work, theta, ln_times = made()
    fitted = fit(work, ln_times)
    error = fitted.theta - theta
    # The mean of a chi-square with as many degrees of freedom as there are terms, over many devices.
    distance = np.einsum("dk,dkl,dl->d", error, np.linalg.inv(fitted.covariance), error)
    assert np.mean(distance) == pytest.approx(TERMS, rel=0.35)


def test_the_spread_between_devices_and_that_of_the_errors_are_told_apart():
    # One term, two timings for each device: a standard deviation of 0.5 between devices, and of 0.5 for the errors.
    rng = np.random.default_rng(3)
    ln_times = rng.normal(0, 0.5, (600, 1)) + rng.normal(0, 0.5, (600, 2))
    fitted = fit(np.ones((2, 1)), ln_times)
    assert fitted.sigma == pytest.approx(0.5, rel=0.1)
    # Normal prior and two normal observations: the precisions add up.
    assert fitted.covariance[0, 0, 0] == pytest.approx(1 / (2 / 0.25 + 1 / 0.25), rel=0.15)
    # So a device's constant lies at 2 / 3 of the way from the mean of all to its own.
    own, of_all = ln_times.mean(1), ln_times.mean()
    way = np.polyfit(own - of_all, fitted.theta[:, 0] - of_all, 1)[0]
    assert way == pytest.approx(2 / 3, abs=0.07)


def test_a_prediction_sums_the_terms_and_carries_their_covariance():
    work, _, ln_times = made(devices=12)
    fitted = fit(work, ln_times)
    new = np.array([2e9, 0, 3e6, 10.0])
    ln_time, sd = fitted.predict(new)
    for d in range(12):
        parts = np.exp(fitted.theta[d]) * new
        share = parts / parts.sum()
        assert ln_time[d] == pytest.approx(np.log(parts.sum()), rel=1e-12)
        assert sd[d] == pytest.approx(np.sqrt(share @ fitted.covariance[d] @ share), rel=1e-9)


def test_a_network_missing_for_a_device_is_predicted_from_the_rest():
    work, _, ln_times = made()
    ln_times[3, 5] = np.nan
    # 2 % of noise in the answer and the spread of what was learned.
    expected = made(noise=0)[2][3, 5]
    ln_time, sd = fit(work, ln_times).predict(work[5])
    assert abs(ln_time[3] - expected) < 4 * sd[3] < 0.2


def test_what_a_devices_timings_leave_open_comes_from_the_other_devices():
    rng = np.random.default_rng(2)
    work = rng.lognormal(0, 1, (12, 2))
    work[:6, 1] = 0
    # On every device a unit of the second term takes 5 times that of the first, give or take 5 %.
    speed = rng.normal(0, 0.8, 30)
    theta = np.stack([speed, speed + np.log(5) + rng.normal(0, 0.05, 30)], 1)
    ln_times = np.log(np.exp(theta) @ work.T) + rng.normal(0, 0.01, (30, 12))
    ln_times[0, 6:] = np.nan  # nothing that has the second term
    fitted = fit(work, ln_times)
    assert fitted.theta[0, 1] - fitted.theta[0, 0] == pytest.approx(np.log(5), abs=0.15)
    # The prior's spread, which is told: more than for a device where the term was timed.
    assert fitted.covariance[0, 1, 1] > 3 * fitted.covariance[1, 1, 1]
    assert fitted.covariance[0, 0, 0] < 0.01


def test_another_unit_of_work_changes_the_constants_and_no_prediction():
    work, _, ln_times = made(devices=12)
    in_thousands = work / np.array([1, 1, 1000, 1])
    one, other = fit(work, ln_times), fit(in_thousands, ln_times)
    np.testing.assert_allclose(other.theta - one.theta, [[0, 0, np.log(1000), 0]] * 12, atol=1e-8)
    np.testing.assert_allclose(other.predict(in_thousands[0]), one.predict(work[0]), rtol=1e-8)


def test_devices_ten_times_as_slow_take_ten_times_as_long():
    work, _, ln_times = made(devices=12)
    one, other = fit(work, ln_times), fit(work, ln_times + np.log(10))
    np.testing.assert_allclose(other.theta, one.theta + np.log(10), atol=1e-8)
    assert other.sigma == pytest.approx(one.sigma, rel=1e-8)


def test_a_term_that_occurs_nowhere_changes_nothing_else():
    work, _, ln_times = made(devices=12)
    without = fit(work[:, :3], ln_times)
    with_it = fit(work * np.array([1, 1, 1, 0]), ln_times)
    # The other terms' marginal distribution is that of the fit without it.
    np.testing.assert_allclose(with_it.theta[:, :3], without.theta, atol=1e-8)
    np.testing.assert_allclose(with_it.covariance[:, :3, :3], without.covariance, atol=1e-8)
    assert np.isfinite(with_it.theta).all()


def test_the_order_of_devices_and_networks_does_not_matter():
    work, _, ln_times = made(devices=12)
    one, other = fit(work, ln_times), fit(work[::-1], ln_times[::-1, ::-1])
    np.testing.assert_allclose(other.theta[::-1], one.theta, atol=1e-8)


def test_one_device_alone_can_be_fitted():
    work, theta, ln_times = made(devices=1)
    ln_time, _ = fit(work, ln_times).predict(work[0])
    assert ln_time[0] == pytest.approx(np.log(np.exp(theta[0]) @ work[0]), abs=0.15)


def test_shapes_that_do_not_fit_are_refused():
    work, _, ln_times = made(devices=3)
    with pytest.raises(InputError, match=r"^24 columns of times do not fit 23 rows of work$"):
        fit(work[:-1], ln_times)


def test_a_device_without_timings_is_refused():
    work, _, ln_times = made(devices=3)
    ln_times[1] = np.nan
    with pytest.raises(InputError, match=r"^a device without timings cannot be fitted"):
        fit(work, ln_times)


def test_a_network_without_work_is_refused():
    work, _, ln_times = made(devices=3)
    work[2] = 0
    with pytest.raises(InputError, match=r"^a network without work cannot be fitted"):
        fit(work, ln_times)
