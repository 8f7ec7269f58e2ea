"""Zips of stored entries whose bytes follow from names and content alone, so that equal content has equal hashes."""

import zipfile
from collections.abc import Mapping
from typing import IO


def write_zip(file: IO[bytes], entries: Mapping[str, bytes]) -> None:
    """Write `entries`, name -> content, to `file`: sorted by name, of one time, from no system in particular."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as made:
        for name in sorted(entries):
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system = 3  # Unix, wherever it is made
            info.external_attr = 0o644 << 16
            made.writestr(info, entries[name])
