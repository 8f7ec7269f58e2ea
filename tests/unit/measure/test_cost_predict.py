import math

import pytest

from hwkd.constants import Constants
from hwkd.errors import InputError
from hwkd.measure.cost_predict import Prediction, predict, together
from hwkd.measure.layers import TERMS, LayerCost

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
                "ln_ns": {term: math.log(NS[term]) if term in NS else 1.0 for term in TERMS},
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
