"""Images in and out: folders, files, and the photographs that come with scikit-image. No torch."""

import importlib.util
import os
import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from hwkd.errors import InputError, unknown
from hwkd.files import replacing

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")
"""The names of image files end in one of these, in any case."""

EMBEDDED = {
    "train": ("astronaut.png", "coffee.png", "motorcycle_left.png", "motorcycle_right.png"),
    "eval": ("chelsea.png", "rocket.jpg"),
}
"""scikit-image's photographs by what they are used for: nothing is trained on and evaluated on."""

# What Pillow's readers raise on a damaged file, besides OSError.
_DAMAGED = (ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError)

MAX_PIXELS = 178_956_970
"""Pillow's limit on an image's pixels, so that a header cannot ask for any amount of memory."""

Pixels = npt.NDArray[np.uint8]


class BrokenImage(InputError):
    """The file is not an image that can be read whole."""


def find_images(folder: Path) -> tuple[Path, ...]:
    """The image files in `folder` and in all folders below it, sorted by path.

    Raises:
        InputError: the folder is missing, is a file, cannot be read, or holds no image.
    """
    if not folder.exists():
        raise InputError(
            f"no such folder: {folder}; give an existing folder with images ({' '.join(SUFFIXES)})"
        )
    if not folder.is_dir():
        raise InputError(
            f"{folder} is a file, not a folder; give the folder that holds the images: {folder.parent}"
        )
    if not os.access(folder, os.R_OK | os.X_OK):
        raise InputError(f"the folder {folder} may not be read; change its rights or give another")
    found = tuple(
        sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    )
    if not found:
        raise InputError(
            f"no images in {folder} or below; accepted are files ending in {' '.join(SUFFIXES)}"
        )
    return found


def read_rgb(path: Path) -> Pixels:
    """The image of `path` as [H, W, 3], uint8, turned upright as its EXIF orientation says.

    Grey becomes three equal channels. Alpha is dropped, as by Pillow's convert("RGB"). 16-bit samples keep their
    high byte, as Pillow does for 16-bit RGB; its own convert would clip 16-bit grey to white instead.

    Raises:
        BrokenImage: not an image, a damaged or truncated one, over Pillow's size limit, or of float samples.
        InputError: there is no such file, or it may not be read.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns at half the size at which it refuses; large photographs are wanted here.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return _to_rgb(ImageOps.exif_transpose(image), path)
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise InputError(
            f"cannot read {path}: {error.strerror}; give an existing image file"
        ) from error
    except (OSError, *_DAMAGED) as error:
        if isinstance(error, InputError):
            raise
        cause = " ".join(str(error).split()) or type(error).__name__
        raise BrokenImage(
            f"{path} is not a readable image ({cause}); replace it or take it out of the folder"
        ) from error


def _to_rgb(image: Image.Image, path: Path) -> Pixels:
    if image.mode == "F":
        raise BrokenImage(
            f"{path} holds float samples, whose range is not known; store it with 8 or 16 bits"
        )
    if image.mode.startswith("I"):
        samples = np.asarray(image)
        if samples.min() < 0 or samples.max() > 65535:
            raise BrokenImage(
                f"{path} holds integer samples outside 0..65535; store it with 8 or 16 bits"
            )
        grey = (samples.astype(np.uint16) >> 8).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    return np.array(image.convert("RGB"), dtype=np.uint8)


def write_png(path: Path, array: Pixels) -> None:
    """Write `array`, [H, W, 3] or [H, W] uint8, as a PNG, whole or not at all. Raises as hwkd.files.replacing."""
    with replacing(path) as neighbour:
        Image.fromarray(array).save(neighbour, format="PNG")


def embedded_images(split: Literal["train", "eval"]) -> dict[str, Pixels]:
    """The photographs of `split` in EMBEDDED by file name, [H, W, 3] uint8; read as files, no network.

    Raises:
        InputError: another split, or this scikit-image lies without its photographs.
    """
    if split not in EMBEDDED:
        raise unknown("set of embedded images", split, EMBEDDED)
    # find_spec looks without importing: scikit-image's import is slow, and only its files are wanted.
    package = importlib.util.find_spec("skimage")
    if package is None or package.origin is None:
        raise InputError(
            "scikit-image, whose photographs are the embedded images, is not installed; "
            "install it or give your own images with --data DIR"
        )
    folder = Path(package.origin).parent / "data"
    missing = [name for name in EMBEDDED[split] if not (folder / name).is_file()]
    if missing:
        raise InputError(
            f"this scikit-image lies without {', '.join(missing)}; give your own images with --data DIR"
        )
    return {name: read_rgb(folder / name) for name in EMBEDDED[split]}


@dataclass(frozen=True)
class ImageSource:
    """Images to evaluate on, read one at a time as often as they are asked for; named by their path within it.

    folder: None for the embedded evaluation photographs. paths: of the files.
    """

    folder: Path | None
    paths: tuple[Path, ...]

    def __iter__(self) -> Iterator[tuple[str, Pixels]]:
        if self.folder is None:
            yield from embedded_images("eval").items()
            return
        for path in self.paths:
            yield path.relative_to(self.folder).as_posix(), read_rgb(path)

    def __str__(self) -> str:
        if self.folder is None:
            names = EMBEDDED["eval"]
            return f"{len(names)} embedded photographs ({', '.join(names)})"
        return f"{len(self.paths)} images of {self.folder.name}"


def open_images(folder: Path | None) -> ImageSource:
    """The images of `folder` and below, or the embedded evaluation photographs. Raises as `find_images`."""
    return ImageSource(folder, () if folder is None else find_images(folder))
