"""How the processes of a run find each other, in the first attempt and in every one that torchrun makes after it.

torchrun keeps one store for all its attempts, and torch's own set-up reads from it what an earlier attempt left there,
so that a restarted process calls at the address of a dead one (pytorch issues 135712, 167288). Its count of restarts
does not tell the attempts apart: agents on several nodes count for themselves. So the first process numbers them.
"""

import time
import uuid
from datetime import timedelta

from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from hwkd.errors import HwkdError

PAUSE_S = 0.02


def meet(rank: int, count: int, patience: timedelta) -> tuple[PrefixStore, int]:
    """(a store that no earlier attempt has written to, the attempt's number from 1 on), the same for all `count`.

    Raises:
        HwkdError: not all of them came within `patience`.
    """
    store: TCPStore = next(rendezvous("env://", timeout=patience))[0]
    deadline = time.monotonic() + patience.total_seconds()
    attempt = _welcome(store, count, deadline) if rank == 0 else _call(store, rank, deadline)
    return PrefixStore(f"hwkd/{attempt}", store), attempt


def _welcome(store: TCPStore, count: int, deadline: float) -> int:
    """The first process: a number for this attempt, told to every other one when it calls."""
    waiting = list(range(1, count))
    # What a process of an earlier attempt has left there; one that is too early for this calls again.
    for rank in waiting:
        store.delete_key(_caller(rank))
    attempt = int(store.add("hwkd/attempts", 1))
    while waiting:
        for rank in list(waiting):
            if store.check([_caller(rank)]):
                store.set(f"hwkd/welcome/{store.get(_caller(rank)).decode()}", str(attempt))
                waiting.remove(rank)
        _pause(deadline)
    return attempt


def _call(store: TCPStore, rank: int, deadline: float) -> int:
    """Every other process: call under a name that nobody had before, until the first one answers."""
    name = uuid.uuid4().hex
    answer = f"hwkd/welcome/{name}"
    while not store.check([answer]):
        store.set(_caller(rank), name)
        _pause(deadline)
    return int(store.get(answer))


def _caller(rank: int) -> str:
    return f"hwkd/caller/{rank}"


def _pause(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise HwkdError("not all processes of the run have come: see what the others say")
    time.sleep(PAUSE_S)
