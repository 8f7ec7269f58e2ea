"""The output of a command's tables: in which format, to where, and how much of them."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import get_terminal_size

from hwkd.errors import HwkdError
from hwkd.files import write_text
from hwkd.options import Options, option
from hwkd.report.narrow import LINES, screen, wrap
from hwkd.report.table import FORMATS, Table, render, render_all

FORMAT_HELP = "how to print it (default: table, for a terminal)"
FULL_HELP = "every column, row and note (default: what matters first, in about 40 lines; a FILE and other formats have all)"


@dataclass(frozen=True, kw_only=True)
class ScreenOptions(Options):
    """The option of every command that prints a short form first."""

    full: bool = option(FULL_HELP, default=False)


@dataclass(frozen=True, kw_only=True)
class TableOptions(ScreenOptions):
    """The options of every command whose result is a table."""

    format: str = option(FORMAT_HELP, default="table", choices=FORMATS)
    output: Path | None = option("write to FILE instead of the terminal", "FILE", short="-o")


def emit(table: Table, options: TableOptions) -> None:
    """Print `table` as `options.format`, or write it to `options.output`, whole or not at all.

    Raises:
        InputError, HwkdError: the file cannot be written (hwkd.files).
    """
    emit_all((table,), options)


def emit_all(
    tables: Sequence[Table],
    options: TableOptions,
    verdict: str = "",
    first: tuple[Sequence[Table], Sequence[str]] | None = None,
) -> None:
    """Like `emit`, for several tables with an empty line between them; JSON is one document.

    A file that cannot be written loses no figures: then they are printed.

    Args:
        verdict: the first line of the output for people.
        first: as in `printed`.
    """
    if options.format != "table":
        text = render_all(tables, options.format)
    else:
        is_full = options.output is not None or options.full
        width = terminal_width() if options.output is None else None
        text = printed(tables, width, is_full=is_full, verdict=verdict, first=first)
    if options.output is None:
        print(text)
        return
    try:
        write_text(options.output, text + "\n")
    except HwkdError:
        print(text, flush=True)
        raise


def printed(
    tables: Sequence[Table],
    width: int | None,
    *,
    is_full: bool,
    verdict: str = "",
    first: tuple[Sequence[Table], Sequence[str]] | None = None,
) -> str:
    """The tables for people: all of them, or the most important ones if they are longer than a screen.

    Args:
        first: the tables to show on a screen in place of all, and what they leave out, in words.
    """
    head = f"{wrap(verdict, width, 2)}\n" if verdict else ""
    text = head + "\n\n".join(render(table, "table", width) for table in tables)
    if is_full or len(text.splitlines()) <= LINES:
        return text
    shown, left_out = (tables, ()) if first is None else first
    return screen(shown, width, verdict, left_out)


def terminal_width() -> int | None:
    """Columns of the terminal on stdout; None if stdout is not a terminal."""
    return get_terminal_size().columns if sys.stdout.isatty() else None
