"""A run that is killed, at whatever moment, and resumed gives the weights of one that was never stopped."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hwkd.distill.run_folder import TrainState, read_state, state_path
from hwkd.errors import InputError

QUICK = """
import os, signal, sys, threading
import hwkd.report.run as report
from hwkd.cli.main import main
from hwkd.distill.train import PHASES, Loop

report.LATENCY_SECONDS, report.LATENCY_SIZE = 0.01, (64, 64)
at, last, delay, number = eval(sys.argv.pop(1))
step = Loop._step


def step_or_end(self, phase, n, *rest):
    place = (PHASES.index(phase.name), n)
    if place == at and delay is None:
        os.kill(os.getpid(), number)
    elif place == at:
        threading.Timer(delay, os.kill, (os.getpid(), number)).start()
    if place == last:
        threading.Event().wait()
    return step(self, phase, n, *rest)


Loop._step = step_or_end
sys.exit(main(sys.argv[1:]))
"""
"""`python -m hwkd` with a report of moments, and an end of its own.

The first argument is (at, last, delay, signal): the process sends itself the signal `delay` seconds after it has come to the
step `at`, (number of the phase, steps done), and goes no further than `last` before: it cannot come too late.
"""

NEVER = (None, None, None, 0)


@pytest.fixture(scope="module")
def words(place):
    return [
        *place.argv,
        *("--family", "relu", "--width", "8", "--steps", "14", "--qat-steps", "6"),
        *("--checkpoint-every", "3"),
    ]


@pytest.fixture(scope="module")
def whole(place, words, hwkd):
    """The run that was never stopped."""
    folder = place.folder / "whole"
    assert hwkd([*words, "-o", folder]) == 0
    return folder


def start(words, folder, end=NEVER) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", QUICK, repr(end), *words, "-o", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
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


def state_of(folder: Path) -> TrainState | None:
    if not state_path(folder).exists():
        return None
    try:
        return read_state(folder)
    except InputError as error:  # never: it is written whole or not at all
        raise AssertionError(f"half a checkpoint was seen: {error}") from error


MOMENTS = {
    # (at, last), where checkpoints are written every 3 steps.
    "in the float phase": ((0, 6), (0, 13)),
    # The float phase is over, the quantized one has no checkpoint yet.
    "at the change of phase": ((1, 0), (1, 2)),
    "in the quantized phase": ((1, 3), (1, 5)),
}


# One moment in the default run, all of them in the slow one.
@pytest.mark.parametrize(
    "moment",
    [
        moment if i == 0 else pytest.param(moment, marks=pytest.mark.slow)
        for i, moment in enumerate(reversed(MOMENTS))
    ],
)
def test_killed_and_resumed_is_the_same_bit_for_bit(
    place, words, whole, hwkd, same_weights, moment
):
    folder = place.folder / moment.replace(" ", "-")
    delay = random.Random(moment).uniform(0, 0.03)
    end = (*MOMENTS[moment], delay, int(signal.SIGKILL))
    code, err = finished(start(words, folder, end))
    assert code == -signal.SIGKILL, err
    assert state_of(folder) is not None
    assert hwkd([*words, "-o", folder, "--resume"]) == 0
    assert same_weights(whole, folder)


@pytest.mark.slow
def test_interrupted_says_how_to_go_on_and_resumed_is_the_same(
    place, words, whole, hwkd, same_weights
):
    folder = place.folder / "interrupted"
    code, err = finished(start(words, folder, ((0, 3), None, None, int(signal.SIGINT))))
    assert code == 130, err
    last = err.splitlines()[-1]
    state = read_state(folder)
    assert last == (
        f"hwkd: stopped at step {state.step} of the {state.phase} phase; the checkpoint is written, "
        "run the same command with --resume to go on"
    )
    assert "Traceback" not in err
    assert hwkd([*words, "-o", folder, "--resume"]) == 0
    assert same_weights(whole, folder)


def test_a_run_by_minutes_interrupted_before_its_length_is_known_starts_again(place, hwkd, capsys):
    """Its first steps are timed: what was kept of them would make its report's command wrong."""
    words = [*place.argv, "--family", "relu", "--width", "8", "--minutes", "5"]
    folder = place.folder / "early"
    code, err = interrupt_within(hwkd, capsys, [*words, "-o", folder], at_step=7)
    assert code == 130
    assert err.splitlines()[-1] == (
        "hwkd: stopped at step 7 of the float phase; nothing is kept of so few: run the same command again"
    )
    assert not state_path(folder).exists()
    code, err = interrupt_within(hwkd, capsys, [*words, "-o", folder], at_step=60)
    assert code == 130
    assert "the checkpoint is written" in err.splitlines()[-1]


def interrupt_within(hwkd, capsys, words, at_step):
    """Run in this process and send it SIGINT when `at_step` is being trained."""
    from hwkd.distill.train import Loop

    capsys.readouterr()
    step = Loop._step

    def step_and_interrupt(self, phase, number, *rest):
        terms = step(self, phase, number, *rest)
        if number + 1 == at_step:
            os.kill(os.getpid(), signal.SIGINT)
        return terms

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loop, "_step", step_and_interrupt)
        code = hwkd(words)
    return code, capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_killed_at_random_and_again_is_the_same_bit_for_bit(
    place, words, whole, hwkd, same_weights, seed
):
    """Killed up to three times in one run, at moments that are nobody's choice."""
    chance = random.Random(seed)
    folder = place.folder / f"random-{seed}"
    for _ in range(chance.randint(1, 3)):
        more = ["--resume"] if state_path(folder).exists() else []
        process = start([*words, *more], folder)
        mark = state_path(folder).stat().st_mtime_ns if more else 0
        # Rewritten: it trains again. Finished meanwhile is fine too.
        while process.poll() is None:
            if state_of(folder) is not None and state_path(folder).stat().st_mtime_ns != mark:
                break
            time.sleep(0.002)
        time.sleep(chance.uniform(0, 1.5))
        process.send_signal(signal.SIGKILL)
        code, err = finished(process)
        assert code in (-signal.SIGKILL, 0), err
    assert hwkd([*words, "-o", folder, "--resume"]) == 0
    assert same_weights(whole, folder)
    shutil.rmtree(folder)
