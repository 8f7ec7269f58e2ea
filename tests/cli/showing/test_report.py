import json

import pytest

from hwkd.cli.main import main
from hwkd.codec.shipped import shipped
from hwkd.images import write_png

RESULT = {"name": "mine", "results": {"psnr-rgb": [30, 34], "bpp": [0.3, 0.8]}}


def test_nothing_but_figures_are_made_where_only_they_are_asked_for(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.json").write_text(json.dumps(RESULT))
    monkeypatch.chdir(tmp_path)
    assert main(["report", "mine.json", "--figures", "figures"]) == 0
    assert "into figures" in capsys.readouterr().out
    made = {path.name for path in (tmp_path / "figures").iterdir()}
    assert {"rd.pdf", "rd.svg", "rd.png", "captions.md"} <= made
    assert not (tmp_path / "report.html").exists()


def test_the_page_is_report_html_unless_it_is_named(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.json").write_text(json.dumps(RESULT))
    monkeypatch.chdir(tmp_path)
    assert main(["report", "mine.json"]) == 0
    assert capsys.readouterr().out.startswith("wrote report.html (")
    assert main(["report", "mine.json", "-o", "other.html", "--figures", "figures"]) == 0
    assert (tmp_path / "other.html").read_bytes() != b""
    assert (tmp_path / "figures" / "rd.svg").exists()


def test_the_same_sources_give_the_same_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["report", "gdn-16", "--target", "jetson-nano", "-o", "a.html"]
    assert main(words) == 0
    first = (tmp_path / "a.html").read_bytes()
    assert main(words) == 0
    assert (tmp_path / "a.html").read_bytes() == first


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["patch-smal"], "did you mean patch-small"),
        (["none/"], "unknown profile 'none'"),
        (["none.json"], "cannot read none.json"),
        (["gdn-16", "--target", "jetson"], "unknown target 'jetson'"),
        (["gdn-16", "-o", "."], "is a folder"),
        (["gdn-16", "-o", "report.pdf"], "-o report.pdf is no name of a page"),
        (["gdn-16", "--figures", str(shipped()["gdn-16"])], "is a file, figures need a folder"),
        (["--images", "none", "--figures", "f"], "--figures is for records and results"),
        (["--images", "none", "--target", "jetson-nano"], "--target is for records and results"),
        (["--images", "none", "gdn-16"], "none"),
    ],
)
def test_a_users_mistake_is_one_line_and_nothing_is_written(
    words, message, refused, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert message in refused(["report", *words])


def test_a_damaged_record_is_refused(refused, tmp_path):
    (tmp_path / "a.json").write_text('{"schema": 1}')
    error = refused(["report", tmp_path / "a.json"])
    assert "a.json" in error
    assert "lacks" in error or "missing" in error


def test_a_damaged_log_of_a_run_is_refused(refused, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "metrics.jsonl").write_text("{\n{}\n")
    assert "line 1 is no entry of a training log" in refused(["report", tmp_path])


BUNDLE = "gdn-16"
"""It ships, and is the smallest."""


@pytest.fixture
def photos(tmp_path, photo):
    for n in range(2):
        write_png(tmp_path / "photos" / f"{n}.png", photo(64, 80, n))
    return tmp_path / "photos"


def test_a_page_is_written_and_told(photos, tmp_path, capsys):
    page = tmp_path / "out" / "page.html"
    assert main(["report", "--images", str(photos), BUNDLE, "-o", str(page)]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"wrote {page} (2 images, ")
    assert err == ""
    text = page.read_text(encoding="utf-8")
    assert text.count("<figure>") == 8
    assert [p.name for p in page.parent.iterdir()] == ["page.html"]


def test_the_same_images_and_models_give_the_same_page(photos, tmp_path):
    words = ["report", "--images", str(photos), BUNDLE, "-o", str(tmp_path / "a.html")]
    assert main(words) == 0
    first = (tmp_path / "a.html").read_bytes()
    assert main(words) == 0
    assert (tmp_path / "a.html").read_bytes() == first


def test_images_that_are_left_out_are_told(photos, tmp_path, capsys, monkeypatch):
    import hwkd.report.page.visual as data

    kept = data._fitted
    monkeypatch.setattr(data, "_fitted", lambda *args: kept(*args)[:1])
    page = tmp_path / "page.html"
    assert main(["report", "--images", str(photos), BUNDLE, "-o", str(page)]) == 0
    assert capsys.readouterr().err == "note: 1 of 2 images are left out: more do not fit\n"


def test_a_folder_without_images_is_refused(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "no images in" in refused(["report", "--images", tmp_path / "empty", BUNDLE])


def test_a_folder_that_is_missing_is_refused(refused, tmp_path):
    assert "no such folder" in refused(["report", "--images", tmp_path / "none", BUNDLE])


def test_a_file_for_a_folder_is_refused(refused, photos):
    assert "not a folder" in refused(["report", "--images", photos / "0.png", BUNDLE])


def test_an_unknown_model_is_refused_with_the_near_names(refused, photos):
    error = refused(["report", "--images", photos, "patch-medum"])
    assert error.startswith("unknown model 'patch-medum': did you mean patch-medium")


def test_a_bundle_that_is_missing_is_refused(refused, photos):
    assert "none.hwkd" in refused(["report", "--images", photos, "./none.hwkd"])


def test_a_model_that_is_given_twice_is_refused(refused, photos):
    error = refused(["report", "--images", photos, "gdn-16", "gdn-16"])
    assert error == "gdn-16 is given twice: leave one out"


def test_an_image_that_cannot_be_read_is_refused_by_its_name(refused, photos):
    (photos / "2.png").write_bytes(b"no image")
    error = refused(["report", "--images", photos, BUNDLE])
    assert "2.png is not a readable image" in error


@pytest.mark.parametrize(
    ("name", "words"), [("photos", "is a folder"), ("page.pdf", "is no name of a page")]
)
def test_a_place_that_is_no_page_is_refused_before_the_work(refused, photos, name, words):
    error = refused(["report", "--images", photos, BUNDLE, "-o", photos.parent / name])
    assert words in error
