"""Shared by `hwkd encode` and `hwkd decode`: options, inputs and outputs, codecs for several threads, many images at a time."""

import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, TypeVar

from hwkd.cli.talk import stderr_console
from hwkd.codec import entropy
from hwkd.codec.codec import Codec
from hwkd.codec.networks import default_runtime, soonest_runtime
from hwkd.errors import HwkdError, InputError, Interrupted
from hwkd.files import check_new, is_special, write_bytes
from hwkd.images import MAX_PIXELS
from hwkd.notes import detail, is_detailed, note
from hwkd.options import Options, option, whole
from hwkd.runtime.bundle import Bundle, read_bundle
from hwkd.runtime.session import (
    RUNTIMES,
    check_present,
    runtime_label,
    saturation_warning,
    usable_cores,
)

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

    from rich.console import Console
    from rich.progress import Progress

# The options that both commands take with the same meaning.

MOST_THREADS = 4096
MOST_PIXELS = 10**12


@dataclass(frozen=True, kw_only=True)
class CodingOptions(Options):
    """The options that `hwkd encode` and `hwkd decode` share."""

    runtime: str | None = option(
        f"{' or '.join(RUNTIMES)} (default: onnxruntime for one image of up to 4 megapixels, as it is ready first; "
        "else openvino where it is installed)",
        "NAME",
    )
    threads: int | None = option(
        "at most, over all images that are coded at the same time (default: all usable cores)",
        "N",
        whole(1, MOST_THREADS),
    )
    max_pixels: int = option(
        f"refuse images of more pixels (default: {MAX_PIXELS})",
        "N",
        whole(1, MOST_PIXELS),
        default=MAX_PIXELS,
    )
    force: bool = option("replace files that exist", default=False)


# The inputs and outputs of `hwkd encode` and `hwkd decode`: files, folders, standard input and output.

STANDARD = "-"
"""Replaces a file name: standard input, or standard output."""

STREAM_SUFFIX = ".hwk"


@dataclass(frozen=True)
class Job:
    """One image to code.

    Attributes:
        source: None for standard input.
        target: None for standard output.
    """

    source: Path | None
    target: Path | None

    @property
    def source_name(self) -> str:
        """The source's name in messages."""
        return "standard input" if self.source is None else str(self.source)

    @property
    def target_name(self) -> str:
        """The target's name in messages."""
        return "standard output" if self.target is None else str(self.target)

    def write(self, content: bytes) -> None:
        """Write to the target; a file is written whole or not at all. Raises as hwkd.files.write_bytes."""
        if self.target is None:
            sys.stdout.buffer.write(content)
            sys.stdout.buffer.flush()
        else:
            write_bytes(self.target, content)

    def say(self, line: str) -> None:
        """Print `line`; on standard error if the output takes standard output, by whatever name."""
        say(line, sys.stderr if self.target is None or _is_stdout(self.target) else sys.stdout)


def _is_stdout(path: Path) -> bool:
    try:
        return is_special(path) and os.path.samestat(path.stat(), os.fstat(sys.stdout.fileno()))
    except (OSError, ValueError):  # a stream without a file has no number
        return False


def say(line: str, file: TextIO) -> None:
    """Print `line` to `file`. Bytes of a file's name that are not text are printed as escapes."""
    print(line.encode(errors="backslashreplace").decode(), file=file)


def counted(images: int) -> str:
    """The number of images, in words."""
    return f"{images} image{'s' * (images != 1)}"


@dataclass(frozen=True)
class Paths:
    """IN and OUT of a command line.

    Attributes:
        target: None if it is left out.
        is_many: whether the outputs go into a folder.
    """

    sources: tuple[str, ...]
    target: str | None
    is_many: bool


def paths_of(words: Sequence[str]) -> Paths:
    """The meaning of the words IN [IN ...] [OUT] of a command line.

    Two words are IN and OUT; of three or more, the last is a folder. If the last word is an existing folder, or ends as a
    folder, the outputs go into it. So `*.jpg out/` means the same for one image as for many.

    Raises:
        InputError: several IN and no folder to write to, or standard input is one of several IN.
    """
    *sources, last = words
    if not sources:
        return Paths((last,), None, last != STANDARD and Path(last).is_dir())
    is_into = last != STANDARD and (last.endswith(os.sep) or Path(last).is_dir())
    is_many = len(sources) > 1 or is_into or Path(sources[0]).is_dir()
    if len(sources) > 1:
        if STANDARD in sources:
            raise InputError(
                "standard input is one image, and several files are given: give it alone, as `- OUT`"
            )
        if last == STANDARD or (Path(last).exists() and not Path(last).is_dir()):
            raise InputError(
                f"{len(words)} files are given, and the last, {last}, is no folder to write to: end with one, "
                f"{sources[0]} {sources[1]} ... out{os.sep} say"
            )
    if sources[0] == STANDARD:
        # Its only name is that of its output.
        is_many = False
    return Paths(tuple(sources), last, is_many)


