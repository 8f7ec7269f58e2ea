"""Images in and out: pixels, files, folders, and the photographs that come with scikit-image."""

from hwkd.images.files import (
    FORMATS,
    MAX_PIXELS,
    BrokenImage,
    check_fits,
    format_of,
    opened_image,
    png_bytes,
    read_image,
    read_rgb,
    write_image,
    write_png,
)
from hwkd.images.folders import (
    MACOS,
    SUFFIXES,
    ImageSource,
    also_among,
    content_sha256,
    embedded_images,
    find_files,
    find_images,
    open_images,
)
from hwkd.images.metadata import without_metadata
from hwkd.images.rgb import Pixels, pixels_of

__all__ = [
    "FORMATS",
    "MACOS",
    "MAX_PIXELS",
    "SUFFIXES",
    "BrokenImage",
    "ImageSource",
    "Pixels",
    "also_among",
    "check_fits",
    "content_sha256",
    "embedded_images",
    "find_files",
    "find_images",
    "format_of",
    "open_images",
    "opened_image",
    "pixels_of",
    "png_bytes",
    "read_image",
    "read_rgb",
    "without_metadata",
    "write_image",
    "write_png",
]
