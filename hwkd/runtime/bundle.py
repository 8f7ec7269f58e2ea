"""The bundle (.hwkd): a zip of stored entries that holds a model's graphs and tables, each with its hash.

    manifest.json      what the model is, which part is for what, the sha256 of each part (hwkd/runtime/manifest.py)
    manifest.sha256    the sha256 of manifest.json, 64 hex digits
    the parts          those that the manifest lists, and no others

Order and times of the entries are fixed, so equal content makes an equal file. The hashes find damage, not forgery:
whoever changes a bundle on purpose can hash it again, and it is then another bundle with another id.
"""

import hashlib
import io
import os
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from hwkd.errors import InputError
from hwkd.files import replacing
from hwkd.runtime.array_part import Array, unpack_arrays
from hwkd.runtime.manifest import GUARD, MANIFEST, Manifest, manifest_from_json, manifest_to_json
from hwkd.runtime.stored_zip import write_zip

BUNDLE_SUFFIX = ".hwkd"

MAX_MANIFEST_BYTES = 4 * 2**20
MAX_PART_BYTES = 256 * 2**20
MAX_BYTES = 512 * 2**20

_MAX_FRAME_BYTES = 2**20  # of the zip itself: headers and directory
# Of the first entry; a zip without entries begins otherwise, and is no bundle either.
_ZIP_START = b"PK\x03\x04"
# What zipfile raises on damaged bytes: an encrypted entry is a RuntimeError, an offset out of range may be an OSError.
_DAMAGED = (
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
    struct.error,
    ValueError,
    OverflowError,
    EOFError,
    OSError,
)
_AGAIN = "copy it again, or export it again"
_GIVE = "give a bundle, a .hwkd file that `hwkd export` wrote"


def is_bundle(text: str) -> bool:
    """Whether `text` is meant as a bundle's file."""
    return text.endswith(BUNDLE_SUFFIX)


@dataclass(frozen=True)
class Bundle:
    """A bundle in memory, every hash checked.

    parts: the content of each part that the manifest lists. id: the first 8 bytes of the sha256 of manifest.json,
    by which streams name their model.
    """

    manifest: Manifest
    parts: Mapping[str, bytes]
    id: bytes

    @property
    def id_hex(self) -> str:
        """`id` in 16 hex digits."""
        return self.id.hex()


def read_bundle(path: Path) -> Bundle:
    """The bundle at `path`, everything in it checked.

    Raises:
        InputError: no such file, no bundle, one of a newer format, damaged, cut short, too large, with a part missing
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
    manifest = replace(manifest, parts={name: _sha256(parts[name]) for name in sorted(parts)})
    content = manifest_to_json(manifest)
    entries = {**parts, MANIFEST: content, GUARD: _sha256(content).encode()}
    _check_sizes({name: len(entry) for name, entry in entries.items()})
    bundle = Bundle(manifest_from_json(content), dict(parts), bundle_id(content))
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
            entries = _checked_entries(held.infolist(), file_bytes)
            content = held.read(entries.pop(MANIFEST))
            guard = held.read(entries.pop(GUARD))
            if _sha256(content).encode() != guard:
                raise _damaged(f"{MANIFEST} is not what {GUARD} says")
            manifest = manifest_from_json(content)
            _check_listed(set(entries), set(manifest.parts))
            parts = {}
            for name, sha256 in manifest.parts.items():
                parts[name] = held.read(entries[name])
                if _sha256(parts[name]) != sha256:
                    raise _damaged(f"the part {name} is not what {MANIFEST} says")
    except _DAMAGED as error:
        raise _damaged(str(error) or type(error).__name__) from error
    return Bundle(manifest, parts, bundle_id(content))


def _checked_entries(infos: list[zipfile.ZipInfo], file_bytes: int) -> dict[str, zipfile.ZipInfo]:
    """The entries by name, where they can be a bundle's and as large as they say."""
    entries = {info.filename: info for info in infos}
    if MANIFEST not in entries:
        raise InputError(f"a zip, but not a bundle: it holds no {MANIFEST}; {_GIVE}")
    if GUARD not in entries:
        raise _damaged(f"{GUARD} is missing")
    if len(entries) < len(infos):
        raise _damaged("it holds two entries of one name")
    for info in infos:
        if info.compress_type != zipfile.ZIP_STORED:
            raise InputError(
                f"{info.filename!r} is compressed, and a bundle's entries are stored; export it again"
            )
        if info.compress_size != info.file_size:
            raise _damaged(f"{info.filename!r} has two sizes")
    _check_sizes({info.filename: info.file_size for info in infos})
    # Stored entries take their size in the file, so that no memory is taken for a size that is only claimed.
    claimed_bytes = sum(info.file_size for info in infos)
    if claimed_bytes > file_bytes:
        raise _damaged(f"its entries take {claimed_bytes} bytes, and it has {file_bytes}")
    return entries


def _check_sizes(sizes: Mapping[str, int]) -> None:
    for name, size in sizes.items():
        limit = MAX_MANIFEST_BYTES if name in (MANIFEST, GUARD) else MAX_PART_BYTES
        if size > limit:
            raise InputError(
                f"{name!r} has {size} bytes, and {limit} are accepted; export a smaller model"
            )
    if sum(sizes.values()) > MAX_BYTES:
        raise InputError(
            f"the parts have {sum(sizes.values())} bytes, and {MAX_BYTES} are accepted; export a smaller model"
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
