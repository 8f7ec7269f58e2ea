"""The images that `hwkd distill` trains on: in memory, or streamed."""

import argparse
from typing import TYPE_CHECKING

from rich.console import Console

from hwkd.errors import InputError
from hwkd.images import find_images
from hwkd.runtime.cores import usable_cores

if TYPE_CHECKING:
    from hwkd.distill.data import TrainingImages

WORKERS = 2
"""As many keep up with a training that leaves the cores to them."""


def training_images(args: argparse.Namespace, console: Console) -> "TrainingImages":
    """What --data, --stream and --data-workers ask for; a long look at headers is shown on `console`.

    Raises:
        InputError: as `load_images` and `open_stream`; images that do not fit in memory, or workers for those that do.
    """
    from hwkd.distill.data import load_images
    from hwkd.distill.decode import has_shards_only
    from hwkd.distill.in_memory import check_fits
    from hwkd.distill.stream import open_stream

    if args.data is None or not (args.stream or has_shards_only(args.data)):
        if args.data_workers is not None:
            raise InputError(
                f"--data-workers {args.data_workers} decode what is streamed, and these images are held in memory: add "
                "--stream, or leave it out"
            )
        if args.data is not None:
            check_fits(args.data, find_images(args.data), args.crop)
        return load_images(args.data, args.crop, args.seed, lambda _name: None)
    workers = args.data_workers
    if workers is None:
        workers = min(WORKERS, usable_cores() - 1)
    seen = 0
    with console.status("reading the headers of images") as status:

        def tell(_name: str) -> None:
            nonlocal seen
            seen += 1
            if seen % 100 == 0:
                status.update(f"reading the headers of images: {seen}")

        return open_stream(args.data, args.crop, args.seed, workers, tell)
