"""The formats that Pillow writes here, beside which models are measured: which there are, with which settings, by which library."""

import io
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

import numpy as np
import PIL
from PIL import Image, features

from hwkd.errors import InputError
from hwkd.images import Pixels

AVIF, JXL = "avif", "jxl"
ALL_LABELS = {"jpeg": "JPEG", "webp": "WebP", AVIF: "AVIF", JXL: "JPEG XL"}
"""The formats, and their names in tables."""

ALL_MAX_SIDES = {"jpeg": 65500, "webp": 16383, AVIF: 65536, JXL: 2**30}
"""Pixels, by libjpeg, libwebp, libavif and libjxl."""

JXL_MODULE, JXL_PACKAGE = "pillow_jxl", "pillow-jxl-plugin"
"""Pillow's plugin for JPEG XL: what is imported, and what is installed."""

WEBP_METHOD = 6
"""The slowest and smallest."""

AVIF_SPEED = 4
"""Slower and smaller than Pillow's own 6; 0 would take minutes for an image."""

JXL_EFFORT = 7
"""libjxl's own: more effort lowers its own measure of errors, not the bytes at equal PSNR."""

_SMALLEST: Mapping[str, Mapping[str, object]] = {
    "jpeg": {"subsampling": "4:2:0", "optimize": True, "progressive": True},
    "webp": {"lossless": False, "method": WEBP_METHOD},
    AVIF: {"subsampling": "4:2:0", "speed": AVIF_SPEED},
    JXL: {"lossless": False, "effort": JXL_EFFORT},
}
_SMALLEST_IN_WORDS = {
    "jpeg": "4:2:0, progressive, optimized Huffman tables",
    "webp": f"lossy, method {WEBP_METHOD}",
    AVIF: f"4:2:0, speed {AVIF_SPEED}",
    JXL: f"lossy, effort {JXL_EFFORT}",
}


def lacking(codec: str) -> str:
    """Why this Pillow cannot write `codec`, one of ALL_LABELS, and what to install; "" if it can."""
    if codec == "jpeg":
        return ""
    if codec == JXL:
        there = find_spec(JXL_MODULE) is not None
        return "" if there else f'{JXL_PACKAGE} is not installed: pip install "hwkd[jxl]"'
    if features.check(codec):
        return ""
    return f"this Pillow was built without {ALL_LABELS[codec]}; install Pillow 11.3 or newer from its wheel"


def check_codecs(codecs: Iterable[str]) -> None:
    """Refuse a format that this Pillow has not.

    Raises:
        InputError: it lies without WebP or AVIF, or without the plugin for JPEG XL.
    """
    for codec in codecs:
        reason = lacking(codec)
        if reason:
            raise InputError(
                f"{ALL_LABELS[codec]} cannot be coded: {reason}" if codec == JXL else reason
            )


def check_side(codec: str, name: str, image: Pixels) -> None:
    """Refuse an image, [H, W, 3], that the format cannot hold, by its `name`. Raises InputError."""
    height, width = image.shape[:2]
    if max(width, height) > ALL_MAX_SIDES[codec]:
        raise InputError(
            f"{name} is {width}x{height}, too large for {ALL_LABELS[codec]}: a side may have {ALL_MAX_SIDES[codec]} pixels; cut "
            "it, or leave it out"
        )


def encode_any(codec: str, image: Pixels, quality: int) -> bytes:
    """The smallest file of `image`, [H, W, 3] uint8, that the format gives in seconds at Pillow's `quality`.

    Args:
        codec: one of ALL_LABELS that is here (`lacking`).
    """
    return _saved(codec, _SMALLEST[codec], image, quality)


