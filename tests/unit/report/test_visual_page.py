import math
from dataclasses import replace

import pytest

from hwkd.report.page.visual import Figures, ShownImage, View, Visual
from hwkd.report.visual_crop import Crop
from hwkd.report.visual_page import visual_html

ADDRESS = "data:image/webp;base64,UklGRg=="


def view(name, figures=None, note=""):
    return View(name, f"{name}'s library", note, figures, ADDRESS)


FIGURES = Figures(34.216, 0.98765, None, 5898, 0.12)
VIEWS = (
    view("original"),
    view("student", FIGURES),
    view("JPEG", replace(FIGURES, psnr_db=math.inf), "quality 3, the nearest"),
    view("WebP", replace(FIGURES, ms_ssim=None, ms_ssim_reason="a side is under 161 pixels")),
)
IMAGE = ShownImage("a.png", 768, 512, Crop(10, 20, 384, 256), VIEWS)
VISUAL = Visual("1 image of photos", 1, (IMAGE,), "student")


def test_figures_stand_below_the_view_and_in_its_text_alternative():
    page = visual_html(VISUAL, "hwkd report --images photos")
    assert 'alt="part of a.png by student: 34.22 dB at 0.1200 bpp"' in page
    assert "<dd>34.22</dd>" in page and "<dd>0.98765</dd>" in page and "<dd>0.1200</dd>" in page
    assert "5,898 bytes" in page
    assert "library; quality 3, the nearest." in page


def test_what_part_is_shown_is_said():
    page = visual_html(VISUAL, "")
    assert "Shown: 384x256 of 768x512 at (10, 20). The figures are of the whole image." in page
    whole = replace(VISUAL, images=(replace(IMAGE, crop=Crop(0, 0, 768, 512)),))
    assert "Shown: all of 768x512." in visual_html(whole, "")


def test_a_view_without_error_has_no_number_and_a_missing_ms_ssim_its_reason():
    page = visual_html(VISUAL, "")
    assert "a.png by JPEG: no error at" in page
    assert "ms_ssim is n/a: a side is under 161 pixels." in page
    assert (
        "inf" not in page.partition("<main")[2].replace("information", "").partition("<script")[0]
    )


def test_how_many_images_are_left_out_is_said():
    assert "left out" not in visual_html(VISUAL, "")
    page = visual_html(replace(VISUAL, found=9), "")
    assert "<strong>8 of 9 images are left out</strong>" in page


def test_names_cannot_end_what_they_stand_in():
    name = "</script><b>&\"'.png"
    page = visual_html(replace(VISUAL, images=(replace(IMAGE, name=name),)), name)
    assert "<b>" not in page
    assert "&lt;/script&gt;&lt;b&gt;&amp;" in page


def test_nothing_can_be_loaded_from_elsewhere():
    page = visual_html(VISUAL, "")
    assert "default-src 'none'" in page
    assert "http:" not in page and "https:" not in page


def test_the_same_input_gives_the_same_page():
    assert visual_html(VISUAL, "x") == visual_html(VISUAL, "x")


@pytest.mark.parametrize(("models", "columns"), [(1, 4), (2, 5), (3, 3), (4, 4)])
def test_views_stand_in_one_row_or_in_two_of_equal_length(models, columns):
    views = (VIEWS[0], *(view(f"m{n}", FIGURES) for n in range(models)), *VIEWS[2:])
    made = replace(VISUAL, images=(replace(IMAGE, views=views),), matched_to="m0")
    assert f'style="--columns: {columns}"' in visual_html(made, "")
