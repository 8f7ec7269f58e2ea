import math

import numpy as np
import pytest

from hwkd.errors import InputError
from hwkd.measure.layers import TERMS as TERMS_COST_PREDICT
from hwkd.measure.layers import LayerCost
from hwkd.measure.predict.fit import Prediction, _shrunk, fit, predict, together
from hwkd.target import Constants

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
    np.testing.assert_allclose(fitted.sigma, NOISE, rtol=0.35)
    assert np.mean(fitted.sigma) == pytest.approx(NOISE, rel=0.15)


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
    np.testing.assert_allclose(fitted.sigma, 0.5, rtol=0.1)
    # Normal prior and two normal observations: the precisions add up.
    assert fitted.covariance[0, 0, 0] == pytest.approx(1 / (2 / 0.25 + 1 / 0.25), rel=0.15)
    # So a device's constant lies at 2 / 3 of the way from the mean of all to its own.
    own, of_all = ln_times.mean(1), ln_times.mean()
    way = np.polyfit(own - of_all, fitted.theta[:, 0] - of_all, 1)[0]
    assert way == pytest.approx(2 / 3, abs=0.07)


def test_a_devices_errors_are_its_own_shrunk_towards_those_of_the_others():
    """Half of the devices are three times as noisy; no device's error comes out as the mean of all."""
    work, _, exact = made(noise=0)
    noise = np.where(np.arange(DEVICES) % 2, 0.03, 0.09)[:, None]
    fitted = fit(work, exact + np.random.default_rng(4).normal(0, 1, exact.shape) * noise)
    for of_half, expected in ((fitted.sigma[1::2], 0.03), (fitted.sigma[::2], 0.09)):
        assert np.median(of_half) == pytest.approx(expected, rel=0.15)


def test_variances_are_shrunk_by_the_degrees_of_freedom_that_the_devices_show():
    """Drawn from the model: a prior of 8 degrees of freedom and 0.04, beside 24 errors of each device."""
    rng = np.random.default_rng(5)
    variances = 0.04 * 8 / rng.chisquare(8, 20_000)
    number = np.full(20_000, 24)
    squares = variances * rng.chisquare(24, 20_000)
    expected = (squares + 8 * 0.04) / (24 + 8)
    np.testing.assert_allclose(_shrunk(squares, number), expected, rtol=0.03)


def test_devices_that_differ_by_chance_only_share_one_variance():
    squares = 0.04 * np.array([23.0, 24.0, 25.0, 24.0])  # less than chance alone
    np.testing.assert_allclose(_shrunk(squares, np.full(4, 24)), 0.04)


def test_a_prediction_sums_the_terms_and_carries_their_covariance():
    work, _, ln_times = made(devices=12)
    fitted = fit(work, ln_times)
    new = np.array([2e9, 0, 3e6, 10.0])
    ln_time, sd = fitted.predict(new)
    for d in range(12):
        parts = np.exp(fitted.theta[d]) * new
        share = parts / parts.sum()
        assert ln_time[d] == pytest.approx(np.log(parts.sum()), rel=1e-12)
        variance = share @ fitted.covariance[d] @ share + fitted.sigma[d] ** 2
        assert sd[d] == pytest.approx(np.sqrt(variance), rel=1e-9)


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
    np.testing.assert_allclose(other.sigma, one.sigma, rtol=1e-8)


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


# Nanoseconds for a unit of each term; what is not named here takes e.
NS = {"pointwise": 0.5, "spatial": 2.0, "values": 4.0, "nonlinear": 10.0, "calls": 1000.0}


def constants(**fields):
    return Constants(
        **(
            {
                "unit": "cpu",
                "precision": "fp32",
                "threads": 1,
                "runtime": "ncnn",
                "device": "a board",
                "is_same_device": True,
                "source": "a table",
                "scheme": "kinds",
                "networks": 18,
                "sigma": 0.3,
                "unseen": 0.8,
                "ln_ns": {
                    term: math.log(NS[term]) if term in NS else 1.0 for term in TERMS_COST_PREDICT
                },
            }
            | fields
        )
    )


def layer(operator="conv", kernel=1, stride=1):
    """Between 64 channels, where a MAC weighs 1; 6000 values in, 4000 out, a million MACs."""
    return LayerCost(
        name="a",
        network="g_a",
        operator=operator,
        c_in=64,
        c_out=64,
        kernel=kernel,
        stride=stride,
        groups=1,
        in_values=6000,
        out_values=4000,
        weights=100,
        macs=1_000_000,
    )


def test_a_layer_takes_the_sum_of_its_terms():
    # 1e6 x 0.5 + 10,000 x 4 + 1000 ns
    prediction = predict([layer()], constants())
    assert prediction.ms == pytest.approx(0.541, rel=1e-12)
    assert prediction.ln_sd == pytest.approx(0.3, rel=1e-12)
    assert prediction.unseen_share == 0


