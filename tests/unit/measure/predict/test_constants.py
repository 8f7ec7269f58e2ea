import math
from dataclasses import replace

import numpy as np
import pytest

from hwkd.errors import InputError
from hwkd.measure.layers import TERMS, LayerCost
from hwkd.measure.machine import HostFacts
from hwkd.measure.predict.constants import (
    FEWEST_SIGMA,
    Fitted,
    at_class,
    check_name,
    class_step,
    constants_from,
    constants_of,
    target_from,
)
from hwkd.measure.predict.fit import Fit, predict
from hwkd.measure.predict.published import Configuration, CrossValidation, Population
from hwkd.measure.predict.target import predicted_entries
from hwkd.measure.record import Entry, Macs, ModelFacts, Provenance, Record, Setting, Size
from hwkd.quantity import Quantity, not_known
from hwkd.target import Fact, load_target, write_target

K = len(TERMS)
CPU_TERMS = tuple((term, is_int8) for is_int8 in (False, True) for term in TERMS)
NONLINEAR = TERMS.index("nonlinear")
WIDENING = 1.5


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
        CrossValidation(population, error, np.full_like(error, 10.0), np.full(rows, WIDENING)),
        Fit(theta, half @ half.transpose(0, 2, 1), np.full(rows, 0.123456 / WIDENING)),
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
    # As wide as networks that were left out need it, which a codec's are.
    expected = WIDENING**2 * of.fit.covariance[0, :K, :K]
    np.testing.assert_allclose(found[0].covariance, expected, atol=0.00006)


def test_a_term_that_no_int8_network_has_is_the_float_one(board):
    of = fitted("CPU", cpus(4))
    in_float, in_int8 = constants_of(board(), "a table", [of])
    assert in_int8.ln_ns["nonlinear"] == in_float.ln_ns["nonlinear"]
    places = [*range(K, 2 * K)]
    places[NONLINEAR] = NONLINEAR
    expected = WIDENING**2 * of.fit.covariance[0][places][:, places]
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
    gpus = fitted("GPU", [Configuration(target.preferred.timings.device, t, 0) for t in (1, 4)])
    on_cpu = fitted("CPU", cpus(4, device=target.cpu.timings.device))
    found = constants_of(target, "a table", [on_cpu, gpus])
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


ONE, TWO = (Setting("cpu", "torch 2.13.0 eager", "fp32", n) for n in (1, 2))
RATES = {
    # Nanoseconds for a MAC, for a value read or written, and for a call.
    "conv": (0.04, 1.5, 20_000.0),
    "transposed": (0.1, 2.5, 30_000.0),
    "gdn": (0.02, 6.0, 50_000.0),
}
REST_NS = 0.75
"""For a value written."""


def layer(name, operator, c_in, c_out, side=32):
    kernel, stride = (1, 1) if operator == "gdn" else (5, 2)
    outputs = side * side
    return LayerCost(
        name=name,
        network=name.partition(".")[0],
        operator=operator,
        c_in=c_in,
        c_out=c_out,
        kernel=kernel,
        stride=stride,
        groups=1,
        in_values=c_in * outputs * stride**2,
        out_values=c_out * outputs,
        weights=c_in * c_out * kernel**2,
        macs=c_in * c_out * kernel**2 * outputs,
    )


def layers_of(N):
    """A network of width N in each of the four transforms; three sizes of each shape at the least."""
    return (
        layer("g_a.0", "conv", N, N, 64),
        layer("g_a.1", "gdn", N, N, 64),
        layer("g_a.2", "conv", N, 2 * N, 32),
        layer("g_a.3", "gdn", 2 * N, 2 * N, 32),
        layer("h_a.0", "conv", 2 * N, N, 16),
        layer("h_s.0", "transposed", N, 2 * N, 16),
        layer("g_s.0", "transposed", 2 * N, N, 32),
        layer("g_s.1", "gdn", N, N, 24),
        layer("g_s.2", "transposed", N, N, 64),
    )


def ms_of(of, rates):
    mac_ns, value_ns, call_ns = rates[of.operator]
    return (mac_ns * of.macs + value_ns * (of.in_values + of.out_values) + call_ns) / 1e6


