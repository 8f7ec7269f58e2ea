"""Symbols that no bin stands for, as whole numbers from 0 and back: escapes of a table, exceptions among silent ones."""

import numpy as np
import numpy.typing as npt

from hwkd.codec.tables import Tables

Int64 = npt.NDArray[np.int64]
Symbols = npt.NDArray[np.int32]
Indexes = npt.NDArray[np.uint16]


def exceptions(symbols: Symbols, indexes: Indexes, silent: int | None) -> Int64:
    """The positions, rising, of the symbols with the index `silent` that are not 0."""
    if silent is None:
        return np.empty(0, np.int64)
    return np.flatnonzero((indexes == silent) & (symbols != 0)).astype(np.int64)


def distances(symbols: Symbols, indexes: Indexes, tables: Tables) -> Int64:
    """How far each symbol lies from its table's bins: 1, 3, 5 .. below them, 0, 2, 4 .. above (CompressAI's order)."""
    first, after = _ends(indexes, tables)
    return np.where(symbols < first, 2 * (first - symbols) - 1, 2 * (symbols - after))


def symbols_at(distance: Int64, indexes: Indexes, tables: Tables) -> Int64:
    """The inverse of `distances`."""
    first, after = _ends(indexes, tables)
    return np.where(distance & 1, first - (distance + 1) // 2, after + distance // 2)


def gaps(positions: Int64) -> Int64:
    """How many positions lie before the first of `positions`, which rise, and between each and the next."""
    return np.diff(positions, prepend=-1) - 1


def positions_at(gap: Int64) -> Int64:
    """The inverse of `gaps`."""
    return np.cumsum(gap + 1, dtype=np.int64) - 1


def zigzag(values: Symbols) -> Int64:
    """0, -1, 1, -2, 2 .. as 0, 1, 2, 3, 4 .."""
    wide = values.astype(np.int64)
    return np.where(wide < 0, -2 * wide - 1, 2 * wide)


def unzigzag(numbers: Int64) -> Int64:
    """The inverse of `zigzag`."""
    return np.where(numbers & 1, -(numbers + 1) // 2, numbers // 2)


def _ends(indexes: Indexes, tables: Tables) -> tuple[Int64, Int64]:
    """The first symbol with a bin, and the first after those with one."""
    first = tables.offsets[indexes].astype(np.int64)
    return first, first + tables.bins[indexes] - 1
