from dataclasses import dataclass
from pathlib import Path

import pytest

from hwkd.cli.main import main
from hwkd.images import write_png

WEIGHTS = ("float.safetensors", "student.safetensors")


@pytest.fixture(autouse=True, scope="module")
def timed_briefly(brief_latencies):
    """Nobody looks at the latencies of the runs that are made here."""


@dataclass(frozen=True)
class Place:
    """Where the runs of a test file happen: a tiny teacher and images of each use."""

    folder: Path
    teacher: Path

    @property
    def argv(self) -> list[str]:
        """The words that every run here shares."""
        return [
            *("distill", "--target", "jetson-nano", "--bits", "8", "--teacher", str(self.teacher)),
            *("--data", f"{self.folder}/images", "--evaluate", f"{self.folder}/others"),
            *("--crop", "64", "--batch", "2", "--threads", "1"),
        ]


def is_repeated(run: Path, again: Path) -> bool:
    """Whether both runs' weights are equal bit for bit."""
    return all((run / name).read_bytes() == (again / name).read_bytes() for name in WEIGHTS)


@pytest.fixture(scope="session")
def same_weights():
    """same_weights(run, again): whether both runs' weights are equal bit for bit."""
    return is_repeated


@pytest.fixture(scope="module")
def place(tmp_path_factory, made_teacher, photo) -> Place:
    folder = tmp_path_factory.mktemp("place")
    for seed in range(4):
        write_png(folder / f"images/{seed}.png", photo(96, 128, seed))
    for seed in range(4, 6):
        write_png(folder / f"others/{seed}.png", photo(80, 100, seed))
    return Place(folder, made_teacher)


@pytest.fixture(scope="session")
def hwkd():
    """hwkd(words): run the command in this process; its exit code."""
    return lambda words: main([str(word) for word in words])
