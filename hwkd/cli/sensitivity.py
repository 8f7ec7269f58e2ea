"""`hwkd sensitivity`: what each layer's bits cost, and which bits to give each layer for a size."""

import argparse
import shlex
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from hwkd import __version__
from hwkd.cli.model_names import refuse_unknown
from hwkd.cli.options import above_0, crop
from hwkd.cli.output import emit_all
from hwkd.cli.profile_models import file_name
from hwkd.cli.sensitivity_inputs import (
    check_apart,
    latency_note,
    parse_tried,
    proposals,
    refuse_bundle,
)
from hwkd.cli.sensitivity_model import origin_of, predicted_latency
from hwkd.cli.sensitivity_output import tables_of, write_folder
from hwkd.errors import HwkdError, InputError
from hwkd.images import open_images
from hwkd.measure.allocations import base_allocation, check
from hwkd.measure.host import host_facts
from hwkd.measure.machine_packages import installed_version
from hwkd.measure.sensitivity import Sensitivity, measure_sensitivity, unmeasured
from hwkd.report.sensitivity_file import NAME, Told, read_points, write_sensitivity
from hwkd.report.table import FORMATS
from hwkd.target import load_target

HELP = "what each layer's bits cost in rate and distortion, and bits for each layer for a size"

EXAMPLES = """examples:
  hwkd sensitivity patch-medium-float
  hwkd sensitivity runs/student:float --data photos/ --evaluate kodak/
  hwkd sensitivity runs/student --max-kib 700 --target raspberry-pi-4 --max-ms 150
"""

TRIED = "7,6,5,4,3,2"
VERSIONS = ("torch", "brevitas", "scipy")


def configure(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the arguments of `hwkd sensitivity`."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="a float model, quantized after training first: one that ships, a checkpoint, RUN:float; or a quantized run "
        "folder, as it is",
    )
    parser.add_argument(
        "--bits",
        default=TRIED,
        metavar="B[,B..]",
        help=f"bits to try for the weights of each layer (default: {TRIED})",
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="images to calibrate and to measure on (default: the embedded training photographs)",
    )
    parser.add_argument(
        "--evaluate",
        type=Path,
        metavar="DIR",
        help="other images, to check the allocations on (default: the embedded ones for evaluation)",
    )
    parser.add_argument(
        "--crop",
        type=crop,
        default=256,
        metavar="PIXELS",
        help="side of the crops of --data, a multiple of 64 (default: 256)",
    )
    parser.add_argument(
        "--max-kib",
        type=above_0,
        metavar="KIB",
        help="bits for weights of this size, scales and biases included (default: for the sizes of uniform bits)",
    )
    parser.add_argument(
        "--target",
        metavar="NAME",
        help="see `hwkd targets`: bits that its kernels do not take are not offered, and its predicted latency is told",
    )
    parser.add_argument(
        "--max-ms",
        type=above_0,
        metavar="MS",
        help="refuse where the predicted latency on --target is longer (768x512, the slower of encoding and decoding)",
    )
    parser.add_argument(
        "--lmbda",
        type=above_0,
        metavar="L",
        help="of the loss bpp + L 255^2 MSE (default: the model's)",
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="table",
        help="how to print it (default: table, for a terminal)",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="DIR",
        help="folder for figures, plot and recipes (default: runs/sensitivity-MODEL); what it holds of the same "
        "measurement is not measured again",
    )
    parser.add_argument(
        "--force", action="store_true", help="start over where DIR holds a sensitivity"
    )


def run(args: argparse.Namespace) -> int:
    """Measure the layers, choose bits, check them, write and print."""
    refuse_bundle(args.model)
    refuse_unknown([args.model])
    tried = parse_tried(args.bits)
    if args.max_ms is not None and args.target is None:
        raise InputError("--max-ms is a latency on a target: name it with --target")
    if installed_version("matplotlib") is None:
        raise HwkdError('matplotlib is not installed: pip install "hwkd[report]"')
    target = None if args.target is None else load_target(args.target)
    evaluation = open_images(args.evaluate)
    check_apart(args.data, evaluation)
    for _ in evaluation:
        pass  # a damaged image is found now, not after the measuring

    # torch takes seconds to import: after everything that can be refused without it.
    from hwkd.measure.eager.sensitivity import fingerprint, load_base, measured_crops
    from hwkd.quantize.layers import weight_bytes

    console = Console(stderr=True)
    with console.status("loading"):
        base = load_base(args.model, args.data, args.crop, args.lmbda, target)
        crops, images = measured_crops(args.data, args.crop)
        notes, latency = [], None
        if target is not None:
            latency = predicted_latency(base, target)
            notes.append(latency_note(latency, base.name, target.name, args.max_ms))
    folder = args.output or Path("runs") / f"sensitivity-{file_name(base.name)}"
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file, the figures need a folder: give another with -o")
    told = Told(
        fingerprint=fingerprint(base, crops),
        model=base.name,
        base=base.how,
        measured_on=images,
        checked_on=str(evaluation),
        command=shlex.join(["hwkd", *args.argv]),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        host=str(host_facts()),
        versions={"hwkd": __version__, **{name: version(name) for name in VERSIONS}},
        latency=latency,
    )
    known = {} if args.force else read_points(folder / NAME, told.fingerprint)
    blank = unmeasured(base.layers, base.lmbda, weight_bytes(base.codec), tried)
    proposals(blank, tried, args.max_kib)  # refuses a size that cannot be before it is measured for
    with _progress(console) as progress:
        task = progress.add_task("measuring layers", total=len(base.layers))

        def keep(found: Sensitivity) -> None:
            # What is finished stays, should the rest be interrupted.
            write_sensitivity(folder / NAME, told, found)
            progress.advance(task)

        found = measure_sensitivity(
            base.codec, base.layers, base.lmbda, crops, tried, known=known, found=keep
        )
        allocations, recipes = proposals(found, tried, args.max_kib)
        count = len(allocations) * sum(1 for _ in evaluation)
        task = progress.add_task("checking allocations", total=count)
        checked = check(
            base.codec,
            base_allocation(found),
            allocations,
            evaluation,
            lambda _image: progress.advance(task),
        )
    tables = tables_of(told, found, checked, notes)
    origin = origin_of(base, args.model, args.target)
    said = write_folder(folder, told, found, checked, tables, recipes, origin)
    emit_all(tables, argparse.Namespace(format=args.format, output=None))
    for sentence in said:
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)
    return 0


def _progress(console: Console) -> Progress:
    # Where nobody watches, rich would leave an empty line.
    return Progress(console=console, transient=True, disable=not console.is_terminal)
