"""Images decoded ahead of their use, in processes of their own that hold no torch."""

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from queue import SimpleQueue

from hwkd.distill.stream_decoding import Decoded, Task, decode
from hwkd.errors import HwkdError

LAST_WORD_S = 5.0
"""How long a worker may take to end once nobody asks it any more."""


def decoded(tasks: Iterator[Task], workers: int, ahead: int) -> Generator[Decoded, None, None]:
    """The results of `tasks`, in their order; the workers end when the generator is closed.

    Args:
        workers: processes that decode; 0: this one does, when a result is asked for.
        ahead: tasks that are being done or lie done before they are asked for.
    Raises:
        HwkdError: a worker was killed; as `decode`.
    """
    if not workers:
        yield from map(decode, tasks)
        return
    with _workers(workers) as submit:
        waiting = deque(submit(task) for task in islice(tasks, ahead))
        while waiting:
            done = waiting.popleft().result()
            waiting.extend(submit(task) for task in islice(tasks, 1))
            yield done


@contextmanager
def _workers(count: int) -> "Iterator[Callable[[Task], Future[Decoded]]]":
    """What hands a task to the next idle one of `count` processes.

    Each has a line of its own, which breaks when either end is killed, in the middle of a crop too: a queue that they
    share, as in the standard library's pool of processes, would then be waited for without end. torch's DataLoader
    tells of a killed worker by an exception at whatever line the training is, and passes tensors in /dev/shm, which
    containers keep small. They are spawned: a forked one would keep a copy of all that the training writes over.
    """
    context = multiprocessing.get_context("spawn")
    lines: list[Connection] = []
    processes = []
    idle: SimpleQueue[Connection] = SimpleQueue()

    def ask(task: Task) -> Decoded:
        line = idle.get()
        try:
            line.send(task)
            answer: Decoded | HwkdError = line.recv()
        except (EOFError, OSError) as error:
            raise HwkdError(
                "a process that decodes training images ended before its time, most likely killed because memory ran "
                "out; the run's last checkpoint stands: go on with --resume, with fewer --data-workers"
            ) from error
        finally:
            idle.put(line)
        if isinstance(answer, HwkdError):
            raise answer
        return answer

    threads = ThreadPoolExecutor(count)
    try:
        with _ctrl_c_blocked():
            for _ in range(count):
                ours, theirs = context.Pipe()
                lines.append(ours)
                process = context.Process(target=_serve, args=(theirs,), daemon=True)
                process.start()
                processes.append(process)
                theirs.close()
                idle.put(ours)
        yield lambda task: threads.submit(ask, task)
    finally:
        threads.shutdown(cancel_futures=True)
        for line in lines:
            line.close()
        for process in processes:
            process.join(LAST_WORD_S)


@contextmanager
def _ctrl_c_blocked() -> Iterator[None]:
    """Processes that are started inside never see Ctrl-C, which the terminal sends to all; this one does afterwards."""
    # Started with the first process otherwise, and Python lets Ctrl-C through again when it has started it.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(line: Connection) -> None:
    """A worker: decode what is asked for, until the other end of `line` is closed or its process has ended."""
    while True:
        try:
            task: Task = line.recv()
        except (EOFError, OSError):
            return
        answer: Decoded | HwkdError
        try:
            answer = decode(task)
        except HwkdError as error:
            answer = error
        try:
            line.send(answer)
        except OSError:
            return
