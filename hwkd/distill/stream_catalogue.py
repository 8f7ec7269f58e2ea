"""All images of a folder, or of shards, that crops can be taken from: found at the start, by their headers."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hwkd.distill.decode import find_shards, shard_images
from hwkd.distill.stream_entries import Entry, header_size
from hwkd.errors import InputError
from hwkd.images import find_images

NAMED = 5
"""Images that a note names; of millions it tells the number."""


@dataclass(frozen=True)
class Catalogue:
    """Images that can be cropped, in a fixed order. source: where they lie, in words. notes: what was left out."""

    source: str
    entries: tuple[Entry, ...]
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
    usable: list[Entry] = []
    small: list[str] = []
    unreadable: list[str] = []
    largest = 0
    for entry in _in_shards(source, shards) if shards else _in_folder(source):
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
    how = f"{len(shards)} shard{'s' * (len(shards) != 1)}" if shards else "streamed"
    return Catalogue(f"{source}, {how}", tuple(usable), notes)


def _in_folder(folder: Path) -> Iterator[Entry]:
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
        yield Entry(name, str(path), 0, size, width, height)


def _in_shards(source: Path, shards: tuple[Path, ...]) -> Iterator[Entry]:
    """Their images; width and height are 0 where there is no header to read."""
    folder = source if source.is_dir() else source.parent
    for shard in shards:
        of, file = shard.relative_to(folder).as_posix(), str(shard)
        for name, offset, size, data in shard_images(shard):
            width, height = header_size(data) or (0, 0)
            yield Entry(f"{of}/{name}", file, offset, size, width, height)


def _note(what: str, names: list[str]) -> tuple[str, ...]:
    if not names:
        return ()
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    images = "image" if len(names) == 1 else "images"
    return (f"skipped {len(names)} {images} {what}: {', '.join(names[:NAMED])}{more}",)
