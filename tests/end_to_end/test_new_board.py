"""A board is one TOML file and no code: it is listed, profiled, compared, and has its card on the page."""

from hwkd.cli.main import main

NAME = "my-board"


def printed(capsys, *words):
    assert main([str(word) for word in words]) == 0
    return capsys.readouterr().out


def test_a_file_in_targets_is_listed(installed_board, capsys):
    assert NAME in printed(capsys, "targets")
    assert "A board of my own" in printed(capsys, "targets", "show", installed_board)


def test_it_is_profiled_with_all_the_others(installed_board, capsys, in_one_thread):
    words = ("profile", "hyperprior:N=16,M=192", "--size", "64x64", "--format", "csv")
    assert f",{NAME}," in printed(capsys, *words)


def test_it_is_compared_without_records_of_its_own(installed_board, capsys):
    table = printed(capsys, "compare", installed_board, "--format", "csv")
    assert "patch-small.hwkd" in table
    assert f",{NAME}," in table


def test_it_has_its_card_and_its_rows_on_the_page(installed_board, tmp_path, capsys):
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
