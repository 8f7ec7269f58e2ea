"""Images in and out: folders, files, pixels, and the photographs that come with scikit-image."""

import hashlib
import importlib.util
import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import IO, TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from hwkd.errors import HwkdError, InputError, unknown
from hwkd.files import replacing
from hwkd.image_metadata import (
    HEAD_BYTES,
    NOT_USABLE,
    DeclaredSpace,
    as_srgb,
    colour_signals,
    turn_of,
    without_metadata,
)
from hwkd.notes import lack, note

if TYPE_CHECKING:
    from PIL import ImageCms

# From an image that Pillow has opened to upright 8-bit RGB, with a note on every loss on the way.

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


# Images in and out: folders, files, and the photographs that come with scikit-image.

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")
"""The names of image files end in one of these, in any case."""

OTHER_SUFFIXES = (
    *(".jfif", ".jpe", ".jp2", ".j2k", ".jxl", ".avif", ".heic", ".heif", ".gif", ".apng"),
    *(".bmp", ".dib", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".ico", ".dng", ".exr", ".psd"),
)
"""Endings of other image files, which are passed over in a folder: some of these cannot be read."""

MACOS = "._"
"""The start of the files that macOS puts beside a file itself, for its metadata, where a file system has no other place."""

_NAMED = 5
"""Number of files that a note names."""

EMBEDDED = {
    "train": ("astronaut.png", "coffee.png", "motorcycle_left.png", "motorcycle_right.png"),
    "eval": ("chelsea.png", "rocket.jpg"),
}
"""scikit-image's photographs by their use: no photograph is used both to train and to evaluate."""

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
    found = find_files(folder, SUFFIXES, OTHER_SUFFIXES)
    if not found:
        raise InputError(
            f"no images in {folder} or below; accepted are files ending in {' '.join(SUFFIXES)}"
        )
    return found


def find_files(
    folder: Path, suffixes: Sequence[str], related: Sequence[str] = ()
) -> tuple[Path, ...]:
    """The files in `folder` and in all folders below it with a name that ends in one of `suffixes`, in any case, sorted by path.

    A note (hwkd.notes) lists files that are passed over although the user may have meant them, with the reason.

    Args:
        related: other endings of files that the user may have meant.
    """
    found: list[Path] = []
    passed_over: dict[str, list[str]] = {}

    def pass_over(path: Path, why: str) -> None:
        name = path.relative_to(folder).as_posix() if path != folder else str(folder)
        passed_over.setdefault(why, []).append(name)

    def unreadable(error: OSError) -> None:
        pass_over(Path(error.filename), f"cannot be read ({error.strerror})")

    for top, folders, files in os.walk(folder, onerror=unreadable):
        for name in folders:
            if (path := Path(top, name)).is_symlink():
                pass_over(path, "is a link to a folder, which is not followed")
        for name in files:
            path = Path(top, name)
            # By the end of the name: pathlib's suffix of ".png" is empty, and that of "a.png " has the blank.
            suffix = os.path.splitext(f"-{name}")[1].strip().lower()
            if suffix in related:
                pass_over(path, f"does not end in one of {' '.join(suffixes)}")
            elif suffix not in suffixes or name.startswith(MACOS):
                continue
            elif path.is_file():
                found.append(path)
            elif path.is_symlink():
                pass_over(path, "is a link that leads nowhere")
            else:
                pass_over(path, "is no regular file")
    for why, names in passed_over.items():
        note(f"{folder}: passed over {_named(names)}: {'each ' * (len(names) > 1)}{why}")
    return tuple(sorted(found))


def _named(names: Sequence[str]) -> str:
    """Some of `names`, and their number."""
    shown = ", ".join(sorted(names)[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"


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
    """The image in a file, or in bytes that can be read, as `hwkd.images.to_rgb` returns it.

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


def embedded_images(split: Literal["train", "eval"]) -> dict[str, Pixels]:
    """The photographs of `split` in EMBEDDED by file name, [H, W, 3] uint8; read as files, without network.

    Raises:
        InputError: the split is unknown, or this scikit-image lacks its photographs.
    """
    if split not in EMBEDDED:
        raise unknown("set of embedded images", split, EMBEDDED)
    # find_spec looks without importing: scikit-image's import is slow, and only its files are needed.
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
    """Images to evaluate on, read one at a time at each use; named by their path within the source.

    Attributes:
        folder: None for the embedded evaluation photographs.
        paths: paths of the files.
    """

    folder: Path | None
    paths: tuple[Path, ...]

    def __iter__(self) -> Iterator[tuple[str, Pixels]]:
        if self.folder is None:
            yield from embedded_images("eval").items()
            return
        for path in self.paths:
            yield path.relative_to(self.folder).as_posix(), read_rgb(path)

    def readable(self) -> "ImageSource":
        """The source without the images that cannot be read. A note (hwkd.notes) names each of them.

        Every image is decoded once, which is little against the later work on it.

        Raises:
            InputError: none can be read.
        """
        kept, error = [], None
        for path in self.paths:
            try:
                read_rgb(path)
                kept.append(path)
            except BrokenImage as caught:
                error = caught
                lack(f"left out: {caught}")
        if error is not None and not kept:
            raise error
        return replace(self, paths=tuple(kept))

    def sha256(self) -> str | None:
        """The sha256 of the files' content, whatever their names; None for the embedded photographs, which have a fixed name.

        Raises:
            InputError: a file cannot be read.
        """
        return None if self.folder is None else content_sha256(self.paths)

    def __str__(self) -> str:
        if self.folder is None:
            names = EMBEDDED["eval"]
            return f"{len(names)} embedded photographs ({', '.join(names)})"
        return f"{len(self.paths)} image{'s' * (len(self.paths) != 1)} of {self.folder.name}"


def content_sha256(paths: Iterable[Path]) -> str:
    """The sha256 of the files' content, whatever their names, order and folders.

    Raises:
        InputError: a file cannot be read.
    """
    digests = []
    for path in paths:
        try:
            digest = hashlib.sha256()
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
            digests.append(digest.digest())
        except OSError as error:
            raise InputError(
                f"cannot read {path}: {error.strerror or error}; leave it out, or change its rights"
            ) from error
    return hashlib.sha256(b"".join(sorted(digests))).hexdigest()


def also_among(paths: Iterable[Path], others: Iterable[Path]) -> tuple[Path, ...]:
    """The files of `paths` that are in `others` too: the same file, or a copy under any name. Unreadable files do not count."""
    held = {path: size for path in paths if (size := _size(path)) is not None}
    sizes = set(held.values())
    # Hardly any file of `others` is read: a copy is as long as its original.
    alike = [path for path in others if _size(path) in sizes]
    digests = {digest for path in alike if (digest := _digest(path)) is not None}
    return tuple(path for path in held if _digest(path) in digests)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _digest(path: Path) -> str | None:
    try:
        return content_sha256([path])
    except InputError:
        return None


def open_images(folder: Path | None) -> ImageSource:
    """The images of `folder` and below, or the embedded evaluation photographs. Raises as `find_images`."""
    return ImageSource(folder, () if folder is None else find_images(folder))


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