def decode(data: bytes) -> Pixels:
    """The image, [H, W, 3] uint8, in the bytes of a file."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def jpeg_library() -> str:
    """The library that writes JPEG here, with its version: Pillow may be built with mozjpeg or libjpeg-turbo."""
    for name, label in (("mozjpeg", "mozjpeg"), ("libjpeg_turbo", "libjpeg-turbo")):
        # A Pillow before 12 does not know of mozjpeg.
        if name in features.features and features.check_feature(name):
            return f"{label} {features.version_feature(name) or 'of unknown version'}"
    return f"libjpeg {features.version('jpg') or 'of unknown version'}"


def library(codec: str) -> str:
    """The library that codes one of ALL_LABELS here, with its version."""
    if codec == "jpeg":
        return jpeg_library()
    if codec == JXL:
        return f"libjxl in {JXL_PACKAGE} {_jxl_version()}"
    return f"lib{codec} {features.version(codec) or 'of unknown version'}"


def made(codecs: Iterable[str]) -> str:
    """The libraries that code `codecs` here, with versions and settings, in words."""
    parts = [
        f"{ALL_LABELS[codec]} by {library(codec)}, {_SMALLEST_IN_WORDS[codec]}" for codec in codecs
    ]
    return f"Pillow {PIL.__version__}: {'; '.join(parts)}"


def smallest_in_words(codec: str) -> str:
    """The library and the settings of `encode_any`."""
    return f"{library(codec)}, {_SMALLEST_IN_WORDS[codec]}"


# The same formats as a user of Pillow gets them, for what is timed.

SETTINGS: dict[str, dict[str, object]] = {
    "jpeg": {"subsampling": "4:2:0", "optimize": False, "progressive": False},
    "webp": {"method": 4, "lossless": False},
    AVIF: {"subsampling": "4:2:0", "speed": 6},
    JXL: {"lossless": False, "effort": 7},
}
"""Pillow's own defaults, written here so that they hold for every version."""

SETTINGS_TEXT = "JPEG with 4:2:0 and its standard Huffman tables, WebP lossy with method 4"
PILLOW_SETTINGS_TEXT = f"{SETTINGS_TEXT}, AVIF with 4:2:0 and speed 6"
BENCH_SETTINGS_TEXT = f"{PILLOW_SETTINGS_TEXT}, JPEG XL lossy with effort 7"
"""SETTINGS in words, for the line below a table."""

THREADED = (AVIF, JXL)
"""The formats that can use several threads."""


def writer(codec: str, threads: int) -> Callable[[Pixels, int], bytes]:
    """A function that returns an image's bytes at a quality, with SETTINGS.

    Args:
        threads: number of threads for those of THREADED; the others use one.
    Raises:
        InputError: as `check_codecs`.
    """
    check_codecs((codec,))
    own: dict[str, object] = {}
    if codec == AVIF:
        own = {"max_threads": threads}
    if codec == JXL:
        # For libjxl 0 is the caller's own thread; any other number comes beside it.
        own = {"num_threads": _jxl_threads(threads)}
    return partial(_saved, codec, {**SETTINGS[codec], **own})


def reader(codec: str, threads: int) -> Callable[[bytes], Pixels]:
    """`decode` with `threads` threads; only JPEG XL's decoder is told how many."""
    if codec != JXL:
        return decode
    plugin = _jxl_plugin()

    def read(data: bytes) -> Pixels:
        before, plugin.DECODE_THREADS = plugin.DECODE_THREADS, _jxl_threads(threads)
        try:
            return decode(data)
        finally:
            plugin.DECODE_THREADS = before

    return read


def _saved(codec: str, settings: Mapping[str, object], image: Pixels, quality: int) -> bytes:
    if codec == JXL:
        _jxl_plugin()
    sink = io.BytesIO()
    Image.fromarray(image).save(sink, format=codec.upper(), quality=quality, **settings)
    return sink.getvalue()


def _jxl_threads(threads: int) -> int:
    return 0 if threads == 1 else threads


def _jxl_plugin() -> Any:
    """Pillow's plugin, which registers itself when it is imported."""
    return import_module(f"{JXL_MODULE}.JpegXLImagePlugin")


def _jxl_version() -> str:
    try:
        return version(JXL_PACKAGE)
    except PackageNotFoundError:
        return "of unknown version"
