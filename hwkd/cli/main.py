"""The `hwkd` command: picks the subcommand, and turns our errors into one line and an exit code."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from hwkd import __version__
from hwkd.errors import HwkdError, InputError, unknown

COMMANDS = (
    "distill",
    "fit",
    "quantize",
    "sensitivity",
    "export",
    "evaluate",
    "profile",
    "compare",
    "encode",
    "decode",
    "info",
    "verify",
    "bench",
    "report",
    "models",
    "targets",
    "doctor",
)
"""In the order of `hwkd --help`; each is a module hwkd/cli/NAME.py with HELP, EXAMPLES, configure and run."""

INTERRUPTED = 130
"""The exit code of a command that Ctrl-C stopped."""

EXAMPLES = """examples:
  hwkd distill --target jetson-nano --bits 8
  hwkd evaluate runs/demo --data photos/
  hwkd profile
  hwkd report
  hwkd targets show jetson-nano
"""


class _Parser(argparse.ArgumentParser):
    """argparse with our form of error: one line with where to look; exit code 2. No abbreviated options."""

    def __init__(self, **settings: Any) -> None:
        # An abbreviation would mean something else as soon as an option is added.
        super().__init__(**{"allow_abbrev": False, **settings})

    def error(self, message: str) -> None:  # type: ignore[override]
        self.exit(2, f"hwkd: error: {message} (see `{self.prog} --help`)\n")


def build_parser() -> argparse.ArgumentParser:
    """The parser of all subcommands; importing none of torch, compressai or brevitas."""
    parser = _Parser(
        prog="hwkd",
        description="Distil learned image codecs into small quantized ones, and say what that costs and saves.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"hwkd {__version__}")
    subparsers = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True, parser_class=_Parser
    )
    for name in COMMANDS:
        module = import_module(f"hwkd.cli.{name}")
        sub = subparsers.add_parser(
            name,
            help=module.HELP,
            description=module.HELP,
            epilog=module.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.configure(sub)
        sub.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0 done, 1 failed, 2 wrong input, 130 interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        _check_command(words)
        # argparse leaves through SystemExit, with our codes: 0 after --help, 2 after a wrong argument.
        args = build_parser().parse_args(words)
        args.argv = words
        return int(args.run(args))
    except SystemExit as left:
        return int(left.code or 0)
    except HwkdError as error:
        # A run that was stopped is no error, but it has something to say.
        kind = "" if error.exit_code == INTERRUPTED else "error: "
        # Under torchrun the same input is wrong for every process, and an interruption reaches all: one says so.
        is_shared = error.exit_code in (InputError.exit_code, INTERRUPTED)
        if not is_shared or os.environ.get("LOCAL_RANK", "0") == "0":
            print(f"hwkd: {kind}{_one_line(error)}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("hwkd: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of stdout has had enough (head, less); without this Python complains at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        print(f"hwkd: error: {_one_line(error)}", file=sys.stderr)
        return 1


def _check_command(words: list[str]) -> None:
    if not words:
        raise InputError(
            f"no command given: it is one of {', '.join(COMMANDS)} (see `hwkd --help`)"
        )
    if not words[0].startswith("-") and words[0] not in COMMANDS:
        raise unknown("command", words[0], COMMANDS, see="hwkd --help")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


if __name__ == "__main__":
    sys.exit(main())
