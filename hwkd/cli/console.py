"""Rich's console without its markup: what it draws are names that users give."""

from typing import Any

from rich.console import Console, RenderableType
from rich.status import Status
from rich.text import Text


class PlainConsole(Console):
    """A console that shows its status line as plain text too: rich reads markup there even if the console turns it off."""

    def status(self, status: RenderableType, **settings: Any) -> Status:
        """As rich's."""
        return _PlainStatus(_plain(status), console=self, **settings)


class _PlainStatus(Status):
    def update(self, status: RenderableType | None = None, **settings: Any) -> None:
        """As rich's."""
        super().update(None if status is None else _plain(status), **settings)


def _plain(status: RenderableType) -> RenderableType:
    return Text(status) if isinstance(status, str) else status
