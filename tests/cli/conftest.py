import pytest

from hwkd.cli.main import main


@pytest.fixture(autouse=True, scope="module")
def timed_briefly(brief_latencies):
    """Nobody looks at the latencies of the runs that are made here."""


@pytest.fixture
def distill_argv(image_folder, tiny_teacher_file, tmp_path):
    """The words of a run of seconds into tmp_path/run; further words may be added, the last of an option counts."""
    return [
        *("distill", "--target", "jetson-nano", "--teacher", str(tiny_teacher_file)),
        *("--data", str(image_folder), "--evaluate", str(image_folder)),
        *("--crop", "64", "--batch", "2", "--steps", "4", "--qat-steps", "2", "--threads", "1"),
        *("--width", "16", "--hyper", "8", "--hyper-latent", "8", "--checkpoint-every", "1"),
        *("-o", str(tmp_path / "run")),
    ]


@pytest.fixture
def refused(capsys, tmp_path):
    """refused(argv, code=2): run `hwkd ARGV`; its one line of error. Nothing was written but what was there."""

    def run(argv, code=2):
        before = files(tmp_path)
        assert main([str(word) for word in argv]) == code
        out, err = capsys.readouterr()
        assert out == ""
        assert files(tmp_path) == before
        *said, error = err.splitlines()
        # What may stand above: what is being worked with.
        assert all(line.startswith(("teacher: ", "student: ", "note: ")) for line in said), err
        assert error.startswith("hwkd: error: ")
        return error.removeprefix("hwkd: error: ")

    return run


def files(folder):
    """Every file and folder below `folder`, with the files' contents."""
    return {p: p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}
