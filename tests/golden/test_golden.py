"""Every command of `hwkd` prints and writes what it did: the golden files in files/ hold it.

`python -m pytest tests/golden --update` writes them anew; read the difference before you commit it. The cases are in
cases.toml, what is taken out of the texts in normalise.py. Only the command line is used.
"""

import difflib
import io
import os
import re
import shlex
import shutil
import sys
import time
import tomllib
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from itertools import pairwise
from pathlib import Path

import pytest
from PIL import features

from hwkd.cli.main import main
from tests.golden.inputs import make_inputs
from tests.golden.normalise import RULES
from tests.golden.show import shown_bytes, shown_files, snapshot
from tests.tables import tables_of

FILES = Path(__file__).parent / "files"
PYTHON = (3, 11)
"""Of the help texts; argparse words and wraps them otherwise in others."""
KEYS = {"run", "masks", "terminal", "needs"}

pytestmark = pytest.mark.usefixtures(
    "brief_latencies", "brief_windows", "brief_export", "in_one_thread"
)


def read_cases():
    """COMMAND/CASE: {"run": command lines, "masks": rules, "terminal": stdout is one, its columns, "needs": a feature of Pillow}."""
    content = tomllib.loads((Path(__file__).parent / "cases.toml").read_text(encoding="utf-8"))
    cases = {}
    for command, its in content.items():
        for name, case in its.items():
            made = {"run": case} if isinstance(case, str) else case
            assert made.keys() <= KEYS and set(made.get("masks", ())) <= RULES.keys(), name
            cases[f"{command}/{name}"] = made
    return cases


CASES = read_cases()


class Terminal(io.TextIOWrapper):
    def isatty(self):
        return True


@contextmanager
def environment(folder, width="100"):
    """In `folder`, with what the outer environment says about terminals, places and processes put out of the way."""
    settings = {"COLUMNS": width, "LINES": "40", "NO_COLOR": "1", "TERM": "xterm", "TZ": "UTC"}
    # A run on a GPU says so.
    settings["CUDA_VISIBLE_DEVICES"] = ""
    unset = ("FORCE_COLOR", "RANK", "LOCAL_RANK", "WORLD_SIZE", "TORCHELASTIC_RUN_ID")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, value in settings.items():
            patch.setenv(name, value)
        for name in unset:
            patch.delenv(name, raising=False)
        time.tzset()
        try:
            yield patch
        finally:
            patch.undo()
            time.tzset()


def run(line, *, is_terminal=False):
    """(exit code, stdout, stderr) of `hwkd LINE`; `< FILE` at its end is standard input."""
    words = [] if line == "(nothing)" else shlex.split(line)
    given = b""
    if "<" in words:
        given = Path(words[-1]).read_bytes()
        words = words[:-2]
    out, err = io.BytesIO(), io.BytesIO()
    kind = Terminal if is_terminal else io.TextIOWrapper
    stdout = kind(out, encoding="utf-8", write_through=True)
    stderr = io.TextIOWrapper(err, encoding="utf-8", write_through=True)
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(stdout), redirect_stderr(stderr):
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given), encoding="utf-8"))
        code = main(words)
        stdout.flush()
        stderr.flush()
    return code, out.getvalue(), err.getvalue()


def trained(teacher, folder, words):
    """The folder of a run of a few steps on few photographs."""
    shutil.copy(teacher, folder / "teacher.safetensors")
    shared = "--teacher teacher.safetensors --crop 64 --batch 2 --threads 1 --precision fp32 -o run"
    with environment(folder):
        code, _, err = run(f"distill {shared} {words}")
    assert code == 0, err.decode()
    return folder / "run"


@pytest.fixture(scope="session")
def made_run(made_teacher, tmp_path_factory):
    """Of a student of family patch, quantized."""
    words = "--target jetson-nano --steps 2 --qat-steps 1 --width 16 --hyper 8 --hyper-latent 8"
    return trained(made_teacher, tmp_path_factory.mktemp("golden-run"), words)


@pytest.fixture(scope="session")
def made_small_run(made_teacher, tmp_path_factory):
    """Of a student of few layers, in float."""
    words = (
        "--target x86-avx2 --family relu --bits none --start random --kd none --steps 1 --width 8"
    )
    return trained(
        made_teacher,
        tmp_path_factory.mktemp("golden-small-run"),
        f"{words} --hyper 8 --hyper-latent 8 --latent 8",
    )


