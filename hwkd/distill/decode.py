"""Streamed training images without torch: where they lie, when each is cropped, and how worker processes decode ahead."""

import io
import multiprocessing
import signal
import tarfile
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, islice
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import IO

import numpy as np
import numpy.typing as npt

from hwkd.errors import HwkdError, InputError
from hwkd.image_metadata import without_metadata
from hwkd.images import (
    MACOS,
    MAX_PIXELS,
    SUFFIXES,
    BrokenImage,
    Pixels,
    find_images,
    opened_image,
    read_image,
)
from hwkd.runtime.session import PROC, SYS, free_memory_bytes

# Whether the decoded images of a folder fit in the free memory: their headers decide, before any image is decoded.

SHARE = 0.8
"""Share of the free memory that images may take: networks, activations and the page cache need the rest."""
GB = 1e9


def check_fits(
    folder: Path, paths: Iterable[Path], crop: int, sys: Path = SYS, proc: Path = PROC
) -> None:
    """Refuse images that would fill the memory.

    Args:
        paths: paths of the images. Images that are too small for `crop`, or have no header, are not kept and not counted.
        sys, proc: as Linux has them; where they do not tell, nothing is refused.
    Raises:
        InputError: decoded they take more than SHARE of the available memory.
    """
    free = free_memory_bytes(sys, proc)
    if free is None:
        return
    needed = 0
    for path in paths:
        try:
            with path.open("rb") as data:
                width, height = header_size(data) or (0, 0)
        except OSError:
            continue  # reported where the image is read
        if min(width, height) >= crop:
            needed += 3 * width * height
    if needed > SHARE * free:
        raise InputError(
            f"the images of {folder} take {needed / GB:.1f} GB decoded, and {free / GB:.1f} GB of memory are free, of "
            f"which images may take {SHARE:.0%}: read them while training, with --stream, or give fewer"
        )


# An image that can be read alone: where its bytes lie, in a file or in a shard, and what its header says.


@dataclass(frozen=True, slots=True)
class ImageBytes:
    """An image's bytes: `size` of them in `file`, from `offset` on.

    Attributes:
        name: the image's name in messages.
        width, height: pixels.
    """

    name: str
    file: str
    offset: int
    size: int
    width: int
    height: int

    def pixels(self) -> Pixels:
        """The image as `hwkd.images.read_image` gives it, [H, W, 3] uint8.

        Raises:
            BrokenImage: as `read_image`.
            InputError: the file can no longer be read.
        """
        try:
            with open(self.file, "rb") as file:
                file.seek(self.offset)
                data = file.read(self.size)
        except OSError as error:
            raise InputError(
                f"cannot read {self.file}: {error.strerror}; it could be read when the run began: put it back and go "
                "on with --resume"
            ) from error
        return read_image(io.BytesIO(data), 2 * MAX_PIXELS, self.name).pixels


def header_size(data: IO[bytes]) -> tuple[int, int] | None:
    """(width, height) as the header of an image says, before any turn by EXIF; None where there is no such header.

    Images that `ImageBytes.pixels` would refuse for their number of pixels have none.
    """
    try:
        with opened_image(data) as image:
            width, height = image.size
    except MemoryError:
        raise
    # Damage has no class of its own. Where the metadata alone are damaged, the pixels are read all the same.
    except Exception:
        data.seek(0)
        pixels_only = without_metadata(data.read())
        return None if pixels_only is None else header_size(io.BytesIO(pixels_only))
    return (width, height) if width * height <= 2 * MAX_PIXELS else None


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


# All images of a folder, or of shards, that crops can be taken from: found at the start, by their headers.

NAMED = 5
"""Largest number of images that a note names; of millions it only gives the count."""


@dataclass(frozen=True)
class Catalogue:
    """Images that can be cropped, in a fixed order.

    Attributes:
        source: where the images lie, in words.
        notes: which images were left out.
    """

    source: str
    entries: tuple[ImageBytes, ...]
    notes: tuple[str, ...]


def read_catalogue(source: Path, crop: int, tell: Callable[[str], None]) -> Catalogue:
    """The images of a folder, of a folder of .tar shards, or of one .tar file.

    Args:
        source: searched recursively.
        crop: images with a smaller side are left out, and counted in the notes.
        tell: receives the name of each image as its header is read.
    Raises:
        InputError: it is missing or empty, a shard is damaged (`shard_images`), or too few images are usable.
    """
    shards = find_shards(source)
    usable: list[ImageBytes] = []
    small: list[str] = []
    unreadable: list[str] = []
    others: list[str] = []
    largest = 0
    for entry in _in_shards(source, shards, others) if shards else _in_folder(source):
        tell(entry.name)
        side = min(entry.width, entry.height)
        largest = max(largest, side)
        if not side:
            unreadable.append(entry.name)
        elif side < crop:
            small.append(f"{entry.name} ({side})")
        else:
            usable.append(entry)
    if len(usable) < 2:
        have = "no image" if not usable else "only one image"
        raise InputError(
            f"{source} holds {have} of at least {crop}x{crop} pixels (largest short side: {largest}); "
            "two are needed, one to train on and one to hold out: use larger images or a smaller --crop"
        )
    notes = _note(f"smaller than the crop ({crop} pixels)", small)
    notes += _note("that cannot be read", unreadable)
    notes += _note(
        "of a key that was taken, or with more dots in the name than the one before its ending, which webdataset takes for "
        "parts of one sample, or for hidden files",
        others,
    )
    how = f"{len(shards)} shard{'s' * (len(shards) != 1)}" if shards else "streamed"
    return Catalogue(f"{source}, {how}", tuple(usable), notes)


