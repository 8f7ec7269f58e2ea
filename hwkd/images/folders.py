"""Many images: of a folder and all below it, and the photographs that come with scikit-image."""

import hashlib
import importlib.util
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from hwkd.errors import InputError, unknown
from hwkd.images.files import BrokenImage, read_rgb
from hwkd.images.rgb import Pixels
from hwkd.notes import lack, note

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
