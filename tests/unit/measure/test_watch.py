import os

import pytest

from hwkd.measure.watch import Snapshot, notes_between, snapshot, watch_machine

TICK = os.sysconf("SC_CLK_TCK")
QUIET = Snapshot(at_s=100.0, own_s=10.0, busy_s=50.0, cores=2, clock_mhz=3000.0)


def later(**changes):
    """Ten seconds after QUIET, of which this process used 8 on one core; nothing else ran."""
    values = {"at_s": 110.0, "own_s": 18.0, "busy_s": 58.0, "cores": 2, "clock_mhz": 3000.0}
    return Snapshot(**(values | changes))


def test_a_quiet_machine_has_no_notes():
    assert notes_between(QUIET, later()) == ()


def test_other_processes_are_what_this_one_did_not_use():
    # 16.3 s of all processes, 8 of them our own: 8.3 s in 10.
    assert notes_between(QUIET, later(busy_s=66.3)) == (
        "the machine was busy: other processes used 0.83 of 2 cores",
    )


@pytest.mark.parametrize(("busy_s", "is_noted"), [(58.9, False), (59.1, True)])
def test_a_twentieth_of_the_cores_is_let_pass(busy_s, is_noted):
    assert bool(notes_between(QUIET, later(busy_s=busy_s))) is is_noted


@pytest.mark.parametrize(
    ("mhz", "notes"),
    [
        (2900.0, ()),
        (2400.0, ("the clock moved from 3000 to 2400 MHz (-20%)",)),
        (3300.0, ("the clock moved from 3000 to 3300 MHz (+10%)",)),
    ],
)
def test_a_moving_clock_is_noted_over_five_percent(mhz, notes):
    assert notes_between(QUIET, later(clock_mhz=mhz)) == notes


def test_a_short_window_cannot_tell_the_load():
    (note,) = notes_between(QUIET, later(at_s=100.1, busy_s=51.0, own_s=10.0))
    assert "cannot be told: 0.10 s are too short a window" in note


def test_a_snapshot_reads_the_ticks_that_are_not_idle(tmp_path):
    (tmp_path / "proc").mkdir()
    # user 1, nice 2, system 3, (idle 4, iowait 5), irq 6, softirq 7, steal 8 seconds; guest is in user.
    ticks = " ".join(str(seconds * TICK) for seconds in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10))
    (tmp_path / "proc/stat").write_text(f"cpu  {ticks}\ncpu0 1\ncpu1 1\ncpu2 1\nintr 5\n")
    (tmp_path / "proc/cpuinfo").write_text("cpu MHz\t\t: 1800.0\n")
    seen = snapshot(tmp_path)
    assert (seen.busy_s, seen.cores, seen.clock_mhz) == (1 + 2 + 3 + 6 + 7 + 8, 3, 1800.0)


def test_without_proc_the_notes_say_that_they_cannot_tell(tmp_path):
    with watch_machine(tmp_path) as watch:
        assert watch.notes == ()
    load, clock = watch.notes
    assert load.startswith("whether other processes used the machine cannot be told")
    assert clock.startswith("whether the clock moved cannot be told")


def test_the_notes_are_there_after_an_error(tmp_path):
    with pytest.raises(KeyError), watch_machine(tmp_path) as watch:
        raise KeyError
    assert len(watch.notes) == 2