def asks_for_json(words):
    return ("--format", "json") in pairwise(words)


def printed(words, out):
    """The tables that a command line printed, or wrote to a file."""
    file = Path(words[words.index("-o") + 1]) if "-o" in words else None
    return file.read_text() if file is not None and file.is_file() else out.decode()


def outcome(case, folder, request):
    """The golden text of a case."""
    lines = [line for line in case["run"].splitlines() if line.strip()]
    masks = case.get("masks", ())
    make_inputs({word for line in lines for word in shlex.split(line)}, folder, request)
    before = snapshot(folder)
    parts = []
    terminal = case.get("terminal", False)
    with environment(folder, str(terminal if terminal is not True and terminal else 100)):
        for line in lines:
            code, out, err = run(line, is_terminal=bool(terminal))
            if code != 2 and asks_for_json(shlex.split(line)):
                tables_of(printed(shlex.split(line), out))
            parts.append(f"$ hwkd {line}\n")
            parts += [shown_bytes(out, masks)]
            parts += [f"--- stderr\n{shown_bytes(err, masks)}"] if err else []
            parts += [f"--- exit code {code}\n\n"]
    files = shown_files(folder, before, masks)
    parts += [f"--- files\n{files}"] if files else []
    text = "".join(parts).replace(str(folder.resolve()), "<folder>")
    text = text.replace(str(folder), "<folder>")
    return "".join(f"{line.rstrip()}\n" for line in text.rstrip().splitlines())


@pytest.mark.parametrize("name", CASES)
def test_what_is_printed_and_written_is_as_it_was(name, tmp_path, request, is_update):
    case = CASES[name]
    is_help = re.search(r"(^| )(-h|--help)( |$)", case["run"], re.MULTILINE)
    if is_help and sys.version_info[:2] != PYTHON:
        pytest.skip("the golden help texts are those of Python 3.11")
    if "needs" in case and not features.check(case["needs"]):
        pytest.skip(f"this Pillow lies without {case['needs']}")
    folder = tmp_path / "work"
    folder.mkdir()
    found = outcome(case, folder, request)
    path = FILES / f"{name}.txt"
    if is_update:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(found, encoding="utf-8")
        return
    expected = path.read_text(encoding="utf-8") if path.exists() else ""
    if found != expected:
        names = (os.path.relpath(path, FILES.parent), "found now")
        both = (expected.splitlines(), found.splitlines())
        diff = "\n".join(difflib.unified_diff(*both, *names, n=2, lineterm=""))
        pytest.fail(f"{diff}\n\nif this is meant: python -m pytest tests/golden --update", False)


def test_every_golden_file_has_its_case(is_update):
    held = {path.relative_to(FILES).with_suffix("").as_posix() for path in FILES.rglob("*.txt")}
    if is_update:
        for name in held - CASES.keys():
            (FILES / f"{name}.txt").unlink()
        return
    assert held == CASES.keys()


def help_of(words):
    code, out, _ = run(f"{words} --help")
    assert code == 0
    return out.decode()


def commands():
    return re.findall(r"(?m)^    ([a-z]+)(?:\s|$)", help_of(""))


def test_every_command_has_cases():
    assert len(commands()) >= 17
    assert set(commands()) <= {name.partition("/")[0] for name in CASES}


def test_every_command_that_prints_json_is_held_to_the_schema():
    """By a case that is no error, whose JSON `outcome` reads; an action of a command has one of its own."""
    texts = "".join(path.read_text(encoding="utf-8") for path in FILES.rglob("*.txt"))
    ran = re.findall(r"(?ms)^\$ hwkd ([^\n]*)$.*?^--- exit code (\d+)$", texts)
    lines = [shlex.split(line) for line, code in ran if code != "2"]
    asking = [words for words in lines if asks_for_json(words)]
    offering = []
    for command in commands():
        actions = re.search(r"(?m)^  ([a-z]+(?:\|[a-z]+)+)$", help_of(command))
        below = actions[1].split("|") if actions else []
        for action in ("", *below):
            offers = re.search(r"--format \{[a-z,]*\bjson\b", help_of(f"{command} {action}"))
            if offers:
                offering.append(f"{command} {action}".strip())
                of_it = (words for words in asking if words[0] == command)
                assert any(set(words) & set(below) == {action} - {""} for words in of_it), action
    assert len(offering) >= 14 and "targets validate" in offering
