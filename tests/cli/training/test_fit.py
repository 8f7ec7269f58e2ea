"""`hwkd fit`: what it refuses, and one small search from the command line to the recipe."""

import json
import re
import sqlite3

import pytest

import hwkd.search.study
from hwkd.cli.main import main
from hwkd.distill.recipe import read_recipe

PI = ("fit", "--target", "raspberry-pi-4", "--max-ms", "150")


def error(capsys, *words):
    """What is said on stderr where the command ends with exit code 2."""
    assert main([str(word) for word in words]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("hwkd: error: ") and err.count("\n") == 1
    return err.removeprefix("hwkd: error: ").removesuffix("\n")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("fit", "--max-ms", "9"), "no target is given: name one with --target"),
        (PI[:3], "a search needs a budget: give --max-ms, --max-mj or --max-mib"),
        ((*PI, "--family", "vae"), "unknown family 'vae': known are gdn, patch, relu"),
        (
            (*PI, "--teacher", "patch-q5", "--family", "gdn"),
            "family gdn has no teacher among patch-q5: give one more --teacher",
        ),
        (
            (*PI, "--teacher", "patch-q5", "--teacher", "patch-medium-float"),
            "--teacher patch-medium-float and patch-q5 both are for family patch: give one of them",
        ),
        ((*PI, "--pool", "2"), "--pool 2 is less than a batch: give 4 (--batch) or more"),
        ((*PI, "--study", "a.txt"), "--study a.txt is no place for a study: give FILE.db"),
        ((*PI, "--data", "nowhere"), "nowhere"),
        (("fit", "--worker"), "--worker needs the search to help with: name it with --study"),
        (
            ("fit", "--worker", "--study", "a.db", "--max-ms", "9"),
            "--worker takes --max-ms from the study: leave it out",
        ),
        (("fit", "--worker", "--study", "a.db"), "there is no study in a.db: start it with"),
        ((*PI[:2], "raspberry-pi-3", *PI[3:]), "unknown target 'raspberry-pi-3': did you mean"),
    ],
    ids=lambda value: "-".join(value[-2:]) if isinstance(value, tuple) else None,
)
def test_wrong_input_is_one_line(capsys, tmp_path, words, message):
    assert message in error(capsys, *words)
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_a_budget_that_no_student_keeps_names_the_nearest(capsys, tmp_path):
    said = error(capsys, *PI[:4], "10", "--max-mj", "100")
    found = re.match(
        r"no student of the search keeps the budget of 10 ms, 100 mJ on raspberry-pi-4: the nearest that can be had is "
        r"relu N=8 M=64 H=16 Z=16, with ([\d.]+) ms, ([\d.]+) mJ; give --max-ms ([\d.]+) or more and --max-mj ([\d.]+) or more",
        said,
    )
    assert found is not None, said
    ms, mj, max_ms, max_mj = map(float, found.groups())
    # Rounded up, so that what is advised can be kept.
    assert 10 < ms <= max_ms < 1.1 * ms
    assert 100 < mj <= max_mj < 1.1 * mj
    assert not list(tmp_path.iterdir())


def test_a_size_that_four_bits_do_not_keep_is_refused(capsys):
    said = error(capsys, *PI[:3], "--max-mib", "0.01")
    assert "of 0.01 MiB on raspberry-pi-4: the nearest that can be had is relu N=8" in said


def test_energy_where_nobody_knows_the_power_is_refused(capsys, board_file):
    unknown = r"\1\nunknown = 'nobody measured'\n\n"
    # Of the board and of its units.
    text, count = re.subn(
        r"(?ms)^(\[(?:units\.)?load_w\])$.*?^$\n", unknown, board_file.read_text()
    )
    assert count == 2
    board_file.write_text(text)
    said = error(capsys, "fit", "--target", board_file, "--max-mj", "800")
    assert "--max-mj 800 cannot be held: the power of my-board under load is unknown" in said


def test_a_study_that_another_program_holds_is_one_line(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(hwkd.search.study, "LOCK_WAIT_S", 0.1)
    path = tmp_path / "study.db"
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("CREATE TABLE a (b)")
    holder.execute("BEGIN EXCLUSIVE")
    try:
        assert "study.db is locked: another program" in error(capsys, *PI, "--study", path)
    finally:
        holder.close()


@pytest.fixture
def small(tiny_teacher_file, tmp_path, monkeypatch):
    """A search for students of the tiny teacher, on embedded photographs, in seconds."""
    monkeypatch.setattr("hwkd.cli.training.fit.PAPER_N", (16, 96))
    return [
        *PI,
        *("--teacher", str(tiny_teacher_file), "--trials", "2", "--steps", "2", "--crop", "64"),
        *("--batch", "2", "--pool", "2", "--threads", "1", "-o", str(tmp_path / "found")),
        *("--study", str(tmp_path / "study.journal")),
    ]


def test_a_search_from_the_command_line_to_the_recipe(small, capsys, tmp_path, monkeypatch):
    assert main(small) == 0
    out = capsys.readouterr().out
    folder = tmp_path / "found"
    assert sorted(path.name for path in folder.iterdir()) == [
        *("fit-macs.png", "fit-macs.svg", "fit-mj.png", "fit-mj.svg", "fit-ms.png", "fit-ms.svg"),
        *("fit.csv", "fit.json", "fit.md", "recipe.toml"),
    ]
    assert ", best" in out and "paper N=16" in out
    assert "they would cost N=96: 51.1 kMAC/pixel" in out
    content = json.loads((folder / "fit.json").read_text())
    assert [trial["kind"] for trial in content["trials"]] == ["reference", "uniform", "searched"]
    assert content["trials"][0]["steps"] == 2
    assert {trial["cost"]["latency_ms"]["found"] for trial in content["trials"]} == {"predicted"}
    options = read_recipe(str(folder / "recipe.toml")).given()
    assert options["family"] == "patch" and options["width"] == "16,16,16"
    assert options["target"] == "raspberry-pi-4" and options["bits"] == "8/8"

    # Again: nothing is trained, the same is printed; a worker has nothing to do either.
    monkeypatch.setattr("hwkd.search.train.Trainer", None)
    assert main(small) == 0
    assert capsys.readouterr().out == out
    assert main(["fit", "--worker", "--study", str(tmp_path / "study.journal")]) == 0
    assert "is done: the process that began it writes the result" in capsys.readouterr().out

    # Other values are another search; a worker's other images are refused.
    assert "steps was 2, is now 3" in error(capsys, *small, "--steps", "3")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/a.png").write_bytes(b"a")
    said = error(capsys, "fit", "--worker", "--study", small[-1], "--data", tmp_path / "other")
    assert "the study's images are embedded photographs: name the folder" in said


def test_ctrl_c_tells_how_to_go_on(small, capsys, monkeypatch):
    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr("hwkd.search.worker.Worker.work", interrupted)
    assert main(small) == 130
    assert capsys.readouterr().err == (
        f"hwkd: stopped; what was trained is kept in {small[-1]}: run the same command again to go on\n"
    )
