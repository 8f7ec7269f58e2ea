"""Training images: decoded once into memory, or read from disk while the training goes on; cropped from one seeded generator."""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hwkd.distill.catalogue import ImageBytes, read_catalogue
from hwkd.distill.decode import VISITS, Decoded, Lanes, Tasks, decode, decoded
from hwkd.errors import InputError
from hwkd.images import BrokenImage, Pixels, embedded_images, find_images, read_rgb

# Training images: decoded once into memory, cropped at random, flipped and turned, from one seeded generator.

Image = npt.NDArray[np.uint8]

HELD_OUT_SHARE = 0.05
HELD_OUT_AT_MOST = 8
CALIBRATION_IMAGES = 16


class CropSource(Protocol):
    """A source of batches of crops, in a fixed order, one step after another."""

    last_names: tuple[str, ...]

    def batch(self, size: int, rows: range | None = None) -> Tensor:
        """The crops at the places `rows` (None: all) of the next batch of `size`; `last_names` has the names of their files.

        [B, 3, crop, crop], float32 in [0, 1], channels_last. The crops of the whole batch do not depend on `rows`, so
        processes with different rows share one batch without repeats.
        """
        ...

    def state(self) -> dict[str, Any]:
        """The position in the order, as plain Python values: the same in every process."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        ...


class TrainingImages(Protocol):
    """Images to train on and, disjoint from them, images held out for validation."""

    @property
    def source(self) -> str:
        """Where the images came from."""
        ...

    @property
    def held_out(self) -> tuple[tuple[str, Image], ...]:
        """Images for validation, decoded, with their names."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on images that were left out."""
        ...

    @property
    def train_names(self) -> tuple[str, ...]:
        """The files of the training images."""
        ...

    @property
    def pixels(self) -> int:
        """The number of pixels of all training images together."""
        ...

    def crops(
        self, crop: int, seed: int, *, is_long: bool = False, device: str = "cpu"
    ) -> CropSource:
        """Random crops.

        Args:
            is_long: whether many crops will be taken, over all of the training.
            device: where the crops should be. It does not change the crops; they stay on the CPU if they are not cut there.
        """
        ...


OR_SMALLER_CROP = "use larger images or a smaller --crop"


@dataclass(frozen=True)
class ImageSet:
    """`TrainingImages` that are held in memory, decoded."""

    source: str
    train: tuple[tuple[str, Image], ...]
    held_out: tuple[tuple[str, Image], ...]
    notes: tuple[str, ...]

    @property
    def train_names(self) -> tuple[str, ...]:
        """The files of the training images."""
        return tuple(name for name, _ in self.train)

    @property
    def pixels(self) -> int:
        """The number of pixels of all training images together."""
        return sum(image.shape[0] * image.shape[1] for _, image in self.train)

    def crops(self, crop: int, seed: int, *, is_long: bool = False, device: str = "cpu") -> "Crops":
        """As `TrainingImages.crops`."""
        if is_long and device != "cpu":
            return DeviceCrops(self.train, crop, seed, device)
        return Crops(self.train, crop, seed)


def load_images(
    folder: Path | None,
    crop: int,
    seed: int,
    tell: Callable[[str], None],
    instead: str = OR_SMALLER_CROP,
) -> ImageSet:
    """Decode the images of `folder`, or the embedded photographs when it is None.

    Args:
        folder: searched recursively.
        crop: images with a smaller side are left out, and named in the notes.
        seed: chooses the held-out images.
        tell: receives the name of each file as it is decoded.
        instead: for a command without --crop, what the user can do instead.
    Raises:
        InputError: the folder is missing or empty, or too few images are usable.
    """
    if folder is None:
        return _embedded(crop)
    usable: list[tuple[str, Image]] = []
    notes: list[str] = []
    largest = 0
    for path in find_images(folder):
        tell(path.name)
        try:
            image = read_rgb(path)
        except BrokenImage as error:
            notes.append(f"skipped {path.name}: {error}")
            continue
        side = min(image.shape[:2])
        largest = max(largest, side)
        if side < crop:
            notes.append(_too_small(path.name, side, crop))
            continue
        usable.append((str(path.relative_to(folder)), image))
    if len(usable) < 2:
        have = "no image" if not usable else "only one image"
        raise InputError(
            f"{folder} holds {have} of at least {crop}x{crop} pixels (largest short side: {largest}); "
            f"two are needed, one to train on and one to hold out: {instead}"
        )
    order = np.random.default_rng(seed).permutation(len(usable))
    held = min(HELD_OUT_AT_MOST, max(1, round(HELD_OUT_SHARE * len(usable))))
    return ImageSet(
        str(folder),
        tuple(usable[i] for i in sorted(order[held:])),
        tuple(usable[i] for i in sorted(order[:held])),
        tuple(notes),
    )


