import pytest

from hwkd.errors import InputError
from hwkd.measure.eager.macs import count_macs
from hwkd.measure.layer_times import layer_latencies
from hwkd.models.build import build

RESTS = {"g_a.rest", "h_a.rest", "h_s.rest", "g_s.rest"}


@pytest.mark.parametrize("family", ["gdn", "relu", "patch"])
def test_layers_are_those_that_have_macs(tiny_specs, family):
    codec = build(tiny_specs[family])
    result = layer_latencies(codec, 100, 60, threads=1, repeats=3)
    assert set(result) == set(count_macs(codec, 100, 60).by_layer) | RESTS
    assert {latency.runs for latency in result.values()} == {3}
    assert all(latency.median_ms > 0 for latency in result.values())


def test_the_order_is_that_of_the_run(tiny_specs):
    names = list(layer_latencies(build(tiny_specs["gdn"]), 64, 64, threads=1, repeats=1))
    layers = [name for name in names if name not in RESTS]
    assert layers == [
        *(f"g_a.{i}" for i in range(7)),
        *("h_a.0", "h_a.2", "h_a.4"),
        *("h_s.0", "h_s.2", "h_s.4"),
        *(f"g_s.{i}" for i in range(7)),
    ]


def test_hooks_and_modes_are_as_before(tiny_specs):
    codec = build(tiny_specs["gdn"])
    layer_latencies(codec, 64, 64, threads=1, repeats=1)
    assert codec.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in codec.modules())


@pytest.mark.parametrize(("width", "height", "repeats"), [(0, 64, 1), (64, 0, 1), (64, 64, 0)])
def test_nothing_to_time_is_refused(tiny_specs, width, height, repeats):
    with pytest.raises(InputError, match=f"got {width}x{height} and {repeats} runs"):
        layer_latencies(build(tiny_specs["relu"]), width, height, threads=1, repeats=repeats)
