"""One image: read from a file, or written in the format that the file's name selects."""

import io
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import IO, Any

from PIL import Image, UnidentifiedImageError

from hwkd.errors import HwkdError, InputError
from hwkd.files import replacing
from hwkd.images.metadata import HEAD_BYTES, NOT_USABLE, without_metadata
from hwkd.images.rgb import Pixels, UnusableSamples, to_rgb

_FORMATS = (
    *("PNG", "JPEG", "WEBP", "TIFF", "BMP", "PPM", "GIF", "MPO", "AVIF", "JPEG2000", "DIB", "ICO"),
    *("PCX", "PSD", "QOI", "SGI", "TGA", "HEIF"),
)
"""Pillow's names of the kinds that are read; the last only if a plugin for it is registered."""

MAX_PIXELS = 178_956_970
"""Pillow's limit on an image's pixels, so that a header cannot demand any amount of memory."""


_LIMIT_LOCK = Lock()


class BrokenImage(InputError):
    """The file is not an image that can be read whole."""


@dataclass(frozen=True, eq=False)
class ReadImage:
    """An image as it is coded.

    Attributes:
        pixels: [H, W, 3] uint8, upright, sRGB.
        dropped: what was lost on the way, in words.
    """

    pixels: Pixels
    dropped: tuple[str, ...]


def read_image(
    source: Path | IO[bytes], max_pixels: int = MAX_PIXELS, name: str | None = None
) -> ReadImage:
    """The image in a file, or in bytes that can be read, as `to_rgb` returns it.

    Args:
        max_pixels: images with more pixels are refused before memory is taken for them.
        name: the source's name in messages; by default the path.
    Raises:
        BrokenImage: not an image, damaged, truncated, over `max_pixels`, or with float samples.
        InputError: there is no such file, or reading it is not allowed.
    """
    name = name or str(source)
    try:
        opened = source.open("rb") if isinstance(source, Path) else nullcontext(source)
        with opened as file:
            return _read(file, max_pixels, name)
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise InputError(
            f"cannot read {name}: {error.strerror}; give an existing image file"
        ) from error
    except UnusableSamples as error:
        raise BrokenImage(f"{name} holds {error}") from error
    except (HwkdError, MemoryError):
        raise
    # Damage has no class of its own: Pillow's readers may raise anything.
    except Exception as error:
        cause = " ".join(str(error).split()) or type(error).__name__
        raise BrokenImage(
            f"{name} is not a readable image ({cause}); replace it or leave it out"
        ) from error


def _read(file: IO[bytes], max_pixels: int, name: str) -> ReadImage:
    data = file if file.seekable() else io.BytesIO(file.read())

    def read(data: IO[bytes]) -> ReadImage:
        head = data.read(HEAD_BYTES)
        data.seek(0)
        with opened_image(data) as image:
            _check_size(image, max_pixels, name)
            return ReadImage(*to_rgb(image, head))

    try:
        return read(data)
    except (HwkdError, MemoryError, UnusableSamples):
        raise
    except Exception:
        # If the pixels alone can be read, it was the metadata that is damaged or too large.
        data.seek(0)
        pixels_only = without_metadata(data.read())
        if pixels_only is None:
            raise
        try:
            found = read(io.BytesIO(pixels_only))
        except Exception:
            found = None
        if found is None:
            raise
        return replace(found, dropped=(*found.dropped, NOT_USABLE))


def read_rgb(path: Path) -> Pixels:
    """The pixels of `read_image`, up to the size at which Pillow refuses: twice the size at which it warns."""
    return read_image(path, 2 * MAX_PIXELS).pixels


def opened_image(data: IO[bytes]) -> Image.Image:
    """The image in `data`. Only the header is read, and Pillow's limit on its size does not apply."""
    if not data.read(1):
        raise EOFError("it is empty")
    data.seek(0)
    # Pillow has one limit for the process and looks at it here. Other threads of ours wait until it is back.
    with _LIMIT_LOCK:
        limit = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            # Some of Pillow's readers start programs: Ghostscript for a file that claims to be PostScript, whatever its name.
            try:
                Image.preinit()  # the common kinds; without it there are none yet
                return Image.open(data, formats=[form for form in _FORMATS if form in Image.OPEN])
            except UnidentifiedImageError:
                Image.init()  # the kinds that Pillow does not load at first
                data.seek(0)
                return Image.open(data, formats=[form for form in _FORMATS if form in Image.OPEN])
        except UnidentifiedImageError as error:
            # Pillow's own text names the object that was read from.
            raise ValueError("of no kind that is read here") from error
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


# Pixels out, in the format that a file's name selects.

JPEG_QUALITY = 95


@dataclass(frozen=True)
class Format:
    """The way in which Pillow writes a format.

    Attributes:
        most_px: the longest side that the format holds; None if it holds any that occurs.
    """

    name: str
    most_px: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


_JPEG = Format("JPEG", 65_535, {"quality": JPEG_QUALITY})
_TIFF = Format("TIFF")
FORMATS = {
    ".png": Format("PNG"),
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".webp": Format("WEBP", 16_383, {"lossless": True}),
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".bmp": Format("BMP"),
    ".ppm": Format("PPM"),
}
"""By the ending of the file's name, in small letters. All but JPEG keep every sample."""


def format_of(path: Path) -> Format:
    """The format that the name of `path` selects.

    Raises:
        InputError: the ending is not in FORMATS, or this Pillow cannot write the format.
    """
    found = FORMATS.get(path.suffix.lower())
    if found is None:
        raise InputError(
            f"{path} does not end in the name of an image format; accepted are {' '.join(FORMATS)}"
        )
    Image.init()
    if found.name not in Image.SAVE:
        raise InputError(f"this Pillow cannot write {found.name}, for {path}; write a .png")
    return found


def check_fits(path: Path, width: int, height: int) -> None:
    """Refuse an image with sides longer than the format of `path` holds. Raises InputError, also as `format_of`."""
    form = format_of(path)
    if form.most_px is not None and max(width, height) > form.most_px:
        raise InputError(
            f"{path}: the image has {width}x{height} pixels, and {form.name} holds {form.most_px} a side; write a .png"
        )


def write_image(path: Path, pixels: Pixels) -> None:
    """Write `pixels`, [H, W, 3] uint8, in the format of `path`, whole or not at all.

    Raises:
        InputError: as `check_fits`, and as hwkd.files.replacing.
        HwkdError: as hwkd.files.replacing.
    """
    check_fits(path, pixels.shape[1], pixels.shape[0])
    form = format_of(path)
    with replacing(path) as neighbour:
        Image.fromarray(pixels).save(neighbour, format=form.name, **form.options)


def png_bytes(pixels: Pixels) -> bytes:
    """`pixels`, [H, W, 3] uint8, as a PNG."""
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, format="PNG")
    return sink.getvalue()
