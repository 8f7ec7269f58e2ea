import math
from dataclasses import replace

import numpy as np
import pytest

from hwkd.errors import InputError
from hwkd.facts import Fact
from hwkd.measure.layers import TERMS
from hwkd.measure.left_out import LeftOut
from hwkd.measure.predict.constants import Fitted, constants_of
from hwkd.measure.predict.fit import Fit
from hwkd.measure.predict.published import Configuration, Population
from hwkd.target import load_target

K = len(TERMS)
CPU_TERMS = tuple((term, is_int8) for is_int8 in (False, True) for term in TERMS)
NONLINEAR = TERMS.index("nonlinear")


def fitted(name, configurations, seed=0):
    """A population and a fit of it with made-up numbers; two networks in float, the first in int8 too on CPUs."""
    rng = np.random.default_rng(seed)
    columns = [("a", False), ("b", False), ("a", True)] if name == "CPU" else [("a", False)]
    terms = CPU_TERMS if name == "CPU" else CPU_TERMS[:K]
    rows = len(configurations)
    work = np.zeros((len(columns), len(terms)))
    for n, (_, is_int8) in enumerate(columns):
        work[n, K * is_int8 : K * is_int8 + K] = 1.0
        if is_int8:
            work[n, K + NONLINEAR] = 0.0
    half = rng.normal(0, 0.1, (rows, len(terms), len(terms)))
    theta = rng.normal(-10, 1, (rows, len(terms)))
    population = Population(
        name, tuple(configurations), tuple(columns), terms, work, np.zeros((rows, len(columns)))
    )
    error = np.log(1 + 0.1 * (1 + np.arange(rows * len(columns)).reshape(rows, -1)))
    return Fitted(
        LeftOut(population, error, np.full_like(error, 10.0)),
        Fit(theta, half @ half.transpose(0, 2, 1), 0.123456),
    )


@pytest.fixture
def board():
    """board(cores=4): a target with one CPU that names "a board"; None: nobody knows its cores."""

    def make(cores=4):
        target = load_target("raspberry-pi-4")
        unknown = "" if cores else "a class of machines"
        fact = Fact(cores, unknown=unknown, confidence="S", source="a page")
        timings = replace(target.cpu.timings, device="a board")
        unit = replace(target.cpu, timings=timings, cores=fact)
        return replace(target, units=(unit,), constants=())

    return make


def cpus(*threads, device="a board"):
    return [Configuration(device, t, -1) for t in threads]


def test_constants_are_those_of_the_fit_in_nanoseconds(board):
    of = fitted("CPU", cpus(4))
    found = constants_of(board(), "a table", [of])
    assert [str(c) for c in found] == ["cpu fp32, 4 threads", "cpu int8, 4 threads"]
    for c, first in zip(found, (0, K), strict=True):
        for term, place in zip(TERMS, range(first, first + K), strict=True):
            if (term, first) != ("nonlinear", K):
                expected = of.fit.theta[0, place] + math.log(1e6)
                assert c.ln_ns[term] == pytest.approx(expected, abs=0.00006)
        assert (c.scheme, c.sigma, c.source, c.device) == ("kinds", 0.1235, "a table", "a board")
    assert (found[0].networks, found[1].networks) == (2, 1)
    np.testing.assert_allclose(found[0].covariance, of.fit.covariance[0, :K, :K], atol=0.00006)


def test_a_term_that_no_int8_network_has_is_the_float_one(board):
    of = fitted("CPU", cpus(4))
    in_float, in_int8 = constants_of(board(), "a table", [of])
    assert in_int8.ln_ns["nonlinear"] == in_float.ln_ns["nonlinear"]
    places = [*range(K, 2 * K)]
    places[NONLINEAR] = NONLINEAR
    expected = of.fit.covariance[0][places][:, places]
    np.testing.assert_allclose(in_int8.covariance, expected, atol=0.00006)
    assert list(in_int8.ln_ns) == list(TERMS)