def one_job(
    paths: Paths,
    check_target: Callable[[Path], object],
    renamed: Callable[[Path], Path],
    *,
    force: bool,
) -> Job:
    """The job of a command that has one IN, which is not a folder.

    Args:
        check_target: raises InputError if an output may not have this name.
        renamed: returns the output's path for an input's path, if OUT is left out.
    Raises:
        InputError: there is no such IN; OUT is a folder, a file that exists (without --force), or a terminal; IN is
            standard input and there is no OUT.
    """
    (given,) = paths.sources
    source = None if given == STANDARD else Path(given)
    if source is not None:
        _check_there(source)
    if paths.target == STANDARD:
        if sys.stdout.isatty():
            raise InputError("standard output is a terminal: send it to a file or a pipe")
        return Job(source, None)
    if paths.target is not None:
        target = Path(paths.target)
    elif source is not None:
        target = renamed(source)
    else:
        raise InputError(
            "standard input has no name to make one of: give OUT, a file or - for standard output"
        )
    if target.is_dir():
        raise InputError(
            f"{target} is a folder, and one image is written to a file: give its name in it"
        )
    # A device or a pipe keeps its name.
    if not is_special(target):
        check_target(target)
    check_new(target, force=force)
    return Job(source, target)


def folder_jobs(
    paths: Paths,
    find: Callable[[Path], tuple[Path, ...]],
    renamed: Callable[[Path], Path],
    *,
    force: bool,
) -> tuple[Job, ...]:
    """The jobs of a command that writes into a folder.

    There is one job for each file that is IN, and one for each file found in a folder that is IN. A file found in a folder
    is written at the same place below OUT.

    Args:
        find: returns the files in a folder and below.
        renamed: returns the output's path for an input's path.
    Raises:
        InputError: there is no such IN, or nothing is found in it; there is no OUT, or OUT is not a folder or cannot be
            written to; outputs exist (without --force), or two outputs have one name.
    """
    first = paths.sources[0]
    if paths.target is None:
        raise InputError(f"{first} is a folder: give OUT, a folder to write to")
    if paths.target == STANDARD:
        raise InputError(
            f"{first} is a folder, and standard output takes one file: give a folder to write to"
        )
    target = Path(paths.target)
    if target.exists() and not target.is_dir():
        raise InputError(f"{first} is a folder and {target} is none: give a folder to write to")
    jobs: dict[Path, Path] = {}
    for source in map(Path, paths.sources):
        if source.is_dir():
            found = [(path, target / renamed(path.relative_to(source))) for path in find(source)]
        else:
            _check_there(source)
            found = [(source, target / renamed(Path(source.name)))]
        for path, output in found:
            if output in jobs and jobs[output] != path:
                raise InputError(
                    f"{jobs[output]} and {path} would both be written to {output}: rename one of them"
                )
            jobs[output] = path
    _check_new(jobs, force=force)
    _check_writable(target)
    return tuple(Job(path, output) for output, path in jobs.items())


def _check_there(source: Path) -> None:
    if not source.exists():
        raise InputError(
            f"no such file or folder: {source}; give a file, a folder, or - for standard input"
        )


def _check_writable(folder: Path) -> None:
    """Refuse a folder in which nothing can be written. Otherwise every image of a long run would fail."""
    place = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not os.access(place, os.W_OK | os.X_OK):
        raise InputError(
            f"cannot write into {place}: Permission denied; give a place that you may write to"
        )


def _check_new(outputs: dict[Path, Path], *, force: bool) -> None:
    existing = [path for path in outputs if path.exists()]
    if existing and not force:
        raise InputError(
            f"{len(existing)} of {len(outputs)} files to write exist, {existing[0]} for one: give another folder, or "
            "--force to replace them"
        )
    for path in existing:
        check_new(path, force=True)


# Coding many images at the same time, and messages about those that cannot be coded.

R = TypeVar("R")


class UncodableImage(HwkdError):
    """An image that cannot be coded, because of `cause`. The other images of a folder can still be coded."""

    def __init__(self, cause: HwkdError) -> None:
        super().__init__(str(cause))
        self.exit_code = cause.exit_code


@contextmanager
def memory_told(job: Job) -> Iterator[None]:
    """Raise UncodableImage if memory runs out within the block."""
    try:
        yield
    except MemoryError as error:
        cause = HwkdError(f"{job.source_name}: there is not enough memory for its size")
        raise UncodableImage(cause) from error


def write(job: Job, how: Callable[[], None]) -> None:
    """Call `how`, which writes one output.

    Raises:
        UncodableImage: this output cannot be written; the others may be.
        HwkdError: the disk is full.
    """
    try:
        how()
    except InputError as error:
        raise UncodableImage(error) from error


