"""The options that `hwkd encode` and `hwkd decode` share."""

import argparse

from hwkd.cli.options import whole
from hwkd.images import MAX_PIXELS
from hwkd.runtime.session import RUNTIMES

MOST_THREADS = 4096
MOST_PIXELS = 10**12


def add_coding_options(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the options that both commands take and that mean the same in both."""
    parser.add_argument(
        "--runtime",
        metavar="NAME",
        help=f"{' or '.join(RUNTIMES)} (default: openvino where it is installed)",
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
