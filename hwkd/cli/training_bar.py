"""The progress bar of a training run."""

from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress

if TYPE_CHECKING:
    from hwkd.distill.train import Progress


SHOWN_WAIT_MS = 1.0


class TrainingBar:
    """One bar a phase: loss, bpp, PSNR, img/s, a step's wait for its crops where it is worth a word, validation (val),
    time left. Silent where stderr is no terminal."""

    def __init__(self, console: Console) -> None:
        self._bar = RichProgress(
            TextColumn("{task.fields[phase]:>5}"),
            BarColumn(bar_width=5),  # all of it fits 80 columns
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> "TrainingBar":
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def show(self, progress: "Progress") -> None:
        """Draw where the run stands."""
        if progress.phase not in self._tasks:
            self._tasks[progress.phase] = self._bar.add_task(
                "", phase=progress.phase, figures="", total=None
            )
        figures = (
            f"loss {progress.terms['total']:.2f} bpp {progress.terms['bpp']:.2f} "
            f"{progress.psnr_db:.1f} dB {progress.images_per_s:.0f} img/s"
        )
        if progress.wait_ms >= SHOWN_WAIT_MS:
            figures += f" wait {progress.wait_ms:.0f} ms"
        if progress.validation is not None:
            figures += f" val {progress.validation:.2f}"
        self._bar.update(
            self._tasks[progress.phase],
            completed=progress.step,
            total=progress.steps,
            figures=figures,
        )
