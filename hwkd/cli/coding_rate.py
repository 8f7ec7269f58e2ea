"""What `hwkd encode` is asked of a stream: a quality, a size, a rate or a PSNR."""

import argparse
import re
from decimal import Decimal

from hwkd.cli.options import above_0, whole
from hwkd.codec.search import Asked
from hwkd.qualities import DEFAULT_QUALITY, HIGHEST, LOWEST

_FACTORS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "ki": 1024, "mi": 1024**2, "gi": 1024**3}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)((?:[kmg]i?)?)b?", re.IGNORECASE)
_MOST_BYTES = 10**15


def add_rate_options(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the options of which one at most may be given."""
    only_one = parser.add_mutually_exclusive_group()
    only_one.add_argument(
        "-q",
        "--quality",
        type=whole(LOWEST, HIGHEST),
        metavar="N",
        help=f"{LOWEST} (smallest) to {HIGHEST} (best), of a bundle of all rates (default: {DEFAULT_QUALITY})",
    )
    only_one.add_argument(
        "--max-bytes",
        type=size_in_bytes,
        metavar="SIZE",
        help="the best quality whose stream has at most so many bytes: 20000, 20k, 20kB, 1.5M, 20KiB",
    )
    only_one.add_argument(
        "--bpp",
        type=above_0,
        metavar="X",
        help="the best quality whose stream has at most X bits for each pixel of the image",
    )
    only_one.add_argument(
        "--min-psnr",
        type=above_0,
        metavar="DB",
        help="the lowest quality whose image comes back with at least this PSNR, of 8-bit RGB",
    )


def asked_of(args: argparse.Namespace) -> Asked:
    """What the options of `add_rate_options` ask for."""
    return Asked(args.quality, args.max_bytes, args.bpp, args.min_psnr)


def size_in_bytes(text: str) -> int:
    """An argparse type: a number of bytes; k, M and G are powers of 1000, Ki, Mi and Gi of 1024, in any case."""
    found = _SIZE.fullmatch(text.strip())
    # Decimals, for 20.1 times 1000 is more than 20100 in binary.
    value = int(Decimal(found[1]) * _FACTORS[found[2].lower()]) if found else 0
    if not 1 <= value <= _MOST_BYTES:
        raise argparse.ArgumentTypeError(
            f"must be a number of bytes, 20000, 20k or 20KiB say, got {text!r}"
        )
    return value
