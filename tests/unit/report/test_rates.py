import math
from dataclasses import replace

import pytest

from hwkd.metrics import MS_SSIM, Curve
from hwkd.report.compare.published import PublishedCurve, PublishedCurves, read_published_curves
from hwkd.report.rates import bd_rate_table, measured_rate_tables, rate_change_table
from hwkd.results import Result

# log10 bpp = psnr / 10 - 3.
LINE = PublishedCurve("line", "line.json", "", (1.0, 10.0), (30.0, 40.0), (0.9, 0.99))
FAR = PublishedCurve("far", "far.json", "its encoder", (1.0, 2.0), (50.0, 55.0), (0.9, 0.99))
PUBLISHED = PublishedCurves("somebody", "somewhere", "0123456789abcdef", "Kodak", "", (LINE, FAR))


def curve(name, bpp, psnr, ms_ssim=None, images="3 images of photos"):
    return Result(Curve(name, bpp, psnr, ms_ssim), f"how {name} was made", images=images)


def rows(table):
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def test_bd_rate_of_half_the_rate_is_minus_50_with_the_shared_range():
    half = curve("half", (0.5 * 10**0.2, 5.0, 50.0), (32.0, 40.0, 50.0))
    (row,) = rows(bd_rate_table([half], PUBLISHED, "md"))
    assert (row["curve"], row["points"], row["line"]) == ("half", "3", "-50.0")
    assert row["psnr_db"] == "32.0 to 40.0"
    assert row["far"] == "n/a"


def test_a_range_of_its_own_stands_beside_the_percentage():
    wide = curve("wide", (0.5 * 10**-1, 0.5, 5.0, 50.0), (20.0, 30.0, 40.0, 50.0))
    long = PublishedCurve("long", "", "", (0.1, 1.0, 10.0), (20.0, 30.0, 40.0), (0.8, 0.9, 0.99))
    twice = replace(PUBLISHED, curves=(LINE, replace(LINE, name="same"), long))
    (row,) = rows(bd_rate_table([wide], twice, "md"))
    assert row["psnr_db"] == "30.0 to 40.0"
    assert [row[name] for name in ("line", "same", "long")] == [
        *("-50.0", "-50.0", "-50.0 (20.0 to 40.0)"),
    ]


def test_without_any_bd_rate_there_is_no_range():
    (row,) = rows(bd_rate_table([curve("low", (0.1, 0.2), (10.0, 11.0))], PUBLISHED, "md"))
    assert {row[column] for column in ("psnr_db", "line", "far")} == {"n/a"}


def test_machines_get_percent_and_range_in_columns_and_the_reason_below():
    half = curve("half", (0.5, 5.0), (30.0, 40.0))
    table = bd_rate_table([half], PUBLISHED, "csv")
    (row,) = rows(table)
    assert (row["line_percent"], row["line_low_db"], row["line_high_db"]) == (
        *("-50.000", "30.000", "40.000"),
    )
    assert row["far_percent"] == row["far_low_db"] == row["far_high_db"] == "n/a"
    assert any(note.startswith("half against far is n/a: ") for note in table.notes)
    assert any("somewhere, commit 0123456789ab (far: its encoder)" in note for note in table.notes)


def test_a_single_model_has_a_change_of_rate_that_is_no_bd_rate():
    single = curve("single", (2 * 10**0.5,), (35.0,))
    table = rate_change_table([single], PUBLISHED)
    (row,) = rows(table)
    assert (row["model"], row["line"], row["far"]) == ("single", "+100.0", "n/a")
    assert table.notes[0].startswith("No BD-rate")
    assert (
        table.notes[-1]
        == "n/a in the row of single: 35.00 dB is outside of far's 50.00 to 55.00 dB."
    )


def test_bd_rate_against_the_shipped_curve_of_itself_is_0():
    published = read_published_curves()
    jpeg = published.named("JPEG")
    (row,) = rows(bd_rate_table([Result(jpeg.curve, "")], published, "json"))
    assert math.isclose(float(row["JPEG_percent"]), 0, abs_tol=1e-6)
    # Computed apart from hwkd (test_published_curves).
    assert float(row["VTM_percent"]) == pytest.approx(208.49, abs=0.05)


def test_at_equal_ms_ssim_the_axis_is_its_distance_from_1_in_db():
    """0.9 and 0.99 are 10 and 20 dB: the rate of log10 bpp = dB / 10 - 1 is met, and half of it is -50 %."""
    half = curve("half", (0.5, 5.0), (30.0, 33.0), (0.9, 0.99))
    (row,) = rows(bd_rate_table([half], PUBLISHED, "md", MS_SSIM))
    assert (row["line"], row["ms_ssim"]) == ("-50.0", "0.900 to 0.990")
    table = bd_rate_table([half], PUBLISHED, "json", MS_SSIM)
    (row,) = rows(table)
    assert (row["line_percent"], row["line_low_ms_ssim"]) == ("-50.000", "0.900")
    assert table.title == "BD-rate in MS-SSIM against published curves, in percent"


def test_a_curve_without_ms_ssim_says_so():
    table = bd_rate_table([curve("plain", (0.5, 5.0), (30.0, 40.0))], PUBLISHED, "md", MS_SSIM)
    assert rows(table)[0]["line"] == "n/a"
    assert "plain against line is n/a: curve 'plain' tells no MS-SSIM." in table.notes


CLASSIC = (curve("WebP", (1.0, 10.0), (30.0, 40.0), (0.9, 0.99)),)


def test_codecs_measured_here_are_compared_on_the_same_images_only():
    ours = curve("ours", (0.5, 5.0), (30.0, 40.0), (0.9, 0.99))
    elsewhere = curve("elsewhere", (0.5, 5.0), (30.0, 40.0), images="24 images of kodak")
    psnr, ms_ssim = measured_rate_tables([ours, elsewhere], CLASSIC, "md")
    assert psnr.title == "BD-rate against codecs measured on 3 images of photos, in percent"
    assert ms_ssim.title.startswith("BD-rate in MS-SSIM against codecs measured on 3 images")
    assert rows(psnr) == [
        {"curve": "ours", "points": "2", "psnr_db": "30.0 to 40.0", "WebP": "-50.0"}
    ]
    assert rows(ms_ssim)[0]["ms_ssim"] == "0.900 to 0.990"
    for table in (psnr, ms_ssim):
        assert any(note.endswith("--classic`): how WebP was made.") for note in table.notes)
        assert "Not said to be of these images: elsewhere." in table.notes


def test_without_codecs_or_curves_there_is_no_table():
    ours = curve("ours", (0.5, 5.0), (30.0, 40.0))
    assert measured_rate_tables([ours], (), "md") == ()
    single = curve("single", (0.5,), (30.0,))
    elsewhere = curve("elsewhere", (0.5, 5.0), (30.0, 40.0), images="")
    assert measured_rate_tables([single, elsewhere], CLASSIC, "md") == ()
    (only,) = measured_rate_tables([ours], CLASSIC, "md")
    assert "MS-SSIM" not in only.title
