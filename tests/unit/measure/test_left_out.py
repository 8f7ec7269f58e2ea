import math
from dataclasses import replace

import numpy as np
import pytest

from hwkd.measure.layers import TERMS
from hwkd.measure.left_out import Accuracy, LeftOut, leave_networks_out
from hwkd.measure.predict.published import Configuration, Population

DEVICES, NETWORKS, INT8 = 12, 12, 5


def drawn(devices, networks, int8):
    """Timings of float networks and of some in int8, drawn from the model itself with an error of 10 %."""
    rng = np.random.default_rng(5)
    k = len(TERMS)
    precisions = (False, True) if int8 else (False,)
    amounts = rng.lognormal(0, 1, (networks, k))
    work = np.zeros((networks + int8, len(precisions) * k))
    work[:networks, :k] = amounts
    work[networks:, k:] = amounts[:int8, : work.shape[1] - k]
    theta = rng.normal(0, 0.7, (devices, 1)) + rng.normal(0, 0.3, (devices, work.shape[1]))
    ln_times = np.log(np.exp(theta) @ work.T) + rng.normal(0, 0.1, (devices, networks + int8))
    ln_times[2, 7] = np.nan
    names = [f"n{i}" for i in range(networks)]
    return Population(
        name="CPU",
        configurations=tuple(Configuration(f"d{i}", 1, -1) for i in range(devices)),
        columns=(*((name, False) for name in names), *((name, True) for name in names[:int8])),
        terms=tuple((term, is_int8) for is_int8 in precisions for term in TERMS),
        work=work,
        ln_times=ln_times,
    )


@pytest.fixture(scope="module")
def made():
    return drawn(DEVICES, NETWORKS, INT8)


@pytest.fixture(scope="module")
def left_out(made):
    return leave_networks_out(made)


def test_the_intervals_hold_about_as_many_as_they_claim():
    accuracy = leave_networks_out(drawn(24, 14, 0)).accuracy()
    assert accuracy.count == 24 * 14 - 1
    assert 0.80 <= accuracy.coverage <= 0.98


def test_what_was_not_published_has_no_error(left_out):
    assert np.isnan(left_out.ln_error[2, 7])
    assert np.isfinite(left_out.ln_error).sum() == DEVICES * (NETWORKS + INT8) - 1


def test_each_network_is_told_once(made):
    told = []
    leave_networks_out(replace(made, ln_times=made.ln_times[:3], configurations=()), told.append)
    assert told == [f"n{i}" for i in range(NETWORKS)]


def test_the_network_left_out_is_not_used_in_either_precision(made, left_out):
    columns = [1, NETWORKS + 1]
    assert [made.columns[n] for n in columns] == [("n1", False), ("n1", True)]
    ln_times = made.ln_times.copy()
    ln_times[:, columns] += np.random.default_rng(6).normal(1, 1, (DEVICES, 2))
    other = leave_networks_out(replace(made, ln_times=ln_times))
    before = (left_out.ln_error + made.ln_times)[:, columns]
    np.testing.assert_allclose((other.ln_error + ln_times)[:, columns], before, atol=1e-9)
    np.testing.assert_allclose(other.ln_sd[:, columns], left_out.ln_sd[:, columns], atol=1e-9)
    # While the predictions of another network do change.
    change = (other.ln_error + ln_times)[:, 0] - (left_out.ln_error + made.ln_times)[:, 0]
    assert np.abs(change).max() > 0.01


def test_a_network_that_alone_has_some_kind_of_work_is_not_predicted(made):
    work = made.work.copy()
    work[np.arange(len(work)) != 4, 3] = 0
    told = leave_networks_out(replace(made, work=work))
    assert np.isnan(told.ln_error[:, 4]).all()
    assert np.isfinite(told.ln_error[:, 3]).all()


def test_accuracy_by_hand():
    errors = np.log([1.1, 0.8, 1.3])
    # Errors of 10, 20 and 30 %; at the 90th percentile 20 + 0.8 x 10. 1.6449 x 0.1 holds ln 1.1 = 0.095 only.
    accuracy = Accuracy.of(errors, np.full(3, 0.1))
    assert accuracy.count == 3
    assert accuracy.median_error_percent == pytest.approx(20, rel=1e-9)
    assert accuracy.p90_error_percent == pytest.approx(28, rel=1e-9)
    assert accuracy.coverage == pytest.approx(1 / 3)
    assert accuracy.bias_percent == pytest.approx(10, rel=1e-9)


def test_the_end_of_an_interval_belongs_to_it():
    assert Accuracy.of(np.array([1.6449 * 0.1]), np.array([0.1])).coverage == 1


def test_accuracy_of_nothing_is_unknown():
    assert Accuracy.of(np.array([]), np.array([])) == Accuracy(0, None, None, None, None)


def test_rows_and_columns_choose(made):
    error = np.full((DEVICES, NETWORKS + INT8), np.nan)
    error[0, 0], error[0, 1], error[1, 0] = math.log(1.1), math.log(1.2), math.log(1.4)
    of = LeftOut(made, error, np.ones_like(error))
    first_row = np.arange(DEVICES) == 0
    first_column = np.arange(NETWORKS + INT8) == 0
    assert of.accuracy().count == 3
    assert of.accuracy(rows=first_row).median_error_percent == pytest.approx(15)
    assert of.accuracy(columns=first_column).median_error_percent == pytest.approx(25)
    assert of.accuracy(first_row, first_column).median_error_percent == pytest.approx(10)
    assert of.accuracy(rows=~first_row, columns=~first_column).count == 0