def _embedded(crop: int) -> ImageSet:
    # coffee is the held-out scene: the two motorcycle views show the same one.
    images = embedded_images("train")
    held_out = (("coffee.png", images.pop("coffee.png")),)
    sides = {name: min(image.shape[:2]) for name, image in images.items()}
    train = tuple((name, image) for name, image in images.items() if sides[name] >= crop)
    if not train:
        raise InputError(
            f"the embedded photographs hold no image of at least {crop}x{crop} pixels "
            f"(largest short side: {max(sides.values())}): "
            "use a smaller --crop, or images of your own with --data"
        )
    return ImageSet(
        "embedded photographs of scikit-image (a demonstration, not for claims)",
        train,
        held_out,
        tuple(_too_small(name, side, crop) for name, side in sides.items() if side < crop),
    )


def _too_small(name: str, side: int, crop: int) -> str:
    return f"skipped {name}: smaller than the crop ({side} < {crop} pixels)"


class Crops:
    """Random square crops, each image chosen in proportion to its pixels, turned by a quarter and flipped."""

    def __init__(self, images: Sequence[tuple[str, Image]], crop: int, seed: int) -> None:
        self._images = images
        pixels = np.array([a.shape[0] * a.shape[1] for _, a in images], np.float64)
        self._shares = pixels / pixels.sum()
        self._crop = crop
        self._rng = np.random.default_rng(seed)
        self.last_names: tuple[str, ...] = ()

    def batch(self, size: int, rows: range | None = None) -> Tensor:
        """As `CropSource.batch`."""
        places = self._drawn(size, rows)
        self.last_names = tuple(self._images[place.image][0] for place in places)
        x = self._cut(places)
        return x.permute(0, 3, 1, 2).float().div_(255).contiguous(memory_format=torch.channels_last)

    def _drawn(self, size: int, rows: range | None) -> list["_Place"]:
        places = []
        for row, index in enumerate(self._rng.choice(len(self._images), size, p=self._shares)):
            _, image = self._images[index]
            top = int(self._rng.integers(0, image.shape[0] - self._crop + 1))
            left = int(self._rng.integers(0, image.shape[1] - self._crop + 1))
            turns, is_flipped = int(self._rng.integers(4)), bool(self._rng.integers(2))
            if rows is None or row in rows:
                places.append(_Place(int(index), top, left, turns, is_flipped))
        return places

    def _cut(self, places: Sequence["_Place"]) -> Tensor:
        """The crops at `places`, [B, crop, crop, 3] uint8."""
        crops = []
        for place in places:
            rows, columns = place.window(self._crop)
            piece = np.rot90(self._images[place.image][1][rows, columns], place.turns)
            crops.append(piece[:, ::-1] if place.is_flipped else piece)
        return torch.from_numpy(np.ascontiguousarray(np.stack(crops)))

    def state(self) -> dict[str, Any]:
        """The generator's state, of plain Python values."""
        return dict(self._rng.bit_generator.state)

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        self._rng.bit_generator.state = state


class DeviceCrops(Crops):
    """The crops of `Crops`, cut on a device that holds all images: nothing but their places goes there at a step."""

    def __init__(
        self, images: Sequence[tuple[str, Image]], crop: int, seed: int, device: str
    ) -> None:
        super().__init__(images, crop, seed)
        self._held = [torch.from_numpy(image).to(device) for _, image in images]

    def _cut(self, places: Sequence["_Place"]) -> Tensor:
        crops = []
        for place in places:
            rows, columns = place.window(self._crop)
            piece = torch.rot90(self._held[place.image][rows, columns], place.turns)
            crops.append(piece.flip(1) if place.is_flipped else piece)
        return torch.stack(crops)


@dataclass(frozen=True)
class _Place:
    """The place of a crop: the image's number, its upper left corner, quarter turns to the left, then a flip."""

    image: int
    top: int
    left: int
    turns: int
    is_flipped: bool

    def window(self, side: int) -> tuple[slice, slice]:
        return slice(self.top, self.top + side), slice(self.left, self.left + side)