def rest_ms(layers):
    return REST_NS * sum(of.out_values for of in layers) / 1e6


def latency(side, part, setting, ms, name=""):
    quantity = Quantity(ms, "measured", "the clock", runs=10)
    return Entry("latency_ms", side, part, setting, quantity, layer=name)


def record(N, setting=ONE, rates=RATES, factor=1.0, layers=None, name=None):
    """A profile of the machine with these rates; its networks as a whole take `factor` of their layers' times."""
    layers = layers or layers_of(N)
    entries = [latency("both", "layer", setting, ms_of(of, rates), of.name) for of in layers]
    for network in dict.fromkeys(of.network for of in layers):
        own = [of for of in layers if of.network == network]
        entries.append(latency("both", "layer", setting, rest_ms(own), f"{network}.rest"))
    for side, networks in (("encode", ("g_a", "h_a", "h_s")), ("decode", ("h_s", "g_s"))):
        own = [of for of in layers if of.network in networks]
        ms = factor * (sum(ms_of(of, rates) for of in own) + rest_ms(own))
        entries.append(latency(side, "networks", setting, ms))
    return Record(
        schema=1,
        target="a-machine",
        is_host=True,
        width=512,
        height=512,
        model=ModelFacts(name or f"N={N}", f"N={N}", "{}", "gdn", "32", False),
        size=Size(1, 4, 4, 0),
        macs=Macs(1, 1, 1, 1),
        layers=tuple(layers),
        entries=tuple(entries),
        provenance=Provenance("2026-01-01T00:00:00Z", "hwkd profile x --target host", "host", {}),
    )


def test_exact_times_give_back_their_rates():
    (found,) = constants_from([record(16), record(48)])
    for operator, shape in (
        ("conv", "conv5s2"),
        ("transposed", "transposed5s2"),
        ("gdn", "gdn"),
    ):
        for amount, ns in zip(("macs", "values", "calls"), RATES[operator], strict=True):
            # Kept to four decimals of the logarithm.
            assert found.ln_ns[f"{shape}.{amount}"] == pytest.approx(math.log(ns), abs=1e-4)
    assert found.ln_ns["rest.values"] == pytest.approx(math.log(REST_NS), abs=1e-4)


def test_a_width_that_was_not_profiled_is_predicted():
    (found,) = constants_from([record(16), record(48)])
    layers = layers_of(96)
    expected = sum(ms_of(of, RATES) for of in layers) + rest_ms(layers)
    prediction = predict(layers, found)
    assert prediction.ms == pytest.approx(expected, rel=2e-4)
    assert prediction.unseen_share == 0
    assert prediction.ln_sd == pytest.approx(found.sigma)


def test_one_factor_leads_from_layers_to_networks():
    # What the layers' clocks add, say: the networks take four fifths of the layers' sum.
    (found,) = constants_from([record(16, factor=0.8), record(48, factor=0.8)])
    layers = [of for of in layers_of(64) if of.network in ("h_s", "g_s")]
    expected = 0.8 * (sum(ms_of(of, RATES) for of in layers) + rest_ms(layers))
    assert predict(layers, found).ms == pytest.approx(expected, rel=2e-4)
    assert found.ln_ns["gdn.values"] == pytest.approx(math.log(0.8 * RATES["gdn"][1]), abs=1e-4)


def test_sigma_is_what_the_networks_differ_by_after_that_factor():
    # ln of the networks' times: 0.1 above and 0.1 below what the layers give.
    of_both = [record(16, factor=math.exp(0.1)), record(48, factor=math.exp(-0.1))]
    (found,) = constants_from(of_both)
    assert found.sigma == pytest.approx(0.1, abs=1e-4)


def test_sigma_has_a_floor():
    (found,) = constants_from([record(16), record(48)])
    assert found.sigma == FEWEST_SIGMA == 0.03


def test_a_shape_that_was_not_profiled_gets_the_pooled_rates_and_counts_as_unseen():
    same = dict.fromkeys(RATES, RATES["conv"])
    (found,) = constants_from([record(16, rates=same), record(48, rates=same)])
    new = LayerCost("g_a.0", "g_a", "conv", 40, 40, 3, 1, 1, 40_000, 40_000, 14_400, 14_400_000)
    prediction = predict([new], found)
    # One rate holds for all shapes here, so that it holds for this one too.
    expected = ms_of(new, same) + REST_NS * new.out_values / 1e6
    assert prediction.ms == pytest.approx(expected, rel=2e-4)
    assert prediction.unseen_share == 1
    assert found.unseen == pytest.approx(0, abs=1e-3)


