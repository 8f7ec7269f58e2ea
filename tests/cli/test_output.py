"""What reaches the terminal, whatever it is: other encodings, closed streams, names that rich or argparse could take for theirs."""

import logging
import os
import subprocess
import sys

import pytest

from hwkd.cli.main import main
from hwkd.cli.talk import stderr_console, talking
from hwkd.images import write_png
from hwkd.notes import detail, note


def hwkd(*words, closed=(), **environment):
    """`hwkd WORDS` in a process of its own; closed: numbers of streams that it starts without."""
    redirections = " ".join(f"{number}>&-" if number else "0<&-" for number in closed)
    return subprocess.run(
        [
            "sh",
            "-c",
            f'exec "$@" {redirections}',
            "sh",
            sys.executable,
            "-m",
            "hwkd",
            *map(str, words),
        ],
        capture_output=True,
        env={**os.environ, **environment},
        check=False,
    )


def test_a_file_that_cannot_be_written_loses_no_figures(tmp_path, photo, tiny_bundle, capsys):
    """Hours of measuring may lie before it."""
    (tmp_path / "data").mkdir()
    write_png(tmp_path / "data" / "a.png", photo(64, 64, 0))
    argv = ("evaluate", tiny_bundle, "--data", tmp_path / "data", "--format", "csv", "-o", tmp_path)
    assert main([str(word) for word in argv]) == 2
    out, err = capsys.readouterr()
    header, row = out.splitlines()
    assert header.startswith("model,") and float(row.split(",")[1]) > 0
    assert err.endswith(
        f"cannot write {tmp_path}: Is a directory; give a place that you may write to\n"
    )


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252"])
def test_a_table_is_printed_in_every_encoding(encoding):
    done = hwkd("targets", PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.decode(encoding).splitlines()
    assert any(line.startswith("+---") for line in lines)  # frames of ASCII, as wide as the others
    assert not any("\\u" in line for line in lines if line.startswith(("+", "|")))


def test_a_name_is_printed_in_every_encoding(tmp_path, photo, tiny_bundle):
    write_png(tmp_path / "日本.png", photo(64, 64, 0))
    argv = ("encode", tmp_path / "日本.png", tmp_path / "a.hwk", "--model", tiny_bundle)
    done = hwkd(*argv, PYTHONIOENCODING="ascii", OMP_NUM_THREADS="1")
    assert (done.returncode, done.stderr) == (0, b"")
    assert rb"\u65e5\u672c.png" in done.stdout and (tmp_path / "a.hwk").is_file()


@pytest.mark.parametrize(
    ("words", "closed", "said"),
    [
        (("models",), (1,), b"standard output is closed"),
        (("encode", "a.png", "-"), (1,), b"standard output is closed"),
        (("encode", "-", "a.hwk"), (0,), b"standard input is not a readable image (it is empty)"),
    ],
)
def test_a_closed_stream_is_one_line(tmp_path, words, closed, said, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = hwkd(*words, closed=closed, PYTHONPATH=os.pathsep.join(sys.path))
    assert done.returncode == 2 and said in done.stderr
    assert done.stderr.count(b"\n") == 1 and not any(tmp_path.iterdir())


def test_nothing_that_is_printed_goes_into_a_file_in_place_of_a_closed_stream(
    tmp_path, photo, tiny_bundle
):
    write_png(
        tmp_path / "a.png", photo(64, 64, 0)[..., 0]
    )  # grey, which is noted on standard error
    argv = ("encode", tmp_path / "a.png", tmp_path / "a.hwk", "--model", tiny_bundle)
    done = hwkd(*argv, closed=(0, 2), OMP_NUM_THREADS="1")
    assert done.returncode == 0 and b"a.hwk" in done.stdout
    assert b"note" not in (tmp_path / "a.hwk").read_bytes()


@pytest.mark.parametrize("name", ["[/]", "[red]x", "{0}", "{task.speed}", ":smile:", "a[/b]c"])
def test_a_name_is_no_markup(name, capsys, monkeypatch):
    monkeypatch.setenv("TTY_COMPATIBLE", "1")  # rich then takes the stream for a terminal
    console = stderr_console()
    with console.status(name) as status:
        status.update(f"{name} done")
    console.print(name)
    assert name in capsys.readouterr().err


def test_notes_are_written_once_and_details_where_more_is_asked_for(capsys):
    for is_verbose, is_quiet, expected in (
        (False, False, "note: one\n"),
        (True, False, "note: one\ntwo\n"),
        (False, True, ""),
    ):
        with talking(verbose=is_verbose, quiet=is_quiet):
            for _ in range(2):
                note("one")
                detail("two")
        assert capsys.readouterr().err == expected
    assert not logging.getLogger("hwkd").handlers


def test_what_should_not_happen_is_one_line_and_says_how_to_learn_more(monkeypatch, capsys):
    def fails(_args):
        raise IndexError("list index out of range")

    monkeypatch.setattr("hwkd.cli.showing.models.run", fails)
    assert main(["models"]) == 1
    assert capsys.readouterr().err == (
        "hwkd: error: this should not happen, IndexError: list index out of range; -v shows where it came from\n"
    )
    assert main(["models", "-v"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_memory_that_runs_out_is_one_line(monkeypatch, capsys):
    def fails(_args):
        raise MemoryError

    monkeypatch.setattr("hwkd.cli.showing.models.run", fails)
    assert main(["models"]) == 1
    assert capsys.readouterr().err.startswith("hwkd: error: there is not enough memory; close")


def test_figures_are_drawn_whatever_back_end_a_notebook_names(tmp_path):
    done = hwkd(
        *("compare", "--results", "--plot", tmp_path / "rd.svg", "-o", tmp_path / "t"),
        MPLBACKEND="module://matplotlib_inline.backend_inline",
    )
    assert done.returncode == 0, done.stderr
    assert b"<svg" in (tmp_path / "rd.svg").read_bytes()
