"""Training images: decoded once into memory, cropped at random, flipped and turned, from one seeded generator."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hwkd.errors import InputError
from hwkd.images import BrokenImage, embedded_images, find_images, read_rgb

Image = npt.NDArray[np.uint8]

HELD_OUT_SHARE = 0.05
HELD_OUT_AT_MOST = 8
CALIBRATION_IMAGES = 16


class CropSource(Protocol):
    """Where batches of crops come from, in a fixed order, one step after another."""

    last_names: tuple[str, ...]

    def batch(self, size: int, rows: range | None = None) -> Tensor:
        """The next batch of `size` crops; of it those at the places `rows` (None: all), whose files are `last_names`.

        [B, 3, crop, crop], float32 in [0, 1], channels_last. Which crops the batch is made of does not depend on
        `rows`: processes that each take some of them share one batch without repeats.
        """
        ...

    def state(self) -> dict[str, Any]:
        """Where the order stands, of plain Python values: the same in every process."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        ...


class TrainingImages(Protocol):
    """Images to train on and, disjoint from them, images held out for validation."""

    @property
    def source(self) -> str:
        """Where they came from."""
        ...

    @property
    def held_out(self) -> tuple[tuple[str, Image], ...]:
        """Images for validation, decoded, with their names."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out."""
        ...

    @property
    def train_names(self) -> tuple[str, ...]:
        """The files of the training images."""
        ...

    @property
    def pixels(self) -> int:
        """Of the training images together."""
        ...

    def crops(
        self, crop: int, seed: int, *, is_long: bool = False, device: str = "cpu"
    ) -> CropSource:
        """Random crops. is_long: many will be taken, over all of the training. device: where they are wanted; the same
        crops come whatever it is, and from the CPU where they are not cut there."""
        ...


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
        """Of the training images together."""
        return sum(image.shape[0] * image.shape[1] for _, image in self.train)

    def crops(self, crop: int, seed: int, *, is_long: bool = False, device: str = "cpu") -> "Crops":
        """As `TrainingImages.crops`."""
        if is_long and device != "cpu":
            return DeviceCrops(self.train, crop, seed, device)
        return Crops(self.train, crop, seed)


def load_images(folder: Path | None, crop: int, seed: int, tell: Callable[[str], None]) -> ImageSet:
    """Decode the images of `folder`, or the embedded photographs when it is None.

    Args:
        folder: searched recursively.
        crop: images with a smaller side are left out, and named in the notes.
        seed: chooses the held-out images.
        tell: receives the name of each file as it is decoded.
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
            "two are needed, one to train on and one to hold out: use larger images or a smaller --crop"
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
    """Where a crop lies: the image's number, its upper left corner, quarter turns to the left, then a flip."""

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
    folder: Path | None, side: int, count: int = CALIBRATION_IMAGES
) -> list[Tensor]:
    """Crops of one size, [1, 3, side, side], of the images of `folder`, or of the embedded training photographs.

    Raises:
        InputError: as `load_images`.
    """
    crops = Crops(load_images(folder, side, 0, lambda _name: None).train, side, 0)
    return [crops.batch(1) for _ in range(count)]
