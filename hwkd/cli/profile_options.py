"""The options of `hwkd profile`, and how the texts of some become values."""

import argparse
from pathlib import Path

from hwkd.cli.model_names import SHIPPED_FIRST
from hwkd.cli.options import above_0, whole
from hwkd.cli.output import add_output_options
from hwkd.codec.shipped import shipped_or_as_given
from hwkd.errors import InputError
from hwkd.measure.energy.sensors import KINDS
from hwkd.qualities import DEFAULT_QUALITY, HIGHEST, LOWEST
from hwkd.runtime.cores import usable_cores

EMBEDDED = object()
"""What --evaluate without a folder gives: no path, for "." is the user's own folder."""
NONE = "none"
"""What --energy takes beside the meters."""
MOST_SIDE = 16384


def configure(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the options."""
    parser.add_argument(
        "models",
        nargs="*",
        type=shipped_or_as_given,
        metavar="MODEL",
        help="the name of a bundle or teacher that ships, a run folder, a checkpoint, a bundle (.hwkd), or a bare "
        f"architecture as hyperprior:N=64,M=192[,family=relu]; {SHIPPED_FIRST}; default: the newest run in runs/, or else patch-q5",
    )
    parser.add_argument(
        "--target",
        nargs="+",
        metavar="NAME",
        help="host (this machine, measured), all, names of targets or .toml files of your own; default: host and all "
        "for trained models, all for bare architectures",
    )
    parser.add_argument(
        "--size",
        default="768x512",
        metavar="WxH",
        help="of the image in pixels (default: 768x512)",
    )
    parser.add_argument(
        "--threads",
        metavar="N[,N]",
        help="on this machine; of several the first is the main one (default: all usable cores)",
    )
    parser.add_argument(
        "--energy",
        default="auto",
        choices=(*KINDS, NONE),
        help="the sensor on this machine (default: auto: ina3221, rapl, or else codecarbon's estimate, or none of them)",
    )
    parser.add_argument(
        "--country",
        metavar="ISO",
        help="three letters (FRA): emissions of this country's electricity, by codecarbon",
    )
    parser.add_argument(
        "--bits",
        metavar="W[/A]",
        help="predict a bare architecture as quantized to these bits (a trained model has its own)",
    )
    parser.add_argument(
        "--seconds",
        type=above_0,
        default=4.0,
        metavar="S",
        help="to spend on each group of latencies and on the energy of each side (default: 4)",
    )
    parser.add_argument(
        "--evaluate",
        nargs="?",
        type=Path,
        const=EMBEDDED,
        metavar="DIR",
        help="measure PSNR and bits per pixel of trained models on the images in DIR (without DIR: on the embedded "
        "photographs); otherwise they are those of the model's card or the run's report",
    )
    parser.add_argument(
        "-q",
        "--quality",
        type=whole(LOWEST, HIGHEST),
        metavar="N",
        help=f"of models of all rates, {LOWEST} to {HIGHEST}: at which they are measured here (default: {DEFAULT_QUALITY})",
    )
    parser.add_argument(
        "--no-memory", action="store_true", help="do not start the processes that measure memory"
    )
    parser.add_argument("--layers", action="store_true", help="a table of each model's layers")
    parser.add_argument(
        "--settings",
        action="store_true",
        help="a row for every unit and number of threads, not for the main one only",
    )
    parser.add_argument(
        "--save",
        type=Path,
        metavar="DIR",
        help="write the records to DIR/TARGET/MODEL.json, for `hwkd compare`",
    )
    parser.add_argument(
        "--save-target",
        metavar="NAME",
        help="make this machine a target: writes NAME.toml with constants from the measured layers",
    )
    add_output_options(parser)


def parse_size(text: str) -> tuple[int, int]:
    """(width, height) in "768x512". Raises InputError for anything else."""
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(p.isascii() and p.isdigit() for p in parts):
        raise InputError(f"--size {text!r} is not WIDTHxHEIGHT in pixels: give 768x512, say")
    width, height = map(int, parts)
    if not (1 <= width <= MOST_SIDE and 1 <= height <= MOST_SIDE):
        raise InputError(f"--size takes 1 to {MOST_SIDE} pixels a side, got {text}")
    return width, height


def parse_threads(text: str | None) -> tuple[int, ...]:
    """The numbers in "2" or "1,2"; all usable cores for None. Raises InputError for anything else."""
    cores = usable_cores()
    if text is None:
        return (cores,)
    parts = [part.strip() for part in text.split(",")]
    if not all(p.isascii() and p.isdigit() for p in parts):
        raise InputError(f"--threads {text!r} is not a number of threads: give 2, or 1,2")
    found = tuple(dict.fromkeys(int(part) for part in parts))
    if not all(1 <= n <= cores for n in found):
        raise InputError(f"--threads takes 1 to {cores} (the cores usable here), got {text}")
    return found
