"""Pixels out, in the format that a file's name asks for."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from hwkd.errors import InputError
from hwkd.files import replacing
from hwkd.image_pixels import Pixels

JPEG_QUALITY = 95


@dataclass(frozen=True)
class Format:
    """How Pillow writes a format. most_px: the longest side that it holds; None where it holds any that occurs."""

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
    """The format that the name of `path` asks for.

    Raises:
        InputError: an ending that is none of FORMATS, or one that this Pillow cannot write.
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
    """Refuse an image whose sides are longer than the format of `path` holds. Raises InputError, as `format_of` too."""
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
