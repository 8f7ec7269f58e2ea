"""One image decoded and cropped, wherever that is done."""

from dataclasses import dataclass

import numpy as np

from hwkd.distill.stream_entries import Entry
from hwkd.distill.stream_order import crop_chance
from hwkd.errors import HwkdError
from hwkd.image_pixels import Pixels
from hwkd.images import BrokenImage


@dataclass(frozen=True, slots=True)
class Task:
    """Crops to take of one image: those of `visits` at a place of the order. index: of the image in the catalogue."""

    index: int
    entry: Entry
    crop: int
    seed: int
    place: int
    visits: range


Decoded = tuple[Task, Pixels | BrokenImage]
"""A task and its crops, [visits, crop, crop, 3] uint8; or why there are none."""


def decode(task: Task) -> Decoded:
    """The crops of `task`: at random places, turned by a quarter and flipped, the same whenever it is done again.

    Raises:
        InputError: as `Entry.pixels`.
        HwkdError: memory ran out.
    """
    entry = task.entry
    try:
        pixels = entry.pixels()
    except BrokenImage as error:
        return task, error
    except MemoryError as error:
        raise HwkdError(
            f"memory ran out while {entry.name} was decoded ({entry.width}x{entry.height} pixels): make it smaller or "
            "leave it out"
        ) from error
    height, width = pixels.shape[:2]
    if min(height, width) < task.crop:
        return task, BrokenImage(
            f"{entry.name} has {width}x{height} pixels, and its header said {entry.width}x{entry.height}; replace it "
            "or leave it out"
        )
    crops = np.empty((len(task.visits), task.crop, task.crop, 3), np.uint8)
    for crop, visit in zip(crops, task.visits, strict=True):
        rng = crop_chance(task.seed, task.place, visit)
        top = rng.integers(0, height - task.crop + 1)
        left = rng.integers(0, width - task.crop + 1)
        piece = pixels[top : top + task.crop, left : left + task.crop]
        piece = np.rot90(piece, int(rng.integers(4)))
        crop[:] = piece[:, ::-1] if rng.integers(2) else piece
    return task, crops
