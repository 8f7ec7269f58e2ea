import math
from dataclasses import replace

import pytest

from hwkd.errors import InputError
from hwkd.measure.board_constants import FEWEST_SIGMA, constants_from
from hwkd.measure.cost_predict import predict
from hwkd.measure.layers import LayerCost
from hwkd.measure.record import Entry, Macs, ModelFacts, Provenance, Record, Setting, Size
from hwkd.quantity import Quantity, not_known

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
