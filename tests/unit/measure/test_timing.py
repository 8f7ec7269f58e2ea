import random
import subprocess
import sys

import pytest
import torch

from hwkd.errors import InputError
from hwkd.measure.timing import Latency, codec_latency, measure_in_turn, measure_latency, summarize
from hwkd.models.build import build
from hwkd.models.spec import HyperpriorSpec
from hwkd.quantity import Quantity
from tests.fakes.meters import FakeClock


def test_summary_does_not_depend_on_the_order_and_takes_ranks():
    times = [float(i) for i in range(1, 21)]
    random.Random(0).shuffle(times)
    # For 20 values the tabulated 95 % ranks of the median are 6 and 15 (David and Nagaraja; coverage 95.9 %).
    assert summarize(times) == Latency(10.5, 19.0, (6.0, 15.0), 20)


@pytest.mark.parametrize(("n", "ranks"), [(6, (1, 6)), (9, (2, 8)), (25, (8, 18)), (50, (18, 33))])
def test_interval_takes_the_tabulated_ranks(n, ranks):
    assert summarize([float(i) for i in range(1, n + 1)]).interval95_ms == ranks


def test_interval_of_many_runs_holds_the_median():
    low, high = summarize([float(i) for i in range(1, 10_002)]).interval95_ms
    assert (low, high) == (4902.0, 5100.0)  # 5001 -+ 0.98 sqrt(n), one rank wider


def test_below_six_runs_there_is_no_interval():
    assert summarize([3.0, 1.0, 2.0, 5.0, 4.0]) == Latency(3.0, 5.0, None, 5)


def test_warmup_runs_are_made_but_not_timed():
    calls = []
    latency = measure_latency(lambda: calls.append(1), warmup=4, repeats=7)
    assert len(calls) == 11
    assert latency.runs == 7


@pytest.fixture
def clock(monkeypatch):
    """A clock on which nothing takes time but clock.sleep."""
    clock = FakeClock()
    monkeypatch.setattr("hwkd.measure.timing.time", clock)
    return clock


def test_times_are_in_milliseconds(clock):
    latency = measure_latency(lambda: clock.sleep(0.01), warmup=0, repeats=6)
    assert (latency.median_ms, latency.p95_ms) == (10.0, 10.0)


def test_seconds_are_spent_on_at_least_six_runs(clock):
    assert measure_latency(lambda: clock.sleep(0.002), warmup=0, seconds=0.001).runs == 6
    assert measure_latency(lambda: clock.sleep(0.001), warmup=3, seconds=0.05).runs == 50


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"repeats": 2, "seconds": 1.0},
        {"repeats": 0},
        {"seconds": 0.0},
        {"warmup": -1, "repeats": 1},
    ],
)
def test_refuses_what_allows_no_run(arguments):
    with pytest.raises(InputError, match="got"):
        measure_latency(lambda: None, **arguments)


def test_codec_latency_runs_the_networks_of_each_side():
    torch.manual_seed(0)
    codec = build(HyperpriorSpec("gdn", (8, 8, 8), 12, 8, 8))
    shapes = {name: [] for name in ("g_a", "h_a", "h_s", "g_s")}
    for name, seen in shapes.items():
        getattr(codec, name).register_forward_hook(
            lambda _, inputs, __, seen=seen: seen.append(tuple(inputs[0].shape))
        )
    state = torch.random.get_rng_state()
    result = codec_latency(codec, 100, 60, warmup=1, repeats=6)
    assert set(result) == {"encode", "decode"}
    assert all(latency.median_ms > 0 and latency.runs == 6 for latency in result.values())
    # Once to make the latents, and 7 runs a side; h_s belongs to both sides.
    assert {name: len(seen) for name, seen in shapes.items()} == {
        "g_a": 8,
        "h_a": 8,
        "h_s": 14,
        "g_s": 7,
    }
    assert set(shapes["g_a"]) == {(1, 3, 64, 128)}
    assert codec.training
    assert torch.equal(torch.random.get_rng_state(), state)


def test_codec_latency_refuses_a_size_without_pixels():
    with pytest.raises(InputError, match="0x1 cannot be timed"):
        codec_latency(build(HyperpriorSpec("gdn", (8, 8, 8), 12, 8, 8)), 0, 1, repeats=1)


def test_timing_does_not_import_torch():
    code = "import sys, hwkd.measure.timing as l; l.measure_latency(int, repeats=6); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_several_things_take_turns_warm_up_included():
    calls = []
    result = measure_in_turn(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, warmup=1, repeats=3
    )
    assert calls == ["a", "b"] * 4
    assert {name: latency.runs for name, latency in result.items()} == {"a": 3, "b": 3}


def test_each_of_several_has_its_own_times(clock):
    result = measure_in_turn(
        {"slow": lambda: clock.sleep(0.02), "fast": lambda: None}, warmup=0, repeats=6
    )
    assert (result["slow"].median_ms, result["fast"].median_ms) == (20.0, 0.0)


def test_seconds_are_spent_on_all_together(clock):
    runs = {name: lambda: clock.sleep(0.002) for name in "abc"}
    assert {x.runs for x in measure_in_turn(runs, warmup=0, seconds=0.001).values()} == {6}
    # Rounds of 6 ms.
    assert {x.runs for x in measure_in_turn(runs, warmup=0, seconds=0.06).values()} == {10}


def test_nothing_to_run_is_refused():
    with pytest.raises(InputError, match="for 0 runs in turn"):
        measure_in_turn({}, repeats=1)


def test_a_latency_becomes_a_measured_figure_with_its_interval():
    figure = Latency(10.5, 19.0, (6.0, 15.0), 20).quantity("a clock")
    assert figure == Quantity(10.5, "measured", "a clock", 6.0, 15.0, 0.95, 20)


def test_a_latency_of_few_runs_becomes_a_figure_without_interval():
    figure = Latency(3.0, 5.0, None, 5).quantity("a clock")
    assert figure == Quantity(3.0, "measured", "a clock", runs=5)
