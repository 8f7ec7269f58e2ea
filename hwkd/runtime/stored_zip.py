"""Zips of stored entries whose bytes follow from names and content alone, so that equal content has equal hashes."""

import struct
import zipfile
from collections.abc import Mapping
from typing import IO

from hwkd.errors import InputError

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
"""What zipfile raises on damaged bytes: an encrypted entry is a RuntimeError, an offset out of range may be an OSError."""


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
