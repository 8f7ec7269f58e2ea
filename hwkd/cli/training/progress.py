"""Progress bars: of a training run, of a search's worker."""

from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from hwkd.search.trial import Trial

if TYPE_CHECKING:
    from hwkd.distill.train import TrainProgress
    from hwkd.search.worker import SearchProgress


# The progress bar of a training run.

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

    def show(self, progress: "TrainProgress") -> None:
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


# What a worker of `hwkd fit` shows while it works.


class FitBar:
    """One line that changes on a terminal; elsewhere a line for each trial that ends."""

    def __init__(self, console: Console) -> None:
        self._say = partial(console.print, markup=False, highlight=False, soft_wrap=True)
        self._status = console.status("") if console.is_terminal else None

    def __enter__(self) -> "FitBar":
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def tell(self, text: str) -> None:
        """Say what takes long now."""
        if self._status is not None:
            self._status.update(text)

    def show(self, progress: "SearchProgress") -> None:
        """Draw where the search stands."""
        if progress.has_ended and progress.trial is not None:
            self._say(_ended(progress.trial))
        parts = [f"{progress.done} trials"]
        if progress.best is not None:
            parts.append(f"best: trial {progress.best.number}, loss {progress.best.rd_loss:.4f}")
        if progress.trial is not None and not progress.has_ended:
            steps = "" if progress.trial.steps is None else f", {progress.trial.steps} steps"
            parts.append(f"trial {progress.trial.number}: {progress.trial.spec}{steps}")
        if progress.waits_for:
            parts.append(f"waiting for {progress.waits_for} of other workers")
        self.tell("; ".join(parts))


def _ended(trial: Trial) -> str:
    if trial.reason:
        return f"trial {trial.number}: {trial.spec}: {trial.reason}"
    return (
        f"trial {trial.number} ({trial.kind}): {trial.spec}: loss {trial.rd_loss:.4f} after {trial.steps} steps, "
        f"{trial.seconds:.0f} s"
    )
