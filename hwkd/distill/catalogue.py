"""The images to train on, without torch: in folders and in tar shards, found at the start by their headers."""

import io
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from hwkd.errors import InputError
from hwkd.images import (
    MACOS,
    MAX_PIXELS,
    SUFFIXES,
    Pixels,
    find_images,
    opened_image,
    read_image,
    without_metadata,
)
from hwkd.runtime.session import PROC, SYS, free_memory_bytes

# An image that can be read alone: where its bytes lie, in a file or in a shard, and what its header says.


@dataclass(frozen=True, slots=True)
class ImageBytes:
    """An image's bytes: `size` of them in `file`, from `offset` on.

    Attributes:
        name: the image's name in messages.
        width, height: pixels.
    """

    name: str
    file: str
    offset: int
    size: int
    width: int
    height: int

    def pixels(self) -> Pixels:
        """The image as `hwkd.images.read_image` gives it, [H, W, 3] uint8.

        Raises:
            BrokenImage: as `read_image`.
            InputError: the file can no longer be read.
        """
        try:
            with open(self.file, "rb") as file:
                file.seek(self.offset)
                data = file.read(self.size)
        except OSError as error:
            raise InputError(
                f"cannot read {self.file}: {error.strerror}; it could be read when the run began: put it back and go "
                "on with --resume"
            ) from error
        return read_image(io.BytesIO(data), 2 * MAX_PIXELS, self.name).pixels


def header_size(data: IO[bytes]) -> tuple[int, int] | None:
    """(width, height) as the header of an image says, before any turn by EXIF; None where there is no such header.

    Images that `ImageBytes.pixels` would refuse for their number of pixels have none.
    """
    try:
        with opened_image(data) as image:
            width, height = image.size
    except MemoryError:
        raise
    # Damage has no class of its own. Where the metadata alone are damaged, the pixels are read all the same.
    except Exception:
        data.seek(0)
        pixels_only = without_metadata(data.read())
        return None if pixels_only is None else header_size(io.BytesIO(pixels_only))
    return (width, height) if width * height <= 2 * MAX_PIXELS else None


# Whether the decoded images of a folder fit in the free memory: their headers decide, before any image is decoded.

SHARE = 0.8
"""Share of the free memory that images may take: networks, activations and the page cache need the rest."""
GB = 1e9


def check_fits(
    folder: Path, paths: Iterable[Path], crop: int, sys: Path = SYS, proc: Path = PROC
) -> None:
    """Refuse images that would fill the memory.

    Args:
        paths: paths of the images. Images that are too small for `crop`, or have no header, are not kept and not counted.
        sys, proc: as Linux has them; where they do not tell, nothing is refused.
    Raises:
        InputError: decoded they take more than SHARE of the available memory.
    """
    free = free_memory_bytes(sys, proc)
    if free is None:
        return
    needed = 0
    for path in paths:
        try:
            with path.open("rb") as data:
                width, height = header_size(data) or (0, 0)
        except OSError:
            continue  # reported where the image is read
        if min(width, height) >= crop:
            needed += 3 * width * height
    if needed > SHARE * free:
        raise InputError(
            f"the images of {folder} take {needed / GB:.1f} GB decoded, and {free / GB:.1f} GB of memory are free, of "
            f"which images may take {SHARE:.0%}: read them while training, with --stream, or give fewer"
        )


# All images of a folder, or of shards, that crops can be taken from: found at the start, by their headers.

NAMED = 5
"""Largest number of images that a note names; of millions it only gives the count."""


@dataclass(frozen=True)
class Catalogue:
    """Images that can be cropped, in a fixed order.

    Attributes:
        source: where the images lie, in words.
        notes: which images were left out.
    """

    source: str
    entries: tuple[ImageBytes, ...]
    notes: tuple[str, ...]


def read_catalogue(source: Path, crop: int, tell: Callable[[str], None]) -> Catalogue:
    """The images of a folder, of a folder of .tar shards, or of one .tar file.

    Args:
        source: searched recursively.
        crop: images with a smaller side are left out, and counted in the notes.
        tell: receives the name of each image as its header is read.
    Raises:
        InputError: it is missing or empty, a shard is damaged (`shard_images`), or too few images are usable.
    """
    shards = find_shards(source)
    usable: list[ImageBytes] = []
    small: list[str] = []
    unreadable: list[str] = []
    others: list[str] = []
    largest = 0
    for entry in _in_shards(source, shards, others) if shards else _in_folder(source):
        tell(entry.name)
        side = min(entry.width, entry.height)
        largest = max(largest, side)
        if not side:
            unreadable.append(entry.name)
        elif side < crop:
            small.append(f"{entry.name} ({side})")
        else:
            usable.append(entry)
    if len(usable) < 2:
        have = "no image" if not usable else "only one image"
        raise InputError(
            f"{source} holds {have} of at least {crop}x{crop} pixels (largest short side: {largest}); "
            "two are needed, one to train on and one to hold out: use larger images or a smaller --crop"
        )
    notes = _note(f"smaller than the crop ({crop} pixels)", small)
    notes += _note("that cannot be read", unreadable)
    notes += _note(
        "of a key that was taken, or with more dots in the name than the one before its ending, which webdataset takes for "
        "parts of one sample, or for hidden files",
        others,
    )
    how = f"{len(shards)} shard{'s' * (len(shards) != 1)}" if shards else "streamed"
    return Catalogue(f"{source}, {how}", tuple(usable), notes)


