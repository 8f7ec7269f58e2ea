"""The bundle (.hwkd): a zip of four stored entries that holds a model's graphs and tables, each with its hash.

    manifest.json      what the model is, which part is for what, the sha256 of each part (hwkd/runtime/manifest.py)
    manifest.sha256    the sha256 of manifest.json, 64 hex digits
    parts.index        name and size of each part that the manifest lists, and of no others
    parts.xz           the parts, compressed together (hwkd/runtime/bundle.py)

The manifest is not compressed, so that a model's id is found without unpacking. Order and times of the entries are fixed,
so equal content makes an equal file; the id does not depend on how the parts are compressed. The hashes find damage, not
forgery: whoever changes a bundle on purpose can hash it again, and it is then another bundle with another id.
"""

import hashlib
import io
import lzma
import math
import os
import re
import struct
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from hwkd.errors import InputError
from hwkd.files import replacing
from hwkd.runtime.manifest import GUARD, MANIFEST, Manifest, manifest_from_json, manifest_to_json

# A bundle's parts in one xz stream, so that weights which two of its graphs share take their room once.
#
#     parts.index    one line a part, in the stream's order: "SIZE NAME", the size in bytes
#     parts.xz       the parts one after the other, as one xz stream
#
# No size is taken from the stream itself: a reader checks those of the index first, and unpacks that much at most.

INDEX, STREAM = "parts.index", "parts.xz"

_DICTIONARY_BYTES = 8 * 2**20
"""How far back equal bytes are found, and the memory that unpacking takes besides the parts. Two graphs of one network
are neighbours in the order of names, so this holds for networks of 8 MiB."""

# Weights are close to their entropy already: no other lc, lp and pb made all of five bundles smaller than the defaults.
_FILTERS = (
    {
        "id": lzma.FILTER_LZMA2,
        "preset": 9 | lzma.PRESET_EXTREME,
        "dict_size": _DICTIONARY_BYTES,
    },
)
_UNPACKING_BYTES = _DICTIONARY_BYTES + 2**20

_LINE = re.compile(r"([0-9]{1,10}) ([!-~]{1,100})")


def pack_index(parts: Mapping[str, bytes]) -> bytes:
    """parts.index for `parts`, name -> content."""
    return "".join(f"{len(content)} {name}\n" for name, content in parts.items()).encode()


def pack_stream(parts: Mapping[str, bytes]) -> bytes:
    """parts.xz for `parts`: equal for equal parts in equal order, as long as liblzma packs in the same way."""
    return lzma.compress(b"".join(parts.values()), check=lzma.CHECK_CRC32, filters=[*_FILTERS])


def unpack_index(index: bytes) -> dict[str, int]:
    """The size of each part by name, in the stream's order.

    Raises:
        ValueError: a line of another form, or a name twice.
    """
    sizes: dict[str, int] = {}
    for line in index.decode("ascii").removesuffix("\n").split("\n"):
        found = _LINE.fullmatch(line)
        if found is None:
            raise ValueError(f"{line[:80]!r} in {INDEX} is no size and name")
        size, name = found.groups()
        if name in sizes:
            raise ValueError(f"{INDEX} has {name!r} twice")
        sizes[name] = int(size)
    return sizes


def unpack_stream(stream: bytes, sizes: Mapping[str, int]) -> Iterator[tuple[str, bytes]]:
    """Each part of `sizes` with its content, one by one; the stream's end is checked after the last.

    Takes memory for `sizes` and no more, whatever the stream would unpack to.

    Raises:
        ValueError: not an xz stream, a damaged one, one with a larger dictionary than that of `pack_stream`, one that is
            shorter or longer than `sizes`, or bytes after it.
    """
    decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_UNPACKING_BYTES)
    pending = stream
    for name, size in sizes.items():
        pieces, missing = [], size
        while missing:
            if decoder.eof or (decoder.needs_input and not pending):
                raise ValueError(f"{STREAM} ends before the part {name} does")
            pieces.append(_unpacked(decoder, pending, missing))
            pending = b""
            missing -= len(pieces[-1])
        yield name, b"".join(pieces)
    surplus = b"" if decoder.eof else _unpacked(decoder, pending, 1)
    if surplus or decoder.unused_data:
        raise ValueError(f"{STREAM} goes on after the last part")
    if not decoder.eof:
        raise ValueError(f"{STREAM} has no end")


def _unpacked(decoder: lzma.LZMADecompressor, data: bytes, most: int) -> bytes:
    try:
        return decoder.decompress(data, most)
    except lzma.LZMAError as error:
        raise ValueError(f"{STREAM}: {error}") from error


# Arrays as one part of a bundle: an npz that is equal for equal arrays, and read without trust.

MAX_UNPACKED_BYTES = 256 * 2**20

Array = npt.NDArray[Any]

_npy: Any = np.lib.format  # its functions carry no types


def pack_arrays(arrays: Mapping[str, Array]) -> bytes:
    """An npz as numpy.savez makes it, but without the time that savez stores, so that equal arrays hash equal."""
    entries = {}
    for name, array in arrays.items():
        stream = io.BytesIO()
        np.save(stream, array, allow_pickle=False)
        entries[f"{name}.npy"] = stream.getvalue()
    packed = io.BytesIO()
    write_zip(packed, entries)
    return packed.getvalue()


