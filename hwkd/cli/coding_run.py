"""Coding many images at the same time, and telling of those that cannot be coded."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from hwkd.cli.coding import Job
from hwkd.errors import HwkdError

R = TypeVar("R")


class LeftOut(HwkdError):
    """An image that cannot be coded, for `cause`; in a folder the others can."""

    def __init__(self, cause: HwkdError) -> None:
        super().__init__(str(cause))
        self.exit_code = cause.exit_code


class Interrupted(HwkdError):
    """The user stopped the run; what is written stands."""

    exit_code = 130


@contextmanager
def memory_told(job: Job) -> Iterator[None]:
    """Turn running out of memory within the block into LeftOut."""
    try:
        yield
    except MemoryError as error:
        cause = HwkdError(f"{job.source_name}: there is not enough memory for its size")
        raise LeftOut(cause) from error


def run_jobs(
    doing: str, jobs: Sequence[Job], workers: int, work: Callable[[Job], R]
) -> tuple[R, ...]:
    """What `work` gave for each job, without those left out, which are told on standard error; in the order of `jobs`.

    Raises:
        Interrupted: Ctrl-C; the images in work then were finished first.
        HwkdError: `work` raised it, other than LeftOut; as for Ctrl-C.
    """
    console = Console(stderr=True)
    futures: list[Future[R]] = []
    with _bar(console) as bar, ThreadPoolExecutor(workers) as pool:
        task = bar.add_task(doing, total=len(jobs))
        try:
            for job in jobs:
                futures.append(pool.submit(work, job))
            for future in as_completed(futures):
                try:
                    future.result()
                except LeftOut as error:
                    tell(console, f"left out: {error}")
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
    """Raise HwkdError where fewer images are done than there were jobs."""
    if done < jobs:
        raise HwkdError(
            f"{jobs - done} of {jobs} images were left out for the reasons above; the others are done"
        )


def tell_dropped(dropped: Sequence[tuple[Job, tuple[str, ...]]]) -> None:
    """Say on standard error what was lost of each image; where many lost the same, how many, and name one."""
    console = Console(stderr=True)
    for texts, count in Counter(texts for _, texts in dropped if texts).items():
        first = next(job for job, its in dropped if its == texts)
        others = f" and {count - 1} more" if count > 1 else ""
        tell(console, f"note: {first.source_name}{others}: {'; '.join(texts)}")


def tell(console: Console, line: str) -> None:
    """Print `line` above a bar, as it is."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def _stop(pool: ThreadPoolExecutor, futures: Sequence["Future[R]"], console: Console) -> None:
    """Begin nothing further, and wait for what is in work; a codec cannot be stopped within an image."""
    tell(console, f"stopping: {sum(f.running() for f in futures)} images are in work")
    is_done = False
    while not is_done:
        # Another Ctrl-C would leave the threads to the end of the process, which waits for them too, silently.
        with suppress(KeyboardInterrupt):
            pool.shutdown(cancel_futures=True)
            is_done = True


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