def test_unseen_is_the_error_of_one_rate_for_all_shapes():
    # Of two shapes with the same work in the same layers one takes 4 times as long: the one rate that is best in relative
    # error, sum (r / t - 1)^2, lies at (1/1 + 1/4) / (1/1 + 1/16) = 20/17 of the faster.
    layers = [layer("g_a.0", "conv", 32, 32), layer("g_s.0", "transposed", 32, 32)]
    rates = {"conv": (0.1, 0.0, 0.0), "transposed": (0.4, 0.0, 0.0)}
    (found,) = constants_from([record(32, rates=rates, layers=layers)])
    errors = (math.log(20 / 17), math.log(20 / 17 / 4))
    expected = math.sqrt(sum(e**2 for e in errors) / 2)
    assert found.unseen == pytest.approx(expected, abs=1e-4)
    unseen = predict([layer("g_a.0", "gdn", 32, 32)], found)
    assert unseen.ln_sd == pytest.approx(math.hypot(found.sigma, found.unseen), abs=1e-4)


def test_every_setting_has_constants_of_its_own():
    twice = {name: tuple(2 * ns for ns in rates) for name, rates in RATES.items()}
    both = record(16, ONE, twice), record(48, ONE, twice), record(16, TWO), record(48, TWO)
    one, two = constants_from(both, "the-cpu")
    assert [(c.threads, c.unit, c.precision, c.networks) for c in (one, two)] == [
        (1, "the-cpu", "fp32", 2),
        (2, "the-cpu", "fp32", 2),
    ]
    difference = one.ln_ns["conv5s2.macs"] - two.ln_ns["conv5s2.macs"]
    assert difference == pytest.approx(math.log(2), abs=2e-4)


def test_constants_say_what_they_were_made_from():
    (found,) = constants_from([record(16), record(48)])
    assert (found.scheme, found.device, found.is_same_device) == ("shapes", "a-machine", True)
    assert found.runtime == "torch 2.13.0 eager"
    assert found.source == (
        "measured by `hwkd profile x --target host`, 2026-01-01T00:00:00Z: N=16, N=48"
    )
    assert found.covariance == ()


def test_predicted_records_and_layers_without_a_time_are_left_out():
    unknown = Entry(
        "latency_ms", "both", "layer", ONE, not_known("the clock stopped"), layer="g_a.0"
    )
    full = record(48)
    lacking = replace(
        record(16),
        entries=(unknown, *(e for e in record(16).entries if e.layer != "g_a.0")),
    )
    elsewhere = replace(full, is_host=False, entries=())
    (found,) = constants_from([elsewhere, full, lacking])
    assert found.networks == 2
    assert found.ln_ns["conv5s2.macs"] == pytest.approx(math.log(RATES["conv"][0]), abs=1e-4)


def test_records_without_measured_layers_are_refused():
    with pytest.raises(InputError) as caught:
        constants_from([])
    assert str(caught.value) == (
        "none of the records has measured layers: make them with `hwkd profile --target host`"
    )


SETTING = Setting("cpu", "torch 2.13.0 eager", "fp32", 2)
FACTS = HostFacts("A Processor 9000", ("avx2",), 6, 16_000.0, 3456.7, None)
LIKE = load_target("jetson-nano")


def layer_save_target(network, outputs):
    """A MAC takes a nanosecond, and nothing else any time."""
    macs = 1_000_000 * outputs
    return LayerCost(
        f"{network}.0", network, "conv", 64, 64, 5, 2, 1, 100, 100 * outputs, 102_400, macs
    )


LAYERS = (
    layer_save_target("g_a", 1),
    layer_save_target("h_a", 2),
    layer_save_target("h_s", 3),
    layer_save_target("g_s", 4),
)


