"""What `hwkd distill` does with its run folder: refuses, resumes, starts over, survives a full disk."""

import errno
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from hwkd.cli.main import main
from hwkd.distill.run_folder import read_events, read_state
from hwkd.files import claimed

WEIGHTS = ("student.safetensors", "float.safetensors")


@dataclass(frozen=True)
class Finished:
    """A run that was never stopped: its words, but for -o, and its folder."""

    argv: list[str]
    folder: Path

    def into(self, folder, *more):
        return [*self.argv, "-o", str(folder), *more]

    def is_repeated_by(self, folder):
        """Whether the weights are equal bit for bit."""
        return all((self.folder / n).read_bytes() == (folder / n).read_bytes() for n in WEIGHTS)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, made_teacher, photo):
    from hwkd.images import write_png

    base = tmp_path_factory.mktemp("finished")
    for seed in range(3):
        write_png(base / f"images/{seed}.png", photo(96, 128, seed))
    write_png(base / "other/3.png", photo(64, 64, 3))
    argv = [
        *("distill", "--target", "jetson-nano", "--teacher", str(made_teacher)),
        *("--data", str(base / "images"), "--evaluate", str(base / "other")),
        *("--crop", "64", "--batch", "2", "--steps", "4", "--qat-steps", "2", "--threads", "1"),
        *("--family", "relu", "--width", "8", "--checkpoint-every", "1"),
    ]
    run = Finished(argv, base / "run")
    assert main(run.into(run.folder)) == 0
    return run


@pytest.fixture
def folder(finished, tmp_path):
    """A copy of the finished run's folder."""
    return Path(shutil.copytree(finished.folder, tmp_path / "copy"))


def test_a_folder_in_which_another_run_begins_is_left_alone(refused, finished, tmp_path):
    with claimed(tmp_path / "run"):
        assert refused(finished.into(tmp_path / "run")) == (
            f"another run is at work in {tmp_path / 'run'}: wait until it is done, or give another folder with -o"
        )


def test_a_folder_whose_run_goes_on_is_not_started_over(refused, finished, folder):
    with claimed(folder):
        assert refused(finished.into(folder, "--force")).startswith("another run is at work in")


def test_a_log_that_lost_power_has_damaged_is_gone_on_with(finished, folder):
    (folder / "metrics.jsonl").write_bytes(b'[1]\n{"phase": "float", "step": 1}\n\0\xff\0')
    with (folder / "events.jsonl").open("ab") as file:
        file.write(b'{"kind": "\xff')
    assert main(finished.into(folder, "--resume")) == 0
    assert (folder / "metrics.jsonl").read_text() == '{"phase": "float", "step": 1}\n'
    assert [event.kind for event in read_events(folder)] == [
        "started",
        "finished",
        "resumed",
        "finished",
    ]


def test_a_folder_that_holds_a_run_is_left_alone(refused, finished, folder):
    assert refused(finished.into(folder)) == (
        f"{folder} holds a run already: continue it with --resume, start it over with --force, "
        "or give another -o"
    )


def test_resume_without_a_run(refused, finished, tmp_path):
    error = refused(finished.into(tmp_path / "none", "--resume"))
    assert error == (
        f"{tmp_path}/none holds no run to resume: leave out --resume, or name the run with -o"
    )


def test_resume_without_a_checkpoint(refused, finished, folder):
    shutil.rmtree(folder / "checkpoint")
    error = refused(finished.into(folder, "--resume"))
    assert error == (
        f"{folder} holds no checkpoint to resume from: leave out --resume, or name the run with -o"
    )


def test_resume_with_another_configuration_prints_the_difference(refused, finished, folder):
    error = refused(finished.into(folder, "--resume", "--lr", "0.001", "--seed", "3"))
    assert error == (
        f"{folder} was started with another configuration: lr was 0.0005, is now 0.001; "
        "seed was 0, is now 3. Give the old values, or another -o for a new run"
    )


def test_resume_from_a_damaged_checkpoint(refused, finished, folder):
    path = folder / "checkpoint" / "state.pt"
    path.write_bytes(path.read_bytes()[:1000])
    error = refused(finished.into(folder, "--resume"))
    assert error.startswith(f"{path} is damaged (")
    assert error.endswith("): start over with --force")


@pytest.mark.parametrize("content", [b"{", b"{}", b"\xff\xfe", b"[]"])
def test_resume_with_a_damaged_configuration(refused, finished, folder, content):
    (folder / "config.json").write_bytes(content)
    error = refused(finished.into(folder, "--resume"))
    assert str(folder) in error and "give another" in error


