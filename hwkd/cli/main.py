"""The `hwkd` command: picks the subcommand, and turns our errors into one line and an exit code."""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from hwkd import __version__
from hwkd.errors import HwkdError

COMMANDS = ("distill", "quantize", "evaluate", "models", "targets")
"""In the order of `hwkd --help`; each is a module hwkd/cli/NAME.py with HELP, EXAMPLES, configure and run."""

EXAMPLES = """examples:
  hwkd distill --target jetson-nano --bits 8
  hwkd evaluate runs/demo --data photos/
  hwkd targets show jetson-nano
"""


class _Parser(argparse.ArgumentParser):
    """argparse with our form of error: one line, then where to look; exit code 2."""

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
    try:
        # argparse leaves through SystemExit, with our codes: 0 after --help, 2 after a wrong argument.
        args = build_parser().parse_args(argv)
    except SystemExit as left:
        return int(left.code or 0)
    try:
        return int(args.run(args))
    except HwkdError as error:
        print(f"hwkd: error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("hwkd: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
