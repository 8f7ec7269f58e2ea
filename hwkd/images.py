"""Images in and out: folders, files, pixels, and the photographs that come with scikit-image."""

import importlib.util
import io
import os
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import IO, Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from hwkd.errors import InputError, unknown
from hwkd.files import replacing

# From an image that Pillow has opened to upright 8-bit RGB, with a word on all that is lost on the way.

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


def pixels_of(image: Image.Image) -> Pixels:
    """The pixels of an image that a program holds, as `to_rgb` gives them; `image` itself stays as it is.

    Raises:
        InputError: alpha that is not all opaque, float samples, a mode that has no RGB; a damaged file behind it.
    """
    try:
        # A copy, which unlike image.copy() is turned as EXIF says that did not come with the file.
        own = ImageOps.exif_transpose(image)
    except OSError as error:
        raise InputError(f"the image cannot be read: {error}; open another file") from error
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


# Images in and out: folders, files, and the photographs that come with scikit-image.

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
    """The image in a file, or in bytes that can be read, as `hwkd.images.to_rgb` gives it.

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


# Pixels out, in the format that a file's name asks for.

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
