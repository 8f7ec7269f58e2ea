import math
from dataclasses import dataclass, replace

import numpy as np
import pytest

from hwkd.codec.shipped import named_bundle
from hwkd.errors import InputError
from hwkd.measure.equal_psnr import (
    CodecAtPsnr,
    EqualPsnr,
    Scale,
    compare_at_psnr,
    read_equal_psnr,
    settle,
    write_equal_psnr,
)
from hwkd.quantity import Quantity
from hwkd.report.plots.equal_psnr import equal_psnr_plot
from hwkd.runtime.bundle import read_bundle

GREY = np.full((8, 8, 3), 128, np.uint8)


@dataclass(frozen=True)
class Step:
    """A codec whose error is 100 - quality levels, so that its PSNR is known, and whose bytes are 10 times its quality."""

    quality: int
    name: str = "step"
    setting: str = "none"
    threads: int = 1
    clock: None = None
    entropy: tuple = ()

    def encode(self, image):
        return bytes([self.quality]) * 10 * self.quality

    def decode(self, stream):
        return GREY + np.uint8(100 - stream[0])


def error_db(levels):
    return 20 * math.log10(255 / levels)


TARGET_DB = 34.0
SCALE = Scale("step", "none", 1, 99, Step)


@pytest.mark.parametrize("quality", [1, 50, 99])
def test_at_the_psnr_of_a_quality_the_bytes_are_its_own(quality):
    found = settle(SCALE, [("grey", GREY)], error_db(100 - quality), lambda _: None)
    assert found.quality == quality
    assert found.psnr_db == pytest.approx(error_db(100 - quality))
    assert found.stream_bytes.value == pytest.approx(10 * quality)


def test_between_two_qualities_the_logarithm_of_the_bytes_is_a_line_over_psnr():
    low, high = error_db(40), error_db(39)
    found = settle(SCALE, [("grey", GREY)], low + 0.25 * (high - low), lambda _: None)
    assert found.quality == 60  # the nearer one
    assert found.stream_bytes.value == pytest.approx(600 * (610 / 600) ** 0.25)
    assert found.stream_bytes.found == "estimated"
    assert found.stream_bytes.by == "between qualities 60 and 61"


def test_bytes_and_psnr_are_means_over_the_images():
    darker = GREY - 10  # 10 levels further off
    images = [("grey", GREY), ("darker", darker)]
    mean = (error_db(50) + error_db(60)) / 2
    found = settle(SCALE, images, mean, lambda _: None)
    assert found.quality == 50
    assert found.psnr_db == pytest.approx(mean)
    assert found.stream_bytes.value == pytest.approx(500)


@pytest.mark.parametrize("psnr", [5.0, 60.0])
def test_a_psnr_that_no_quality_reaches_is_refused_with_those_that_are(psnr):
    with pytest.raises(
        InputError, match=r"step reaches 8\.22 to 48\.13 dB .* \(qualities 1 to 99\), got"
    ):
        settle(SCALE, [("grey", GREY)], psnr, lambda _: None)


def test_a_quality_without_error_is_not_taken_for_the_psnr_below_it():
    exact = replace(SCALE, high=100)
    found = settle(exact, [("grey", GREY)], 60.0, lambda _: None)
    assert (found.quality, found.stream_bytes.value) == (99, pytest.approx(990))


@pytest.fixture(scope="module")
def found(photo):
    images = [(str(seed), photo(64, 96, seed)) for seed in (0, 1)]
    bundle = read_bundle(named_bundle("patch-small"))
    at = {"runtimes": ("onnxruntime",), "threads": 1, "seconds": 1e-9}
    found, is_stopped = compare_at_psnr(
        images, "two photographs", {"mine": bundle}, TARGET_DB, **at
    )
    assert not is_stopped
    return found


def test_every_codec_is_settled_at_the_same_psnr_and_timed(found):
    assert [row.name for row in found.rows] == ["JPEG", "WebP", "AVIF", "mine"]
    assert [row.is_bundle for row in found.rows] == [False, False, False, True]
    assert found.rate_percent(found.rows[0]) == 0
    assert (
        'JPEG XL is n/a: pillow-jxl-plugin is not installed: pip install "hwkd[jxl]".'
        in found.notes
    )
    assert (found.count, found.pixels, found.psnr_db) == (2, 96 * 64, TARGET_DB)
    for row in found.rows:
        # One step of any of the scales is less than this on such small images.
        assert row.psnr_db.value == pytest.approx(TARGET_DB, abs=2)
        for latency_ms in (row.encode_ms, row.decode_ms):
            assert latency_ms.found == "measured"
            assert latency_ms.value > 0
            assert latency_ms.runs == 6


def test_the_file_holds_what_was_found(found, tmp_path):
    path = tmp_path / "equal.json"
    write_equal_psnr(path, found)
    assert read_equal_psnr(path) == found


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[]", "no file of codecs at one PSNR"),
        ('{"format": "hwkd-equal-psnr", "version": 2}', "no file of codecs at one PSNR, version 1"),
        ('{"format": "hwkd-equal-psnr", "version": 1}', "psnr_db is missing"),
        ("{", "is not JSON"),
    ],
)
def test_another_file_is_refused(content, said, tmp_path):
    path = tmp_path / "equal.json"
    path.write_text(content)
    with pytest.raises(InputError, match=said):
        read_equal_psnr(path)


def test_a_bundle_of_one_rate_is_refused(tiny_bundle):
    images = [("grey", np.full((64, 64, 3), 128, np.uint8))]
    with pytest.raises(InputError, match="tiny codes at one rate"):
        compare_at_psnr(
            images,
            "grey",
            {"tiny": read_bundle(tiny_bundle)},
            34,
            runtimes=("onnxruntime",),
            threads=1,
            seconds=1,
        )


def _row(name, is_bundle, size, encode_ms, decode_ms):
    timed = [
        Quantity(ms, "measured", "clock", ms - 1, ms + 1, 0.95, 6) for ms in (encode_ms, decode_ms)
    ]
    stream = Quantity(size, "estimated", "between")
    return CodecAtPsnr(
        name, "here", 1, is_bundle, 50, Quantity(34.0, "computed", "RGB"), stream, *timed
    )


def test_the_plot_has_bytes_against_the_first_over_both_times():
    rows = (_row("JPEG", False, 1000, 5, 3), _row("mine", True, 600, 30, 40))
    plot = equal_psnr_plot(EqualPsnr(34, "photos", 2, 100, "a host", rows, ()))
    points = {series.name: [(p.x, p.y, p.name) for p in series.points] for series in plot.series}
    assert points == {
        "hwkd, encode": [(30, pytest.approx(-40), "mine")],
        "hwkd, decode": [(40, pytest.approx(-40), "mine")],
        "others, encode": [(5, 0, "JPEG")],
        "others, decode": [(3, 0, "JPEG")],
    }
    assert "mine -40 %, 30.0 and 40.0 ms" in plot.caption
    assert plot.table.rows[1][:4] == ("mine", "here", "600", "-40")
