"""Where a table goes: to the terminal or to a file, in the format that was asked for."""

import argparse
import sys
from pathlib import Path
from shutil import get_terminal_size

from hwkd.files import write_text
from hwkd.report.table import FORMATS, Table, render


def add_output_options(parser: argparse.ArgumentParser, *, is_nested: bool = False) -> None:
    """Give `parser` the two options of every command that prints a table: --format and -o.

    is_nested: the parser is below one that has them too, whose values must stand unless given again.
    """
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


def emit(table: Table, args: argparse.Namespace) -> None:
    """Print `table` as `args.format`, or write it to `args.output`, whole or not at all.

    Raises:
        InputError, HwkdError: the file cannot be written (hwkd.files).
    """
    emit_all((table,), args)


def emit_all(tables: tuple[Table, ...], args: argparse.Namespace) -> None:
    """Like `emit`, for several tables, an empty line between them; JSON becomes a list."""
    width = terminal_width() if args.output is None else None
    parts = [render(table, args.format, width) for table in tables]
    is_list = args.format == "json" and len(parts) > 1
    text = "[\n" + ",\n".join(parts) + "\n]" if is_list else "\n\n".join(parts)
    if args.output is None:
        print(text)
    else:
        write_text(args.output, text + "\n")


def terminal_width() -> int | None:
    """Columns of the terminal that stdout is; None where it is none."""
    return get_terminal_size().columns if sys.stdout.isatty() else None
