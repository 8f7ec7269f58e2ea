"""The `hwkd` command: picks the subcommand, and turns our errors into one line and an exit code."""

import argparse
import atexit
import io
import os
import secrets
import shutil
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from hwkd import __version__
from hwkd.cli.talk import ENCODABLE, add_talk_options, talking
from hwkd.errors import HwkdError, InputError, unknown

# A row is a line.
# fmt: off
COMMANDS = {
    "distill": ("training", "distil a small quantized student from a teacher, for a target"),
    "fit": ("training", "search the widths, the family and the bits that are best within what a device can afford"),
    "quantize": ("training", "post-training quantization of a trained model: figures before and after, and what stays in float"),
    "sensitivity": ("training", "what each layer's bits cost in rate and distortion, and bits for each layer for a size"),
    "export": ("training", "write a trained student as a bundle (.hwkd) that encodes and decodes without torch"),
    "evaluate": ("measuring", "PSNR, MS-SSIM and bits per pixel of models, measured on real bytes"),
    "profile": ("measuring", "MACs, size, latency, memory and energy of models: measured here, predicted for every target"),
    "compare": ("showing", "profile records side by side, or results on Kodak against published curves"),
    "encode": ("coding", "write images as streams (.hwk) that every machine decodes to the same symbols"),
    "decode": ("coding", "write the images that streams (.hwk) hold"),
    "info": ("coding", "say what a bundle (.hwkd) or a stream (.hwk) is, and check it for damage"),
    "verify": ("coding", "check that a bundle's streams decode to the same symbols in every runtime here"),
    "bench": ("measuring", "time bundles end to end beside CompressAI, JPEG, WebP, AVIF and JPEG XL, and say where it goes"),
    "report": ("showing", "one page that opens offline: tables, plots, a card for each target; figures for a paper; images side by side"),
    "models": ("showing", "list the trained models that come with hwkd, and CompressAI's that it fetches"),
    "targets": ("showing", "list the devices hwkd knows, show the facts about one, fit and validate what is predicted for them"),
    "doctor": ("showing", "what this machine has for hwkd, and the line that mends each lack"),
}
# fmt: on
"""Every command in the order of `hwkd --help`: the folder of its module, and its line there.

Each command is a module hwkd/cli/FOLDER/NAME.py with HELP (the same line), EXAMPLES, configure and run. The module is
imported when the command runs, so that no command waits for the others.
"""

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
    """argparse with our form of error: one line that names the help, and exit code 2. No abbreviated options."""

    def __init__(self, **settings: Any) -> None:
        # An abbreviation would mean something else as soon as an option is added.
        super().__init__(**{"allow_abbrev": False, **settings})

    def error(self, message: str) -> None:  # type: ignore[override]
        line = " ".join(f"hwkd: error: {message} (see `{self.prog} --help`)".split())
        self.exit(2, f"{line}\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's. The error for unknown arguments comes from the command's own parser; its help lists the known ones."""
        found, unknown_words = super().parse_known_args(args, namespace)
        if unknown_words:
            from difflib import get_close_matches

            near = get_close_matches(unknown_words[0], self._option_string_actions, n=1)
            hint = f": did you mean {near[0]}?" if near else ""
            self.error(f"unrecognized arguments: {' '.join(unknown_words)}{hint}")
        return found, unknown_words


_SHELLS = ("bash", "zsh", "tcsh")
_FILE_NAMES = ("IN", "FILE", "MODEL", "M", "TEACHER", "BUNDLE", "SOURCE")


class _PrintCompletion(argparse.Action):
    """Prints the completion script of a shell. The user stores the script once, so completion starts no Python."""

    def __call__(self, parser: argparse.ArgumentParser, _names: Any, shell: Any, *_: Any) -> None:
        try:
            import shtab
        except ImportError:
            parser.error("--print-completion needs shtab: pip install shtab")
        from hwkd.codec.shipped import shipped_or_as_given

        files = (Path, shipped_or_as_given)
        for one in _all_parsers(parser):
            for action in one._actions:
                takes_file = action.type in files or action.metavar in _FILE_NAMES
                if takes_file and action.choices is None:
                    action.complete = shtab.FILE  # type: ignore[attr-defined]
        print(shtab.complete(parser, shell))
        parser.exit()


def _all_parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                if isinstance(sub, _CommandParser):
                    sub.configure()
                yield from _all_parsers(sub)


class _CommandParser(_Parser):
    """The parser of one command. It gets its arguments at its first use."""

    is_configured = False

    def configure(self) -> None:
        """Import the command, and add its arguments."""
        if self.is_configured:
            return
        name = self.prog.split()[-1]
        folder, _ = COMMANDS[name]
        module = import_module(f"hwkd.cli.{folder}.{name}")
        self.epilog = module.EXAMPLES
        module.configure(self)
        add_talk_options(self)
        self.set_defaults(run=module.run)
        self.is_configured = True

    def add_subparsers(self, **settings: Any) -> Any:
        """As argparse's. Parsers below a command have their arguments from the start."""
        return super().add_subparsers(**{"parser_class": _Parser, **settings})

    def parse_known_args(self, *args: Any, **settings: Any) -> Any:
        """As argparse's, after the command is imported."""
        self.configure()
        return super().parse_known_args(*args, **settings)


TRAIN_PACKAGES = ("torch", "compressai", "brevitas", "torchao", "fvcore", "onnx", "safetensors")
"""The packages of the extra `train` that commands import when they run."""


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands. It imports only the command that it parses arguments for."""
    parser = _Parser(
        prog="hwkd",
        description="Distil learned image codecs into small quantized ones, and say what that costs and saves.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"hwkd {__version__}")
    parser.add_argument(
        "--print-completion",
        action=_PrintCompletion,
        choices=_SHELLS,
        metavar="SHELL",
        help=f"print a script that completes commands and options in {', '.join(_SHELLS)}, and how to use it",
    )
    add_talk_options(parser)
    subparsers = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True, parser_class=_CommandParser
    )
    for name, (_, line) in COMMANDS.items():
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
    has_stdout = _streams_made_usable()
    _calm_libraries()
    is_verbose = False
    try:
        if not has_stdout:
            raise InputError(
                "standard output is closed, and what it was given would go into the next file that is opened: send it "
                "to a file, or to /dev/null"
            )
        _check_command(words)
        # argparse leaves through SystemExit, with our codes: 0 after --help, 2 after a wrong argument.
        args = build_parser().parse_args(words)
        args.argv = words
        is_verbose = getattr(args, "verbose", False)
        is_quiet = getattr(args, "quiet", False)
        if is_verbose and is_quiet:
            raise InputError("-v says more and --quiet says less: leave one out")
        with talking(verbose=is_verbose, quiet=is_quiet):
            return int(args.run(args))
    except SystemExit as left:
        return int(left.code or 0)
    except HwkdError as error:
        # A run that was stopped is no error, but it has a message.
        kind = "" if error.exit_code == INTERRUPTED else "error: "
        # Under torchrun, wrong input and interruptions reach every process; only one prints the message.
        is_shared = error.exit_code in (InputError.exit_code, INTERRUPTED)
        if not is_shared or os.environ.get("LOCAL_RANK", "0") == "0":
            _say(f"{kind}{error}", error if is_verbose else None)
        return error.exit_code
    except KeyboardInterrupt:
        _say("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of stdout has closed it (head, less); without this, Python complains at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except MemoryError as error:
        _say(
            "error: there is not enough memory; close other programs, or give smaller images or a smaller model",
            error if is_verbose else None,
        )
        return 1
    except OSError as error:
        _say(f"error: {error}", error if is_verbose else None)
        return 1
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name in TRAIN_PACKAGES:
            _say(
                f'error: this takes {error.name}, which is not installed: pip install "hwkd[train]" in an '
                "environment with CPython 3.11 or 3.12",
                error if is_verbose else None,
            )
            return 1
        more = "" if is_verbose else "; -v shows where it came from"
        _say(
            f"error: this should not happen, {type(error).__name__}: {error}{more}",
            error if is_verbose else None,
        )
        return 1


def _calm_libraries() -> None:
    """Keep libraries from leaving files in the user's folders, and from using settings meant for other programs."""
    warnings.filterwarnings(
        "ignore", module=r"PIL\."
    )  # on metadata; hwkd itself reports what is lost by it
    # All figures go to files. A notebook names its own back end to every command that it starts.
    os.environ["MPLBACKEND"] = "agg"
    folder = Path(tempfile.gettempdir(), f"hwkd-{secrets.token_hex(6)}")
    # Matplotlib keeps a list of fonts. Torch makes a folder for compiled code, and needs the user's name for that.
    wanted = {"TORCHINDUCTOR_CACHE_DIR": folder / "inductor"}
    if not Path(
        os.path.expanduser("~/.cache/matplotlib")
    ).is_dir():  # pathlib's raises without a HOME
        wanted["MPLCONFIGDIR"] = folder / "matplotlib"
    missing = {name: str(path) for name, path in wanted.items() if name not in os.environ}
    if missing:
        os.environ.update(missing)
        atexit.register(shutil.rmtree, folder, ignore_errors=True)


def _streams_made_usable() -> bool:
    """Open closed standard streams, and let all of them take every text. Returns whether standard output was open.

    The next opened file would get a closed stream's number. Then the output of a library would go into that file.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    has_stdout = sys.stdout is not None
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name or a frame that the terminal cannot encode must not lose the figures beside it.
        sys.stdout.reconfigure(errors=ENCODABLE)
    return has_stdout


def _check_command(words: list[str]) -> None:
    words = [word for word in words if word not in ("-v", "--verbose", "--quiet")]
    if not words:
        raise InputError(
            f"no command given: it is one of {', '.join(COMMANDS)} (see `hwkd --help`)"
        )
    if not words[0].startswith("-") and words[0] not in COMMANDS:
        raise unknown("command", words[0], COMMANDS, see="hwkd --help")


def _say(text: str, error: BaseException | None = None) -> None:
    """Print `text` as one line; above it the source of `error`, if it is given."""
    if error is not None:
        print("".join(traceback.format_exception(error)), file=sys.stderr)
    line = " ".join(text.split()).encode(errors="backslashreplace").decode()
    print(f"hwkd: {line}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
