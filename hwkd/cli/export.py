"""`hwkd export`: a trained student leaves torch, as a bundle for a target."""

import argparse
from itertools import islice
from pathlib import Path

from rich.console import Console

from hwkd.cli.output import terminal_width
from hwkd.errors import InputError
from hwkd.files import check_new
from hwkd.images import Pixels, open_images
from hwkd.report.bundle_tables import bundle_tables
from hwkd.report.table import render
from hwkd.runtime.bundle import write_bundle
from hwkd.target import load_target

HELP = "write a trained student as a bundle (.hwkd) that encodes and decodes without torch"

EXAMPLES = """examples:
  hwkd export runs/demo --target raspberry-pi-4
  hwkd export runs/demo --target x86-avx2 -o small.hwkd --data photos/
  hwkd export runs/demo --target jetson-nano --size 1024x768
  hwkd export patch-q5 --bits 8 --target arm-server -o teacher.hwkd
"""

SUFFIX = ".hwkd"
IMAGES_AT_MOST = 8


def configure(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the arguments of `hwkd export`."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="a run folder; with --bits a float model: a shipped one, a checkpoint, RUN:float",
    )
    parser.add_argument("--target", required=True, metavar="NAME", help="see `hwkd targets`")
    parser.add_argument(
        "--bits", metavar="W[/A]", help="quantize a float model after training: 8, or 4/8"
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="images to check the export on (default: embedded ones)",
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="the bundle (default: MODEL.hwkd)"
    )
    parser.add_argument("--force", action="store_true", help="replace a file that exists")


def run(args: argparse.Namespace) -> int:
    """Export, check, write, and print what was found."""
    target = load_target(args.target)
    images = _images(args.data)
    output = args.output or Path(f"{_stem(args.model)}{SUFFIX}")
    if output.suffix != SUFFIX:
        raise InputError(f"a bundle's name ends in {SUFFIX}, got {output}; give -o NAME{SUFFIX}")
    check_new(output, force=args.force)

    from hwkd.deploy.export import export
    from hwkd.deploy.source import load_source
    from hwkd.quantize.bits import parse_bits

    bits = None if args.bits is None else parse_bits(args.bits)
    with Console(stderr=True).status("loading") as status:
        source = load_source(args.model, bits, args.data, status.update)
        draft = export(source, target, images, status.update)
        bundle = write_bundle(output, draft.manifest, draft.parts)
    width = terminal_width()
    print("\n\n".join(render(table, "table", width) for table in bundle_tables(bundle)))
    print(f"written: {output}")
    return 0


def _images(folder: Path | None) -> dict[str, Pixels]:
    """The first images to check on, by name."""
    return dict(islice(open_images(folder), IMAGES_AT_MOST))


def _stem(model: str) -> str:
    """A file name for the bundle of `model`: the run's or the model's own name."""
    return Path(model.partition(":")[0]).resolve().name.partition(".")[0]
