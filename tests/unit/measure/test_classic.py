import io
import math
import subprocess
import sys
from statistics import fmean

import numpy as np
import pytest
from PIL import Image

from hwkd.errors import InputError
from hwkd.measure import classic
from hwkd.measure.classic import (
    ClassicPoint,
    at_psnr,
    classic_curve,
    encode,
    equal_quality,
    evaluate_classic,
)
from hwkd.measure.pillow_formats import decode, encode_any
from hwkd.quantity import Quantity


def measured(value, low=None, high=None):
    level = None if low is None else 0.95
    return Quantity(value, "measured", "a clock", low, high, level, 6)


def point(quality, psnr_db, bpp, encode_ms, decode_ms, codec="jpeg"):
    return ClassicPoint(codec, quality, psnr_db, bpp, 1000.0, encode_ms, decode_ms)


POINTS = (
    point(50, 30.0, 0.5, measured(10, 9, 11), measured(4)),
    point(80, 34.0, 2.0, measured(20, 18, 24), measured(8)),
)


def test_bpp_is_interpolated_in_its_logarithm_and_times_linearly():
    middle = at_psnr(POINTS, 32.0)
    # Half way between log 0.5 and log 2 lies log 1.
    assert middle.bpp.value == pytest.approx(1.0)
    assert (middle.encode_ms.value, middle.decode_ms.value) == (15, 6)
    assert middle.between == (50, 80)
    quarter = at_psnr(POINTS, 31.0)
    assert quarter.bpp.value == pytest.approx(0.5 * 4**0.25)
    assert quarter.encode_ms.value == 12.5


def test_intervals_are_mixed_and_hold_with_the_sum_of_the_levels_less_1():
    encode_ms = at_psnr(POINTS, 32.0).encode_ms
    assert (encode_ms.low, encode_ms.high, encode_ms.level) == (13.5, 17.5, 0.9)
    assert at_psnr(POINTS, 32.0).decode_ms.level is None


def test_what_is_interpolated_is_an_estimate():
    middle = at_psnr(POINTS, 32.0)
    assert {middle.bpp.found, middle.encode_ms.found} == {"estimated"}
    assert "between quality 50 and 80" in middle.bpp.by


@pytest.mark.parametrize(("psnr_db", "bpp"), [(30.0, 0.5), (34.0, 2.0)])
def test_the_ends_of_a_curve_belong_to_it(psnr_db, bpp):
    assert at_psnr(POINTS, psnr_db).bpp.value == pytest.approx(bpp)


@pytest.mark.parametrize("psnr_db", [29.99, 34.01])
def test_nothing_is_extrapolated(psnr_db):
    outside = at_psnr(POINTS, psnr_db)
    reason = f"JPEG reaches 30.00 to 34.00 dB here (quality 50 to 80), not {psnr_db:.2f} dB"
    for figure in (outside.bpp, outside.encode_ms, outside.decode_ms):
        assert (figure.value, figure.reason) == (None, reason)
    assert outside.between == ()


def test_points_of_two_codecs_are_no_curve():
    with pytest.raises(InputError, match="points of one codec"):
        at_psnr((POINTS[0], point(50, 40.0, 1.0, measured(1), measured(1), "webp")), 32.0)
    with pytest.raises(InputError, match="got 0 points"):
        at_psnr((), 32.0)


@pytest.mark.parametrize("codec", ["jpeg", "webp"])
def test_bytes_are_those_of_pillows_defaults(photo, codec):
    image = photo(40, 56, 0)
    sink = io.BytesIO()
    Image.fromarray(image).save(sink, format=codec.upper(), quality=60)
    assert encode(codec, image, 60) == sink.getvalue()


@pytest.mark.parametrize("codec", ["jpeg", "webp"])
def test_a_curve_has_the_means_of_real_bytes_over_the_images(photo, codec):
    images = [("a", photo(48, 64, 0)), ("b", photo(64, 96, 1))]
    low, high = classic_curve(codec, images, (20, 80), runs=2)
    bpps, psnrs = [], []
    for _, image in images:
        data = encode(codec, image, 20)
        error = np.mean((decode(data).astype(float) - image) ** 2)
        bpps.append(8 * len(data) / image[:, :, 0].size)
        psnrs.append(10 * math.log10(255**2 / error))
    assert low.bpp == pytest.approx(sum(bpps) / 2)
    assert low.psnr_db == pytest.approx(sum(psnrs) / 2)
    assert low.pixels == (48 * 64 + 64 * 96) / 2
    assert (low.quality, high.quality) == (20, 80)
    assert high.psnr_db > low.psnr_db
    assert high.bpp > low.bpp


def test_times_are_measured_with_their_runs_and_library(photo):
    (one,) = classic_curve("jpeg", [("a", photo(32, 32, 0))], (50,), runs=6)
    for figure in (one.encode_ms, one.decode_ms):
        assert (figure.found, figure.runs, figure.level) == ("measured", 6, 0.95)
        assert figure.value > 0
        assert "Pillow" in figure.by and "one thread, mean over 1 images" in figure.by