def test_the_error_is_that_of_the_very_configuration_and_precision(board):
    of = fitted("CPU", cpus(1, 4))
    found = {str(c): c for c in constants_of(board(), "a table", [of])}
    # Errors of 10, 20, 30 % (float, float, int8) in the first row, 40, 50, 60 % in the second.
    assert found["cpu fp32, 1 thread"].error_percent == 15
    assert found["cpu int8, 1 thread"].error_percent == 30
    assert found["cpu fp32, 4 threads"].error_percent == 45
    assert found["cpu int8, 4 threads"].error_percent == 60
    assert {c.coverage for c in found.values()} == {1.0}


@pytest.mark.parametrize(
    ("cores", "timed", "chosen"),
    [
        (4, (1, 2, 4, 8), [4, 1]),
        (6, (1, 2, 4, 8), [4, 1]),
        (8, (8, 4, 2, 1), [8, 1]),
        (1, (1, 2, 4), [1]),
        (4, (2,), [2]),
        (4, (8, 16), [8]),
        (None, (1, 2, 4, 8, 64), [4, 1]),
    ],
)
def test_as_many_threads_as_cores_and_one(board, cores, timed, chosen):
    found = constants_of(board(cores), "a table", [fitted("CPU", cpus(*timed))])
    assert [c.threads for c in found if c.precision != "int8"] == chosen


def test_of_a_device_published_twice_the_first_row_counts(board):
    configurations = [*cpus(4, device="another"), *cpus(4, 4)]
    of = fitted("CPU", configurations)
    (found, _) = constants_of(board(), "a table", [of])
    expected = of.fit.theta[1, 0] + math.log(1e6)
    assert found.ln_ns[TERMS[0]] == pytest.approx(expected, abs=0.00006)


def test_of_a_gpu_one_row_in_the_float_it_has():
    target = load_target("jetson-nano")
    device = target.preferred.timings.device
    gpus = fitted("GPU", [Configuration(device, t, 0) for t in (1, 4)])
    found = constants_of(target, "a table", [fitted("CPU", cpus(4, device=device)), gpus])
    assert [str(c) for c in found] == [
        "gpu fp16, 4 threads",
        "cpu fp32, 4 threads",
        "cpu int8, 4 threads",
    ]


def test_a_unit_that_nobody_timed_has_no_constants(board):
    target = board()
    untimed = replace(target, units=(replace(target.cpu, timings=None),))
    assert constants_of(untimed, "a table", [fitted("CPU", cpus(4))]) == ()


def test_a_device_that_the_timings_lack_is_refused(board):
    with pytest.raises(InputError) as caught:
        constants_of(board(), "a table", [fitted("CPU", cpus(4, device="another"))])
    assert str(caught.value) == (
        "the published timings hold no CPU of 'a board', which unit cpu names"
    )


def with_rates(pointwise, winograd, spatial):
    """A fit in which a MAC of the reference layers takes exp of these, and nothing else takes any time."""
    of = fitted("CPU", cpus(4))
    theta = np.full_like(of.fit.theta, -60.0)
    # Between 128 channels a MAC weighs (64 / 128) ^ exponent.
    for term, ln, exponent in (
        ("pointwise", pointwise, 0.25),
        ("winograd", winograd, 0.5),
        ("spatial", spatial, 0.25),
    ):
        for block in (0, K):
            theta[:, block + TERMS.index(term)] = ln - exponent * math.log(0.5)
    return Fitted(of.left_out, replace(of.fit, theta=theta))


@pytest.mark.parametrize(
    ("rates", "spread"), [((1, 1, 1), 0.0), ((0, 1, 2), 1.0), ((3, 0, 0), 3**0.5)]
)
def test_what_nobody_timed_is_as_far_off_as_the_kinds_of_convolution_from_each_other(
    board, rates, spread
):
    (found, _) = constants_of(board(), "a table", [with_rates(*rates)])
    assert found.unseen == pytest.approx(spread, abs=0.0001)
