"""A board is one TOML file and no code: it is listed, profiled, compared, and has its card on the page."""

import shutil

import pytest

import hwkd.data
from hwkd.cli.main import main
from hwkd.data import data_folder

NAME = "my-board"


@pytest.fixture
def board_file(tmp_path):
    text = (data_folder("targets") / "raspberry-pi-5.toml").read_text(encoding="utf-8")
    path = tmp_path / f"{NAME}.toml"
    made = text.replace('name = "raspberry-pi-5"', f'name = "{NAME}"').replace(
        "Raspberry Pi 5: 4x", "A board of my own: 4x"
    )
    assert made.count(NAME) == 1
    path.write_text(made, encoding="utf-8")
    return path


@pytest.fixture
def installed(board_file, tmp_path, monkeypatch):
    """The file put into targets/, in a copy of an installation's data."""
    root = tmp_path / "root"
    shutil.copytree(data_folder("targets"), root / "targets")
    (root / "profiles").symlink_to(data_folder("profiles"))
    shutil.copy(board_file, root / "targets")
    monkeypatch.setattr(hwkd.data, "_PACKAGE", root / "hwkd")


def printed(capsys, *words):
    assert main([str(word) for word in words]) == 0
    return capsys.readouterr().out


@pytest.fixture
def name(request):
    """How the board is named: by its name where it is installed, else by its file."""
    request.getfixturevalue("installed")
    return NAME


def test_a_file_in_targets_is_listed(name, capsys):
    assert NAME in printed(capsys, "targets")
    assert "A board of my own" in printed(capsys, "targets", "show", name)


def test_it_is_profiled_with_all_the_others(name, capsys, in_one_thread):
    words = ("profile", "hyperprior:N=16,M=192", "--size", "64x64", "--format", "csv")
    assert f",{NAME}," in printed(capsys, *words)


def test_it_is_compared_without_records_of_its_own(name, capsys):
    table = printed(capsys, "compare", name, "--format", "csv")
    assert "patch-small-q5.hwkd" in table
    assert f",{NAME}," in table


def test_it_has_its_card_and_its_rows_on_the_page(name, tmp_path, capsys):
    page = tmp_path / "page.html"
    printed(capsys, "report", "-o", page)
    html = page.read_text(encoding="utf-8")
    assert "A board of my own: 4x" in html
    assert html.count(NAME) > 10


def test_its_path_does_the_same_without_installing_it(board_file, tmp_path, capsys, in_one_thread):
    page = tmp_path / "page.html"
    assert "A board of my own" in printed(capsys, "targets", "show", board_file)
    words = ("hyperprior:N=16,M=192", "--size", "64x64", "--format", "csv", "--target")
    assert f",{NAME}," in printed(capsys, "profile", *words, board_file)
    assert f",{NAME}," in printed(capsys, "compare", board_file, "--format", "csv")
    printed(capsys, "report", "--target", board_file, "jetson-nano", "-o", page)
    html = page.read_text(encoding="utf-8")
    assert "A board of my own: 4x" in html
    assert "raspberry-pi-4" not in html
