"""Rich's console without its markup: what it draws are names that users give."""

from typing import Any

from rich.console import Console, RenderableType
from rich.status import Status
from rich.text import Text


class PlainConsole(Console):
    """A console whose status line, too, is taken as it is: rich reads markup there whatever the console says."""

    def status(self, status: RenderableType, **settings: Any) -> Status:
        """As rich's."""
        return _PlainStatus(_plain(status), console=self, **settings)


class _PlainStatus(Status):
    def update(self, status: RenderableType | None = None, **settings: Any) -> None:
        """As rich's."""
        super().update(None if status is None else _plain(status), **settings)


def _plain(status: RenderableType) -> RenderableType:
    return Text(status) if isinstance(status, str) else status