def run_jobs(
    doing: str, jobs: Sequence[Job], workers: int, work: Callable[[Job], R]
) -> tuple[R, ...]:
    """The results of `work`, in the order of `jobs`. Uncodable images are left out and reported on standard error.

    Raises:
        Interrupted: Ctrl-C. The images in work at that time are finished first.
        HwkdError: `work` raised it, and it is not UncodableImage. The images in work are finished first here too.
    """
    from concurrent.futures import ThreadPoolExecutor, as_completed

    console = stderr_console()
    futures: list[Future[R]] = []
    with _bar(console) as bar, ThreadPoolExecutor(workers) as pool:
        task = bar.add_task(doing, total=len(jobs))
        try:
            for job in jobs:
                futures.append(pool.submit(work, job))
            for future in as_completed(futures):
                try:
                    future.result()
                except UncodableImage as error:
                    say(f"left out: {error}", sys.stderr)
                bar.advance(task)
        except KeyboardInterrupt:
            _stop(pool, futures, console)
            done = sum(f.done() and not f.cancelled() and f.exception() is None for f in futures)
            raise Interrupted(
                f"interrupted: {done} of {len(jobs)} images are done; their files are whole and stay"
            ) from None
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return tuple(future.result() for future in futures if future.exception() is None)


def check_none_left_out(done: int, jobs: int) -> None:
    """Raise HwkdError if fewer images are done than there were jobs."""
    if done < jobs:
        raise HwkdError(
            f"{jobs - done} of {jobs} images were left out for the reasons above; the others are done"
        )


def tell_dropped(dropped: Sequence[tuple[Job, tuple[str, ...]]]) -> None:
    """Report on standard error what each image lost. Images with the same loss share a line: one name and their number."""
    counts = Counter(texts for _, texts in dropped if texts)
    if not counts:
        return
    console = stderr_console()
    for texts, count in counts.items():
        first = next(job for job, its in dropped if its == texts)
        others = f" and {count - 1} more" if count > 1 else ""
        tell(console, f"note: {first.source_name}{others}: {'; '.join(texts)}")


def tell(console: "Console", line: str) -> None:
    """Print `line` above a bar, without any change."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def _stop(pool: "ThreadPoolExecutor", futures: Sequence["Future[R]"], console: "Console") -> None:
    """Begin nothing further, and wait for the images in work; a codec cannot be stopped within an image."""
    tell(console, f"stopping: {sum(f.running() for f in futures)} images are in work")
    is_done = False
    while not is_done:
        # Another Ctrl-C would leave the threads to the end of the process, which waits for them too, silently.
        with suppress(KeyboardInterrupt):
            pool.shutdown(cancel_futures=True)
            is_done = True


def _bar(console: "Console") -> "Progress":
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


# Codecs for several threads: only one thread at a time may use a codec.


SOON_PIXELS = 1 << 22
"""An image alone of up to so many pixels is coded in the runtime that is ready first, ONNX Runtime: OpenVINO saved 50 to 140
ms a megapixel once it ran, and took 0.4 to 0.5 s longer to load and compile (patch-small and patch-large, one core)."""


class Codecs:
    """One codec for each pair of thread and bundle.

    Attributes:
        workers: number of threads. They share all cores, or `threads`.

    Args:
        runtime, threads: as the user gave them; None if not given.
        jobs: images to code.
    Raises:
        InputError: there is no such runtime.
    """

    def __init__(self, runtime: str | None, threads: int | None, jobs: int) -> None:
        if runtime is not None:
            check_present(runtime)
        total = threads or usable_cores()
        self.workers = min(total, jobs)
        self._runtime, self._threads = runtime, total // self.workers
        self._is_one = jobs == 1
        if not self._is_one:
            entropy.use_compiled()
        self._bundles: dict[Path, Bundle] = {}
        self._lock = threading.Lock()
        self._of_thread = threading.local()

    def bundle(self, path: Path) -> Bundle:
        """The bundle at `path`, read once. Warns once if its weights do not suit this processor. Raises as `read_bundle`."""
        with self._lock:
            if path not in self._bundles:
                self._bundles[path] = read_bundle(path)
                warning = saturation_warning(self._bundles[path].manifest.most_weight_bits)
                if warning is not None:
                    note(f"{path}: {warning}")
            return self._bundles[path]

    def codec(self, path: Path, pixels: int) -> Codec:
        """This thread's codec of the bundle at `path`, opened to code so many pixels. Raises as `Codec.load`."""
        held: dict[Path, Codec] = self._of_thread.__dict__.setdefault("codecs", {})
        if path not in held:
            bundle, chosen = self.bundle(path), self._runtime
            is_soon = chosen is None and self._is_one and pixels <= SOON_PIXELS
            runtime = soonest_runtime(bundle) if is_soon else chosen or default_runtime(bundle)
            held[path] = Codec(bundle, runtime, self._threads, is_soon=is_soon)
            if is_detailed():  # finding the runtime's version takes time
                self._tell(path, held[path].runtime, is_soon=is_soon)
        return held[path]

    def _tell(self, path: Path, runtime: str, *, is_soon: bool) -> None:
        why = f" (one image of up to {SOON_PIXELS} pixels is coded in what is ready first)"
        detail(
            f"{path}: {runtime_label(runtime)}{why * is_soon}, {self._threads} threads for each of "
            f"{self.workers} images"
        )
