"""From an image that Pillow has opened to upright 8-bit RGB, with a word on all that is lost on the way."""

import io
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, ImageOps

Pixels = npt.NDArray[np.uint8]
_Convert = Callable[[Image.Image], Image.Image]

BAND_PIXELS = 2**20
"""Converted at a time, so that a large image is never held a third time beside Pillow's copy and the result."""

_GREY = ("1", "L", "LA", "La")
_IS_SRGB_WITHIN = 1
_SHOWN = 60
"""Characters of a colour profile's name: a file may hold any number."""


class UnusableSamples(ValueError):
    """Samples that do not say what 8-bit value they stand for."""


def to_rgb(image: Image.Image) -> tuple[Pixels, tuple[str, ...]]:
    """(pixels, dropped) of an open image: [H, W, 3] uint8, and what it holds beyond them, a few words each.

    It is turned as its EXIF orientation says, and its colours are brought to sRGB where a profile gives them in another
    space. Grey becomes three equal channels. Alpha is dropped, as by Pillow's convert("RGB"). 16-bit samples keep their
    high byte, as Pillow does for 16-bit RGB; its own convert would clip 16-bit grey to white instead.

    Raises:
        UnusableSamples: float samples, or integers outside 0..65535.
        OSError, ValueError and others: what Pillow raises on damaged files.
    """
    dropped = []
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        dropped.append(f"only the first of its {frames} frames was taken")
    has_16_bits = image.mode.startswith("I") or any(";16" in form for form in _stored_forms(image))
    if has_16_bits:
        dropped.append("16-bit samples kept their high byte")
    image.load()
    _check_samples(image)
    if _has_alpha(image):
        dropped.append("alpha was dropped")
    # Without it Pillow's convert neither warns nor looks for an alpha.
    image.info.pop("transparency", None)
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode in _GREY or image.mode.startswith("I"):
        dropped.append("grey became three channels")
    convert, said = _conversion(image)
    return _converted(image, convert), (*dropped, *said)


def _stored_forms(image: Image.Image) -> list[str]:
    """How Pillow is going to unpack the samples: "RGB;16B" say. Known until the image is loaded."""
    forms = [tile[3] for tile in image.tile] if hasattr(image, "tile") else []
    return [str(form[0] if isinstance(form, tuple) and form else form) for form in forms]


def _check_samples(image: Image.Image) -> None:
    if image.mode == "F":
        raise UnusableSamples("float samples, whose range is not known; store it with 8 or 16 bits")
    if image.mode == "I":
        low, high = image.getextrema()
        if low < 0 or high > 65535:  # type: ignore[operator]  # a pair of numbers in this mode
            raise UnusableSamples("integer samples outside 0..65535; store it with 8 or 16 bits")


def _has_alpha(image: Image.Image) -> bool:
    """Whether some pixel is not opaque."""
    if "transparency" in image.info:
        return True
    bands = image.getbands()
    if bands[-1] not in ("A", "a"):
        return False
    low, _ = image.getchannel(len(bands) - 1).getextrema()
    return low < 255  # type: ignore[operator]  # of one band of bytes


def _conversion(image: Image.Image) -> tuple[_Convert, tuple[str, ...]]:
    """How a part of `image` becomes RGB, and what is to be said about its colours."""
    icc = image.info.get("icc_profile")
    if not icc:
        said = ("CMYK became RGB without a colour profile",) if image.mode == "CMYK" else ()
        return _to_mode("RGB"), said
    try:
        return _to_srgb(image, icc)
    # A profile that is damaged or for other samples, or a Pillow without LittleCMS: each raises something else.
    except (ImageCms.PyCMSError, ImportError, OSError, ValueError, TypeError):
        return _to_mode("RGB"), ("its colour profile cannot be used and was dropped",)


def _to_srgb(image: Image.Image, icc: bytes) -> tuple[_Convert, tuple[str, ...]]:
    profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    space = profile.profile.xcolor_space.strip()
    is_grey = image.mode in _GREY or image.mode.startswith("I")
    if space == "CMYK" and image.mode == "CMYK":
        mode = "CMYK"
    elif space == "GRAY" and is_grey:
        mode = "L"
    elif space == "RGB" and image.mode != "CMYK":
        mode = "RGB"
    else:
        raise ValueError(f"a profile for {space} on samples of {image.mode}")
    transform = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB")
    to_mode = _to_mode(mode)
    if mode != "CMYK" and _keeps_colours(transform, mode):
        return _to_mode("RGB"), ()

    def convert(part: Image.Image) -> Image.Image:
        converted = ImageCms.applyTransform(to_mode(part), transform)
        assert converted is not None  # it is None where it works in place
        return converted

    name = "".join(c for c in ImageCms.getProfileDescription(profile) if c.isprintable())
    return convert, (f"colours were converted from {name[:_SHOWN].strip()} to sRGB",)


def _keeps_colours(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether the profile is sRGB, whatever it is called: no colour of a grid changes by more than a rounding."""
    if mode == "L":
        levels = np.arange(256, dtype=np.uint8)[None]
        same = np.repeat(levels[:, :, None], 3, axis=2)
    else:
        levels = np.arange(0, 256, 17, dtype=np.uint8)
        same = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(64, 64, 3)
    changed = ImageCms.applyTransform(Image.fromarray(levels if mode == "L" else same), transform)
    difference = np.asarray(changed).astype(int) - same
    return bool(np.abs(difference).max() <= _IS_SRGB_WITHIN)


def _to_mode(mode: str) -> _Convert:
    """A conversion to `mode` that copies nothing where nothing changes, and takes the high byte of 16-bit grey."""

    def convert(part: Image.Image) -> Image.Image:
        if part.mode.startswith("I"):
            part = Image.fromarray((np.asarray(part).astype(np.uint16) >> 8).astype(np.uint8))
        return part if part.mode == mode else part.convert(mode)

    return convert


def _converted(image: Image.Image, convert: _Convert) -> Pixels:
    width, height = image.size
    pixels = np.empty((height, width, 3), np.uint8)
    rows = max(BAND_PIXELS // width, 1)
    for top in range(0, height, rows):
        band = image.crop((0, top, width, min(top + rows, height)))
        pixels[top : top + rows] = np.asarray(convert(band))
    return pixels
