"""A run of two processes under torchrun: resumed by one, a worker killed, a batch that cannot be shared."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hwkd.distill.run_folder import read_state, state_path
from hwkd.errors import InputError

QUICK = """
import os, pathlib, signal, sys, threading
import hwkd.report.run as report, hwkd.distill.train as train
from hwkd.cli.main import main

report.LATENCY_SECONDS, report.LATENCY_SIZE, train.EPOCH_STEPS = 0.01, (64, 64), 2
what, rank = os.environ["AT_STEP_4"], os.environ["RANK"]
step = train.Loop._step


def step_or_end(self, phase, number, *rest):
    if (phase.name, number) == ("float", 4) and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        if what == "kill the second" and rank == "1":
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "hold":
            pathlib.Path(f"{__file__}.{rank}.held").touch()
            threading.Event().wait()
    return step(self, phase, number, *rest)


train.Loop._step = step_or_end
sys.exit(main(sys.argv[1:]))
"""
"""`python -m hwkd` with a report of moments and a log of every other step.

AT_STEP_4, of the float phase, in the first attempt: "kill the second" process, or "hold" all of them there. The checkpoint
of step 3 is written by then: the processes take every step together.
"""


@pytest.fixture(scope="module")
def words(place):
    return [
        *place.argv,
        *("--family", "relu", "--width", "8", "--steps", "12", "--qat-steps", "4"),
        *("--checkpoint-every", "3"),
    ]


def torchrun(place, words, *, restarts: int = 0, at_step_4: str = "go on") -> subprocess.Popen[str]:
    script = place.folder / "quick.py"
    script.write_text(QUICK)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.Popen(
        [sys.executable, *launcher, "--max-restarts", str(restarts), str(script), *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "AT_STEP_4": at_step_4},
    )


def finished(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Its exit code and last words, however long it takes: a busy machine is no failure."""
    try:
        _, err = process.communicate()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    return process.returncode, err


def events(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def workers(process: subprocess.Popen[str]) -> list[int]:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return [int(pid) for pid in children.split()]


def wait_until_held(place, process: subprocess.Popen[str]) -> None:
    """Until both processes hold."""
    while len(list(place.folder.glob("quick.py.*.held"))) < 2:
        assert process.poll() is None, "it ended before it held"
        time.sleep(0.005)


def weights(folder: Path, name: str):
    from safetensors.torch import load_file

    return load_file(folder / name)


def assert_one_result(folder: Path, other: Path) -> None:
    """Both runs' float weights are alike: in the root of the mean square, to 1e-4, of some 5e-3 that 12 steps move them.

    Sums in another order change a gradient by some millionths, and Adam's steps alike; but where a gradient is nothing but
    what is lost in the sums, Adam steps as far to one side or the other. So single weights say nothing.
    """
    theirs = weights(other, "float.safetensors")
    for name, value in weights(folder, "float.safetensors").items():
        if value.is_floating_point():
            apart = (value - theirs[name]).square().mean().sqrt()
            assert apart <= 1e-4 * max(1.0, float(value.square().mean().sqrt())), name
        else:
            assert value.shape == theirs[name].shape


@pytest.fixture(scope="module")
def killed(place, words):
    """A run of two processes, the second of which is killed after the first checkpoint; (folder, exit code, stderr)."""
    folder = place.folder / "killed"
    words = [*words, "-o", str(folder)]
    return folder, *finished(torchrun(place, words, restarts=1, at_step_4="kill the second"))


def test_a_killed_worker_is_brought_back_and_the_run_ends_complete(killed, words, hwkd) -> None:
    folder, code, err = killed
    assert code == 0, err
    assert (read_state(folder).phase, read_state(folder).step) == ("qat", 4)
    assert (folder / "report.json").is_file()
    kinds = [event["kind"] for event in events(folder)]
    assert kinds[0] == "started" and kinds[-2:] == ["restarted", "finished"]
    restarted = events(folder)[-2]
    assert restarted["processes"] == 2 and restarted["step"] == 3
    # People read of it where they look: on the terminal and in the report.
    said = "a process was lost: torchrun started 2 processes again, from step"
    assert said in err and said in (folder / "report.md").read_text()
    # Its rows are logged once each, as of a run that nobody disturbed.
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    expected = [("float", step) for step in range(2, 13, 2)] + [("qat", 2), ("qat", 4)]
    assert [(row["phase"], row["step"]) for row in rows] == expected


def test_one_process_gives_what_two_gave(killed, place, words, hwkd) -> None:
    """The killed run of two against one process that was never disturbed: sums in another order apart, one result."""
    folder, *_ = killed
    whole = place.folder / "one"
    assert hwkd([*words, "-o", whole]) == 0
    assert_one_result(folder, whole)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds the workers in /proc")
def test_a_run_of_two_processes_is_resumed_by_one(place, words, killed, hwkd) -> None:
    folder = place.folder / "resumed"
    process = torchrun(place, [*words, "-o", str(folder)], at_step_4="hold")
    wait_until_held(place, process)
    for pid in [*workers(process), process.pid]:
        os.kill(pid, signal.SIGKILL)
    finished(process)
    assert hwkd([*words, "-o", folder, "--resume"]) == 0
    assert [(e["kind"], e["processes"]) for e in events(folder)] == [
        ("started", 2),
        ("resumed", 1),
        ("finished", 1),
    ]
    assert read_state(folder).step == 4
    assert_one_result(folder, killed[0])


@pytest.mark.parametrize("rank", [0, 1])
def test_a_batch_that_two_cannot_share_is_refused_once(
    place, words, hwkd, capsys, monkeypatch, rank
) -> None:
    """In either process, before they meet; one of them says so."""
    for name, value in (("RANK", rank), ("LOCAL_RANK", rank), ("WORLD_SIZE", 2)):
        monkeypatch.setenv(name, str(value))
    folder = place.folder / "odd"
    assert hwkd([*words, "--batch", "3", "-o", str(folder)]) == 2
    assert not folder.exists()
    said = "hwkd: error: --batch 3 is the batch of all processes together and cannot be shared equally by "
    said += "2 processes: give --batch 2 or 4\n"
    assert capsys.readouterr().err == ("" if rank else said)


@pytest.mark.slow
def test_a_restart_does_not_touch_a_run_of_somebody_else(place, words, killed) -> None:
    """Refused in a folder that holds a run, torchrun tries again: that must not be taken for a lost process."""
    folder = Path(shutil.copytree(killed[0], place.folder / "mine"))
    before = (folder / "events.jsonl").read_text()
    code, err = finished(torchrun(place, [*words, "-o", str(folder)], restarts=1))
    assert code != 0 and (folder / "student.safetensors").is_file()
    assert (folder / "events.jsonl").read_text() == before
    assert "holds a run already" in err and "this torchrun did not start" in err


@pytest.mark.slow
def test_a_damaged_checkpoint_is_an_input_error_for_all(place, words, killed) -> None:
    folder = Path(shutil.copytree(killed[0], place.folder / "damaged"))
    state_path(folder).write_bytes(b"no checkpoint")
    with pytest.raises(InputError):
        read_state(folder)
    code, err = finished(torchrun(place, [*words, "--resume", "-o", str(folder)]))
    assert code != 0
    assert err.count("is damaged") == 1
