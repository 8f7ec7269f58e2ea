import re
import sys

import pytest

from hwkd.errors import HwkdError, InputError
from hwkd.metrics import Curve
from hwkd.report.compare.published import read_paper, read_published_curves
from hwkd.report.plots.rd import draw_rd, rd_plot
from hwkd.report.results import ResultFiles
from hwkd.results import Result, TrainedModel

MODELS = (TrainedModel("small-q1", lmbda=0.0018, precision="int8 7/8"), TrainedModel("small-q2"))
RESULTS = {
    "gdn-16": Result(Curve("gdn-16", (2.0,), (28.0,)), "on other images"),
    "small": Result(Curve("small", (0.1, 0.5), (27.0, 31.0)), "on kodak", MODELS),
    "small-float": Result(Curve("small in float", (0.1, 0.5), (27.1, 31.1)), "on kodak"),
}


def plot(results=RESULTS):
    return rd_plot(ResultFiles(results, None), read_published_curves(), read_paper())


def test_without_results_there_is_no_plot():
    assert plot({}) is None


def test_curves_come_first_then_single_models_then_what_others_published():
    published = [curve.name for curve in read_published_curves().curves]
    names = [series.name for series in plot().series]
    assert names == ["small", "gdn-16", *published, "arXiv 2509.10366"]
    assert [series.is_published for series in plot().series] == [False] * 2 + [True] * 9
    assert [series.is_line for series in plot().series] == [True, False] + [True] * 8 + [False]


def test_a_point_says_which_model_it_is():
    first, second = plot().series[0].points
    assert (first.name, first.detail) == ("small-q1", "lmbda 0.0018, int8 7/8")
    assert (first.x, first.y) == (0.1, 27.0)
    assert (second.name, second.detail) == ("small-q2", "")


def test_the_axes_hold_our_points_and_the_papers_with_room_around():
    # The paper's rates lie between ours; its PSNRs reach 34.53 dB.
    assert plot().x_range == (0.1 / 1.6, 2.0 * 1.6)
    assert plot().y_range == (27.0 - 2, 34.53 + 2)
    assert plot().is_x_log


def test_the_caption_tells_where_the_curves_lie_and_which_is_best():
    caption = plot().caption
    assert "small from 0.100 bpp, 27.00 dB to 0.500 bpp, 31.00 dB" in caption
    assert "gdn-16 (2.000 bpp, 28.00 dB)" in caption
    assert "highest PSNR measured here is that of small-q2 (0.500 bpp, 31.00 dB)" in caption
    assert "bmshj2018-hyperprior" in caption


def test_the_table_has_every_point_and_says_who_found_it():
    table = plot().table
    found = table.columns.index("found")
    assert len(table.rows) == sum(len(series.points) for series in plot().series)
    assert [row[found] for row in table.rows[:4]] == ["measured"] * 3 + ["published"]


def test_results_on_other_images_are_told_apart():
    assert any("other images" in note and "gdn-16" in note for note in plot().notes)
    assert any(note.startswith("Not said to be measured on Kodak") for note in plot().notes)
    on_kodak = plot({"small": RESULTS["small"]})
    assert not any(note.startswith("Not said to be measured") for note in on_kodak.notes)


RESULTS_RD_PLOT = {
    "small": Result(Curve("small", (0.2, 0.5, 0.9), (27.0, 31.0, 34.0)), ""),
    "small-float": Result(Curve("small in float", (0.2, 0.5, 0.9), (27.1, 31.1, 34.1)), ""),
    "gdn-16": Result(Curve("gdn-16", (0.7,), (28.0,)), ""),
}


def draw(path):
    draw_rd(ResultFiles(RESULTS_RD_PLOT, None), read_published_curves(), read_paper(), path)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("name", "magic"),
    [("rd.svg", b"<?xml"), ("rd.png", b"\x89PNG"), ("rd.PDF", b"%PDF")],
)
def test_the_suffix_names_the_format(tmp_path, name, magic):
    assert draw(tmp_path / "new" / name).startswith(magic)


def test_every_curve_is_named_in_text_but_other_forms_of_a_student(tmp_path):
    texts = re.findall(r"<text[^>]*>([^<]+)</text>", draw(tmp_path / "rd.svg").decode())
    published = [curve.name for curve in read_published_curves().curves]
    assert {"small", "gdn-16", "arXiv 2509.10366", *published} <= set(texts)
    assert "small in float" not in texts


def test_the_same_results_make_the_same_file(tmp_path):
    for kind in ("svg", "pdf"):
        assert draw(tmp_path / f"a.{kind}") == draw(tmp_path / f"b.{kind}")


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        draw(tmp_path / "file" / "rd.svg")


def test_without_matplotlib_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(HwkdError, match=r'pip install "hwkd\[report\]"'):
        draw(tmp_path / "rd.svg")
    assert not list(tmp_path.iterdir())


def test_nothing_to_plot_is_an_error(tmp_path):
    files = ResultFiles({}, None)
    with pytest.raises(InputError, match="no curve to plot"):
        draw_rd(files, read_published_curves(), read_paper(), tmp_path / "rd.svg")
