"""From an image that Pillow has opened to upright 8-bit RGB, with a note on every loss on the way."""

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from hwkd.errors import InputError
from hwkd.images.metadata import DeclaredSpace, as_srgb, colour_signals, turn_of

if TYPE_CHECKING:
    from PIL import ImageCms

Pixels = npt.NDArray[np.uint8]
_Convert = Callable[[Image.Image], Image.Image]

BAND_PIXELS = 2**20
"""Pixels converted at a time, so that a large image is never held a third time beside Pillow's copy and the result."""

_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0
"""TIFF's tag for the meaning of a sample, and its value for grey from white to black."""

_GREY = ("1", "L", "LA", "La")
_IS_SRGB_WITHIN = 1
_SHOWN = 60
"""Characters shown of a colour profile's name: a file may hold any number."""


class UnusableSamples(ValueError):
    """Samples that do not define the 8-bit value they stand for."""


def to_rgb(image: Image.Image, head: bytes = b"") -> tuple[Pixels, tuple[str, ...]]:
    """The pixels of an open image, and what it loses.

    The image is turned by its EXIF orientation. If a profile, or numbers beside the pixels, give its colours in another space,
    they are converted to sRGB.
    Grey becomes three equal channels. Alpha is dropped, as by Pillow's convert("RGB"). 16-bit samples keep their high byte,
    as Pillow does for 16-bit RGB; its own convert would clip 16-bit grey to white instead.

    Args:
        head: the first bytes of its file, with information on its colours that Pillow does not pass on.
    Returns:
        (pixels, dropped): [H, W, 3] uint8, and what the image holds beyond them, a few words each.
    Raises:
        UnusableSamples: float samples, or integers outside 0..65535.
        OSError, ValueError and others: errors of Pillow on damaged files.
    """
    dropped = []
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        dropped.append(f"only the first of its {frames} frames was taken")
    forms = _stored_forms(image)
    bits = _bits(image, forms)
    if bits > 8:
        dropped.append(f"{bits}-bit samples kept their high byte")
    tags = getattr(image, "tag_v2", {})
    is_white_zero = image.mode.startswith("I") and tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    image.load()
    turn, unread = turn_of(image)
    space, coloured = colour_signals(image, head)
    _check_samples(image)
    image = _full_range(image, bits, is_white_zero=is_white_zero)
    if _has_alpha(image):
        dropped.append("alpha was dropped")
    # Without it Pillow's convert neither warns nor looks for an alpha.
    image.info.pop("transparency", None)
    if turn is not None:
        image = image.transpose(turn)
    if image.mode in _GREY or image.mode.startswith("I"):
        dropped.append("grey became three channels")
    convert, said = _conversion(image) if space is None else _from_space(image, space)
    return _converted(image, convert), (*dropped, *said, *unread, *coloured)


def pixels_of(image: Image.Image) -> Pixels:
    """The pixels of an image that a program holds, as `to_rgb` returns them; `image` itself is not changed.

    Raises:
        InputError: alpha that is not all opaque, float samples, a mode that has no RGB, or a damaged file behind the image.
    """
    try:
        # A copy: unlike image.copy(), it is also turned by EXIF data that did not come with the file.
        own = ImageOps.exif_transpose(image)
    except OSError as error:
        raise InputError(f"the image cannot be read: {error}; open another file") from error
    except MemoryError:
        raise
    except Exception:
        own = image.copy()  # other metadata is damaged; `to_rgb` turns it by what can be read
    if _has_alpha(own):
        raise InputError(
            f"an image of mode {own.mode} has alpha, which is not stored; give image.convert('RGB')"
        )
    try:
        return to_rgb(own)[0]
    except ValueError as error:
        raise InputError(
            f"an image of mode {own.mode} has no 8-bit RGB ({error}); give one of mode RGB or L"
        ) from error


def _stored_forms(image: Image.Image) -> list[str]:
    """The forms from which Pillow will unpack the samples, for example "RGB;16B". Known until the image is loaded."""
    forms = [tile[3] for tile in image.tile] if hasattr(image, "tile") else []
    return [str(form[0] if isinstance(form, tuple) and form else form) for form in forms]


