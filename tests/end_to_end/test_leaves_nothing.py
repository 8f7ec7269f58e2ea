"""With the system calls traced: nothing is contacted, and no file is left but what was asked for."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hwkd.images import write_png

_CALL = re.compile(r"^\d+ +(\w+)\((.*)\) += (-?\d+)")
_WRITES = re.compile(r"O_WRONLY|O_RDWR|O_CREAT")

CREATING = (
    *("openat", "open", "creat", "mkdir", "mkdirat", "rename", "renameat", "renameat2", "symlink"),
    *("symlinkat", "link", "linkat", "mknod", "mknodat"),
)
SENDING = ("connect", "sendto", "sendmsg", "sendmmsg")


def _can_trace() -> str:
    """Why system calls cannot be traced here; "" if they can."""
    strace = shutil.which("strace")
    if strace is None:
        return "strace is not installed: apt-get install strace"
    done = subprocess.run([strace, "-o", os.devnull, "true"], capture_output=True, text=True)
    return "" if done.returncode == 0 else f"strace may not trace here: {done.stderr.strip()}"


pytestmark = pytest.mark.skipif(bool(_can_trace()), reason=_can_trace() or "traced")


@pytest.fixture
def place(tmp_path, photo):
    for name in ("home", "temp", "work"):
        (tmp_path / name).mkdir()
    write_png(tmp_path / "work/d/a.png", photo(192, 256, 0))
    return tmp_path


@pytest.fixture
def traced(place):
    """traced(WORDS): `hwkd WORDS` in place/work; what it sent to whom, and the paths that it made or wrote to."""

    def run(*words):
        log = place / "log"
        # Without CI and its like: some libraries report unless they believe that they are tested.
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(place / "home"),
            "TMPDIR": str(place / "temp"),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
        }
        calls = ",".join((*CREATING, *SENDING))
        argv = [
            "strace",
            "-f",
            "-qq",
            "-y",
            "-e",
            f"trace=?{calls.replace(',', ',?')}",
            "-o",
            str(log),
        ]
        done = subprocess.run(
            [*argv, sys.executable, "-m", "hwkd", *words],
            cwd=place / "work",
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return _sent(log), _written(log, place)

    return run


def _calls(log):
    for line in log.read_text(errors="replace").splitlines():
        # A call that another thread interrupts stands in two lines; the second has its result.
        found = _CALL.match(line)
        if found:
            yield found[1], found[2], int(found[3])
        elif "unfinished" in line:
            name, _, rest = line.partition(" ")[2].strip().partition("(")
            yield name, rest, 0


def _sent(log):
    """What was sent to an address that is no place in the file system."""
    return [
        (name, rest[:150])
        for name, rest, _ in _calls(log)
        if name in SENDING and ("sa_family=AF_INET" in rest or "TCP" in rest or "UDP" in rest)
    ]


def _written(log, place):
    """What was made or opened to write, without devices and what is the system's own."""
    found = set()
    for name, rest, result in _calls(log):
        if (
            result < 0
            or name not in CREATING
            or (name.startswith("open") and not _WRITES.search(rest))
        ):
            continue
        for text in re.findall(r'"((?:[^"\\]|\\.)*)"', rest):
            path = Path(os.path.normpath(place / "work" / text))
            if not str(path).startswith(("/dev/", "/proc/")):
                found.add(path)
    return found


def _is_asked_for(path, place, asked):
    # Beside a result, until it is renamed; temporary files.
    own = path.parent == place / "work" and path.name.startswith(".hwkd-")
    return own or any(path.is_relative_to(place / part) for part in ("temp", *asked))


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (("encode", "d/a.png", "a.hwk", "--runtime", "openvino"), ("work/a.hwk",)),
        (("encode", "d/a.png", "a.hwk", "--runtime", "onnxruntime"), ("work/a.hwk",)),
        (("evaluate", "patch-small", "patch-small-float", "-q", "50", "--data", "d"), ()),
        (
            (
                *("profile", "patch-small", "--target", "host", "--evaluate", "d", "--save", "rec"),
                *("--size", "64x64", "--seconds", "1", "--threads", "1", "--no-memory"),
            ),
            ("work/rec",),
        ),
        (("report", "-o", "r.html"), ("work/r.html",)),
        (("compare", "--results", "--plot", "rd.svg"), ("work/rd.svg",)),
        (("doctor",), ()),
    ],
    ids=[
        "encode openvino",
        "encode onnxruntime",
        "evaluate",
        "profile",
        "report",
        "plot",
        "doctor",
    ],
)
def test_nothing_is_contacted_and_nothing_left(traced, place, words, asked):
    sent, written = traced(*words)
    assert sent == []
    assert [str(p) for p in sorted(written) if not _is_asked_for(p, place, asked)] == []
    # Temporary files are gone at the end, and the user's folder is as it was.
    assert [str(p) for name in ("home", "temp") for p in (place / name).rglob("*")] == []
    assert all((place / part).exists() for part in asked)


def test_a_stream_is_decoded_and_nothing_else(traced, place):
    traced("encode", "d/a.png", "a.hwk")
    sent, written = traced("decode", "a.hwk", "b.png")
    assert sent == []
    assert [str(p) for p in sorted(written) if not _is_asked_for(p, place, ("work/b.png",))] == []
    assert [str(p) for name in ("home", "temp") for p in (place / name).rglob("*")] == []


def test_a_user_without_a_home_and_a_name_codes(place):
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("becoming a user without a name needs root and setpriv")
    for path in (place, place / "work", place / "work/d"):
        path.chmod(0o777)
    parents = [path for path in place.parents if path.stat().st_mode & 0o001 == 0]
    for path in parents:
        path.chmod(path.stat().st_mode | 0o011)  # pytest's own folder, which is root's alone
    nobody = ("setpriv", "--reuid", "54321", "--regid", "54321", "--clear-groups")
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
    }
    readable = subprocess.run(
        [*nobody, sys.executable, "-c", "import numpy"], env=environment, capture_output=True
    )
    if readable.returncode:
        pytest.skip("this Python may be read by its owner alone")
    for words in (("encode", "d/a.png", "a.hwk"), ("decode", "a.hwk", "b.png")):
        done = subprocess.run(
            [*nobody, sys.executable, "-m", "hwkd", *words],
            cwd=place / "work",
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    assert (place / "work/b.png").is_file()
