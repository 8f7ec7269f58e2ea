import math

import pytest

import hwkd.report.compare.published as module
from hwkd.errors import HwkdError
from hwkd.metrics import bd_rate_percent
from hwkd.report.compare.published import CURVES_FILE, HYPERPRIOR, read_published_curves

# Computed apart from hwkd: PCHIP on ln(bpp) over the overlapping PSNRs, integrated, percent.
BD_RATES = (
    ("JPEG", "VTM", 208.49),
    ("JPEG", "BPG 4:4:4", 143.04),
    ("WebP", "JPEG", -36.18),
    ("JPEG 2000", "JPEG", -35.86),
    ("JPEG 2000", "BPG 4:4:4", 55.83),
    ("BPG 4:4:4", "VTM", 21.99),
    ("AV1", "VTM", 16.18),
    ("VTM", "JPEG", -67.58),
)


@pytest.mark.parametrize(("test", "anchor", "percent"), BD_RATES)
def test_the_curves_have_the_bd_rates_that_were_computed_elsewhere(test, anchor, percent):
    published = read_published_curves()
    found = bd_rate_percent(published.named(anchor).curve, published.named(test).curve)
    assert found == pytest.approx(percent, abs=0.05)


def test_the_hyperprior_at_quality_5_is_the_papers_teacher():
    # arXiv 2509.10366: 34.53 dB at 0.67 bpp, float output; ours is of the same model's 8-bit output, a little worse.
    curve = read_published_curves().named(HYPERPRIOR)
    assert len(curve.bpp) == 8
    assert 34.53 - 0.05 < curve.psnr_db[4] < 34.53
    assert round(curve.bpp[4], 2) == 0.67


def test_learned_codecs_are_those_decoded_to_8_bits():
    for curve in read_published_curves().curves:
        is_learned = curve.name in (HYPERPRIOR, "mbt2018-mean")
        assert ("8bit-decoded" in curve.path) == is_learned
        assert all(0 < value < 1 and math.isfinite(value) for value in curve.ms_ssim)


@pytest.mark.parametrize("content", [None, "{", '{"source": "x"}'])
def test_a_damaged_file_is_no_users_fault(tmp_path, monkeypatch, content):
    monkeypatch.setattr(module, "data_folder", lambda name: tmp_path)
    if content is not None:
        (tmp_path / CURVES_FILE).parent.mkdir()
        (tmp_path / CURVES_FILE).write_text(content)
    with pytest.raises(HwkdError, match=r"cannot read .*kodak-rd\.json .*; install hwkd again"):
        read_published_curves()