def test_layers_add_up():
    # The second: 1e6 x 2 + 10,000 x 4 + 1000 ns; a nonlinear function: 4000 x 10 ns.
    layers = [layer(), layer(kernel=5, stride=2), layer("nonlinear")]
    assert predict(layers, constants()).ms == pytest.approx(0.541 + 2.041 + 0.04, rel=1e-12)


def test_the_interval_holds_90_percent_of_a_log_normal():
    prediction = predict([layer()], constants(sigma=0.5))
    # 1.6449 standard deviations to each side.
    assert prediction.low == pytest.approx(0.541 * math.exp(-1.6449 * 0.5), rel=1e-6)
    assert prediction.high == pytest.approx(0.541 * math.exp(1.6449 * 0.5), rel=1e-6)


def test_the_uncertainty_of_the_terms_counts_by_their_shares():
    names = ("pointwise", "values", "calls")
    ln_ns = {name: math.log(NS[name]) for name in names}
    covariance = ((0.04, -0.01, 0.0), (-0.01, 0.09, 0.02), (0.0, 0.02, 0.16))
    p, v, c = 500 / 541, 40 / 541, 1 / 541
    variance = 0.04 * p * p + 0.09 * v * v + 0.16 * c * c - 2 * 0.01 * p * v + 2 * 0.02 * v * c
    prediction = predict([layer()], constants(ln_ns=ln_ns, covariance=covariance))
    assert prediction.ln_sd == pytest.approx(math.sqrt(0.3**2 + variance), rel=1e-12)


def test_the_order_of_the_terms_in_the_file_is_that_of_the_covariance():
    covariance = ((0.0, 0.0), (0.0, 0.25))
    seen = constants(ln_ns={"values": 0.0, "nonlinear": 0.0}, covariance=covariance, sigma=0.0)
    assert predict([layer("pool")], seen).ln_sd == 0
    assert predict([layer("nonlinear")], seen).ln_sd == 0.5


@pytest.mark.parametrize(("operator", "unseen_ms"), [("transposed", 2.041), ("gdn", 0.581)])
def test_layers_of_a_kind_that_nobody_timed_widen_the_interval_by_their_share(operator, unseen_ms):
    # gdn: as a pointwise layer (0.541 ms) and 4000 x 10 ns.
    prediction = predict([layer(), layer(operator, 5, 2)], constants())
    share = unseen_ms / (0.541 + unseen_ms)
    assert prediction.ms == pytest.approx(0.541 + unseen_ms, rel=1e-12)
    assert prediction.unseen_share == pytest.approx(share, rel=1e-12)
    assert prediction.ln_sd == pytest.approx(math.hypot(0.3, 0.8 * share), rel=1e-12)


def test_shapes_have_rates_of_their_own():
    ln_ns = {"conv5s2.macs": 0.0, "any.macs": math.log(3), "rest.values": math.log(2)}
    mine = constants(scheme="shapes", ln_ns=ln_ns)
    # 1e6 ns + 4000 x 2 ns, and for a shape that was not profiled 3e6 + 8000 ns.
    prediction = predict([layer(kernel=5, stride=2), layer()], mine)
    assert prediction.ms == pytest.approx(1.008 + 3.008, rel=1e-12)
    assert prediction.unseen_share == pytest.approx(3.008 / 4.016, rel=1e-12)


def test_errors_of_parts_one_after_the_other_add():
    whole = together([Prediction(3.0, 0.2, 0.5), Prediction(1.0, 0.4, 0.0)])
    assert whole.ms == 4
    assert whole.ln_sd == pytest.approx(0.75 * 0.2 + 0.25 * 0.4, rel=1e-12)
    assert whole.unseen_share == pytest.approx(0.375, rel=1e-12)


def test_one_part_together_is_itself():
    whole = together([Prediction(3.0, 0.2, 0.5)])
    assert (whole.ms, whole.unseen_share) == (3.0, 0.5)
    assert whole.ln_sd == pytest.approx(0.2, rel=1e-12)


def test_no_layers_are_refused():
    with pytest.raises(InputError, match=r"^nothing to predict: got no layers$"):
        predict([], constants())


def test_constants_that_lack_a_term_are_refused():
    with pytest.raises(InputError) as caught:
        predict([layer()], constants(ln_ns={"pointwise": 0.0}))
    assert str(caught.value).startswith(
        "ln_ns of the constants of cpu fp32, 1 thread lacks values, calls, which layer a has"
    )


def test_shapes_without_any_rate_for_the_layers_are_refused():
    mine = constants(scheme="shapes", ln_ns={"gdn.macs": 0.0})
    with pytest.raises(InputError, match=r"has no term of these layers$"):
        predict([layer()], mine)