def _bits(image: Image.Image, forms: list[str]) -> int:
    """The bits of a sample, as stored."""
    if "I;12" in forms:
        return 12
    return 16 if image.mode.startswith("I") or any(";16" in form for form in forms) else 8


def _full_range(image: Image.Image, bits: int, *, is_white_zero: bool) -> Image.Image:
    """16-bit grey as 0 (black) to 65535. Pillow leaves 12 bits unscaled, and inverts white for 8 bits only."""
    if not is_white_zero and bits != 12:
        return image
    samples = np.asarray(image).astype(np.uint16) << (16 - bits)
    full = Image.fromarray(65535 - samples if is_white_zero else samples)
    full.info = image.info
    return full


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
    """The conversion of a part of `image` to RGB, and the notes on its colours."""
    icc = image.info.get("icc_profile")
    if image.mode == "LAB":
        from PIL import ImageCms

        # The meaning of the numbers is known, so a profile beside them does not matter.
        transform = ImageCms.buildTransform(
            ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB"
        )
        return _by(transform, _to_mode("LAB")), ("colours were converted from CIE L*a*b* to sRGB",)
    if not icc:
        said = ("CMYK became RGB without a colour profile",) if image.mode == "CMYK" else ()
        return _to_mode("RGB"), said
    try:
        return _to_srgb(image, icc)
    # A profile that is damaged or for other samples, or a Pillow without LittleCMS: each raises something else.
    except MemoryError:
        raise
    except Exception:
        return _to_mode("RGB"), ("its colour profile cannot be used and was dropped",)


def _from_space(image: Image.Image, space: DeclaredSpace) -> tuple[_Convert, tuple[str, ...]]:
    to_rgb = _to_mode("RGB")
    try:
        if image.mode in ("CMYK", "LAB"):
            raise ValueError("numbers of RGB beside other samples")
        space.to_srgb(np.zeros((1, 1, 3), np.uint8))
    except ValueError:
        convert, said = _conversion(image)
        return convert, (*said, as_srgb(space.name))

    def convert_from(part: Image.Image) -> Image.Image:
        return Image.fromarray(space.to_srgb(np.asarray(to_rgb(part))))

    return convert_from, (f"colours {space.name} were converted to sRGB",)


def _to_srgb(image: Image.Image, icc: bytes) -> tuple[_Convert, tuple[str, ...]]:
    from PIL import ImageCms  # few images have a profile

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

    name = "".join(c for c in ImageCms.getProfileDescription(profile) if c.isprintable())
    return _by(transform, to_mode), (
        f"colours were converted from {name[:_SHOWN].strip()} to sRGB",
    )


def _by(transform: "ImageCms.ImageCmsTransform", to_mode: _Convert) -> _Convert:
    from PIL import ImageCms

    def convert(part: Image.Image) -> Image.Image:
        converted = ImageCms.applyTransform(to_mode(part), transform)
        assert converted is not None  # it is None where it works in place
        return converted

    return convert


def _keeps_colours(transform: "ImageCms.ImageCmsTransform", mode: str) -> bool:
    """Whether the profile is sRGB under any name: no colour of a grid changes by more than a rounding."""
    if mode == "L":
        levels = np.arange(256, dtype=np.uint8)[None]
        same = np.repeat(levels[:, :, None], 3, axis=2)
    else:
        levels = np.arange(0, 256, 17, dtype=np.uint8)
        same = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(64, 64, 3)
    from PIL import ImageCms

    changed = ImageCms.applyTransform(Image.fromarray(levels if mode == "L" else same), transform)
    difference = np.asarray(changed).astype(int) - same
    return bool(np.abs(difference).max() <= _IS_SRGB_WITHIN)


def _to_mode(mode: str) -> _Convert:
    """A conversion to `mode`. It copies nothing if nothing changes, and takes the high byte of 16-bit grey."""

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
