import json

import pytest

from hwkd.cli.main import main
from hwkd.codec.shipped import shipped

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
