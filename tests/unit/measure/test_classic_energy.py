import numpy as np
import pytest

from hwkd.measure.classic import EqualQuality
from hwkd.measure.classic_energy import SECONDS, measure_classic
from hwkd.quantity import Quantity
from tests.fakes.meters import FakeClock, FakeMeter

IMAGES = [("a", np.zeros((400, 500, 3), np.uint8)), ("b", np.zeros((600, 500, 3), np.uint8))]
"""0.2 and 0.3 megapixels."""


@pytest.fixture
def clock(monkeypatch):
    clock = FakeClock()
    monkeypatch.setattr("hwkd.measure.energy.measure.time", clock)
    return clock


@pytest.fixture
def encoded(monkeypatch, clock):
    """What was encoded: (codec, shape, quality); each takes an eighth of a second."""
    calls = []

    def encode(codec, image, quality):
        calls.append((codec, image.shape, quality))
        clock.sleep(0.125)
        return b""

    monkeypatch.setattr("hwkd.measure.classic_energy.encode", encode)
    return calls


@pytest.fixture
def equal(monkeypatch):
    """JPEG between its qualities 41 and 42."""

    def equal_quality(codec, images, psnr_db):
        bpp = Quantity(0.5, "estimated", "interpolated")
        ms = Quantity(3.0, "estimated", "interpolated")
        return EqualQuality(codec, psnr_db, bpp, ms, ms, 250_000.0, (41, 42))

    monkeypatch.setattr("hwkd.measure.classic_energy.equal_quality", equal_quality)


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
