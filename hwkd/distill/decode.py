"""Training images in tar files, as webdataset writes them: found in one pass over the headers."""

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from hwkd.errors import InputError
from hwkd.images import SUFFIXES

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


def shard_images(shard: Path) -> Iterator[tuple[str, int, int, IO[bytes]]]:
    """(name, offset, size, data) of each image in a tar file, in its order; `data` reads it from its start.

    An image is a member KEY.SUFFIX, with KEY up to the first dot of its name, as in webdataset; of one key the first is
    taken, since others are masks or smaller versions of it. All other members are passed over.

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
