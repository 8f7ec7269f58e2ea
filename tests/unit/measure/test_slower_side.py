from dataclasses import replace

import pytest

from hwkd.errors import InputError
from hwkd.measure.layers import LayerCost
from hwkd.measure.predict.target import predicted_entries
from hwkd.measure.slower_side import slower_side
from hwkd.quantize.precision import plan_precision
from hwkd.target import list_targets, load_target


def layer(name: str, macs: int) -> LayerCost:
    return LayerCost(
        name=name,
        network=name.partition(".")[0],
        operator="conv",
        c_in=64,
        c_out=64,
        kernel=3,
        stride=1,
        groups=1,
        in_values=10**6,
        out_values=10**6,
        weights=10**4,
        macs=macs,
    )


def layers(encoder: int, decoder: int) -> tuple[LayerCost, ...]:
    return (layer("g_a.0", encoder), layer("h_s.0", 10**6), layer("g_s.0", decoder))


@pytest.mark.parametrize(
    ("encoder", "decoder", "side"), [(10**9, 10**7, "encode"), (10**7, 10**9, "decode")]
)
def test_it_is_the_side_that_takes_longer(encoder: int, decoder: int, side: str) -> None:
    target = load_target("raspberry-pi-4")
    plan = plan_precision(target, 8, 8, family="patch")
    entry = slower_side(layers(encoder, decoder), target, plan)
    assert (entry.name, entry.side, entry.setting.unit) == ("latency_ms", side, "cpu")
    times = [
        e.quantity.value
        for e in predicted_entries(layers(encoder, decoder), target, plan)[0]
        if (e.name, e.setting) == ("latency_ms", entry.setting)
    ]
    assert entry.quantity.value == max(times)


@pytest.mark.parametrize("name", list_targets())
def test_bits_of_weights_change_no_latency_on_any_target(name: str) -> None:
    target = load_target(name)
    work = layers(10**9, 10**9)
    eight, two = (plan_precision(target, bits, 8, family="patch") for bits in (8, 2))
    assert slower_side(work, target, eight).quantity == slower_side(work, target, two).quantity


def test_a_target_that_nobody_timed_says_so() -> None:
    target = replace(load_target("raspberry-pi-4"), constants=())
    plan = plan_precision(target, 8, 8, family="patch")
    with pytest.raises(InputError, match="no latency on raspberry-pi-4 can be predicted: nobody"):
        slower_side(layers(10**9, 10**9), target, plan)
