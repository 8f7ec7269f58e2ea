import math

import pytest
from scipy import stats

from hwkd.errors import HwkdError, InputError
from hwkd.measure.energy.measure import SETTLE_S, T_975, measure_energy
from tests.fakes.meters import FakeClock, FakeMeter


@pytest.fixture
def clock(monkeypatch):
    clock = FakeClock()
    monkeypatch.setattr("hwkd.measure.energy.measure.time", clock)
    return clock


def alternating(idle_w, work_w):
    """Power of each window: the idle ones, and the work ones in turn, the last of them for good."""
    return lambda number: work_w[min(number // 2, len(work_w) - 1)] if number % 2 else idle_w


def run(clock, meter, call_s=0.25, **options):
    """Images that take `call_s`, in windows of 1 s."""
    settings = {"pixels": 500_000, "window_s": 1.0, "seconds": 6.0} | options
    return measure_energy(lambda: clock.sleep(call_s), meter, **settings)


def test_mean_and_interval_by_hand(clock):
    # Above idle 4, 5 and 3 J in a second of 4 images: 1000, 1250 and 750 mJ, standard deviation 250 mJ.
    result = run(clock, FakeMeter(clock, alternating(2.0, [6.0, 7.0, 5.0])))
    half = 4.303 * 250 / math.sqrt(3)
    energy = result.energy_mj
    assert energy.value == pytest.approx(1000)
    assert (energy.low, energy.high) == pytest.approx((1000 - half, 1000 + half))
    assert (energy.level, energy.runs, energy.found) == (0.95, 3, "measured")
    assert energy.by == "fake: a made-up machine"
    assert result.energy_mj_per_mpx.value == pytest.approx(2000)
    assert result.energy_mj_per_mpx.high == pytest.approx(2 * (1000 + half))
    assert result.power_w.value == pytest.approx(4.0)
    assert result.power_w.high == pytest.approx(4 + 4.303 / math.sqrt(3))
    assert result.idle_power_w.value == pytest.approx(2.0)
    assert result.images == 12


def test_idle_is_scaled_to_the_length_of_the_work(clock):
    # 3 calls of 0.4 s are 1.2 s: 1.2 * 6 J less 2 J * 1.2 are 4.8 J, 1.6 J an image.
    result = run(clock, FakeMeter(clock, alternating(2.0, [6.0])), call_s=0.4)
    assert result.energy_mj.value == pytest.approx(1600)
    assert result.images == 9


def test_ends_at_the_first_interval_that_is_narrow_enough(clock):
    # 1000, 1250, 750, 1000, 1000, .. mJ: half the interval is 621, 325 and then 219 mJ after 5 pairs.
    meter = FakeMeter(clock, alternating(2.0, [6.0, 7.0, 5.0, 6.0]))
    assert run(clock, meter, target_ratio=0.3, seconds=1000.0).energy_mj.runs == 5
    assert len(meter.lengths_s) == 10


def test_ends_when_the_time_is_spent(clock):
    # A pair takes 2 s and a rest before it: the fourth goes over 8 s.
    meter = FakeMeter(clock, lambda number: 10.0 + 7 * (number % 3))
    assert 3 * (2 + SETTLE_S) < 8 < 4 * (2 + SETTLE_S)
    assert run(clock, meter, seconds=8.0, target_ratio=1e-9).energy_mj.runs == 4


def test_at_least_three_pairs_whatever_the_time(clock):
    meter = FakeMeter(clock, alternating(1.0, [3.0]))
    assert run(clock, meter, seconds=0.001).energy_mj.runs == 3


def test_a_window_holds_at_least_one_call(clock):
    meter = FakeMeter(clock, alternating(1.0, [3.0]))
    result = run(clock, meter, call_s=3.0, window_s=None)
    assert result.images == 3
    assert meter.lengths_s == pytest.approx([3.0] * 6)


def test_a_window_is_a_second_for_short_calls(clock):
    meter = FakeMeter(clock, alternating(1.0, [3.0]))
    run(clock, meter, call_s=0.125, window_s=None)
    assert meter.lengths_s == pytest.approx([1.0] * 6)


def test_warmup_calls_are_in_no_window(clock):
    meter, calls = FakeMeter(clock, alternating(1.0, [3.0])), []

    def fn():
        calls.append(meter.is_open)
        clock.sleep(0.5)

    result = measure_energy(fn, meter, pixels=1, warmup=2, window_s=1.0)
    assert calls == [False] * 3 + [True] * result.images


@pytest.mark.parametrize("work_w", [2.0, 1.5])
def test_work_that_cannot_be_told_from_idle_has_no_value(clock, work_w):
    result = run(clock, FakeMeter(clock, alternating(2.0, [work_w])))
    assert result.energy_mj.value is None
    assert result.energy_mj_per_mpx.value is None
    assert result.power_w.value is None
    assert "fake cannot tell the work from idle" in result.energy_mj.reason
    assert result.idle_power_w.value == pytest.approx(2.0)


def test_an_interval_that_reaches_below_zero_is_cut_and_says_so(clock):
    # 125, 0 and 2000 mJ, mean 708.3, standard deviation 1120.
    energy = run(clock, FakeMeter(clock, alternating(2.0, [2.5, 2.0, 10.0]))).energy_mj
    half = 4.303 * stats.tstd([125, 0, 2000]) / math.sqrt(3)
    assert energy.low == 0
    assert energy.high == pytest.approx(2125 / 3 + half)
    assert energy.by.endswith("the interval reaches down to -2075 mJ an image, cut at 0")


def test_an_estimate_stays_an_estimate(clock):
    result = run(clock, FakeMeter(clock, alternating(2.0, [6.0]), found="estimated"))
    assert {result.energy_mj.found, result.power_w.found, result.idle_power_w.found} == {
        "estimated"
    }


def test_a_failing_call_ends_its_window(clock):
    meter = FakeMeter(clock, alternating(1.0, [3.0]))

    def fn():
        if meter.is_open:
            raise ValueError("out of paper")

    with pytest.raises(ValueError, match="out of paper"):
        measure_energy(fn, meter, pixels=1, window_s=1.0)
    assert not meter.is_open


def test_the_first_error_is_told_where_the_meter_fails_as_well(clock):
    meter = FakeMeter(clock, alternating(1.0, [3.0]))

    def fail():
        raise HwkdError("sensor gone")

    def fn():
        if meter.is_open:
            meter.end_window = fail
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure_energy(fn, meter, pixels=1, window_s=1.0)


@pytest.mark.parametrize(
    "options",
    [
        {"pixels": 0},
        {"warmup": -1},
        {"target_ratio": 0.0},
        {"seconds": 0.0},
        {"window_s": 0.0},
        {"seconds": math.nan},
    ],
)
def test_refuses_what_allows_no_measurement(clock, options):
    with pytest.raises(InputError, match="got"):
        run(clock, FakeMeter(clock, alternating(1.0, [3.0])), **options)


def test_table_of_student_t():
    assert pytest.approx(stats.t.ppf(0.975, range(1, 31)), abs=6e-4) == T_975
