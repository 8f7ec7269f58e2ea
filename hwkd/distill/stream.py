"""Training images that are read from disk while the training goes on: `TrainingImages` of any number."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hwkd.distill.data import HELD_OUT_AT_MOST, HELD_OUT_SHARE, Image
from hwkd.distill.stream_catalogue import read_catalogue
from hwkd.distill.stream_crops import StreamedCrops
from hwkd.distill.stream_entries import Entry
from hwkd.errors import InputError
from hwkd.images import BrokenImage

HELD_OUT_SIDE = 512
"""Pixels that `hwkd.distill.data.whole_image` takes of a side: no more of a held-out image is kept."""


@dataclass(frozen=True)
class StreamedSet:
    """`TrainingImages` that stay on disk. train: where each lies. held_out: the centres of decoded images.

    left_out: notes of the start. damaged: why images of `train` could not be read, by their place there; grows while
    crops are taken. workers: processes that decode for a long sequence of crops.
    """

    source: str
    train: tuple[Entry, ...]
    held_out: tuple[tuple[str, Image], ...]
    left_out: tuple[str, ...]
    workers: int
    damaged: dict[int, str] = field(default_factory=dict)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out, so far."""
        stood_in = (f"another image stood in: {why}" for why in self.damaged.values())
        return (*self.left_out, *stood_in)

    @property
    def train_names(self) -> tuple[str, ...]:
        """The training images, by their paths below the folder, or below the shards' one."""
        return tuple(entry.name for entry in self.train)

    @property
    def pixels(self) -> int:
        """Of the training images together."""
        return sum(entry.width * entry.height for entry in self.train)

    def crops(
        self, crop: int, seed: int, *, is_long: bool = False, device: str = "cpu"
    ) -> StreamedCrops:
        """As `TrainingImages.crops`; a few crops are each of another image, decoded in this process."""
        if is_long:
            return StreamedCrops(self.train, crop, seed, self.damaged, workers=self.workers)
        return StreamedCrops(self.train, crop, seed, self.damaged, visits=1)


def open_stream(
    source: Path, crop: int, seed: int, workers: int, tell: Callable[[str], None]
) -> StreamedSet:
    """The images of a folder, of a folder of .tar shards or of one .tar file; only those held out are decoded.

    Args:
        crop: the largest that will be taken; images with a smaller side are left out.
        seed: chooses the held-out images.
        workers: processes that decode while the training goes on; 0: the training process does.
        tell: receives the name of each image as its header is read.
    Raises:
        InputError: as `read_catalogue`; all images but one are damaged.
    """
    catalogue = read_catalogue(source, crop, tell)
    entries, notes = catalogue.entries, list(catalogue.notes)
    held = min(HELD_OUT_AT_MOST, max(1, round(HELD_OUT_SHARE * len(entries))))
    order = np.random.default_rng(seed).permutation(len(entries))
    held_out: dict[int, Image] = {}
    tried = 0
    while len(held_out) < held and tried < len(entries) - 1:
        at = int(order[tried])
        tried += 1
        try:
            held_out[at] = _centre(entries[at].pixels())
        except BrokenImage as error:
            notes.append(f"skipped {error}")
    if not held_out:
        raise InputError(
            f"no image of {source} can be held out: all but one are damaged ({notes[-1]}); give whole images"
        )
    return StreamedSet(
        catalogue.source,
        tuple(entries[i] for i in sorted(order[tried:])),
        tuple((entries[i].name, held_out[i]) for i in sorted(held_out)),
        tuple(notes),
        workers,
    )


def _centre(image: Image) -> Image:
    height, width = (min(HELD_OUT_SIDE, side) for side in image.shape[:2])
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width].copy()
