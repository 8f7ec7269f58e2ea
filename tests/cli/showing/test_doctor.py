import argparse

import pytest

from hwkd.cli.showing import doctor
from hwkd.measure.machine import PACKAGES, look
from tests.tables import table_of


def run(*argv):
    parser = argparse.ArgumentParser()
    doctor.configure(parser)
    return doctor.run(parser.parse_args(argv))


def test_every_check_has_a_row_with_its_state_and_mend(capsys):
    assert run("--format", "json") == 0
    table = table_of(capsys.readouterr().out)
    assert table["columns"] == ["check", "found", "state", "mend"]
    names = [row["check"] for row in table["rows"]]
    assert names[0] == "python"
    assert set(PACKAGES) < set(names)
    assert {row["state"] for row in table["rows"]} <= {"ok", "limited", "missing"}


@pytest.fixture
def bare_machine(tmp_path, monkeypatch):
    """A machine whose /sys and /proc are empty folders."""
    monkeypatch.setattr("hwkd.measure.machine.look", lambda: look(tmp_path, tmp_path))


def test_a_lack_is_no_failure(capsys, bare_machine):
    assert run("--format", "json") == 0
    rows = {row["check"]: row for row in table_of(capsys.readouterr().out)["rows"]}
    assert (rows["sensor RAPL"]["found"], rows["sensor RAPL"]["state"]) == ("absent", "missing")
    assert rows["memory"]["found"] == {
        "value": None,
        "reason": "the system does not tell what is free",
    }


def test_the_table_is_the_default_and_goes_to_a_file_too(capsys, tmp_path):
    assert run() == 0
    assert "This machine: " in capsys.readouterr().out
    assert run("--format", "csv", "-o", str(tmp_path / "machine.csv")) == 0
    assert capsys.readouterr().out == ""
    assert (tmp_path / "machine.csv").read_text().startswith("check,found,state,mend\npython,")


def test_examples_are_real_commands(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = [line.split()[2:] for line in doctor.EXAMPLES.splitlines()[1:]]
    assert len(lines) >= 2
    assert [run(*argv) for argv in lines] == [0] * len(lines)
    assert (tmp_path / "machine.json").is_file()