def _in_folder(folder: Path) -> Iterator[ImageBytes]:
    """Its images; width and height are 0 where there is no header to read."""
    for path in find_images(folder):
        name = path.relative_to(folder).as_posix()
        try:
            size = path.stat().st_size
            with path.open("rb") as data:
                width, height = header_size(data) or (0, 0)
        except OSError as error:
            raise InputError(
                f"cannot read {path}: {error.strerror}; change its rights or leave it out"
            ) from error
        yield ImageBytes(name, str(path), 0, size, width, height)


def _in_shards(source: Path, shards: tuple[Path, ...], others: list[str]) -> Iterator[ImageBytes]:
    """The images in the shards; width and height are 0 where there is no header to read.

    Args:
        others: receives the names that end like an image's but are none.
    """
    folder = source if source.is_dir() else source.parent
    for shard in shards:
        of, file = shard.relative_to(folder).as_posix(), str(shard)

        def pass_over(name: str, of: str = of) -> None:
            others.append(f"{of}/{name}")

        for name, offset, size, data in shard_images(shard, pass_over):
            width, height = header_size(data) or (0, 0)
            yield ImageBytes(f"{of}/{name}", file, offset, size, width, height)


def _note(what: str, names: list[str]) -> tuple[str, ...]:
    if not names:
        return ()
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    images = "image" if len(names) == 1 else "images"
    return (f"skipped {len(names)} {images} {what}: {', '.join(names[:NAMED])}{more}",)


# Training images in tar files, as webdataset writes them: found in one pass over the headers.

COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst")
END = bytes(2 * tarfile.BLOCKSIZE)
"""Two empty blocks end an archive (POSIX.1, pax); what was being written when its writer died has none."""


def has_shards_only(source: Path) -> bool:
    """Whether `source` is a .tar file, or a folder with some in it or below and no loose images."""
    if source.is_file():
        return source.name.lower().endswith((".tar", *COMPRESSED))
    return any(_is_archive(path) for path in source.rglob("*")) and not _has_images(source)


def find_shards(source: Path) -> tuple[Path, ...]:
    """The .tar files of a folder and of all folders below it, sorted by path; `source` itself where it is one.

    None where there are loose images only, or nothing.

    Raises:
        InputError: there are both, or compressed archives, in which no single image can be reached.
    """
    folder = source if source.is_dir() else source.parent
    found = sorted(
        p for p in ([source] if source.is_file() else source.rglob("*")) if _is_archive(p)
    )
    tars = tuple(path for path in found if path.suffix.lower() == ".tar")
    if found and source.is_dir() and _has_images(source):
        if not tars:
            return ()
        raise InputError(
            f"{source} holds both loose images and shards ({_name(tars[0], folder)}): keep one kind in it, or give the "
            "folder of one kind"
        )
    packed = [path for path in found if path not in tars]
    if packed:
        raise InputError(
            f"{_name(packed[0], folder)} in {folder} is compressed, and images are read from any place of a shard: "
            "unpack it to a plain .tar (gunzip, say); the images in it are compressed already"
        )
    return tars


def shard_images(
    shard: Path, passed_over: Callable[[str], None] = lambda _name: None
) -> Iterator[tuple[str, int, int, IO[bytes]]]:
    """(name, offset, size, data) of each image in a tar file, in its order; `data` reads it from its start.

    An image is a member KEY.SUFFIX, with KEY up to the first dot of its name, as in webdataset; of one key the first is
    taken, since others are masks or smaller versions of it. All other members are passed over.

    Args:
        passed_over: called with the name of each member that ends like an image's but is none by these rules.
    Raises:
        InputError: the file cannot be read, is no tar file, or is cut short or damaged; at the latest at its end.
    """
    try:
        length = shard.stat().st_size
        with shard.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
            taken = ""
            while (member := archive.next()) is not None:
                # Kept for look-ups, and 2 KB each: there may be millions.
                archive.members = []  # type: ignore[attr-defined]  # webdataset's readers do the same
                if not 0 <= member.size <= length - member.offset_data:
                    raise _damaged(
                        shard,
                        f"{member.name} has {member.size} bytes and the file ends before them",
                    )
                key, suffix = _split(member.name)
                if not member.isreg() or suffix not in SUFFIXES or key == taken:
                    path = Path(member.name)
                    if path.suffix.lower() in SUFFIXES and not path.name.startswith(MACOS):
                        passed_over(member.name)
                    continue
                taken = key
                data = archive.extractfile(member)
                assert data is not None  # of a regular member
                yield member.name, member.offset_data, member.size, data
            # tarfile takes whatever is no header for the end.
            file.seek(archive.offset)
            if file.read(len(END)) != END:
                raise _damaged(
                    shard,
                    f"at byte {archive.offset} there is neither a member nor the archive's end",
                )
    except OSError as error:
        raise InputError(
            f"cannot read {shard}: {error.strerror}; give shards that can be read"
        ) from error
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        raise _damaged(shard, str(error)) from error


def _damaged(shard: Path, why: str) -> InputError:
    return InputError(
        f"the shard {shard} is cut short or damaged: {why}; make it again, or take it out of the folder"
    )


def _split(name: str) -> tuple[str, str]:
    """(key, suffix) of a member: "a/000123.seg.png" is ("a/000123", ".seg.png"). No key: hidden files have none."""
    folder, slash, base = name.rpartition("/")
    stem, dot, suffix = base.partition(".")
    return (folder + slash + stem, (dot + suffix).lower()) if stem else ("", "")


def _is_archive(path: Path) -> bool:
    return path.name.lower().endswith((".tar", *COMPRESSED)) and path.is_file()


def _has_images(folder: Path) -> bool:
    return any(path.suffix.lower() in SUFFIXES for path in folder.rglob("*"))


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()
