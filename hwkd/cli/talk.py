"""What a command writes to standard error beside its result: notes, bars, and how much of both."""

import argparse
import codecs
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

_FRAMES = {
    **dict.fromkeys("─━╍┄", "-"),
    **dict.fromkeys("│┃", "|"),
    **dict.fromkeys("┌┐└┘├┤┬┴┼┏┓┗┛┣┫┳┻╋┡┩╇╞╡╪", "+"),
}
"""ASCII for the lines of a table, where the terminal's encoding has no such lines."""

ENCODABLE = "hwkd"
"""Error handler for `open(errors=...)`: frames become ASCII, and all other characters that the encoding lacks escapes."""


def _encodable(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    parts = [_FRAMES.get(c) or c.encode("ascii", "backslashreplace").decode() for c in text]
    return "".join(parts), error.end


codecs.register_error(ENCODABLE, _encodable)


def add_talk_options(parser: argparse.ArgumentParser) -> None:
    """Add to `parser` the options that set how much a command writes to standard error; every command has them."""
    talk = parser.add_argument_group("what is said")
    only_one = talk.add_mutually_exclusive_group()
    only_one.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        default=argparse.SUPPRESS,
        help="say more on standard error: what is chosen, and where an error came from",
    )
    only_one.add_argument(
        "--quiet",
        action="store_true",
        default=argparse.SUPPRESS,
        help="no notes and no progress on standard error; errors are said",
    )


class _Talk:
    """How much this process says. A value of the process, as its standard error is."""

    is_quiet = False


@contextmanager
def talking(*, verbose: bool, quiet: bool) -> Iterator[None]:
    """Inside, notes (hwkd.notes) and progress go to standard error, or nowhere."""
    log = logging.getLogger("hwkd")
    before = log.level, log.propagate, _Talk.is_quiet
    handler = _Notes()
    log.addHandler(handler)
    log.setLevel(logging.INFO if verbose else logging.ERROR if quiet else logging.WARNING)
    log.propagate, _Talk.is_quiet = False, quiet
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before[0])
        log.propagate, _Talk.is_quiet = before[1:]


class _Notes(logging.Handler):
    """Writes each note once: several steps of a command may look at the same folder."""

    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record as a line."""
        kind = "note: " if record.levelno == logging.WARNING else ""
        line = " ".join(f"{kind}{record.getMessage()}".split())
        if line not in self._said:
            self._said.add(line)
            print(line.encode(errors="backslashreplace").decode(), file=sys.stderr)


def stderr_console(*, quiet: bool = False) -> "Console":
    """A console on standard error, for progress bars and messages.

    It never reads markup of rich in the names of files and models.

    Args:
        quiet: write nothing, as with --quiet.
    """
    # Rich takes 30 ms, and most commands have nothing to draw.
    from hwkd.cli.console import PlainConsole

    return PlainConsole(
        stderr=True, quiet=quiet or _Talk.is_quiet, markup=False, highlight=False, emoji=False
    )
