"""What the options of several commands share: values, outputs, names of models."""

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from shutil import get_terminal_size
from typing import TYPE_CHECKING

from hwkd.codec.shipped import shipped
from hwkd.errors import InputError, unknown
from hwkd.files import write_text
from hwkd.images import MAX_PIXELS
from hwkd.runtime.session import RUNTIMES

if TYPE_CHECKING:
    from hwkd.report.table import Table

# How the texts of `hwkd distill`'s options become values, and what is refused before anything is loaded.

TERMS = ("latent", "hyper", "output")
DEFAULT_WEIGHTS = {"latent": 0.2, "hyper": 0.2, "output": 0.2}
"""The paper's (arXiv 2509.10366, section 4, and its code)."""
DEFAULT_RD_WEIGHT = 0.6
MOST = 10**9
"""Of steps, and of whatever else has no bound of its own."""
MOST_CHANNELS = 4096
LAST_SEED = 2**32 - 1
DEFAULT_FAMILY = "patch"


def check_choices(args: argparse.Namespace) -> None:
    """Refuse names that are none, and options that are missing or contradict each other. Raises InputError."""
    from hwkd.models.spec import FAMILIES

    if args.target is None:
        raise InputError(
            "no target is given: name one with --target (see `hwkd targets`), or a --recipe that has one"
        )
    for option, kind, known in (
        (args.family, "family", FAMILIES),
        (args.kd_loss, "--kd-loss", ("mse", "kld")),
        (args.schedule, "--schedule", ("wsd", "cosine", "plateau")),
        (args.optimizer, "--optimizer", ("auto", "muon", "adam")),
        (args.precision, "--precision", ("auto", "bf16", "fp32")),
    ):
        if option not in known:
            raise unknown(kind, option, known)
    if args.bits == "none" and args.layer_bits:
        raise InputError("--layer-bits needs bits, got --bits none; give --bits 8, say")
    if args.bits == "none" and args.ptq:
        raise InputError("--ptq quantizes, --bits none does not: leave one out")
    if (args.bits == "none" or args.ptq) and args.qat_steps:
        without = "--ptq" if args.ptq else "--bits none"
        raise InputError(
            f"--qat-steps {args.qat_steps} does not go with {without}, which has no quantized phase: leave one out"
        )
    if args.cache_crops and args.cache_crops < args.batch:
        raise InputError(
            f"--cache-crops {args.cache_crops} is less than a batch: give {args.batch} (--batch) or more, or 0"
        )
    if args.stream and args.data is None:
        raise InputError("--stream reads the images of --data while training: give --data DIR, too")
    if args.second_teacher is not None and not parse_kd(args.kd)["hyper"]:
        raise InputError(
            f"--second-teacher teaches z_hat, but --kd {args.kd} has no hyper term: give --kd latent,hyper,output"
        )


def family_of(start: str) -> str:
    """The family of the run or of the shipped model that `--start` names; the default where it names none."""
    from hwkd.models.shipped import read_card, shipped_names

    if start in shipped_names():
        return read_card(start).spec.family
    try:
        config = Path(start.removesuffix(":float")) / "config.json"
        return str(json.loads(config.read_text(encoding="utf-8"))["spec"]["family"])
    except (OSError, ValueError, KeyError, TypeError):
        return DEFAULT_FAMILY  # what is wrong with the folder is said where it is loaded


def parse_channels(option: str, text: str | None) -> tuple[int, ...] | None:
    """The channel counts in "64" or "32,48,64", the value of `option`. Raises InputError for anything else."""
    if text is None:
        return None
    try:
        counts = tuple(int(part) for part in text.replace("-", ",").split(","))
    except ValueError as error:
        raise InputError(
            f"{option} {text!r} is not a list of channel counts: give 64, or 32,48,64"
        ) from error
    if not all(1 <= count <= MOST_CHANNELS for count in counts):
        raise InputError(f"{option} takes 1 to {MOST_CHANNELS} channels each, got {text!r}")
    return counts