def test_a_time_is_the_mean_over_the_images(photo, monkeypatch):
    times = iter([10.0, 1.0, 30.0, 3.0])  # encode and decode of each image
    monkeypatch.setattr("hwkd.measure.classic._time_ms", lambda fn: next(times))
    images = [("a", photo(32, 32, 0)), ("b", photo(32, 32, 1))]
    (one,) = classic_curve("jpeg", images, (50,), runs=1)
    assert (one.encode_ms.value, one.decode_ms.value) == (20.0, 2.0)


@pytest.mark.parametrize("codec", ["jpeg", "webp"])
def test_equal_quality_is_found_between_neighbouring_settings(photo, codec):
    images = [("a", photo(64, 64, 0))]
    ends = classic_curve(codec, images, (40, 60), runs=1)
    target = (ends[0].psnr_db + ends[1].psnr_db) / 2
    found = equal_quality(codec, images, target, runs=1)
    low, high = found.between
    assert high == low + 1
    around = classic_curve(codec, images, (low, high), runs=1)
    assert around[0].psnr_db <= target <= around[1].psnr_db
    assert around[0].bpp <= found.bpp.value <= around[1].bpp


@pytest.mark.parametrize("psnr_db", [5.0, 99.0])
def test_a_quality_that_jpeg_does_not_reach_is_not_available(photo, psnr_db):
    found = equal_quality("jpeg", [("a", photo(32, 32, 0))], psnr_db, runs=1)
    assert found.bpp.value is None
    assert found.bpp.reason.endswith(f"(quality 5 to 95), not {psnr_db:.2f} dB")


def test_wrong_input_is_told(photo):
    image = photo(16, 16, 0)
    with pytest.raises(InputError, match="unknown codec 'jpg': did you mean jpeg"):
        encode("jpg", image, 50)
    with pytest.raises(InputError, match="quality 96 is out of range; JPEG takes 1 to 95 here"):
        encode("jpeg", image, 96)
    with pytest.raises(InputError, match=r"20000x1 is too large for WebP: .* 16383 pixels"):
        encode("webp", np.zeros((1, 20000, 3), np.uint8), 50)
    with pytest.raises(InputError, match="no images to code"):
        classic_curve("jpeg", [], (50,))
    with pytest.raises(InputError, match="got 0 and 6"):
        classic_curve("jpeg", [("a", image)], ())


def test_an_image_that_comes_back_without_error_is_refused():
    grey = np.full((16, 16, 3), 128, np.uint8)
    with pytest.raises(InputError, match="gives flat back without error, so its PSNR is infinite"):
        classic_curve("jpeg", [("flat", grey)], (90,))


def test_a_pillow_without_webp_is_told(photo, monkeypatch):
    monkeypatch.setattr("hwkd.measure.pillow_formats.features.check", lambda _: False)
    with pytest.raises(InputError, match="built without WebP"):
        encode("webp", photo(16, 16, 0), 50)


def test_classic_codecs_need_no_torch():
    code = "import sys, hwkd.measure.classic; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


# JPEG, WebP and AVIF as curves: their bytes at their smallest settings, and the means over images.

SETTINGS_CLASSIC_QUALITY = {
    "jpeg": {"subsampling": "4:2:0", "optimize": True, "progressive": True},
    "webp": {"method": 6},
    "avif": {"subsampling": "4:2:0", "speed": 4},
}


def saved(image, codec, quality):
    sink = io.BytesIO()
    Image.fromarray(image).save(
        sink, format=codec.upper(), quality=quality, **SETTINGS_CLASSIC_QUALITY[codec]
    )
    return sink.getvalue()


@pytest.mark.parametrize("codec", SETTINGS_CLASSIC_QUALITY)
def test_a_point_is_the_mean_over_the_images_of_the_files_that_pillow_writes(photo, codec):
    images = [("a", photo(48, 64, 0)), ("b", photo(64, 80, 1))]
    said = []
    found = evaluate_classic(
        codec, images, (20, 80), progress=lambda quality, image: said.append((quality, image.name))
    )
    assert list(found) == [20, 80]
    for quality, evaluation in found.items():
        bpps, psnrs = [], []
        for _, image in images:
            data = saved(image, codec, quality)
            assert encode_any(codec, image, quality) == data
            decoded = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(float)
            bpps.append(8 * len(data) / image[:, :, 0].size)
            psnrs.append(10 * math.log10(255**2 / np.mean((decoded - image) ** 2)))
        assert evaluation.bpp == pytest.approx(fmean(bpps))
        assert evaluation.psnr_db == pytest.approx(fmean(psnrs))
        assert evaluation.bpp_estimated is None
    assert said == [(20, "a"), (20, "b"), (80, "a"), (80, "b")]


def test_a_curve_has_more_than_eight_points():
    assert len(set(classic.CURVE_QUALITIES)) > 8


def test_an_image_that_is_too_large_is_named():
    image = np.zeros((1, 16384, 3), np.uint8)
    with pytest.raises(InputError) as caught:
        evaluate_classic("webp", [("long.png", image)], (50,))
    assert str(caught.value) == (
        "long.png is 16384x1, too large for WebP: a side may have 16383 pixels; cut it, or leave it out"
    )
