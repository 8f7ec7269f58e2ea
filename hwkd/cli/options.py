"""Shared options of several commands: values, outputs, names of models."""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from shutil import get_terminal_size
from typing import TYPE_CHECKING

from hwkd.codec.shipped import shipped
from hwkd.errors import HwkdError, unknown
from hwkd.files import write_text
from hwkd.images import MAX_PIXELS
from hwkd.options import whole
from hwkd.runtime.session import RUNTIMES

if TYPE_CHECKING:
    from hwkd.report.table import Table

# The output of tables in the requested format, and of messages, on standard error.


def add_output_options(parser: argparse.ArgumentParser, *, is_nested: bool = False) -> None:
    """Add the three options of every command that prints a table to `parser`: --format, -o and --full.

    Args:
        is_nested: the parser is below one that has these options too. The outer values hold unless they are given again.
    """
    # Rich, which draws tables, takes 30 ms to load; a command without a table need not wait for it.
    from hwkd.report.table import FORMATS

    parser.add_argument(
        "--format",
        choices=FORMATS,
        default=argparse.SUPPRESS if is_nested else "table",
        help="how to print it (default: table, for a terminal)",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=argparse.SUPPRESS if is_nested else None,
        metavar="FILE",
        help="write to FILE instead of the terminal",
    )
    add_full_option(parser, is_nested=is_nested)


def add_full_option(parser: argparse._ActionsContainer, *, is_nested: bool = False) -> None:
    """Add --full, the option of every command that prints a short form first, to `parser`. For `is_nested` see above."""
    parser.add_argument(
        "--full",
        action="store_true",
        default=argparse.SUPPRESS if is_nested else False,
        help="every column, row and note (default: what matters first, in about 40 lines; a FILE and other formats have all)",
    )


def emit(table: "Table", args: argparse.Namespace, verdict: str = "") -> None:
    """Print `table` as `args.format`, or write it to `args.output`, whole or not at all.

    Raises:
        InputError, HwkdError: the file cannot be written (hwkd.files).
    """
    emit_all((table,), args, verdict)


def emit_all(
    tables: "tuple[Table, ...]",
    args: argparse.Namespace,
    verdict: str = "",
    first: "tuple[tuple[Table, ...], tuple[str, ...]] | None" = None,
) -> None:
    """Like `emit`, for several tables with an empty line between them; JSON is one document.

    A file that cannot be written loses no figures: then they are printed.

    Args:
        verdict: the first line of the output for people.
        first: as in `printed`.
    """
    from hwkd.report.table import render_all

    if args.format != "table":
        text = render_all(tables, args.format)
    else:
        is_full = args.output is not None or args.full
        width = terminal_width() if args.output is None else None
        text = printed(tables, width, is_full=is_full, verdict=verdict, first=first)
    if args.output is None:
        print(text)
        return
    try:
        write_text(args.output, text + "\n")
    except HwkdError:
        print(text, flush=True)
        raise


def printed(
    tables: "Sequence[Table]",
    width: int | None,
    *,
    is_full: bool,
    verdict: str = "",
    first: "tuple[tuple[Table, ...], tuple[str, ...]] | None" = None,
) -> str:
    """The tables for people: all of them, or the most important ones if they are longer than a screen.

    Args:
        first: the tables to show on a screen in place of all, and what they leave out, in words.
    """
    from hwkd.report.narrow import LINES, screen, wrap
    from hwkd.report.table import render

    head = f"{wrap(verdict, width, 2)}\n" if verdict else ""
    text = head + "\n\n".join(render(table, "table", width) for table in tables)
    if is_full or len(text.splitlines()) <= LINES:
        return text
    shown, left_out = (tables, ()) if first is None else first
    return screen(shown, width, verdict, left_out)


def terminal_width() -> int | None:
    """Columns of the terminal on stdout; None if stdout is not a terminal."""
    return get_terminal_size().columns if sys.stdout.isatty() else None


# Names of models on the command line, where bundles and models that torch runs are both taken.

ZOO = ("bmshj2018-hyperprior", "mbt2018-mean")
"""Copy of hwkd.models.teacher.TEACHERS, because that module needs torch."""

SHIPPED_FIRST = (
    "a name that ships comes before a file or folder of that name, which is written ./NAME"
)
"""The rule of every command that takes a shipped bundle by its name, for its help."""


def refuse_unknown(texts: Iterable[str]) -> None:
    """Refuse a bare name that no model has. A text with a colon, a dot or a folder is checked where it is loaded.

    Args:
        texts: as `hwkd.codec.shipped.shipped_or_as_given` returns them.
    Raises:
        InputError: there is such a name.
    """
    from hwkd.models.shipped import shipped_names

    known = (*shipped(), *shipped_names(), *ZOO)
    for text in texts:
        is_bare = not any(mark in text for mark in ":./")
        if is_bare and text not in known and not Path(text).exists():
            raise unknown("model", text, known, see="hwkd models")


# The options that `hwkd encode` and `hwkd decode` share.

MOST_THREADS = 4096
MOST_PIXELS = 10**12


def add_coding_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that both commands take with the same meaning to `parser`."""
    parser.add_argument(
        "--runtime",
        metavar="NAME",
        help=f"{' or '.join(RUNTIMES)} (default: onnxruntime for one image of up to 4 megapixels, as it is ready first; "
        "else openvino where it is installed)",
    )
    parser.add_argument(
        "--threads",
        type=whole(1, MOST_THREADS),
        metavar="N",
        help="at most, over all images that are coded at the same time (default: all usable cores)",
    )
    parser.add_argument(
        "--max-pixels",
        type=whole(1, MOST_PIXELS),
        default=MAX_PIXELS,
        metavar="N",
        help=f"refuse images of more pixels (default: {MAX_PIXELS})",
    )
    parser.add_argument("--force", action="store_true", help="replace files that exist")
