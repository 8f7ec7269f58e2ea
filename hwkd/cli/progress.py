"""What a worker of `hwkd fit` shows while it works."""

from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.status import Status

from hwkd.search.found import Found

if TYPE_CHECKING:
    from hwkd.search.worker import Progress


class FitBar:
    """One line that changes on a terminal; elsewhere a line for each trial that ends."""

    def __init__(self, console: Console) -> None:
        self._say = partial(console.print, markup=False, highlight=False, soft_wrap=True)
        self._status = Status("", console=console) if console.is_terminal else None

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

    def show(self, progress: "Progress") -> None:
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


def _ended(trial: Found) -> str:
    if trial.reason:
        return f"trial {trial.number}: {trial.spec}: {trial.reason}"
    return (
        f"trial {trial.number} ({trial.kind}): {trial.spec}: loss {trial.rd_loss:.4f} after {trial.steps} steps, "
        f"{trial.seconds:.0f} s"
    )
