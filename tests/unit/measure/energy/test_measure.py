import math
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from hwkd.errors import HwkdError, InputError
from hwkd.measure.classic import EqualQuality
from hwkd.measure.energy.measure import (
    LINKS,
    SECONDS,
    SETTLE_S,
    T_975,
    Link,
    measure_classic,
    measure_energy,
    parse_link,
)
from hwkd.quantity import Quantity
from hwkd.target import CONFIDENCES, Fact
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


IMAGES = [("a", np.zeros((400, 500, 3), np.uint8)), ("b", np.zeros((600, 500, 3), np.uint8))]
"""0.2 and 0.3 megapixels."""


@pytest.fixture
def encoded(monkeypatch, clock):
    """What was encoded: (codec, shape, quality); each takes an eighth of a second."""
    calls = []

    def encode(codec, image, quality):
        calls.append((codec, image.shape, quality))
        clock.sleep(0.125)
        return b""

    monkeypatch.setattr("hwkd.measure.energy.measure.encode", encode)
    return calls


@pytest.fixture
def equal(monkeypatch):
    """JPEG between its qualities 41 and 42."""

    def equal_quality(codec, images, psnr_db):
        bpp = Quantity(0.5, "estimated", "interpolated")
        ms = Quantity(3.0, "estimated", "interpolated")
        return EqualQuality(codec, psnr_db, bpp, ms, ms, 250_000.0, (41, 42))

    monkeypatch.setattr("hwkd.measure.energy.measure.equal_quality", equal_quality)


def test_energy_per_megapixel_by_hand(clock, encoded, equal):
    # Both images take 0.25 s, so a window of 1 s holds 4 calls. Above the 2 W at rest: 4 J over 4 x 0.5 Mpx.
    meter = FakeMeter(clock, lambda window: 6.0 if window % 2 else 2.0)
    found = measure_classic("jpeg", IMAGES, 33.0, meter)
    energy = found.encode_mj_per_mpx
    assert energy.value == pytest.approx(2000)
    assert (energy.found, energy.by) == ("measured", "fake: a made-up machine")
    assert (found.equal.codec, found.equal.psnr_db, found.equal.bpp.value) == ("jpeg", 33.0, 0.5)


def test_every_call_encodes_all_images_at_the_setting_below(clock, encoded, equal):
    measure_classic("webp", iter(IMAGES), 33.0, FakeMeter(clock, lambda window: 2.0 + window % 2))
    assert encoded[:2] == [("webp", (400, 500, 3), 41), ("webp", (600, 500, 3), 41)]
    assert encoded == encoded[:2] * (len(encoded) // 2)


def test_it_ends_when_its_time_is_spent(clock, encoded, equal):
    begin = clock.now
    # Powers that never agree: the interval stays wide.
    measure_classic("jpeg", IMAGES, 33.0, FakeMeter(clock, lambda window: 1.0 + window**2 % 7))
    assert SECONDS < clock.now - begin < SECONDS + 4


def test_an_estimate_stays_one(clock, encoded, equal):
    meter = FakeMeter(clock, lambda window: 6.0 if window % 2 else 2.0, found="estimated")
    assert measure_classic("jpeg", IMAGES, 33.0, meter).encode_mj_per_mpx.found == "estimated"


def test_a_quality_out_of_reach_is_not_measured(clock, photo, encoded):
    meter = FakeMeter(clock, lambda window: 1.0)
    found = measure_classic("jpeg", [("a", photo(32, 32, 0))], 99.0, meter)
    assert found.encode_mj_per_mpx.value is None
    assert found.encode_mj_per_mpx.reason == found.equal.bpp.reason
    assert found.encode_mj_per_mpx.reason.endswith("(quality 5 to 95), not 99.00 dB")
    assert (meter.lengths_s, encoded) == ([], [])


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        # mW per Mbit/s is nJ/bit; the base power is spread over the rate in Mbit/s.
        ("wifi", 283.17e-9, (283.17 + 132.86 / 1) * 1e-9),
        ("lte", 438.39e-9, (438.39 + 1288.04 / 6) * 1e-9),
        ("lora", 0.0331 * 3.3 / 5470, 0.0331 * 3.3 / 250),
    ],
)
def test_costs_follow_from_the_published_powers_and_rates(name, low, high):
    assert LINKS[name].low == pytest.approx(low, rel=2e-3)
    assert LINKS[name].high == pytest.approx(high, rel=2e-3)


def test_every_link_says_where_its_figure_comes_from_and_what_it_leaves_out():
    for link in LINKS.values():
        assert link.joule_per_bit.confidence in CONFIDENCES
        assert link.joule_per_bit.source
        assert "not counted" in link.note


def test_figures_from_memory_are_marked():
    assert LINKS["wifi"].joule_per_bit.confidence == "M"
    assert LINKS["lte"].joule_per_bit.confidence == "M"
    assert LINKS["lora"].joule_per_bit.confidence == "D"


@pytest.mark.parametrize("text", ["lte", "LTE"])
def test_a_link_is_found_by_its_name(text):
    assert parse_link(text) is LINKS["lte"]


def test_a_number_is_joule_per_bit():
    link = parse_link("2e-7")
    assert (link.name, link.label) == ("2e-7", "2e-7 J/bit")
    assert (link.low, link.high) == (2e-7, 2e-7)
    assert link.joule_per_bit.source == "given by the user"


def test_an_unknown_link_suggests_the_near_one_and_the_unit():
    with pytest.raises(InputError) as error:
        parse_link("wfi")
    assert str(error.value) == (
        "unknown link 'wfi': did you mean wifi? Known: lora, lte, wifi; "
        "or give what a bit costs in joule (J/bit), as 2e-7"
    )


@pytest.mark.parametrize("text", ["0", "-1e-7", "inf", "nan"])
def test_a_cost_must_be_a_finite_number_above_0(text):
    with pytest.raises(InputError) as error:
        parse_link(text)
    assert str(error.value) == (
        f"a bit costs a finite number of joule above 0, got '{text}'; "
        "give J/bit as 2e-7, or one of lora, lte, wifi"
    )


def test_a_link_without_a_cost_is_refused():
    with pytest.raises(InputError, match="link x needs a cost"):
        Link("x", "X", Fact(unknown="never measured"))


def test_links_need_no_torch():
    code = "import sys, hwkd.measure.energy.measure; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
