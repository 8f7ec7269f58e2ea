"""The processes that train one run together: torchrun's workers or this one alone, and how they find each other."""

import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from hwkd.errors import HwkdError, InputError

# The processes that train one run together: torchrun's workers, or this process alone.

T = TypeVar("T")

LOST = ("gloo", "nccl", "connection closed by peer", "connection reset by peer", "broken pipe")
"""Texts in the RuntimeErrors of torch.distributed when another process is gone; these errors have no class of their own."""
PATIENCE = timedelta(minutes=10)
"""How long a process waits for the others: the first one may evaluate or write while they do."""


class LostProcess(HwkdError):
    """Another process of the run has ended before its time."""


@dataclass(frozen=True)
class Processes:
    """The processes of a training.

    Attributes:
        rank: this process's place among `count`.
        restarts: how often torchrun has started all of them again; known once they are `joined`.
        launcher: the name of the torchrun that started this process; empty where none did.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    restarts: int = 0
    launcher: str = ""

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes and reports."""
        return self.rank == 0

    def rows(self, batch: int) -> range:
        """This process's rows of a batch that `check_batch` has accepted."""
        each = batch // self.count
        return range(self.rank * each, (self.rank + 1) * each)

    def check_batch(self, batch: int, accumulate: int) -> None:
        """Raise InputError unless every process gets the same number of rows of `batch`, in `accumulate` equal parts."""
        parts = self.count * accumulate
        if batch % parts == 0:
            return
        lower = batch // parts * parts
        near = " or ".join(str(n) for n in (lower, lower + parts) if n)
        by = [f"{self.count} processes"] if self.count > 1 else []
        by += [f"--accumulate {accumulate}"] if accumulate > 1 else []
        raise InputError(
            f"--batch {batch} is the batch of all processes together and cannot be shared equally by "
            f"{' and '.join(by)}: give --batch {near}"
        )

    def mean(self, values: Sequence[float]) -> list[float]:
        """Each of `values`, averaged over the processes. Every process must call this."""
        if self.count == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(total)
        averaged: list[float] = (total / self.count).tolist()
        return averaged

    def any(self, asked: bool) -> bool:
        """Whether `asked` is true in at least one process. Every process must call this."""
        return self.mean([float(asked)])[0] > 0

    def by_first(self, action: Callable[[], T]) -> T:
        """Run `action` in the first process and return its result in all. Every process must call this.

        Raises:
            HwkdError: `action` raised it in the first process. Of any other exception, the other processes raise its message
                as an HwkdError.
        """
        if self.count == 1:
            return action()
        said: list[object] = [None, None]
        error: Exception | None = None
        if self.is_first:
            try:
                said[0] = action()
            except Exception as caught:  # whatever it is: the others must not wait
                error = caught
                said[1] = caught if isinstance(caught, HwkdError) else HwkdError(str(caught))
        dist.broadcast_object_list(said, src=0)
        if error is not None:
            raise error
        if isinstance(said[1], HwkdError):
            raise said[1]
        return said[0]  # type: ignore[return-value]


ALONE = Processes()


def started_processes(environment: Mapping[str, str] = os.environ) -> Processes:
    """The processes of torchrun's variables in `environment`; this process alone where there are none.

    Raises:
        InputError: only some of torchrun's variables, or no numbers in them.
    """
    if "RANK" not in environment and "WORLD_SIZE" not in environment:
        return ALONE
    try:
        rank, count, local_rank = (
            int(environment[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")
        )
        restarts = int(environment.get("TORCHELASTIC_RESTART_COUNT", "0"))
    except (KeyError, ValueError) as error:
        raise InputError(
            f"RANK or WORLD_SIZE is set, but RANK, WORLD_SIZE and LOCAL_RANK are not all there as numbers ({error}): "
            "start the processes with torchrun, or unset them"
        ) from error
    run_id = environment.get("TORCHELASTIC_RUN_ID", "none")
    # Without an id of its own a torchrun is known by the process that started this one.
    name = run_id if run_id != "none" else f"{socket.gethostname()} {os.getppid()}"
    return Processes(rank, count, local_rank, restarts, f"torchrun {name}")


@contextmanager
def joined(processes: Processes) -> Iterator[Processes]:
    """The processes are connected inside, and know how often they were restarted.

    Raises:
        LostProcess: another one has ended, or cannot be reached.
    """
    if processes.count == 1:
        yield processes
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(processes.local_rank)
    try:
        store, attempt = meet(processes.rank, processes.count, PATIENCE)
        # No backend is named: NCCL for tensors on GPUs where there are some, gloo for all others.
        dist.init_process_group(
            store=store, rank=processes.rank, world_size=processes.count, timeout=PATIENCE
        )
        yield replace(processes, restarts=max(processes.restarts, attempt - 1))
    except RuntimeError as error:
        if not _is_lost(error):
            raise
        raise LostProcess(
            f"process {processes.rank} of {processes.count} lost another one of the run: torchrun starts them again "
            "where --max-restarts allows; else run the same command with --resume"
        ) from error
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _is_lost(error: RuntimeError) -> bool:
    if isinstance(error, dist.DistError):
        return True
    text = str(error).lower()
    return any(word in text for word in LOST)


# How the processes of a run find each other, in the first attempt and in every one that torchrun makes after it.
#
# torchrun keeps one store for all its attempts, and torch's own set-up reads from it what an earlier attempt left there,
# so that a restarted process calls at the address of a dead one (pytorch issues 135712, 167288). Its count of restarts
# does not tell the attempts apart: agents on several nodes count for themselves. So the first process numbers them.

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
    """The first process: choose a number for this attempt, and send it to every other process when that one calls."""
    waiting = list(range(1, count))
    # Delete what a process of an earlier attempt has left there. A process that called too early calls again.
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
    """Every other process: call under a new, unique name until the first process answers."""
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