def whole_image(image: Image, multiple: int = 64, at_most: int = 512) -> Tensor:
    """The centre of `image` as [1, 3, H, W] in [0, 1], sides the largest multiples of `multiple` up to `at_most`."""
    height, width = (min(at_most, n // multiple * multiple) for n in image.shape[:2])
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    piece = image[top : top + height, left : left + width]
    return torch.from_numpy(np.ascontiguousarray(piece)).permute(2, 0, 1)[None].float() / 255


def calibration_crops(
    folder: Path | None,
    side: int,
    count: int = CALIBRATION_IMAGES,
    instead: str = OR_SMALLER_CROP,
) -> list[Tensor]:
    """Crops of one size, [1, 3, side, side], of the images of `folder`, or of the embedded training photographs.

    Raises:
        InputError: as `load_images`.
    """
    crops = Crops(load_images(folder, side, 0, lambda _name: None, instead).train, side, 0)
    return [crops.batch(1) for _ in range(count)]


# Random crops of images that are read when their turn comes: a source of batches for data larger than memory.


@dataclass(frozen=True)
class _Held:
    """The image that a lane currently crops.

    Attributes:
        crops: [visits, crop, crop, 3] uint8, from visit `first` on.
    """

    name: str
    first: int
    crops: Pixels


class StreamedCrops:
    """A `CropSource`: each image once an epoch, in an order that the seed gives, `visits` crops of each.

    The order does not depend on the number of workers or on the requested rows. The next readable image of its epoch
    replaces a damaged image. Memory holds the crops of one image for each row, in bytes: with 8 visits twice as much as
    the batch itself, which is of floats.
    """

    def __init__(
        self,
        entries: Sequence[ImageBytes],
        crop: int,
        seed: int,
        damaged: dict[int, str],
        *,
        visits: int = VISITS,
        workers: int = 0,
    ) -> None:
        """Nothing is read before the first batch.

        Args:
            crop: its side in pixels; no entry has a smaller side.
            damaged: why images cannot be read, by their place in `entries`. This object adds to it.
            workers: processes that decode ahead. 0: this process decodes each batch on request.
        """
        self._tasks = Tasks(entries, crop, seed, damaged)
        self._crop, self._damaged = crop, damaged
        self._visits, self._workers = visits, workers
        self._step = 0
        self._size: int | None = None
        self._rows = range(0)
        self._flow: Generator[Decoded, None, None] | None = None
        self._held: dict[int, _Held] = {}
        self.last_names: tuple[str, ...] = ()

    def batch(self, size: int, rows: range | None = None) -> Tensor:
        """As `CropSource.batch`; `size` stays that of the first call.

        Raises:
            InputError: no image can be read, or a file is gone.
            HwkdError: as `decoded`.
            ValueError: another size.
        """
        if self._size not in (None, size):
            raise ValueError(
                f"the order is that of batches of {self._size}, got {size}: take another source"
            )
        rows = range(size) if rows is None else rows
        lanes = Lanes(size, self._visits)
        if self._flow is None or rows != self._rows:
            self.close()
            self._size, self._rows = size, rows
            ahead = 2 * (self._workers + -(-len(rows) // self._visits))
            tasks = self._tasks.of_rows(lanes, rows, self._step)
            self._flow = decoded(tasks, self._workers, ahead)
        names = []
        x = torch.empty((len(rows), 3, self._crop, self._crop), memory_format=torch.channels_last)
        for row, into in zip(rows, x, strict=True):
            place, visit = lanes.at(self._step, row)
            if visit == 0 or row not in self._held:
                self._held[row] = self._taken(self._flow, place, range(visit, self._visits))
            held = self._held[row]
            into.copy_(torch.from_numpy(held.crops[visit - held.first]).permute(2, 0, 1))
            names.append(held.name)
            if visit == self._visits - 1:
                del self._held[row]
        self.last_names = tuple(names)
        self._step += 1
        return x.div_(255)

    def state(self) -> dict[str, Any]:
        """The number of batches so far: all else follows from it."""
        return {"step": self._step}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        self.close()
        self._step = state["step"]

    def close(self) -> None:
        """End the workers; the next batch starts others."""
        if self._flow is not None:
            self._flow.close()
        self._flow = None
        self._held = {}

    def _taken(self, flow: Iterator[Decoded], place: int, visits: range) -> _Held:
        """The next result of `flow`, which is that of `place`; or, where it is damaged, what stands in."""
        task, crops = next(flow)
        while isinstance(crops, BrokenImage):
            self._damaged[task.index] = str(crops)
            task, crops = decode(self._tasks.at(place, visits))
        return _Held(task.entry.name, visits.start, crops)


# Training images that are read from disk while the training goes on: `TrainingImages` of any number.

HELD_OUT_SIDE = 512
"""Pixels that `hwkd.distill.data.whole_image` takes of a side: no more of a held-out image is kept."""


@dataclass(frozen=True)
class StreamedSet:
    """`TrainingImages` that stay on disk.

    Attributes:
        train: where each training image lies.
        held_out: the centres of decoded images.
        left_out: notes from the start on images that were left out.
        damaged: why images of `train` could not be read, by their place there. It grows while crops are taken.
        workers: number of processes that decode for a long sequence of crops.
    """

    source: str
    train: tuple[ImageBytes, ...]
    held_out: tuple[tuple[str, Image], ...]
    left_out: tuple[str, ...]
    workers: int
    damaged: dict[int, str] = field(default_factory=dict)

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on images that were left out so far."""
        stood_in = (f"another image stood in: {why}" for why in self.damaged.values())
        return (*self.left_out, *stood_in)

    @property
    def train_names(self) -> tuple[str, ...]:
        """The training images, by their paths below the folder, or below the shards' one."""
        return tuple(entry.name for entry in self.train)

    @property
    def pixels(self) -> int:
        """The number of pixels of all training images together."""
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
