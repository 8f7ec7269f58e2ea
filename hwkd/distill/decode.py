"""Streamed training images without torch: when each is cropped, and how worker processes decode ahead."""

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, islice
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from queue import SimpleQueue

import numpy as np
import numpy.typing as npt

from hwkd.distill.catalogue import ImageBytes
from hwkd.errors import HwkdError, InputError
from hwkd.images import BrokenImage, Pixels

# One image decoded and cropped, wherever that is done.


@dataclass(frozen=True, slots=True)
class Task:
    """Crops to take of one image: those of `visits` at a place of the order.

    Attributes:
        index: the image's place in the catalogue.
    """

    index: int
    entry: ImageBytes
    crop: int
    seed: int
    place: int
    visits: range


Decoded = tuple[Task, Pixels | BrokenImage]
"""A task and its crops, [visits, crop, crop, 3] uint8; or why there are none."""


def decode(task: Task) -> Decoded:
    """The crops of `task`: at random places, turned by a quarter and flipped, the same whenever it is done again.

    Raises:
        InputError: as `ImageBytes.pixels`.
        HwkdError: memory ran out.
    """
    entry = task.entry
    try:
        pixels = entry.pixels()
    except BrokenImage as error:
        return task, error
    except MemoryError as error:
        raise HwkdError(
            f"memory ran out while {entry.name} was decoded ({entry.width}x{entry.height} pixels): make it smaller or "
            "leave it out"
        ) from error
    height, width = pixels.shape[:2]
    if min(height, width) < task.crop:
        return task, BrokenImage(
            f"{entry.name} has {width}x{height} pixels, and its header said {entry.width}x{entry.height}; replace it "
            "or leave it out"
        )
    crops = np.empty((len(task.visits), task.crop, task.crop, 3), np.uint8)
    for crop, visit in zip(crops, task.visits, strict=True):
        rng = crop_chance(task.seed, task.place, visit)
        top = rng.integers(0, height - task.crop + 1)
        left = rng.integers(0, width - task.crop + 1)
        piece = pixels[top : top + task.crop, left : left + task.crop]
        piece = np.rot90(piece, int(rng.integers(4)))
        crop[:] = piece[:, ::-1] if rng.integers(2) else piece
    return task, crops


# Which image each row of each batch is cropped from, endlessly: a function of the seed and the step alone.

VISITS = 8
"""Crops that are taken of an image once it is decoded, at as many steps: decoding costs far more than cropping."""
STRIDE = 5
"""Stride of the rows' first steps: any two rows side by side, and any few, then change their images far from each other."""

# What the random numbers are for: each purpose has its own sequences.
_OF_EPOCH, _OF_CROP = 0, 1


@dataclass(frozen=True)
class Lanes:
    """Each row of the batches is a lane: it stays with one image for `visits` steps and then takes the next place.

    The lanes change their images at different steps, so that about as many are decoded for each step. In the endless
    sequence of places every one is taken by exactly one lane, in turn `place // size` by lane `place % size`; a lane
    that begins in the middle of its first turn visits that first image fewer times.

    Attributes:
        size: rows of a batch, over all processes.
    """

    size: int
    visits: int

    def at(self, step: int, row: int) -> tuple[int, int]:
        """(place, visit) of a row: the image's place in the endless sequence, and how often it was there before."""
        turn, visit = divmod(step + row * STRIDE % self.visits, self.visits)
        return turn * self.size + row, visit


class Order:
    """The endless sequence of `count` images: one permutation after another, so that none is repeated before all."""

    def __init__(self, count: int, seed: int) -> None:
        self.count, self._seed = count, seed
        self._epochs: dict[int, npt.NDArray[np.int64]] = {}

    def index(self, place: int, shift: int = 0) -> int:
        """The image at a place, or the one that lies `shift` behind it in the same epoch's order, round its end."""
        epoch, at = divmod(place, self.count)
        if epoch not in self._epochs:
            # Lanes, and the images decoded ahead of them, are in two epochs at once where one ends.
            if len(self._epochs) == 2:
                del self._epochs[min(self._epochs)]
            rng = np.random.default_rng((self._seed, _OF_EPOCH, epoch))
            self._epochs[epoch] = rng.permutation(self.count)
        return int(self._epochs[epoch][(at + shift) % self.count])


def crop_chance(seed: int, place: int, visit: int) -> np.random.Generator:
    """The random generator for the place of this visit's crop and for how it is turned."""
    return np.random.default_rng((seed, _OF_CROP, place, visit))


# What is to be decoded for the rows of batches, in the order in which they ask for it.


class Tasks:
    """The decoding of `entries`, in the order that the seed gives.

    Attributes:
        damaged: why images cannot be read, by their place in `entries`. It may grow meanwhile.
    """

    def __init__(
        self, entries: Sequence[ImageBytes], crop: int, seed: int, damaged: Mapping[int, str]
    ) -> None:
        self._entries, self._damaged = entries, damaged
        self._crop, self._seed = crop, seed
        self._order = Order(len(entries), seed)

    def of_rows(self, lanes: Lanes, rows: range, first: int) -> Iterator[Task]:
        """The tasks of `rows` from step `first` on, without end: the images that the rows crop already, then each new one."""
        for step in count(first):
            for row in rows:
                place, visit = lanes.at(step, row)
                if visit == 0 or step == first:
                    yield self.at(place, range(visit, lanes.visits))

    def at(self, place: int, visits: range) -> Task:
        """The image at `place`, or the next one of its epoch that is not known to be damaged.

        Raises:
            InputError: all are.
        """
        for shift in range(self._order.count):
            index = self._order.index(place, shift)
            if index not in self._damaged:
                entry = self._entries[index]
                return Task(index, entry, self._crop, self._seed, place, visits)
        raise InputError(
            f"none of the {self._order.count} training images can be read: "
            f"{next(iter(self._damaged.values()))}"
        )


# Images decoded ahead of their use, in processes of their own that hold no torch.

LAST_WORD_S = 5.0
"""How long a worker may take to end once nobody asks it any more."""


def decoded(tasks: Iterator[Task], workers: int, ahead: int) -> Generator[Decoded, None, None]:
    """The results of `tasks`, in their order. The workers end when the generator is closed.

    Args:
        workers: processes that decode. 0: this process decodes each result on request.
        ahead: largest number of tasks that are running or finished before their results are requested.
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
    """A function that hands a task to the next idle one of `count` processes.

    Each process has its own connection. The connection breaks when either end is killed, in the middle of a crop too. With
    a shared queue, as in the standard library's pool of processes, the wait would then never end. torch's DataLoader
    reports a killed worker by an exception at whatever line the training is, and passes tensors in /dev/shm, which
    containers keep small. The processes are spawned: a forked one would keep a copy of all that the training writes over.
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
    """A worker: decode each requested task until the other end of `line` is closed or its process has ended."""
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
