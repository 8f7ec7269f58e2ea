"""How long something takes on this host, with the spread: on fixed cores, in kept memory, on a machine that is watched."""

import ctypes
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, TypeVar

from hwkd.errors import InputError
from hwkd.measure.machine import clock_mhz
from hwkd.quantity import Quantity
from hwkd.runtime.session import usable_cores

if TYPE_CHECKING:
    from hwkd.models.base import HyperpriorCodec


# How long something takes on this host, with the spread.

Name = TypeVar("Name")

MIN_RUNS_INTERVAL = 6
"""With fewer runs not even their smallest and largest hold the median with 95 %: 1 - 2 / 2^5 = 0.94."""
LEVEL = 0.95
"""The probability with which an interval holds the median, at least."""


@dataclass(frozen=True)
class Latency:
    """Wall-clock times of repeated runs, in milliseconds.

    Attributes:
        median_ms, p95_ms: median and 95th percentile over the runs (p95 by nearest rank).
        runs: number of runs.
        interval95_ms: interval of the median, from the order statistics, at least 95 % (no distribution assumed; the runs
            are taken as independent, which a busy host makes optimistic). None below 6 runs: no such interval exists.
    """

    median_ms: float
    p95_ms: float
    interval95_ms: tuple[float, float] | None
    runs: int

    def quantity(self, by: str) -> Quantity:
        """The median in milliseconds as a measured figure.

        Args:
            by: what ran it, and how.
        """
        low, high = self.interval95_ms or (None, None)
        level = None if self.interval95_ms is None else LEVEL
        return Quantity(self.median_ms, "measured", by, low, high, level, self.runs)


def summarize(times_ms: Sequence[float]) -> Latency:
    """The `Latency` of these times. Raises InputError for none."""
    if not times_ms:
        raise InputError("no runs were timed: got 0, a latency needs 1 or more")
    times = sorted(times_ms)
    n = len(times)
    interval = None
    if n >= MIN_RUNS_INTERVAL:
        k = _median_rank(n)
        interval = (times[k], times[n - 1 - k])
    return Latency(median(times), times[math.ceil(0.95 * n) - 1], interval, n)


def measure_latency(
    fn: Callable[[], object],
    *,
    warmup: int = 3,
    repeats: int | None = None,
    seconds: float | None = None,
) -> Latency:
    """Run `fn` again and again, and time each run.

    Counts: the wall-clock time of one call, waiting included. Does not count: the warm-up runs before.

    Args:
        fn: must have finished its work when it returns (synchronise inside where a device runs behind).
        warmup: runs that are not timed.
        repeats: number of runs; or
        seconds: runs until this much time is spent on them, at least MIN_RUNS_INTERVAL.

    Raises:
        InputError: not exactly one of repeats and seconds, or a value that allows no run.
    """
    return measure_in_turn({"": fn}, warmup=warmup, repeats=repeats, seconds=seconds)[""]


class Stopped(KeyboardInterrupt):
    """Ctrl-C when there were enough rounds for figures.

    Attributes:
        latencies: those of the whole rounds before it, by name.
    """

    def __init__(self, latencies: Mapping[Any, Latency]) -> None:
        super().__init__()
        self.latencies = latencies


def measure_in_turn(
    runs: Mapping[Name, Callable[[], object]],
    *,
    warmup: int = 3,
    repeats: int | None = None,
    seconds: float | None = None,
) -> dict[Name, Latency]:
    """Time several things by running each once in turn, round after round, so that a disturbance hits all alike.

    Counts and does not count as `measure_latency`.

    Args:
        runs: runs by name; at least one.
        warmup: rounds that are not timed.
        repeats: number of rounds; or
        seconds: rounds until this much time is spent on all of them, at least MIN_RUNS_INTERVAL.

    Raises:
        InputError: as `measure_latency`; nothing to run.
        Stopped: Ctrl-C after MIN_RUNS_INTERVAL rounds.
    """
    if (repeats is None) == (seconds is None):
        raise InputError(
            f"give either a number of runs or a time, got repeats={repeats} and seconds={seconds}"
        )
    if (
        not runs
        or warmup < 0
        or (repeats is not None and repeats < 1)
        or (seconds is not None and seconds <= 0)
    ):
        raise InputError(
            f"warmup must be 0 or more, repeats 1 or more, seconds above 0; got warmup={warmup}, "
            f"repeats={repeats}, seconds={seconds} for {len(runs)} runs in turn"
        )
    for _ in range(warmup):
        for fn in runs.values():
            fn()
    times: dict[Name, list[float]] = {name: [] for name in runs}
    start = time.perf_counter_ns()
    rounds = 0
    while True:
        try:
            for name, fn in runs.items():
                before = time.perf_counter_ns()
                fn()
                times[name].append((time.perf_counter_ns() - before) / 1e6)
        except KeyboardInterrupt:
            if rounds < MIN_RUNS_INTERVAL:
                raise
            whole = {name: summarize(run_times[:rounds]) for name, run_times in times.items()}
            raise Stopped(whole) from None
        rounds += 1
        if repeats is not None:
            enough = rounds >= repeats
        else:
            spent_s = (time.perf_counter_ns() - start) / 1e9
            enough = rounds >= MIN_RUNS_INTERVAL and spent_s >= (seconds or 0)
        if enough:
            return {name: summarize(run_times) for name, run_times in times.items()}