def parse_kd(text: str) -> dict[str, float]:
    """The weights of the terms in "latent=0.2,output"; terms that are left out weigh 0.

    Raises:
        InputError: an unknown term, or a weight that is no number.
    """
    weights = dict.fromkeys(TERMS, 0.0)
    if text == "none":
        return weights
    for part in text.split(","):
        name, equals, number = part.strip().partition("=")
        if name not in TERMS:
            raise unknown("--kd term", name, (*TERMS, "none"))
        try:
            weights[name] = float(number) if equals else DEFAULT_WEIGHTS[name]
        except ValueError as error:
            raise InputError(
                f"--kd: the weight of {name} is not a number: {number!r}; give {name}=0.2, say"
            ) from error
        if not 0 <= weights[name] < math.inf:
            raise InputError(f"--kd: the weight of {name} must be 0 or more, got {number}")
    return weights


FIGURE_KINDS = (".svg", ".png", ".pdf")


def figure_path(text: str) -> Path:
    """An argparse type: a file whose suffix names a kind of figure that can be drawn."""
    path = Path(text)
    if path.suffix.lower() not in FIGURE_KINDS:
        raise argparse.ArgumentTypeError(
            f"must end in {', '.join(FIGURE_KINDS[:-1])} or {FIGURE_KINDS[-1]}, got {text!r}"
        )
    return path


def whole(low: int, high: int) -> Callable[[str], int]:
    """An argparse type: a whole number from `low` to `high`."""

    def parse(text: str) -> int:
        accepted = f"{low} to {high}" if high != MOST else f"{low} or more"
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"must be a whole number, {accepted}, got {text!r}")
        return value

    return parse


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def above_0(text: str) -> float:
    """An argparse type: a finite number above 0."""
    value = _number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, got {text!r}")
    return value


def from_0(text: str) -> float:
    """An argparse type: a finite number, 0 or more."""
    value = _number(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number, 0 or more, got {text!r}")
    return value


def crop(text: str) -> int:
    """An argparse type: the side of a crop in pixels."""
    value = whole(64, MOST)(text)
    if value % 64:
        lower = value // 64 * 64
        raise argparse.ArgumentTypeError(
            f"must be a multiple of 64 (the stride of z), got {text!r}; try {lower} or {lower + 64}"
        )
    return value


# Where a table goes, in the format that was asked for; and what is said beside it, on standard error.


def add_output_options(parser: argparse.ArgumentParser, *, is_nested: bool = False) -> None:
    """Give `parser` the three options of every command that prints a table: --format, -o and --full.

    is_nested: the parser is below one that has them too, whose values must stand unless given again.
    """
    # Rich, which draws tables, takes 30 ms that a command without a table need not wait for.
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


def add_full_option(parser: argparse.ArgumentParser, *, is_nested: bool = False) -> None:
    """Give `parser` --full, the option of every command that prints what matters first. is_nested: as above."""
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
    """Like `emit`, for several tables, an empty line between them; JSON is one document.

    Args:
        verdict: the first line of what is for people. first: as of `printed`.
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
    else:
        write_text(args.output, text + "\n")


def printed(
    tables: "Sequence[Table]",
    width: int | None,
    *,
    is_full: bool,
    verdict: str = "",
    first: "tuple[tuple[Table, ...], tuple[str, ...]] | None" = None,
) -> str:
    """The tables for people: all of them, or what matters first where they are longer than a screen.

    first: tables that stand for all of them there, and what these leave out, in words.
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
    """Columns of the terminal that stdout is; None where it is none."""
    return get_terminal_size().columns if sys.stdout.isatty() else None


# Names of models on the command line, where bundles and models that torch runs are both taken.

ZOO = ("bmshj2018-hyperprior", "mbt2018-mean")
"""hwkd.models.teacher.TEACHERS, whose module needs torch."""

SHIPPED_FIRST = (
    "a name that ships comes before a file or folder of that name, which is written ./NAME"
)
"""The rule of every command that takes a shipped bundle by its name, for its help."""


def refuse_unknown(texts: Iterable[str]) -> None:
    """Refuse a bare name that is nobody's: what has a colon, a dot or a folder in it is judged where it is loaded.

    Args:
        texts: as `hwkd.codec.shipped.shipped_or_as_given` leaves them.
    Raises:
        InputError: there is one.
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
    """Give `parser` the options that both commands take and that mean the same in both."""
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
