"""The bundle (.hwkd): a zip of four stored entries that holds a model's graphs and tables, each with its hash.

    manifest.json      what the model is, which part is for what, the sha256 of each part (hwkd/runtime/manifest.py)
    manifest.sha256    the sha256 of manifest.json, 64 hex digits
    parts.index        name and size of each part that the manifest lists, and of no others
    parts.xz           the parts, compressed together (hwkd/runtime/part_stream.py)

The manifest is not compressed, so that a model's id is found without unpacking. Order and times of the entries are fixed,
so equal content makes an equal file; the id does not depend on how the parts are compressed. The hashes find damage, not
forgery: whoever changes a bundle on purpose can hash it again, and it is then another bundle with another id.
"""

import hashlib
import io
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from hwkd.errors import InputError
from hwkd.files import replacing
from hwkd.runtime.array_part import Array, unpack_arrays
from hwkd.runtime.manifest import (
    GUARD,
    MANIFEST,
    Manifest,
    manifest_from_json,
    manifest_to_json,
)
from hwkd.runtime.part_stream import (
    INDEX,
    STREAM,
    pack_index,
    pack_stream,
    unpack_index,
    unpack_stream,
)
from hwkd.runtime.stored_zip import DAMAGED, stored_entries, write_zip

BUNDLE_SUFFIX = ".hwkd"

MAX_MANIFEST_BYTES = 4 * 2**20
"""Of manifest.json, and of parts.index."""

MAX_PART_BYTES = 64 * 2**20
MAX_BYTES = 128 * 2**20
"""Of all parts, unpacked: what a small file of a stranger can make a reader take. The largest of CompressAI's
hyperpriors (N=192, M=320) has 10 MB of weights in 8 bits, in each of two forms."""

_MAX_FRAME_BYTES = 16 * 2**20
"""Of a file, beside the parts: manifest, index, the zip's own, and what xz adds to what cannot be compressed."""

# Of the first entry; a zip without entries begins otherwise, and is no bundle either.
_ZIP_START = b"PK\x03\x04"
_AGAIN = "copy it again, or export it again"
_GIVE = "give a bundle, a .hwkd file that `hwkd export` wrote"


def is_bundle(text: str) -> bool:
    """Whether `text` is meant as a bundle's file."""
    return text.endswith(BUNDLE_SUFFIX)


@dataclass(frozen=True)
class Bundle:
    """A bundle in memory, every hash checked.

    parts: the content of each part that the manifest lists. sha256: of the bytes of manifest.json, in hex: as they were read,
    for a later hwkd may write the same manifest otherwise.
    """

    manifest: Manifest
    parts: Mapping[str, bytes]
    sha256: str

    @property
    def id(self) -> bytes:
        """The first 8 bytes of `sha256`, by which streams name their model."""
        return bytes.fromhex(self.sha256)[:8]

    @property
    def id_hex(self) -> str:
        """`id` in 16 hex digits."""
        return self.id.hex()


def read_bundle(path: Path) -> Bundle:
    """The bundle at `path`, everything in it checked.

    Raises:
        InputError: no such file, no bundle, one of another format, damaged, cut short, too large, with a part missing
            or one too many, or with a manifest that does not fit.
    """
    # Not asked of the path itself, whose methods raise where a folder may not be searched; opening explains that.
    if os.path.exists(path) and not os.path.isfile(path):
        raise InputError(f"{path} is a folder or a device; {_GIVE}")
    try:
        with path.open("rb") as file:
            return _read(file)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}; {_GIVE}") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def write_bundle(path: Path, manifest: Manifest, parts: Mapping[str, bytes]) -> Bundle:
    """Write `parts` with `manifest`, its own `parts` filled in, to `path`, whole or not at all.

    Raises:
        InputError: a part that the manifest names and that is not given, a name that is none for a part, or too large.
        HwkdError, InputError: as `hwkd.files.replacing`.
    """
    parts = {name: parts[name] for name in sorted(parts)}
    manifest = replace(manifest, parts={name: _sha256(part) for name, part in parts.items()})
    content = manifest_to_json(manifest)
    bundle = Bundle(manifest_from_json(content), parts, _sha256(content))
    _check_size(MANIFEST, len(content), MAX_MANIFEST_BYTES)
    _check_parts({name: len(part) for name, part in parts.items()})
    entries = {
        MANIFEST: content,
        GUARD: _sha256(content).encode(),
        INDEX: pack_index(parts),
        STREAM: pack_stream(parts),
    }
    with replacing(path) as neighbour, neighbour.open("wb") as file:
        write_zip(file, entries)
    return bundle