def unpack_arrays(content: bytes) -> dict[str, Array]:
    """The arrays by name in an npz, compressed or not. Nothing is unpickled.

    Raises:
        InputError: not an npz, an array of objects or not of the size that its header says, or more than
            MAX_UNPACKED_BYTES unpacked.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as held:
            entries = held.infolist()
            unpacked_bytes = sum(entry.file_size for entry in entries)
            if unpacked_bytes > MAX_UNPACKED_BYTES:
                raise ValueError(f"{unpacked_bytes} bytes unpacked, {MAX_UNPACKED_BYTES} accepted")
            return {e.filename.removesuffix(".npy"): _unpack(held.read(e)) for e in entries}
    # zipfile, zlib and numpy's reader of headers raise a dozen classes on wrong bytes, some of them private.
    except Exception as error:
        cause = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"no arrays that can be read ({cause:.200})") from error


def _unpack(content: bytes) -> Array:
    stream = io.BytesIO(content)
    version = _npy.read_magic(stream)
    read_header = _npy.read_array_header_1_0 if version == (1, 0) else _npy.read_array_header_2_0
    shape, _, dtype = read_header(stream)
    # numpy takes memory for what a header says before it looks whether so much is there.
    if math.prod(shape) * dtype.itemsize != len(content) - stream.tell():
        raise ValueError("an array is not of the size that its header says")
    stream.seek(0)
    array: Array = np.load(stream, allow_pickle=False)
    return array


BUNDLE_SUFFIX = ".hwkd"

MAX_MANIFEST_BYTES = 4 * 2**20
"""The largest size of manifest.json, and of parts.index."""

MAX_PART_BYTES = 64 * 2**20
MAX_BYTES = 128 * 2**20
"""The largest size of all parts, unpacked: the most memory that a small file of a stranger can make a reader take. The
largest of CompressAI's hyperpriors (N=192, M=320) has 10 MB of weights in 8 bits, in each of two forms."""

_MAX_FRAME_BYTES = 16 * 2**20
"""The largest size of a file beside the parts: manifest, index, the zip's own bytes, and those that xz adds to data that
cannot be compressed."""

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

    Attributes:
        parts: the content of each part that the manifest lists.
        sha256: digest of the bytes of manifest.json, in hex. The bytes are those that were read: a later hwkd may write
            the same manifest differently.
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
    # os.path, because the methods of Path raise where a folder may not be searched; opening explains that case.
    if os.path.exists(path) and not os.path.isfile(path):
        raise InputError(f"{path} is a folder or a device; {_GIVE}")
    try:
        with path.open("rb") as file:
            return _read(file)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}; {_GIVE}") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def bundle_of(content: bytes, name: str) -> Bundle:
    """The bundle in `content`, as `read_bundle` returns it.

    Args:
        name: the bundle's name in messages.
    Raises:
        InputError: as `read_bundle`.
    """
    try:
        return _read(io.BytesIO(content))
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


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
    """The arrays by name in `part` of `bundle`. Raises InputError as hwkd.runtime.bundle.unpack_arrays."""
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


# Zips of stored entries. Their bytes follow from names and content alone, so equal content has equal hashes.

DAMAGED = (
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
    struct.error,
    ValueError,
    OverflowError,
    EOFError,
    OSError,
)
"""Errors of zipfile on damaged bytes: an encrypted entry is a RuntimeError, an offset out of range may be an OSError."""


def write_zip(file: IO[bytes], entries: Mapping[str, bytes]) -> None:
    """Write `entries`, name -> content, to `file`: sorted by name, of one time, from no system in particular."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as made:
        for name in sorted(entries):
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system = 3  # Unix, wherever it is made
            info.external_attr = 0o644 << 16
            made.writestr(info, entries[name])


def stored_entries(held: zipfile.ZipFile, file_bytes: int) -> dict[str, zipfile.ZipInfo]:
    """The entries of `held` by name, where each can be as large as it says in a file of `file_bytes`.

    Raises:
        InputError: a compressed entry.
        BadZipFile: two entries of one name, or sizes that cannot be.
    """
    infos = held.infolist()
    entries = {info.filename: info for info in infos}
    if len(entries) < len(infos):
        raise zipfile.BadZipFile("it holds two entries of one name")
    for info in infos:
        if info.compress_type != zipfile.ZIP_STORED:
            raise InputError(
                f"{info.filename!r} is compressed, and a bundle's entries are stored; export it again"
            )
        if info.compress_size != info.file_size:
            raise zipfile.BadZipFile(f"{info.filename!r} has two sizes")
    # Stored entries take their size in the file, so that no memory is taken for a size that is only claimed.
    claimed_bytes = sum(info.file_size for info in infos)
    if claimed_bytes > file_bytes:
        raise zipfile.BadZipFile(f"its entries take {claimed_bytes} bytes, and it has {file_bytes}")
    return entries
