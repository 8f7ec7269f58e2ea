"""`hwkd bench`: bundles against CompressAI and against JPEG, WebP and AVIF, end to end, in one run."""

import argparse
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from rich.console import Console

from hwkd.cli.model_names import SHIPPED_FIRST
from hwkd.cli.options import above_0, whole
from hwkd.cli.output import add_output_options, emit_all
from hwkd.cli.profile_options import parse_size
from hwkd.codec.search import Asked
from hwkd.codec.shipped import named_bundle, shipped_or_as_given
from hwkd.errors import InputError
from hwkd.images import Pixels, read_rgb
from hwkd.measure.bench import bench
from hwkd.measure.bench_entries import COMPRESSAI, Wanted
from hwkd.measure.classic import MAX_QUALITY
from hwkd.measure.machine_packages import installed_version
from hwkd.measure.profile import photograph
from hwkd.qualities import DEFAULT_QUALITY, HIGHEST, LOWEST
from hwkd.report.bench_tables import bench_tables
from hwkd.runtime.bundle import Bundle, read_bundle
from hwkd.runtime.cores import usable_cores
from hwkd.runtime.session import preferred_runtimes, runtime_label

HELP = "time bundles end to end beside CompressAI, JPEG, WebP and AVIF, and say where it goes"

EXAMPLES = """examples:
  hwkd bench student.hwkd
  hwkd bench rates.hwkd -q 75
  hwkd bench student.hwkd --against bmshj2018-hyperprior:5 --image photo.png
  hwkd bench small.hwkd large.hwkd --runtime onnxruntime --threads 1 --against none --format md
"""

ALL = "all"
DEFAULT_SIZE = "768x512"


def configure(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the arguments of `hwkd bench`."""
    parser.add_argument(
        "bundles",
        nargs="+",
        type=shipped_or_as_given,
        metavar="BUNDLE",
        help=f"a .hwkd file, or the name of one that ships (see `hwkd models`); {SHIPPED_FIRST}",
    )
    parser.add_argument(
        "--against",
        default=COMPRESSAI,
        metavar="WHAT",
        help="compressai: ScaleHyperprior(128, 192) with random weights at the first bundle's rate (default); a "
        "checkpoint's file or a name of CompressAI's zoo (see `hwkd models`); or none",
    )
    parser.add_argument(
        "--image", type=Path, metavar="FILE", help="what to code (default: an embedded photograph)"
    )
    parser.add_argument(
        "--size",
        metavar="WxH",
        help=f"of the embedded photograph, cut or mirrored at its edges (default: {DEFAULT_SIZE})",
    )
    parser.add_argument(
        "--threads",
        type=whole(1, usable_cores()),
        default=usable_cores(),
        metavar="N",
        help="of every coder that can use them (default: all usable cores)",
    )
    parser.add_argument(
        "--runtime",
        default=ALL,
        metavar="NAME",
        help="for the bundles: onnxruntime or openvino (default: all that are installed)",
    )
    parser.add_argument(
        "--seconds",
        type=above_0,
        default=20.0,
        metavar="S",
        help="for all timed runs together, at least 6 of each (default: 20)",
    )
    parser.add_argument(
        "-q",
        "--quality",
        type=whole(LOWEST, HIGHEST),
        metavar="N",
        help=f"of bundles of all rates, {LOWEST} to {HIGHEST} (default: {DEFAULT_QUALITY})",
    )
    parser.add_argument(
        "--classic-quality",
        type=whole(1, MAX_QUALITY),
        metavar="Q",
        help="of JPEG, WebP and AVIF (default: what comes nearest to the first bundle's PSNR)",
    )
    add_output_options(parser)


def run(args: argparse.Namespace) -> int:
    """Measure, print, and return the exit code.

    Raises:
        InputError: a file, name or number that there is not; told before anything is measured.
        HwkdError: no bundle runs in any runtime.
    """
    runtimes = _runtimes(args.runtime)
    bundles = _named(args.bundles)
    _check_quality(args.quality, bundles.values())
    image, words = _image(args.image, args.size)
    wanted = Wanted(
        args.against, runtimes, args.threads, args.seconds, args.classic_quality, args.quality
    )
    with Console(stderr=True).status("opening") as status:
        found = bench(image, bundles, wanted, status.update)
    emit_all(bench_tables(found, words, args.format), args)
    return 0


def _runtimes(text: str) -> tuple[str, ...]:
    if text != ALL:
        runtime_label(text)  # raises where there is no such runtime
        return (text,)
    present = preferred_runtimes()
    if not present:
        raise InputError('no runtime for bundles is installed: pip install "hwkd[runtime]"')
    return present


def _named(paths: list[str]) -> dict[str, Bundle]:
    """The bundles by their own names, by their paths where two have one name."""
    bundles = {path: read_bundle(named_bundle(path)) for path in dict.fromkeys(paths)}
    counts = Counter(bundle.manifest.name for bundle in bundles.values())
    return {
        bundle.manifest.name if counts[bundle.manifest.name] == 1 else path: bundle
        for path, bundle in bundles.items()
    }


def _check_quality(quality: int | None, bundles: Collection[Bundle]) -> None:
    """Refuse a quality that a bundle of all rates lacks, and one where no bundle has any."""
    of_all_rates = [bundle for bundle in bundles if bundle.manifest.qualities is not None]
    for bundle in of_all_rates or bundles:
        Asked(quality=quality).check(bundle.manifest)


def _image(path: Path | None, size: str | None) -> tuple[Pixels, str]:
    """The image to code, and what it is."""
    if path is not None:
        if size is not None:
            raise InputError(
                f"--size is for the embedded photograph: leave it or --image {path} out"
            )
        return read_rgb(path), path.name
    width, height = parse_size(size or DEFAULT_SIZE)
    if installed_version("scikit-image") is None:
        raise InputError(
            'the embedded photograph comes with the extra "train", and scikit-image is not installed: '
            "give an image with --image FILE"
        )
    return photograph(width, height), "embedded photograph"