@pytest.fixture
def record_save_target():
    def latency(side, part, ms, name=""):
        quantity = Quantity(ms, "measured", "the clock", runs=10)
        return Entry("latency_ms", side, part, SETTING, quantity, layer=name)

    times = [latency("both", "layer", of.macs / 1e6, of.name) for of in LAYERS]
    return Record(
        schema=1,
        target="a-processor-9000-6-cores",
        is_host=True,
        width=64,
        height=64,
        model=ModelFacts("m", "m", "{}", "gdn", "32", False),
        size=Size(1, 4, 4, 0),
        macs=Macs(1, 1, 1, 1),
        layers=LAYERS,
        entries=(
            *times,
            latency("encode", "networks", 1 + 2 + 3),
            latency("decode", "networks", 3 + 4),
        ),
        provenance=Provenance("2026-01-01T00:00:00Z", "hwkd profile m", "host", {}),
    )


def test_the_machine_is_what_the_system_tells(record_save_target):
    target = target_from("my-board", [record_save_target], LIKE, FACTS)
    assert (target.name, target.preferred_unit) == ("my-board", "cpu")
    (cpu,) = target.units
    assert (cpu.model, cpu.cores.value, cpu.clock_ghz.value) == ("A Processor 9000", 6, 3.457)
    assert target.description == (
        "A Processor 9000, 6 cores, as profiled; arithmetic and runtime as jetson-nano"
    )


def test_arithmetic_is_that_of_the_likeness_and_its_power_and_limits_are_not(record_save_target):
    target = target_from("my-board", [record_save_target], LIKE, FACTS)
    assert target.cpu.arithmetic == LIKE.cpu.arithmetic
    assert target.cpu.runtime == LIKE.cpu.runtime
    assert target.cpu.quantization == LIKE.cpu.quantization
    assert LIKE.power_modes and LIKE.limits and LIKE.cpu.timings
    assert (target.power_modes, target.limits, target.sensors) == ((), (), ())
    assert target.cpu.timings is None
    assert target.idle_w.unknown == target.load_w.unknown
    assert target.load_w.unknown == "not measured: a meter at the plug would tell"


def test_a_clock_that_the_system_does_not_tell_stays_unknown(record_save_target):
    target = target_from("my-board", [record_save_target], LIKE, replace(FACTS, clock_mhz=None))
    assert target.cpu.clock_ghz.unknown == "the system does not tell"


def test_its_constants_predict_what_was_measured(record_save_target):
    target = target_from("my-board", [record_save_target], LIKE, FACTS)
    entries, notes = predicted_entries(LAYERS, target, None)
    ms = {(e.name, e.side): e.quantity for e in entries}
    assert ms["latency_ms", "encode"].value == pytest.approx(6, rel=2e-4)
    assert ms["latency_ms", "decode"].value == pytest.approx(7, rel=2e-4)
    assert ms["latency_ms", "encode"].found == "predicted"
    assert ms["energy_mj", "encode"].reason == (
        "the power of my-board under load is unknown: not measured: a meter at the plug would tell"
    )
    assert {e.setting for e in entries} == {SETTING}
    assert notes == ()


def test_the_file_gives_the_same_target_back(record_save_target, tmp_path):
    target = target_from("my-board", [record_save_target], LIKE, FACTS)
    path = tmp_path / "my-board.toml"
    write_target(path, target, "first line\nsecond line")
    assert load_target(str(path)) == target
    assert path.read_text().startswith("# first line\n# second line\n")
    assert math.isfinite(target.constants[0].sigma)


@pytest.mark.parametrize("name", ["", " ", " a", "a/b", "..", "a.toml", "-x", "a\\b", "Board 2"])
def test_what_is_no_name_is_refused(name, record_save_target):
    for refuse in (
        lambda: check_name(name),
        lambda: target_from(name, [record_save_target], LIKE, FACTS),
    ):
        with pytest.raises(InputError) as caught:
            refuse()
        assert str(caught.value) == (
            f"--save-target {name!r} is no name for a target; give letters, digits and dashes, as my-board"
        )


@pytest.mark.parametrize("name", ["my-board", "Board2", "kiste_3"])
def test_names_are_accepted(name, record_save_target):
    check_name(name)
    assert target_from(name, [record_save_target], LIKE, FACTS).name == name


