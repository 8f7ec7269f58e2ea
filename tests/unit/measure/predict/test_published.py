import json
import math
from dataclasses import replace

import numpy as np
import pytest

from hwkd.errors import InputError
from hwkd.measure.layers import TERMS, LayerCost
from hwkd.measure.predict.published import (
    Accuracy,
    Configuration,
    CrossValidation,
    Population,
    _widening,
    leave_networks_out,
    population,
    read_timings,
)

NETWORKS = [f"n{i}" for i in range(10)]


def layer(macs, operator="conv"):
    """A pointwise convolution between 64 channels, where a MAC weighs 1; 50 values in and out."""
    return LayerCost(
        name="a",
        network="",
        operator=operator,
        c_in=64,
        c_out=64,
        kernel=1,
        stride=1,
        groups=1,
        in_values=20,
        out_values=30,
        weights=1,
        macs=macs,
    )


LAYERS = {name: (layer(1000), layer(500)) for name in NETWORKS}


@pytest.fixture
def table(tmp_path):
    """table(rows, networks=..): the timings read from a file; a row is (device, threads, gpu, times)."""

    def make(rows, networks=(*NETWORKS, "n3_int8", "unheard-of")):
        path = tmp_path / "timings.json"
        rows = [{"device": d, "threads": t, "gpu": g, "ms": ms} for d, t, g, ms in rows]
        path.write_text(json.dumps({"source": "a page", "networks": list(networks), "rows": rows}))
        return read_timings(path)

    return make


FULL = [*range(1, 11), 20, 99]


def test_the_shipped_table_has_cpus_and_gpus_with_their_source():
    timings = read_timings()
    assert timings.source.startswith("Tencent/ncnn benchmark/README.md at ")
    assert {c.gpu >= 0 for c in timings.configurations} == {True, False}
    names = timings.networks
    assert names[0] == "squeezenet" and names[-1] == "mobilenet_ssd_int8"
    assert all(len(row) == len(names) for row in timings.ms)


def test_rows_become_configurations_with_their_times(table):
    timings = table([("a board", 4, -1, FULL)])
    assert timings.configurations == (Configuration("a board", 4, -1, "ncnn", "a page"),)
    assert timings.ms == (tuple(float(t) for t in FULL),)


def test_a_configuration_says_where_it_ran():
    assert str(Configuration("a board", 4, -1)) == "a board, CPU, 4 threads"
    assert str(Configuration("a board", 1, 0)) == "a board, GPU 0, 1 thread"


def test_networks_of_both_precisions_become_columns_and_unknown_ones_do_not(table):
    found = population(table([("a board", 4, -1, FULL)]), LAYERS, of_gpus=False)
    assert found.name == "CPU"
    assert found.columns == (*((name, False) for name in NETWORKS), ("n3", True))
    np.testing.assert_allclose(found.ln_times, [[math.log(t) for t in [*range(1, 11), 20]]])
    assert found.is_int8.tolist() == [False] * 10 + [True]


def test_the_work_of_int8_has_terms_of_its_own(table):
    found = population(table([("a board", 4, -1, FULL)]), LAYERS, of_gpus=False)
    assert found.terms == tuple((t, is_int8) for is_int8 in (False, True) for t in TERMS)
    expected = {"pointwise": 1500, "values": 100, "calls": 2}
    for n, (_, is_int8) in enumerate(found.columns):
        row = dict(zip(found.terms, found.work[n], strict=True))
        mine = {term: amount for (term, of), amount in row.items() if of == is_int8 and amount}
        assert mine == pytest.approx(expected)
        assert not any(amount for (_, of), amount in row.items() if of != is_int8)


