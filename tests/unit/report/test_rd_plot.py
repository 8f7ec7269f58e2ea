import re
import sys

import pytest

from hwkd.errors import HwkdError, InputError
from hwkd.metrics import Curve
from hwkd.report.compare.published import read_paper
from hwkd.report.published_curves import read_published_curves
from hwkd.report.rd_plot import draw_rd
from hwkd.report.result_files import ResultFiles
from hwkd.results import Result

RESULTS = {
    "small": Result(Curve("small", (0.2, 0.5, 0.9), (27.0, 31.0, 34.0)), ""),
    "small-float": Result(Curve("small in float", (0.2, 0.5, 0.9), (27.1, 31.1, 34.1)), ""),
    "gdn-16": Result(Curve("gdn-16", (0.7,), (28.0,)), ""),
}


def draw(path):
    draw_rd(ResultFiles(RESULTS, None), read_published_curves(), read_paper(), path)
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
