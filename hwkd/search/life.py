"""Signs of life: how workers know of each other that they still train, and take over what a dead one left.

Optuna has heartbeats for databases only, and gives a lost trial up for a new one. Here the trial itself waits again, in any
storage, and keeps its number, on which its chance depends: what is trained is the same whoever died.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

BEAT_S = 15.0
LOST_AFTER_S = 60.0
"""A worker on another machine that has given no sign for so long is taken for dead."""

ALIVE = "alive"
"""The user attribute of a running trial that holds its worker's last sign."""


@dataclass(frozen=True)
class Sign:
    """One sign of life. machine: where the worker runs; pid, started: which process it is; beat: counts the signs."""

    machine: str
    pid: int
    started: str
    beat: int


def my_sign(beat: int) -> Sign:
    """A sign of this process."""
    return Sign(_machine(), os.getpid(), _started(os.getpid()), beat)


@contextmanager
def giving_signs(set_attribute: Callable[[str, Any], None]) -> Iterator[None]:
    """Inside, a thread sets ALIVE again and again.

    set_attribute: of the running trial.
    """
    set_attribute(ALIVE, asdict(my_sign(0)))
    ended = threading.Event()

    def beat() -> None:
        count = 0
        while not ended.wait(BEAT_S):
            count += 1
            # A storage that is busy now is asked again at the next beat; what stays wrong the worker itself meets.
            with suppress(Exception):
                set_attribute(ALIVE, asdict(my_sign(count)))

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class Watch:
    """Tells which running trials are lost, by what it has seen of them so far."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._seen: dict[int, tuple[object, float]] = {}

    def is_lost(self, number: int, sign: Mapping[str, Any] | None) -> bool:
        """Whether the worker of trial `number`, whose sign is `sign`, is dead.

        At once where its process was on this machine and is gone; else when its sign has not changed for LOST_AFTER_S
        since this watch first saw it, by this machine's clock alone.
        """
        if sign is not None and sign["machine"] == _machine():
            return bool(_started(sign["pid"]) != sign["started"])
        held = self._seen.get(number)
        if held is None or held[0] != sign:
            self._seen[number] = (sign, self._now())
            return False
        return self._now() - held[1] > LOST_AFTER_S


def _machine() -> str:
    """The host, and its space of process numbers: containers of one host may share its name."""
    space = ""
    with suppress(OSError):
        space = str(Path("/proc/self/ns/pid").readlink())
    return f"{socket.gethostname()} {space}"


def _started(pid: int) -> str:
    """When the process was started, in ticks since boot; "" where there is none, or the system does not tell.

    A number of a dead process is given out again: the time tells the two apart.
    """
    try:
        # The name in parentheses may hold spaces; field 22 of proc(5) is the 20th after it.
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
        fields = stat.rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]
    except (OSError, IndexError):
        return ""
