"""Symbols to bytes and back over integer tables: the same bytes and the same symbols on every machine.

One coded array:
    silent exceptions (count), escapes (count)           varints
    gap to the exception before, for each exception      varints
    value of each exception                              varints, zigzag
    distance of each escape from its table               varints, odd below it, even above it
    state of each lane                                   uint64, little-endian, lane 0 first
    words                                                uint32, little-endian, in the order of decoding
Without a coded symbol there are no states and no words. A symbol whose index is `silent` is not coded: it is 0, or an
exception. Of the others, one without a bin is coded as its table's escape and stands in the list of escapes as well.
Below MANY coded symbols there is one lane, from there on there are LANES: a lane costs 6 bytes on average.
"""

import numpy as np
import numpy.typing as npt

from hwkd.codec import outliers, rans, varints
from hwkd.codec.tables import MAX_SYMBOL, Array, Tables
from hwkd.errors import InputError

LANES = 4
"""A power of two. On an x86 of 2021 decoding took 1.4 times as long with one lane, 1.1 with two, as long with eight."""

MANY = 16384
"""Below, the bytes of three more lanes weigh more than the tens of microseconds that they save."""

MAX_SYMBOLS = 1 << 31
"""In one array: positions are kept in 32 bits."""

Symbols = npt.NDArray[np.int32]


class DamagedStream(InputError):
    """Bytes that `encode` did not write, or not with these indexes and tables."""

    def __init__(self, what: str) -> None:
        super().__init__(f"the coded data is damaged ({what}); encode the image again")


def encode(symbols: Symbols, indexes: Array, tables: Tables, silent: int | None = None) -> bytes:
    """The bytes of `symbols`.

    Args:
        symbols: [n], -MAX_SYMBOL to MAX_SYMBOL.
        indexes: [n], integers of any type: the table of each symbol.
        silent: the index whose symbols are nearly always 0 and are not coded; others than 0 cost some bytes each.
    Raises:
        InputError: not such arrays, an index without a table, a symbol over MAX_SYMBOL.
    """
    tables_used = _checked_indexes(indexes, tables, silent)
    _check_symbols(symbols, tables_used.size)
    symbols = np.ascontiguousarray(symbols)
    positions = _coded_positions(tables_used, silent)
    states = _first_states(positions.size)
    words = np.empty(positions.size, np.uint32)
    escaped = np.empty(positions.size, np.uint32)
    first, escapes = rans.encode(
        symbols,
        tables_used,
        positions,
        tables.packed,
        tables.starts,
        tables.offsets,
        states,
        words,
        escaped,
    )
    at = escaped[:escapes][::-1]
    exceptions = outliers.exceptions(symbols, tables_used, silent)
    lists = np.concatenate(
        [
            [exceptions.size, escapes],
            outliers.gaps(exceptions),
            outliers.zigzag(symbols[exceptions]),
            outliers.distances(symbols[at], tables_used[at], tables),
        ]
    )
    coded = states.astype("<u8").tobytes() + words[first:].astype("<u4").tobytes()
    return varints.write(lists) + coded


def decode(data: bytes, indexes: Array, tables: Tables, silent: int | None = None) -> Symbols:
    """The symbols in bytes that `encode` wrote with the same indexes, tables and `silent`: int32, of indexes' size.

    Any bytes may be given: nothing beyond the symbols asked for and a copy of `data` is allocated.

    Raises:
        DamagedStream: not such bytes, as far as that shows: nearly always does. A changed exception or distance does
            not, so that a stream needs a checksum of its own.
        InputError: not such an array of indexes, or an index without a table.
    """
    tables_used = _checked_indexes(indexes, tables, silent)
    positions = _coded_positions(tables_used, silent)
    octets = np.frombuffer(data, np.uint8)
    (exceptions, escapes), start = _numbers(octets, 0, 2)
    if exceptions > tables_used.size - positions.size or escapes > positions.size:
        raise DamagedStream("more exceptions or escapes than symbols")
    lists, start = _numbers(octets, start, 2 * exceptions + escapes)
    gaps, values, distances = np.split(lists, [exceptions, 2 * exceptions])
    symbols = np.zeros(tables_used.size, np.int32)
    at = _decode_bins(octets[start:], tables_used, positions, tables, symbols, escapes)
    symbols[at] = _within_range(outliers.symbols_at(distances, tables_used[at], tables))
    # Before they are summed: sums of larger gaps could wrap around.
    if exceptions and gaps.max() >= symbols.size:
        raise DamagedStream("an exception after the last symbol")
    where = outliers.positions_at(gaps)
    if exceptions and (where[-1] >= symbols.size or (tables_used[where] != silent).any()):
        raise DamagedStream("an exception at a symbol that is not silent")
    if (values == 0).any():
        raise DamagedStream("an exception of value 0")
    symbols[where] = _within_range(outliers.unzigzag(values))
    return symbols


