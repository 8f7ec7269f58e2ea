"""Images in and out: folders, files, and the photographs that come with scikit-image."""

import importlib.util
import io
import os
import struct
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import IO, Literal

from PIL import Image, UnidentifiedImageError

from hwkd.errors import InputError, unknown
from hwkd.files import replacing
from hwkd.image_pixels import Pixels as Pixels
from hwkd.image_pixels import UnusableSamples, to_rgb

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


_LIMIT_LOCK = Lock()


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


@dataclass(frozen=True, eq=False)
class ReadImage:
    """An image as it is coded. pixels: [H, W, 3] uint8, upright, sRGB. dropped: what was lost on the way, in words."""

    pixels: Pixels
    dropped: tuple[str, ...]


def read_image(
    source: Path | IO[bytes], max_pixels: int = MAX_PIXELS, name: str | None = None
) -> ReadImage:
    """The image in a file, or in bytes that can be read, as `hwkd.image_pixels.to_rgb` gives it.

    Args:
        max_pixels: images of more are refused before memory is taken for them.
        name: what messages call the source; the path unless given.
    Raises:
        BrokenImage: not an image, a damaged or truncated one, over `max_pixels`, or of float samples.
        InputError: there is no such file, or it may not be read.
    """
    name = name or str(source)
    try:
        opened = source.open("rb") if isinstance(source, Path) else nullcontext(source)
        with opened as file, _opened(file) as image:
            _check_size(image, max_pixels, name)
            return ReadImage(*to_rgb(image))
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise InputError(
            f"cannot read {name}: {error.strerror}; give an existing image file"
        ) from error
    except UnusableSamples as error:
        raise BrokenImage(f"{name} holds {error}") from error
    except (OSError, *_DAMAGED) as error:
        cause = " ".join(str(error).split()) or type(error).__name__
        raise BrokenImage(
            f"{name} is not a readable image ({cause}); replace it or leave it out"
        ) from error


def read_rgb(path: Path) -> Pixels:
    """The pixels of `read_image`; up to the size at which Pillow refuses, twice that at which it warns."""
    return read_image(path, 2 * MAX_PIXELS).pixels


def _opened(file: IO[bytes]) -> Image.Image:
    """The image in `file`, of which only the header is read; Pillow's limit on its size is not asked."""
    data = file if file.seekable() else io.BytesIO(file.read())
    if not data.read(1):
        raise EOFError("it is empty")
    data.seek(0)
    # Pillow has one limit for the process and looks at it here. Other threads of ours wait until it is back.
    with _LIMIT_LOCK:
        limit = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            return Image.open(data)
        except UnidentifiedImageError as error:
            # Pillow's own text names the object that was read from.
            raise ValueError("of no kind that Pillow knows") from error
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _check_size(image: Image.Image, max_pixels: int, name: str) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise BrokenImage(
            f"{name} is an image of {width}x{height}, {width * height} pixels, and {max_pixels} are accepted; make it "
            f"smaller, or encode it with --max-pixels {width * height}"
        )


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
        return f"{len(self.paths)} image{'s' * (len(self.paths) != 1)} of {self.folder.name}"


def open_images(folder: Path | None) -> ImageSource:
    """The images of `folder` and below, or the embedded evaluation photographs. Raises as `find_images`."""
    return ImageSource(folder, () if folder is None else find_images(folder))