def rounds_until_stopped(
    runs: Mapping[Name, Callable[[], object]], *, warmup: int, seconds: float
) -> tuple[Mapping[Name, Latency], bool]:
    """(latencies of `runs` in turn, whether Ctrl-C ended them early). Raises as `measure_in_turn`, but for Stopped."""
    try:
        return measure_in_turn(runs, warmup=warmup, seconds=seconds), False
    except Stopped as stopped:
        return stopped.latencies, True


def codec_latency(
    codec: "HyperpriorCodec",
    width: int,
    height: int,
    *,
    warmup: int = 2,
    repeats: int | None = None,
    seconds: float | None = None,
) -> dict[str, Latency]:
    """{"encode": .., "decode": ..}: the networks of `codec` in eager torch on this host's CPU, one image at a time.

    Counts: g_a, h_a, h_s for encode; h_s, g_s for decode; the image padded to multiples of 64, uniform noise (the
    time of a convolution does not depend on its values). Does not count: entropy coding, padding, conversion from
    and to 8 bits, loading. State `hwkd.measure.machine.describe_host()` beside it.

    Raises:
        InputError: as `measure_latency`; a size under 1x1; a codec that is not on the CPU.
    """
    import torch

    from hwkd.measure.eager.macs import eval_mode

    if width < 1 or height < 1:
        raise InputError(f"an image of {width}x{height} cannot be timed; give 1x1 or more")
    device = next(codec.parameters()).device
    if device.type != "cpu":
        raise InputError(
            f"host latency is measured on the CPU, the model is on {device}; move it with .cpu()"
        )
    side = codec.downsampling_factor
    size = (1, 3, math.ceil(height / side) * side, math.ceil(width / side) * side)
    x = torch.rand(size, generator=torch.Generator().manual_seed(0))

    def encode() -> object:
        y = codec.g_a(x)
        return codec.entropy_parameters(torch.round(codec.hyper_analysis(y)))

    with eval_mode(codec):
        y = codec.g_a(x)
        y_hat, z_hat = torch.round(y), torch.round(codec.hyper_analysis(y))

        def decode() -> object:
            return codec.entropy_parameters(z_hat), codec.g_s(y_hat)

        return {
            name: measure_latency(run, warmup=warmup, repeats=repeats, seconds=seconds)
            for name, run in (("encode", encode), ("decode", decode))
        }


def _median_rank(n: int) -> int:
    """The largest k such that the k-th smallest and k-th largest of n (from 0) hold the median with >= 95 %.

    P(the median lies outside) = 2 * P(Binomial(n, 1/2) <= k) (David and Nagaraja, Order Statistics, section 7.1);
    beyond 1000 runs by the normal approximation, one rank wider.
    """
    if n > 1000:
        return math.floor(n / 2 - 0.98 * math.sqrt(n)) - 1
    k, tail = -1, 0
    while (tail + math.comb(n, k + 1)) * 40 <= 2**n:
        k += 1
        tail += math.comb(n, k)
    return k


# A fixed number of threads on fixed cores for as long as something is measured.

_TASKS = Path("/proc/self/task")


@dataclass(frozen=True)
class Pinning:
    """Where the timed work runs.

    Attributes:
        threads: number of threads of one operator.
        cores: the cores where all threads of this process run; None where the system cannot fix them.
    """

    threads: int
    cores: tuple[int, ...] | None

    def __str__(self) -> str:
        threads = f"{self.threads} thread{'s' * (self.threads > 1)}"
        if self.cores is None:
            return f"{threads}, not pinned to cores (this system has no call for it)"
        return f"{threads} pinned to core{'s' * (len(self.cores) > 1)} {', '.join(map(str, self.cores))}"


