"""Whether a machine was quiet while something was measured on it: other processes' load, and the clock."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hwkd.measure.host import clock_mhz

BUSY_SHARE = 0.05
"""Of all cores: above it other processes take caches, memory bandwidth and clock from what is measured."""
CLOCK_SHARE = 0.05
MIN_WINDOW_S = 0.5
"""/proc/stat counts in hundredths of a second: over a shorter window its rounding could pass for load."""


@dataclass
class Watch:
    """notes: sentences on what disturbed the window, or cannot be told; filled when the window ends, empty if quiet."""

    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Snapshot:
    """The machine at one moment.

    at_s: a monotonic clock. own_s: CPU time of this process and of its children that have ended.
    busy_s: CPU time of all processes, time that a hypervisor withheld included; None where the system does not tell.
    cores: of the machine. clock_mhz: of its fastest core, or None.
    """

    at_s: float
    own_s: float
    busy_s: float | None
    cores: int
    clock_mhz: float | None


@contextmanager
def watch_machine(root: Path = Path("/")) -> Iterator[Watch]:
    """Within the block the machine is watched; the notes are there once it ends.

    Enter it after a warm-up: a processor that was idle raises its clock only when there is work, and that would be
    noted. The clock is read at both ends, not between them.

    root: where proc/ and sys/ lie.
    """
    watch = Watch()
    before = snapshot(root)
    try:
        yield watch
    finally:
        watch.notes = notes_between(before, snapshot(root))


def snapshot(root: Path = Path("/")) -> Snapshot:
    """The machine now."""
    own = os.times()
    busy_s, cores = _cpu_time(root / "proc/stat")
    return Snapshot(
        at_s=time.monotonic(),
        own_s=own.user + own.system + own.children_user + own.children_system,
        busy_s=busy_s,
        cores=cores,
        clock_mhz=clock_mhz(root),
    )


def notes_between(before: Snapshot, after: Snapshot) -> tuple[str, ...]:
    """The sentences on the window between two snapshots."""
    return tuple(
        note for note in (_load_note(before, after), _clock_note(before, after)) if note is not None
    )


def _load_note(before: Snapshot, after: Snapshot) -> str | None:
    if before.busy_s is None or after.busy_s is None:
        return "whether other processes used the machine cannot be told: no /proc/stat that can be read"
    window_s = after.at_s - before.at_s
    if window_s < MIN_WINDOW_S:
        return (
            f"whether other processes used the machine cannot be told: {window_s:.2f} s are too short "
            f"a window, {MIN_WINDOW_S} s or more are needed"
        )
    others = (after.busy_s - before.busy_s - (after.own_s - before.own_s)) / window_s
    if others <= BUSY_SHARE * after.cores:
        return None
    return f"the machine was busy: other processes used {others:.2f} of {after.cores} cores"


def _clock_note(before: Snapshot, after: Snapshot) -> str | None:
    if before.clock_mhz is None or after.clock_mhz is None:
        return "whether the clock moved cannot be told: neither cpufreq nor /proc/cpuinfo gives it"
    change = after.clock_mhz / before.clock_mhz - 1
    if abs(change) <= CLOCK_SHARE:
        return None
    return (
        f"the clock moved from {before.clock_mhz:.0f} to {after.clock_mhz:.0f} MHz ({change:+.0%})"
    )


def _cpu_time(stat: Path) -> tuple[float | None, int]:
    """(CPU time used on all cores since the start in seconds, number of cores) from /proc/stat.

    Its first line is `cpu user nice system idle iowait irq softirq steal guest guest_nice` in clock ticks; guest time
    is in user time already (Linux, filesystems/proc.rst).
    """
    try:
        lines = stat.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None, os.cpu_count() or 1
    ticks = [int(field) for field in lines[0].split()[1:9]]
    busy = sum(ticks) - ticks[3] - ticks[4]
    cores = sum(line.startswith("cpu") for line in lines[1:])
    return busy / os.sysconf("SC_CLK_TCK"), cores