def test_gpus_stand_apart_and_their_int8_is_left_out(table):
    timings = table([("a board", 4, -1, FULL), ("a board", 4, 0, FULL), ("other", 1, 1, FULL)])
    found = population(timings, LAYERS, of_gpus=True)
    assert found.name == "GPU"
    assert [str(c) for c in found.configurations] == [
        "a board, GPU 0, 4 threads",
        "other, GPU 1, 1 thread",
    ]
    assert found.columns == tuple((name, False) for name in NETWORKS)
    assert found.terms == tuple((term, False) for term in TERMS)
    assert found.work.shape == (10, len(TERMS))


def test_a_missing_time_is_not_a_number(table):
    ms = [*range(1, 11), None, 99]
    found = population(table([("a board", 4, -1, ms)]), LAYERS, of_gpus=False)
    assert np.isnan(found.ln_times[0]).tolist() == [False] * 10 + [True]


def test_a_configuration_with_fewer_than_ten_float_networks_is_left_out(table):
    few = [None, *FULL[1:]]
    timings = table([("few", 4, -1, few), ("a board", 4, -1, FULL)])
    found = population(timings, LAYERS, of_gpus=False)
    assert [c.device for c in found.configurations] == ["a board"]
    with pytest.raises(InputError, match=r"^no CPU has timings of 10 known networks; got 1 rows$"):
        population(table([("few", 4, -1, few)]), LAYERS, of_gpus=False)


def test_without_gpus_there_is_no_population_of_them(table):
    with pytest.raises(InputError, match=r"^no GPU has timings of 10 known networks; got 1 rows$"):
        population(table([("a board", 4, -1, FULL)]), LAYERS, of_gpus=True)


def test_a_device_published_twice_stands_twice(table):
    timings = table([("a board", 4, -1, FULL), ("a board", 4, -1, FULL)])
    assert len(population(timings, LAYERS, of_gpus=False).configurations) == 2


@pytest.mark.parametrize(
    ("ms", "message"),
    [
        ([1.0], "a board, CPU, 4 threads has 1 times for 2 networks"),
        ([1.0, 0.0], "a board, CPU, 4 threads has a time of 0.0 ms; above 0 is accepted"),
        ([1.0, -2.0], "a board, CPU, 4 threads has a time of -2.0 ms; above 0 is accepted"),
        ([1.0, math.nan], "a board, CPU, 4 threads has a time of nan ms; above 0 is accepted"),
        ([1.0, math.inf], "a board, CPU, 4 threads has a time of inf ms; above 0 is accepted"),
    ],
)
def test_times_that_cannot_be_are_refused(table, tmp_path, ms, message):
    with pytest.raises(InputError) as caught:
        table([("a board", 4, -1, ms)], networks=("n0", "n1"))
    assert str(caught.value) == f"{tmp_path / 'timings.json'}: {message}"


@pytest.mark.parametrize(
    "content",
    ["[]", '{"source": "a"}', '{"source": "a", "networks": [], "rows": [{"device": "b"}]}'],
)
def test_another_form_is_refused(tmp_path, content):
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        read_timings(path)
    assert str(caught.value).startswith(f"{path} is no table of timings (")
    assert str(caught.value).endswith(
        "it needs source, networks and rows of device, threads, gpu, ms"
    )


def test_a_file_that_is_not_there_or_not_json_is_refused(tmp_path):
    path = tmp_path / "no.json"
    with pytest.raises(InputError) as caught:
        read_timings(path)
    assert str(caught.value) == (
        f"cannot read the timings {path}: No such file or directory; give a JSON file with source, networks and rows of "
        "device, threads, gpu, ms"
    )
    path.write_text("{")
    with pytest.raises(InputError) as caught:
        read_timings(path)
    assert str(caught.value).startswith(f"{path} is not JSON (")


DEVICES, NETWORKS_LEFT_OUT, INT8 = 12, 12, 5


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
    return drawn(DEVICES, NETWORKS_LEFT_OUT, INT8)


@pytest.fixture(scope="module")
def left_out(made):
    return leave_networks_out(made)