def _in_folder(folder: Path) -> Iterator[ImageBytes]:
    """Its images; width and height are 0 where there is no header to read."""
    for path in find_images(folder):
        name = path.relative_to(folder).as_posix()
        try:
            size = path.stat().st_size
            with path.open("rb") as data:
                width, height = header_size(data) or (0, 0)
        except OSError as error:
            raise InputError(
                f"cannot read {path}: {error.strerror}; change its rights or leave it out"
            ) from error
        yield ImageBytes(name, str(path), 0, size, width, height)


def _in_shards(source: Path, shards: tuple[Path, ...], others: list[str]) -> Iterator[ImageBytes]:
    """The images in the shards; width and height are 0 where there is no header to read.

    Args:
        others: receives the names that end like an image's but are none.
    """
    folder = source if source.is_dir() else source.parent
    for shard in shards:
        of, file = shard.relative_to(folder).as_posix(), str(shard)

        def pass_over(name: str, of: str = of) -> None:
            others.append(f"{of}/{name}")

        for name, offset, size, data in shard_images(shard, pass_over):
            width, height = header_size(data) or (0, 0)
            yield ImageBytes(f"{of}/{name}", file, offset, size, width, height)


def _note(what: str, names: list[str]) -> tuple[str, ...]:
    if not names:
        return ()
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    images = "image" if len(names) == 1 else "images"
    return (f"skipped {len(names)} {images} {what}: {', '.join(names[:NAMED])}{more}",)


# Training images in tar files, as webdataset writes them: found in one pass over the headers.

COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst")
END = bytes(2 * tarfile.BLOCKSIZE)
"""Two empty blocks end an archive (POSIX.1, pax); what was being written when its writer died has none."""


def has_shards_only(source: Path) -> bool:
    """Whether `source` is a .tar file, or a folder with some in it or below and no loose images."""
    if source.is_file():
        return source.name.lower().endswith((".tar", *COMPRESSED))
    return any(_is_archive(path) for path in source.rglob("*")) and not _has_images(source)


def find_shards(source: Path) -> tuple[Path, ...]:
    """The .tar files of a folder and of all folders below it, sorted by path; `source` itself where it is one.

    None where there are loose images only, or nothing.

    Raises:
        InputError: there are both, or compressed archives, in which no single image can be reached.
    """
    folder = source if source.is_dir() else source.parent
    found = sorted(
        p for p in ([source] if source.is_file() else source.rglob("*")) if _is_archive(p)
    )
    tars = tuple(path for path in found if path.suffix.lower() == ".tar")
    if found and source.is_dir() and _has_images(source):
        if not tars:
            return ()
        raise InputError(
            f"{source} holds both loose images and shards ({_name(tars[0], folder)}): keep one kind in it, or give the "
            "folder of one kind"
        )
    packed = [path for path in found if path not in tars]
    if packed:
        raise InputError(
            f"{_name(packed[0], folder)} in {folder} is compressed, and images are read from any place of a shard: "
            "unpack it to a plain .tar (gunzip, say); the images in it are compressed already"
        )
    return tars


def shard_images(
    shard: Path, passed_over: Callable[[str], None] = lambda _name: None
) -> Iterator[tuple[str, int, int, IO[bytes]]]:
    """(name, offset, size, data) of each image in a tar file, in its order; `data` reads it from its start.

    An image is a member KEY.SUFFIX, with KEY up to the first dot of its name, as in webdataset; of one key the first is
    taken, since others are masks or smaller versions of it. All other members are passed over.

    Args:
        passed_over: called with the name of each member that ends like an image's but is none by these rules.
    Raises:
        InputError: the file cannot be read, is no tar file, or is cut short or damaged; at the latest at its end.
    """
    try:
        length = shard.stat().st_size
        with shard.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
            taken = ""
            while (member := archive.next()) is not None:
                # Kept for look-ups, and 2 KB each: there may be millions.
                archive.members = []  # type: ignore[attr-defined]  # webdataset's readers do the same
                if not 0 <= member.size <= length - member.offset_data:
                    raise _damaged(
                        shard,
                        f"{member.name} has {member.size} bytes and the file ends before them",
                    )
                key, suffix = _split(member.name)
                if not member.isreg() or suffix not in SUFFIXES or key == taken:
                    path = Path(member.name)
                    if path.suffix.lower() in SUFFIXES and not path.name.startswith(MACOS):
                        passed_over(member.name)
                    continue
                taken = key
                data = archive.extractfile(member)
                assert data is not None  # of a regular member
                yield member.name, member.offset_data, member.size, data
            # tarfile takes whatever is no header for the end.
            file.seek(archive.offset)
            if file.read(len(END)) != END:
                raise _damaged(
                    shard,
                    f"at byte {archive.offset} there is neither a member nor the archive's end",
                )
    except OSError as error:
        raise InputError(
            f"cannot read {shard}: {error.strerror}; give shards that can be read"
        ) from error
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        raise _damaged(shard, str(error)) from error


def _damaged(shard: Path, why: str) -> InputError:
    return InputError(
        f"the shard {shard} is cut short or damaged: {why}; make it again, or take it out of the folder"
    )


def _split(name: str) -> tuple[str, str]:
    """(key, suffix) of a member: "a/000123.seg.png" is ("a/000123", ".seg.png"). No key: hidden files have none."""
    folder, slash, base = name.rpartition("/")
    stem, dot, suffix = base.partition(".")
    return (folder + slash + stem, (dot + suffix).lower()) if stem else ("", "")


def _is_archive(path: Path) -> bool:
    return path.name.lower().endswith((".tar", *COMPRESSED)) and path.is_file()


def _has_images(folder: Path) -> bool:
    return any(path.suffix.lower() in SUFFIXES for path in folder.rglob("*"))


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()
