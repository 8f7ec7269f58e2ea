"""A fixed number of threads on fixed cores for as long as something is measured."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from hwkd.errors import InputError
from hwkd.runtime.cores import usable_cores

_TASKS = Path("/proc/self/task")


@dataclass(frozen=True)
class Pinning:
    """threads: of one operator. cores: where all threads of this process run; None where it cannot be fixed."""

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