def arrays(bundle: Bundle, part: str) -> dict[str, Array]:
    """The arrays by name in `part` of `bundle`. Raises InputError as hwkd.runtime.array_part.unpack_arrays."""
    try:
        return unpack_arrays(bundle.parts[part])
    except InputError as error:
        raise InputError(f"the part {part} holds {error}; export the bundle again") from error


def bundle_id(manifest: bytes) -> bytes:
    """The id of the bundle with these bytes of manifest.json: 8 bytes."""
    return hashlib.sha256(manifest).digest()[:8]


def _read(file: IO[bytes]) -> Bundle:
    start = file.read(len(_ZIP_START))
    if start != _ZIP_START:
        begins = f"starts with {start!r}" if start else "is empty"
        raise InputError(f"not a bundle: it {begins}; {_GIVE}")
    file_bytes = file.seek(0, io.SEEK_END)
    if file_bytes > MAX_BYTES + _MAX_FRAME_BYTES:
        raise InputError(
            f"too large for a bundle: it has {file_bytes} bytes, and its parts may have {MAX_BYTES}; {_GIVE}"
        )
    try:
        with zipfile.ZipFile(file) as held:
            if MANIFEST not in held.namelist():
                raise InputError(f"a zip, but not a bundle: it holds no {MANIFEST}; {_GIVE}")
            entries = _Entries(held, stored_entries(held, file_bytes))
            content = entries.take(MANIFEST, MAX_MANIFEST_BYTES)
            if _sha256(content).encode() != entries.take(GUARD, MAX_MANIFEST_BYTES):
                raise _damaged(f"{MANIFEST} is not what {GUARD} says")
            manifest = manifest_from_json(content)
            sizes = unpack_index(entries.take(INDEX, MAX_MANIFEST_BYTES))
            _check_listed(set(sizes), set(manifest.parts))
            _check_parts(sizes)
            stream = entries.take(STREAM, file_bytes)
            entries.check_all_taken()
            parts = {}
            for name, part in unpack_stream(stream, sizes):
                if _sha256(part) != manifest.parts[name]:
                    raise _damaged(f"the part {name} is not what {MANIFEST} says")
                parts[name] = part
    except DAMAGED as error:
        raise _damaged(str(error) or type(error).__name__) from error
    return Bundle(manifest, parts, _sha256(content))


class _Entries:
    """The entries of a zip, each taken once."""

    def __init__(self, held: zipfile.ZipFile, left: dict[str, zipfile.ZipInfo]) -> None:
        self._held, self._left = held, left

    def take(self, name: str, most_bytes: int) -> bytes:
        if name not in self._left:
            raise _damaged(f"{name} is missing")
        _check_size(name, self._left[name].file_size, most_bytes)
        return self._held.read(self._left.pop(name))

    def check_all_taken(self) -> None:
        if self._left:
            raise _damaged(f"it holds {min(self._left)!r}, which is no entry of a bundle")


def _check_parts(sizes: Mapping[str, int]) -> None:
    for name, size in sizes.items():
        _check_size(name, size, MAX_PART_BYTES)
    if sum(sizes.values()) > MAX_BYTES:
        raise InputError(
            f"the parts have {sum(sizes.values())} bytes, and {MAX_BYTES} are accepted; export a smaller model"
        )


def _check_size(name: str, size: int, limit: int) -> None:
    if size > limit:
        raise InputError(
            f"{name!r} has {size} bytes, and {limit} are accepted; export a smaller model"
        )


def _check_listed(held: set[str], listed: set[str]) -> None:
    for names, what in (
        (listed - held, f"is listed in {MANIFEST} and missing"),
        (held - listed, f"is not listed in {MANIFEST}"),
    ):
        if names:
            raise _damaged(f"the part {min(names)!r} {what}")


def _damaged(cause: str) -> InputError:
    return InputError(f"damaged or cut short: {' '.join(cause.split())}; {_AGAIN}")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