@contextmanager
def pinned(threads: int) -> Iterator[Pinning]:
    """Within the block torch uses `threads` threads, and this process only the first `threads` cores it may use.

    All of the process's threads are moved, not only the one that calls: torch's workers may exist already, and those
    that another runtime starts inside the block inherit the cores. Afterwards each thread has its cores again, and
    torch its number of threads. Where nothing has loaded torch yet, it is left alone.

    Raises:
        InputError: threads under 1, or more than the usable cores.
    """
    usable = usable_cores()
    if not 1 <= threads <= usable:
        raise InputError(
            f"threads must be 1 to {usable}, the cores usable here, got {threads}; try --threads {usable}"
        )
    with _in_torch(threads):
        if hasattr(os, "sched_setaffinity"):
            with _on_cores(tuple(sorted(os.sched_getaffinity(0))[:threads])) as cores:
                yield Pinning(threads, cores)
        else:
            yield Pinning(threads, None)


@contextmanager
def _in_torch(threads: int) -> Iterator[None]:
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _on_cores(cores: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    own_before = os.sched_getaffinity(0)
    before = {task: os.sched_getaffinity(task) for task in _tasks()}
    _move({task: set(cores) for task in before})
    try:
        yield cores
    finally:
        # Threads that were started inside the block have the block's cores; they get those of the caller.
        _move({task: before.get(task, own_before) for task in _tasks()})


def _tasks() -> list[int]:
    """This process's threads; 0, the calling one alone, where they are not listed."""
    try:
        return [int(path.name) for path in _TASKS.iterdir()]
    except OSError:
        return [0]


def _move(cores: dict[int, set[int]]) -> None:
    for task, on in cores.items():
        # A thread may end between its listing and here.
        with suppress(ProcessLookupError):
            os.sched_setaffinity(task, on)


# Whether a machine was quiet while something was measured on it: other processes' load, and the clock.

BUSY_SHARE = 0.05
"""Share of all cores: above it other processes take caches, memory bandwidth and clock from what is measured."""
CLOCK_SHARE = 0.05
MIN_WINDOW_S = 0.5
"""/proc/stat counts in hundredths of a second: over a shorter window its rounding could pass for load."""


@dataclass
class LoadWatch:
    """The disturbances of a timed window.

    Attributes:
        notes: sentences on what disturbed the window, or cannot be known. Filled when the window ends; empty if quiet.
    """

    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Snapshot:
    """The machine at one moment.

    Attributes:
        at_s: time of a monotonic clock.
        own_s: CPU time of this process and of its children that have ended.
        busy_s: CPU time of all processes, time that a hypervisor withheld included; None where the system does not report it.
        cores: number of cores of the machine.
        clock_mhz: clock of the fastest core, or None.
    """

    at_s: float
    own_s: float
    busy_s: float | None
    cores: int
    clock_mhz: float | None


@contextmanager
def watch_machine(root: Path = Path("/")) -> Iterator[LoadWatch]:
    """LoadWatch the machine within the block; the notes are there when it ends.

    Enter it after a warm-up: a processor that was idle raises its clock only when there is work, and that would be
    noted. The clock is read at both ends, not between them.

    Args:
        root: where proc/ and sys/ lie.
    """
    watch = LoadWatch()
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


# Keeping freed memory in the process while latencies are measured, so that they are those of the work.
#
# glibc's malloc maps every block over 32 MiB anew and gives the top of its heap back to the system. Each layer with large
# activations then pays for page faults, as much as for the arithmetic (GDN at 384x256 pixels and 128 channels: 10 times as
# long as at half as many), and what a fault costs depends on what else the machine does. PyTorch's performance tuning
# guide advises an allocator that keeps its memory (jemalloc, TCMalloc) for the same reason.

# mallopt(3)
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
_NEVER = 2**31 - 1


def keep_memory() -> str:
    """Make malloc of this process keep what is freed, for good; what was done, in words for a figure's `by`.

    Counts for glibc on Linux only; elsewhere malloc is left as it is, and the words say so.
    """
    if not sys.platform.startswith("linux"):
        return "memory as malloc handles it"
    try:
        libc = ctypes.CDLL("libc.so.6")
        done = libc.mallopt(_M_MMAP_MAX, 0) and libc.mallopt(_M_TRIM_THRESHOLD, _NEVER)
    except (OSError, AttributeError):
        done = 0
    return "freed memory kept by malloc" if done else "memory as malloc handles it"
