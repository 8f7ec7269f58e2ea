"""The `hwkd` command: picks the subcommand, and turns our errors into one line and an exit code."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from hwkd import __version__
from hwkd.errors import HwkdError, InputError, unknown

COMMANDS = {
    "distill": "distil a small quantized student from a teacher, for a target",
    "fit": "search the widths, the family and the bits that are best within what a device can afford",
    "quantize": "post-training quantization of a trained model: figures before and after, and what stays in float",
    "sensitivity": "what each layer's bits cost in rate and distortion, and bits for each layer for a size",
    "export": "write a trained student as a bundle (.hwkd) that encodes and decodes without torch",
    "evaluate": "PSNR, MS-SSIM and bits per pixel of models, measured on real bytes",
    "profile": "MACs, size, latency, memory and energy of models: measured here, predicted for every target",
    "compare": "profile records side by side, or results on Kodak against published curves",
    "encode": "write images as streams (.hwk) that every machine decodes to the same symbols",
    "decode": "write the images that streams (.hwk) hold",
    "info": "say what a bundle (.hwkd) or a stream (.hwk) is, and check it for damage",
    "verify": "check that a bundle's streams decode to the same symbols in every runtime here",
    "bench": "time bundles end to end beside CompressAI, JPEG, WebP and AVIF, and say where it goes",
    "report": "one page that opens offline: tables, plots, a card for each target; figures for a paper; images side by side",
    "models": "list the trained models that come with hwkd, and CompressAI's that it fetches",
    "targets": "list the devices hwkd knows, show the facts about one, fit and validate what is predicted for them",
    "doctor": "what this machine has for hwkd, and the line that mends each lack",
}
"""Every command with its line in `hwkd --help`, in that order. Each is a module hwkd/cli/NAME.py with HELP, the same line,
EXAMPLES, configure and run; it is imported when it runs, so that no command waits for the others."""

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


class _CommandParser(_Parser):
    """The parser of one command, which gets its arguments when it is first used."""

    is_configured = False

    def configure(self) -> None:
        """Import the command, and take its arguments."""
        if self.is_configured:
            return
        module = import_module(f"hwkd.cli.{self.prog.split()[-1]}")
        self.epilog = module.EXAMPLES
        module.configure(self)
        self.set_defaults(run=module.run)
        self.is_configured = True

    def add_subparsers(self, **settings: Any) -> Any:
        """As argparse; what is below a command is there with it."""
        return super().add_subparsers(**{"parser_class": _Parser, **settings})

    def parse_known_args(self, *args: Any, **settings: Any) -> Any:
        """As argparse, once the command is there."""
        self.configure()
        return super().parse_known_args(*args, **settings)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; of these it imports the one whose arguments it parses."""
    parser = _Parser(
        prog="hwkd",
        description="Distil learned image codecs into small quantized ones, and say what that costs and saves.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"hwkd {__version__}")
    subparsers = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True, parser_class=_CommandParser
    )
    for name, line in COMMANDS.items():
        subparsers.add_parser(
            name,
            help=line,
            description=line,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
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