def _decode_bins(
    coded: npt.NDArray[np.uint8],
    indexes: rans.Uint16,
    positions: rans.Uint32,
    tables: Tables,
    symbols: Symbols,
    escapes: int,
) -> rans.Uint32:
    """Fill `symbols` at `positions` from the states and words in `coded`; the positions of the escapes."""
    ends = _first_states(positions.size)
    if coded.size % 4 or coded.size < 8 * ends.size:
        raise DamagedStream(f"{coded.size} bytes of states and words")
    states = coded[: 8 * ends.size].view("<u8").astype(np.uint64)
    words = coded[8 * ends.size :].view("<u4").astype(np.uint32)
    escaped = np.empty(escapes, np.uint32)
    read, found = rans.decode(
        words,
        indexes,
        positions,
        tables.packed,
        tables.starts,
        tables.offsets,
        tables.lookup,
        states,
        symbols,
        escaped,
    )
    if read == rans.OUT_OF_WORDS:
        raise DamagedStream("it ends too early")
    if read == rans.OUT_OF_ESCAPES or found != escapes:
        raise DamagedStream("another number of escapes than it says")
    if read != words.size:
        raise DamagedStream(f"{4 * (words.size - read)} bytes are left over")
    if (states != ends).any():
        raise DamagedStream("its final states are wrong")
    return escaped


def _checked_indexes(indexes: Array, tables: Tables, silent: int | None) -> rans.Uint16:
    if indexes.ndim != 1 or indexes.dtype.kind not in "iu" or indexes.size >= MAX_SYMBOLS:
        raise InputError(
            f"indexes must be integers in one dimension, fewer than {MAX_SYMBOLS}, "
            f"got {indexes.dtype} {list(indexes.shape)}"
        )
    if silent is not None and not 0 <= silent < tables.count:
        raise InputError(f"the silent index must be 0 to {tables.count - 1} or None, got {silent}")
    if indexes.size and not (indexes.min() >= 0 and indexes.max() < tables.count):
        raise InputError(
            f"indexes must be 0 to {tables.count - 1} for {tables.count} tables, "
            f"got {indexes.min()} to {indexes.max()}"
        )
    return np.ascontiguousarray(indexes, np.uint16)


def _check_symbols(symbols: Symbols, size: int) -> None:
    if symbols.dtype != np.int32 or symbols.shape != (size,):
        raise InputError(
            f"symbols must be int32 [{size}] as there are {size} indexes, got {symbols.dtype} {list(symbols.shape)}"
        )
    if size and not (symbols.min() >= -MAX_SYMBOL and symbols.max() <= MAX_SYMBOL):
        raise InputError(
            f"symbols must be -{MAX_SYMBOL} to {MAX_SYMBOL}, got {symbols.min()} to {symbols.max()}"
        )


def _coded_positions(indexes: rans.Uint16, silent: int | None) -> rans.Uint32:
    positions = np.empty(indexes.size, np.uint32)
    return positions[: rans.select(indexes, -1 if silent is None else silent, positions)]


def _first_states(coded: int) -> rans.Uint64:
    lanes = 0 if coded == 0 else 1 if coded < MANY else LANES
    return np.full(lanes, rans.LOW)


def _numbers(octets: npt.NDArray[np.uint8], start: int, count: int) -> tuple[outliers.Int64, int]:
    found = varints.read(octets, start, count)
    if found is None:
        raise DamagedStream("its lists of exceptions and escapes are cut short")
    return found


def _within_range(symbols: outliers.Int64) -> outliers.Int64:
    if symbols.size and np.abs(symbols).max() > MAX_SYMBOL:
        raise DamagedStream(f"a symbol over {MAX_SYMBOL}")
    return symbols