def test_the_intervals_hold_about_as_many_as_they_claim():
    accuracy = leave_networks_out(drawn(24, 14, 0)).accuracy()
    assert accuracy.count == 24 * 14 - 1
    assert 0.80 <= accuracy.coverage <= 0.98


def test_what_networks_have_in_common_on_all_devices_widens_the_intervals():
    """Each network takes longer or shorter than its terms say, on every device alike, which no fit with it shows."""
    made = drawn(24, 14, 0)
    common = np.random.default_rng(7).normal(0, 0.3, 14)
    found = leave_networks_out(replace(made, ln_times=made.ln_times + common))
    plain = leave_networks_out(made)
    assert found.widening[0] > 1.2 * plain.widening[0]
    assert np.ptp(found.widening) == 0
    assert 0.80 <= found.accuracy().coverage <= 0.98
    unwidened = found.ln_sd / found.widening[:, None]
    assert Accuracy.of(found.ln_error, unwidened).coverage < found.accuracy().coverage


def test_a_runtime_with_enough_errors_is_widened_by_its_own():
    made = drawn(24, 14, 0)
    runtimes = ["ncnn"] * 16 + ["other"] * 7 + ["rare"]
    named = [replace(c, runtime=r) for c, r in zip(made.configurations, runtimes, strict=True)]
    squares = np.full((24, 14), 4.0)
    squares[16:23], squares[23] = 1.0, 100.0
    population = replace(made, configurations=tuple(named))
    widening = _widening(population, squares)
    # Of 14 errors of the rare one all runtimes count: (16 x 4 + 7 + 100) / 24.
    assert widening[[0, 16, 23]].tolist() == pytest.approx([2.0, 1.0, math.sqrt(171 / 24)])


def test_what_was_not_published_has_no_error(left_out):
    assert np.isnan(left_out.ln_error[2, 7])
    assert np.isfinite(left_out.ln_error).sum() == DEVICES * (NETWORKS_LEFT_OUT + INT8) - 1


def test_each_network_is_told_once(made):
    told = []
    leave_networks_out(replace(made, ln_times=made.ln_times[:3], configurations=()), told.append)
    assert told == [f"n{i}" for i in range(NETWORKS_LEFT_OUT)]


def test_the_network_left_out_is_not_used_in_either_precision(made, left_out):
    columns = [1, NETWORKS_LEFT_OUT + 1]
    assert [made.columns[n] for n in columns] == [("n1", False), ("n1", True)]
    ln_times = made.ln_times.copy()
    ln_times[:, columns] += np.random.default_rng(6).normal(1, 1, (DEVICES, 2))
    other = leave_networks_out(replace(made, ln_times=ln_times))
    before = (left_out.ln_error + made.ln_times)[:, columns]
    np.testing.assert_allclose((other.ln_error + ln_times)[:, columns], before, atol=1e-9)
    # But for the one factor that the other networks' errors give, in whose fits it was.
    factor = (other.ln_sd / left_out.ln_sd)[:, columns]
    np.testing.assert_allclose(factor, factor[0, 0], rtol=1e-9)
    assert factor[0, 0] == pytest.approx(1, abs=0.5)
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
    error = np.full((DEVICES, NETWORKS_LEFT_OUT + INT8), np.nan)
    error[0, 0], error[0, 1], error[1, 0] = math.log(1.1), math.log(1.2), math.log(1.4)
    of = CrossValidation(made, error, np.ones_like(error), np.ones(DEVICES))
    first_row = np.arange(DEVICES) == 0
    first_column = np.arange(NETWORKS_LEFT_OUT + INT8) == 0
    assert of.accuracy().count == 3
    assert of.accuracy(rows=first_row).median_error_percent == pytest.approx(15)
    assert of.accuracy(columns=first_column).median_error_percent == pytest.approx(25)
    assert of.accuracy(first_row, first_column).median_error_percent == pytest.approx(10)
    assert of.accuracy(rows=~first_row, columns=~first_column).count == 0
