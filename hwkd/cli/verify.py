"""`hwkd verify`: whether a bundle's streams decode to the same symbols in every runtime of this machine."""

import argparse
import platform
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress

from hwkd import __version__
from hwkd.cli.model_names import SHIPPED_FIRST
from hwkd.cli.options import MOST, whole
from hwkd.cli.output import add_output_options, emit_all
from hwkd.codec.shipped import named_bundle, shipped_or_as_given
from hwkd.codec.verify import verify
from hwkd.codec.verify_coders import open_coders, qualities_to_try
from hwkd.codec.verify_images import COUNT, crops, made_symbols, mixed
from hwkd.errors import InputError
from hwkd.images import Pixels, embedded_images, open_images
from hwkd.measure.host import host_facts
from hwkd.qualities import HIGHEST, LOWEST
from hwkd.report.verify_tables import verify_tables
from hwkd.runtime.bundle import read_bundle
from hwkd.runtime.cores import usable_cores
from hwkd.runtime.session import RUNTIMES

HELP = "check that a bundle's streams decode to the same symbols in every runtime here"

EXAMPLES = """examples:
  hwkd verify small.hwkd
  hwkd verify small.hwkd --data photos/ --images 50
  hwkd verify small.hwkd --qualities 10 90
  hwkd verify small.hwkd --runtime onnxruntime --threads 1 --format md -o verified.md
"""

ALL = "all"


def configure(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the arguments of `hwkd verify`."""
    parser.add_argument(
        "bundle",
        type=shipped_or_as_given,
        metavar="BUNDLE",
        help="a .hwkd file (see `hwkd export`), or the name of one that ships (see `hwkd models`); "
        f"{SHIPPED_FIRST}",
    )
    parser.add_argument(
        "--runtime",
        nargs="+",
        default=[ALL],
        metavar="NAME",
        help="onnxruntime, openvino, or all that are installed (default: all)",
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="images to code whole, beside those made in code (default: crops of the embedded photographs)",
    )
    parser.add_argument(
        "--images",
        type=whole(1, MOST),
        metavar="N",
        help=f"how many, every second one made in code (default: {COUNT}, or all of --data)",
    )
    parser.add_argument(
        "--qualities",
        nargs="+",
        type=whole(LOWEST, HIGHEST),
        metavar="Q",
        help="to code at, in turn over the images, with a bundle of all rates "
        "(default: its lowest, its default and its highest)",
    )
    parser.add_argument(
        "--threads",
        type=whole(1, usable_cores()),
        default=usable_cores(),
        metavar="N",
        help="beside 1 (default: all usable cores)",
    )
    add_output_options(parser)


def run(args: argparse.Namespace) -> int:
    """Compare and print; 0 where everything agrees, 1 where anything does not."""
    images, count, what = _images(args.data, args.images)
    bundle = read_bundle(named_bundle(args.bundle))
    qualities = qualities_to_try(bundle.manifest, args.qualities)
    if qualities:
        what += f", at qualities {', '.join(map(str, qualities))} in turn"
    runtimes = None if ALL in args.runtime else list(dict.fromkeys(args.runtime))
    coders = open_coders(bundle, runtimes, sorted({1, args.threads}))
    console = Console(stderr=True)
    # Where nobody watches, rich would leave an empty line.
    made = made_symbols(bundle.manifest.Z, bundle.manifest.largest_z)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        tracked = progress.track(images, total=count, description="images")
        found = verify(coders, tracked, made, qualities)
    model = f"{bundle.manifest.name} ({bundle.id_hex})"
    unchecked = [name for name in RUNTIMES if name not in {coder.runtime for coder in coders}]
    emit_all(verify_tables(found, model, what, unchecked, _versions()), args)
    return 0 if found.holds else 1


def _images(folder: Path | None, asked: int | None) -> tuple[Iterable[Pixels], int, str]:
    """The images, how many they are, and what they are in words."""
    if folder is not None:
        source = open_images(folder)
        count = asked or max(COUNT, 2 * len(source.paths))
        taken = min(len(source.paths), -(-count // 2))
        photographs: Iterable[Pixels] = (image for _, image in islice(source, taken))
        return mixed(photographs, count), count, f"{taken} of {source}, the others made in code"
    count = asked or COUNT
    try:
        embedded = embedded_images("eval")
    except InputError as error:
        # An installation for devices has no scikit-image.
        return mixed((), count), count, f"all made in code, as there are no photographs ({error})"
    what = f"crops of {' and '.join(embedded)}, every second one made in code"
    return mixed(crops(tuple(embedded.values())), count), count, what


def _versions() -> str:
    return (
        f"{host_facts()}; hwkd {__version__}, Python {platform.python_version()}, numpy {np.__version__}, "
        f"{platform.system()} {platform.machine()}"
    )