def test_records_without_measured_layers_make_no_target(record_save_target):
    bare = replace(record_save_target, entries=())
    with pytest.raises(InputError, match="none of the records has measured layers"):
        target_from("my-board", [bare], LIKE, FACTS)


def of_times(times):
    """A fit in which (device, threads) takes that many ns for every MAC of a 1x1 convolution, and nothing for anything else;
    a value an entry of `times`, as a device may stand twice."""
    devices = [Configuration(device, threads, -1) for device, threads, _ in times]
    of = fitted("CPU", devices)
    theta = np.full_like(of.fit.theta, -99.0)
    for term in ("pointwise", "winograd", "spatial"):
        for half in (0, K):
            theta[:, half + TERMS.index(term)] = [math.log(ns) for *_, ns in times]
    return replace(of, fit=replace(of.fit, theta=theta))


def a_class(board, peers, one_chip=()):
    target = board()
    timings = replace(target.cpu.timings, peers=peers, one_chip=one_chip, int8_device="")
    return replace(target, units=(replace(target.cpu, timings=timings),))


def test_the_step_to_a_class_leads_to_the_mean_of_its_machines_with_the_spread_of_one_more(board):
    of = of_times([("a board", 1, 1.0), ("slow", 1, 4.0), ("a board", 4, 1.0), ("alone", 8, 9.0)])
    found = class_step(a_class(board, ("slow", "alone")).cpu, False, of)
    # One thread: the mean of 1 and 4 lies at 2, each is ln 2 away: one degree of freedom. Nobody else was timed with four
    # threads, nor "a board" with eight.
    assert found.to == "any machine of the class"
    assert found.ln_factor == pytest.approx(math.log(2), abs=1e-4)
    assert found.sd == pytest.approx(math.sqrt(2 * math.log(2) ** 2 * (1 + 1 / 3)), abs=1e-4)
    assert (found.timings, found.how) == (
        3,
        "3 machines of the class in ncnn's table, with as many threads",
    )


def test_machines_of_one_chip_count_as_one(board):
    of = of_times([("a board", 1, 1.0), ("p", 1, 4.0), ("q", 1, 4.0), ("r", 1, 4.0)])
    peers = ("p", "q", "r")
    found = class_step(a_class(board, peers, peers).cpu, False, of)
    assert found.ln_factor == pytest.approx(math.log(2), abs=1e-4)
    assert found.sd == pytest.approx(math.sqrt(2 * math.log(2) ** 2 * 1.5), abs=1e-4)
    assert found.how == (
        "4 machines of the class, of 2 chips, in ncnn's table, with as many threads"
    )
    assert class_step(a_class(board, peers).cpu, False, of).ln_factor > found.ln_factor


def test_the_small_cores_of_a_machine_are_none_of_its_class(board):
    """A board stands twice with four threads: on its large cores, and on its small ones."""
    times = [("a board", 4, 1.0), ("p", 4, 1.5), ("p", 4, 4.0)]
    found = class_step(a_class(board, ("p",)).cpu, False, of_times(times))
    assert found.ln_factor == pytest.approx(math.log(1.5) / 2, abs=1e-4)
    # Another version of the same cores is one more machine.
    both = class_step(a_class(board, ("p",)).cpu, False, of_times([*times[:2], ("p", 4, 2.5)]))
    assert both.ln_factor == pytest.approx((math.log(1.5) + math.log(2.5)) / 3, abs=1e-4)


def test_a_machine_of_no_class_has_no_step_to_it(board):
    of = of_times([("a board", 4, 1.0), ("p", 4, 1.5)])
    assert class_step(a_class(board, ()).cpu, False, of) is None
    assert class_step(a_class(board, ("nobody",)).cpu, False, of) is None


def test_constants_of_a_class_carry_its_step_in_their_own_precision(board):
    of = of_times([("a board", 4, 1.0), ("p", 4, 4.0)])
    target = a_class(board, ("p",))
    found = at_class(target, constants_of(target, "a table", [of]), [of])
    assert [c.precision for c in found] == ["fp32", "int8"]
    for c in found:
        assert c.carried == (class_step(target.cpu, c.precision == "int8", of),)
    alone = board()
    kept = constants_of(alone, "a table", [of])
    assert at_class(alone, kept, [of]) == kept