def test_a_finished_run_resumed_is_finished_at_once_and_the_same(finished, folder):
    assert main(finished.into(folder, "--resume")) == 0
    assert finished.is_repeated_by(folder)


def test_a_file_in_the_place_of_the_folder(refused, finished, tmp_path):
    (tmp_path / "file").write_text("mine")
    for place in (tmp_path / "file", tmp_path / "file" / "run"):
        error = refused(finished.into(place))
        assert error == f"{tmp_path}/file is a file, a run needs a folder: give another with -o"


@pytest.mark.parametrize("name", ["report.md", "metrics.jsonl"])
@pytest.mark.parametrize("more", [(), ("--force",)])
def test_files_of_the_users_own_are_not_overwritten(refused, finished, tmp_path, name, more):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / name).write_text("mine")
    error = refused(finished.into(tmp_path / "mine", *more))
    assert error == f"{tmp_path}/mine holds {name}, which a run would overwrite: give another -o"


def test_a_config_json_of_another_program_is_not_overwritten(refused, finished, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text('{"port": 80}')
    error = refused(finished.into(tmp_path / "mine", "--force"))
    assert error.startswith(f"{tmp_path}/mine: config.json does not describe a run (")


def test_force_starts_over_and_keeps_foreign_files(finished, folder):
    (folder / "student.safetensors").write_bytes(b"old")
    (folder / "notes.txt").write_text("mine")
    assert main(finished.into(folder, "--force")) == 0
    assert finished.is_repeated_by(folder)
    assert (folder / "notes.txt").read_text() == "mine"


def test_force_removes_nothing_before_all_input_was_checked(refused, finished, folder):
    error = refused(finished.into(folder, "--force", "--layer-bits", "g_b.*=8/8"))
    assert error.startswith("no layer matches 'g_b.*'; ")


class FullDisk:
    """os.fsync of a disk that has room for `room` more files."""

    def __init__(self, room):
        self.room = room
        self.fsync = os.fsync

    def __call__(self, descriptor):
        self.room -= 1
        if self.room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.fsync(descriptor)


FULL = "was not written, what stood there before is untouched; free some space and run the same command again"


def test_a_full_disk_at_the_start_leaves_nothing(finished, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("hwkd.files.os.fsync", FullDisk(0))
    assert main(finished.into(tmp_path / "run")) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error == f"hwkd: error: the disk is full: {tmp_path}/run/config.json {FULL}"
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


# Files in order: config.json, state at steps 1, 2, 3, 4 and at the end, float.safetensors, states of qat, student.
@pytest.mark.parametrize(
    ("room", "phase", "step", "unwritten"),
    [
        (3, "float", 2, "checkpoint/state.pt"),
        (6, "float", 4, "float.safetensors"),
        (8, "qat", 1, "checkpoint/state.pt"),
        (10, "qat", 2, "student.safetensors"),
    ],
)
def test_a_full_disk_in_the_middle_keeps_the_checkpoint_and_the_run_goes_on(
    finished, tmp_path, monkeypatch, capsys, room, phase, step, unwritten
):
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("hwkd.files.os.fsync", FullDisk(room))
        assert main(finished.into(folder)) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error == f"hwkd: error: the disk is full: {folder}/{unwritten} {FULL}"
    assert not [p for p in folder.rglob("*") if p.suffix == ".tmp"]
    state = read_state(folder)
    assert (state.phase, state.step) == (phase, step)
    assert main(finished.into(folder, "--resume")) == 0
    assert finished.is_repeated_by(folder)


def test_half_a_row_of_metrics_does_not_stop_a_resume(finished, tmp_path, monkeypatch):
    monkeypatch.setattr("hwkd.distill.train.EPOCH_STEPS", 1)
    whole, folder = tmp_path / "whole", tmp_path / "run"
    assert main(finished.into(whole)) == 0
    rows = (whole / "metrics.jsonl").read_text().splitlines()
    assert len(rows) == 6
    with monkeypatch.context() as patch:
        patch.setattr("hwkd.files.os.fsync", FullDisk(3))
        assert main(finished.into(folder)) == 1
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"phase": "flo')
    assert main(finished.into(folder, "--resume")) == 0
    again = (folder / "metrics.jsonl").read_text().splitlines()
    assert [without_times(row) for row in again] == [without_times(row) for row in rows]


def without_times(row):
    import json

    return {k: v for k, v in json.loads(row).items() if k not in ("seconds", "wait_ms")}
