"""Symbols to bytes and back over integer tables: the same bytes and the same symbols on every machine.

The first symbols of a process are coded in plain Python (hwkd/codec/plain.py), and then by compiled loops (hwkd/codec/loops.py).

One coded array:
    silent exceptions (count), escapes (count)           varints
    gap to the exception before, for each exception      varints
    value of each exception                              varints, zigzag
    distance of each escape from its table               varints, odd below it, even above it
    state of each lane                                   uint64, little-endian, lane 0 first
    words                                                uint32, little-endian, in the order of decoding
Without a coded symbol there are no states and no words. A symbol with the index `silent` is not coded: it is 0, or an
exception. Of the others, a symbol without a bin is coded as its table's escape, and is also in the list of escapes.
Below MANY coded symbols there is one lane, from there on there are LANES: a lane costs 6 bytes on average.
"""

import numpy as np
import numpy.typing as npt

from hwkd.codec import plain
from hwkd.codec.loops import Loops, loops
from hwkd.codec.tables import MAX_SYMBOL, Array, Tables
from hwkd.errors import InputError

# Range asymmetric numeral systems (rANS) over bins of integer tables.
#
# Source: J. Duda, "Asymmetric numeral systems", arXiv 1311.2540 (2013); several states over one sequence of words:
# F. Giesen, "Interleaved entropy coders", arXiv 1402.3392 (2014).
#
# A state x is a uint64 in [LOW, 2^32 LOW), words are uint32. A bin has frequency f and slots from s on, of 2^16:
#     encode: x' = (x // f) 2^16 + x mod f + s,    after the low 32 bits of x went out as a word if x >= 2^47 f
#     decode: x' = f (x // 2^16) + x mod 2^16 - s, then a word comes in below x' if x' < LOW
# Encoding runs over the symbols backwards and writes its words from the end, so decoding reads them in order. As f < 2^16
# and LOW = 2^31, one word a symbol is always enough. Symbol c is coded with the state c mod lanes: the states do not wait
# for each other.

LOW = np.uint64(1 << 31)
"""The start value of every state in the encoder, so its end value in the decoder."""

OUT_OF_WORDS = -1
OUT_OF_ESCAPES = -2

_NO_INDEX = -1
"""Replaces a silent index for the compiled loops."""

Int64 = npt.NDArray[np.int64]
Uint16 = npt.NDArray[np.uint16]
Uint32 = npt.NDArray[np.uint32]
Uint64 = npt.NDArray[np.uint64]

LANES = 4
"""A power of two. On an x86 of 2021 decoding took 1.4 times as long with one lane, 1.1 with two, as long with eight."""

MANY = 16384
"""Below, the bytes of three more lanes weigh more than the tens of microseconds that they save."""

PLAIN_SYMBOLS = 1 << 16
"""A process codes so many symbols in plain Python, and all later ones compiled: a photo of 768x512 has 0.5 million. On one core
of an x86 plain Python took 0.3 us a symbol to encode and 0.4 to decode, compiled loops 0.005, and 50 to 70 ms to be ready."""

MAX_SYMBOLS = 1 << 31
"""The largest number of symbols in one array: positions are kept in 32 bits."""

Symbols = npt.NDArray[np.int32]


class DamagedStream(InputError):
    """Bytes that `encode` did not write, or did not write with these indexes and tables."""

    def __init__(self, what: str) -> None:
        super().__init__(f"the coded data is damaged ({what}); encode the image again")


def encode(symbols: Symbols, indexes: Array, tables: Tables, silent: int | None = None) -> bytes:
    """The bytes of `symbols`.

    Args:
        symbols: [n], -MAX_SYMBOL to MAX_SYMBOL.
        indexes: [n], integers of any type: the table of each symbol.
        silent: the index of symbols that are nearly always 0. They are not coded; each one that is not 0 costs some bytes.
    Raises:
        InputError: the arrays are not of this kind, an index has no table, or a symbol is over MAX_SYMBOL.
    """
    tables_used = _checked_indexes(indexes, tables, silent)
    _check_symbols(symbols, tables_used.size)
    symbols = np.require(symbols, requirements=("C", "A"))
    compiled = None if _budget.takes(tables_used.size) else loops()
    coded = _coded_count(tables_used, silent)
    states = _first_states(coded)
    if compiled is None:
        words, at, exceptions = _encode_plain(symbols, tables_used, silent, tables, states)
    else:
        words, at, exceptions = _encode_compiled(
            compiled, symbols, tables_used, coded, silent, tables, states
        )
    lists = np.concatenate(
        [
            [exceptions.size, at.size],
            gaps(exceptions),
            zigzag(symbols[exceptions]),
            distances(symbols[at], tables_used[at], tables),
        ]
    )
    return b"".join(
        (write_varints(lists), states.astype("<u8").tobytes(), words.astype("<u4").tobytes())
    )


def _encode_compiled(
    compiled: Loops,
    symbols: Symbols,
    indexes: Uint16,
    coded: int,
    silent: int | None,
    tables: Tables,
    states: Uint64,
) -> tuple[Uint32, Int64, Int64]:
    """The words, and the positions of the escapes and of the exceptions, rising; `states` are changed in place."""
    # Only the written part of these takes memory.
    words = np.empty(coded, np.uint32)
    escaped, excepted = np.empty(indexes.size, np.uint32), np.empty(indexes.size, np.uint32)
    counts = np.zeros(2, np.int64)
    first = compiled.rans_encode(
        symbols,
        indexes,
        indexes.size,
        coded,
        _NO_INDEX if silent is None else silent,
        tables.packed,
        tables.starts,
        tables.offsets,
        states,
        states.size,
        words,
        escaped,
        excepted,
        counts,
    )
    at, exceptions = (
        found[:count][::-1].astype(np.int64)
        for found, count in zip((escaped, excepted), counts.tolist(), strict=True)
    )
    return words[first:], at, exceptions


def _encode_plain(
    symbols: Symbols, indexes: Uint16, silent: int | None, tables: Tables, states: Uint64
) -> tuple[Uint32, Int64, Int64]:
    """Same as `_encode_compiled`."""
    positions = _coded_positions(indexes, silent)
    used = indexes[positions]
    escape = tables.bins[used] - 1
    found = symbols[positions].astype(np.int64) - tables.offsets[used]
    is_escaped = (found < 0) | (found >= escape)
    bins = tables.starts[used] + np.where(is_escaped, escape, found)
    ends = states.tolist()
    words = plain.encode_bins(bins, ends, tables)
    states[:] = np.array(ends, np.uint64)
    exceptions = find_exceptions(symbols, indexes, silent)
    return np.array(words, np.uint32), positions[is_escaped], exceptions


def decode(data: bytes, indexes: Array, tables: Tables, silent: int | None = None) -> Symbols:
    """The symbols in bytes that `encode` wrote with the same indexes, tables and `silent`: int32, of indexes' size.

    Any bytes are allowed as input: only the requested symbols and a copy of `data` are allocated.

    Raises:
        DamagedStream: `encode` did not write these bytes, as far as decoding detects it, which it nearly always does. It
            does not detect a changed exception or distance, so a stream needs a checksum of its own.
        InputError: the array of indexes is not of this kind, or an index has no table.
    """
    tables_used = _checked_indexes(indexes, tables, silent)
    compiled = None if _budget.takes(tables_used.size) else loops()
    coded = _coded_count(tables_used, silent)
    octets = np.frombuffer(data, np.uint8)
    (exceptions, escapes), start = _numbers(octets, 0, 2)
    if exceptions > tables_used.size - coded or escapes > coded:
        raise DamagedStream("more exceptions or escapes than symbols")
    lists, start = _numbers(octets, start, 2 * exceptions + escapes)
    gaps, values, distances = np.split(lists, [exceptions, 2 * exceptions])
    symbols = np.zeros(tables_used.size, np.int32)
    states, words = _states_and_words(octets[start:], coded)
    escaped = np.empty(escapes, np.uint32)
    if compiled is None:
        read, found = _decode_plain(words, tables_used, silent, tables, states, symbols, escaped)
    else:
        read, found = _decode_compiled(
            compiled, words, tables_used, silent, tables, states, symbols, escaped
        )
    _check_end(words.size, read, states, escapes, found)
    at = escaped.astype(np.int64)
    symbols[at] = _within_range(symbols_at(distances, tables_used[at], tables))
    # Before they are summed: sums of larger gaps could wrap around.
    if exceptions and gaps.max() >= symbols.size:
        raise DamagedStream("an exception after the last symbol")
    where = positions_at(gaps)
    if exceptions and (where[-1] >= symbols.size or (tables_used[where] != silent).any()):
        raise DamagedStream("an exception at a symbol that is not silent")
    if (values == 0).any():
        raise DamagedStream("an exception of value 0")
    symbols[where] = _within_range(unzigzag(values))
    return symbols


def _states_and_words(octets: npt.NDArray[np.uint8], coded: int) -> tuple[Uint64, Uint32]:
    """The states and the words, which follow the lists."""
    states_bytes = 8 * _first_states(coded).size
    if octets.size % 4 or octets.size < states_bytes:
        raise DamagedStream(f"{octets.size} bytes of states and words")
    states = octets[:states_bytes].view("<u8").astype(np.uint64)
    return states, octets[states_bytes:].view("<u4").astype(np.uint32)


def _check_end(words: int, read: int, states: Uint64, escapes: int, found: int) -> None:
    """Raise DamagedStream if decoding did not end as encoding began."""
    if read == OUT_OF_WORDS:
        raise DamagedStream("it ends too early")
    if read == OUT_OF_ESCAPES or found != escapes:
        raise DamagedStream("another number of escapes than it says")
    if read != words:
        raise DamagedStream(f"{4 * (words - read)} bytes are left over")
    if (states != LOW).any():
        raise DamagedStream("its final states are wrong")


def _decode_compiled(
    compiled: Loops,
    words: Uint32,
    indexes: Uint16,
    silent: int | None,
    tables: Tables,
    states: Uint64,
    symbols: Symbols,
    escaped: Uint32,
) -> tuple[int, int]:
    """Fill `symbols` where they are coded, and `escaped` with the positions of the escapes; `states` are changed in place.

    Returns:
        The number of words that were read, or OUT_OF_WORDS, or OUT_OF_ESCAPES; and the number of escaped symbols.
    """
    counts = np.zeros(1, np.int64)
    read = compiled.rans_decode(
        words,
        words.size,
        indexes,
        indexes.size,
        _NO_INDEX if silent is None else silent,
        tables.packed,
        tables.starts,
        tables.offsets,
        tables.lookup,
        states,
        states.size,
        symbols,
        escaped,
        escaped.size,
        counts,
    )
    return read, int(counts[0])


def _decode_plain(
    words: Uint32,
    indexes: Uint16,
    silent: int | None,
    tables: Tables,
    states: Uint64,
    symbols: Symbols,
    escaped: Uint32,
) -> tuple[int, int]:
    """Same as `_decode_compiled`."""
    positions = _coded_positions(indexes, silent)
    used = indexes[positions]
    ends = states.tolist()
    bins, read = plain.decode_bins(words, used, ends, tables)
    states[:] = np.array(ends, np.uint64)
    used, reached = used[: bins.size], positions[: bins.size]
    symbols[reached] = bins - tables.starts[used] + tables.offsets[used]
    found = reached[bins == tables.starts[used + 1] - 2]
    if found.size > escaped.size:
        return OUT_OF_ESCAPES, escaped.size
    escaped[: found.size] = found
    return (OUT_OF_WORDS if bins.size < positions.size else read), found.size


class _Budget:
    """The number of symbols that this process may still code in plain Python."""

    def __init__(self, symbols: int) -> None:
        self.left = symbols

    def takes(self, symbols: int) -> bool:
        """Whether so many more symbols are coded in plain Python. If they are too many, no later ones are either."""
        self.left = self.left - symbols if symbols <= self.left else 0
        return self.left > 0


_budget = _Budget(PLAIN_SYMBOLS)


def use_compiled() -> None:
    """Code compiled from now on. Used for many images, for threads, which plain Python holds up, and before timing."""
    _budget.left = 0


def _checked_indexes(indexes: Array, tables: Tables, silent: int | None) -> Uint16:
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
    return np.require(indexes, np.uint16, ("C", "A"))


def _check_symbols(symbols: Symbols, size: int) -> None:
    if symbols.dtype != np.int32 or symbols.shape != (size,):
        raise InputError(
            f"symbols must be int32 [{size}] as there are {size} indexes, got {symbols.dtype} {list(symbols.shape)}"
        )
    if size and not (symbols.min() >= -MAX_SYMBOL and symbols.max() <= MAX_SYMBOL):
        raise InputError(
            f"symbols must be -{MAX_SYMBOL} to {MAX_SYMBOL}, got {symbols.min()} to {symbols.max()}"
        )


def _coded_count(indexes: Uint16, silent: int | None) -> int:
    return indexes.size if silent is None else int(np.count_nonzero(indexes != silent))


def _coded_positions(indexes: Uint16, silent: int | None) -> Int64:
    return np.arange(indexes.size) if silent is None else np.flatnonzero(indexes != silent)


def _first_states(coded: int) -> Uint64:
    lanes = 0 if coded == 0 else 1 if coded < MANY else LANES
    return np.full(lanes, LOW)


def _numbers(octets: npt.NDArray[np.uint8], start: int, count: int) -> tuple[Int64, int]:
    found = read_varints(octets, start, count)
    if found is None:
        raise DamagedStream("its lists of exceptions and escapes are cut short")
    return found


def _within_range(symbols: Int64) -> Int64:
    if symbols.size and np.abs(symbols).max() > MAX_SYMBOL:
        raise DamagedStream(f"a symbol over {MAX_SYMBOL}")
    return symbols


# Symbols without a bin, as whole numbers from 0 and back: escapes of a table, exceptions among silent ones.

Indexes = npt.NDArray[np.uint16]


def find_exceptions(symbols: Symbols, indexes: Indexes, silent: int | None) -> Int64:
    """The positions, rising, of the symbols with the index `silent` that are not 0."""
    if silent is None:
        return np.empty(0, np.int64)
    return np.flatnonzero((indexes == silent) & (symbols != 0)).astype(np.int64)


def distances(symbols: Symbols, indexes: Indexes, tables: Tables) -> Int64:
    """The distance of each symbol from its table's bins: 1, 3, 5 .. below them, 0, 2, 4 .. above (CompressAI's order)."""
    first, after = _ends(indexes, tables)
    return np.where(symbols < first, 2 * (first - symbols) - 1, 2 * (symbols - after))


def symbols_at(distance: Int64, indexes: Indexes, tables: Tables) -> Int64:
    """The inverse of `distances`."""
    first, after = _ends(indexes, tables)
    return np.where(distance & 1, first - (distance + 1) // 2, after + distance // 2)


def gaps(positions: Int64) -> Int64:
    """The number of positions before the first of `positions`, and between each and the next. `positions` rise."""
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
    """The first symbol with a bin, and the first symbol after those with a bin."""
    first = tables.offsets[indexes].astype(np.int64)
    return first, first + tables.bins[indexes] - 1


# Whole numbers from 0 in bytes of seven bits, the low ones first; the top bit marks that another byte follows.
#
# The numbers of LEB128, as protocol buffers and WebAssembly write them.

MAX_VARINT_BYTES = 5
"""The largest number of bytes of one number, so that a number is under 2^35."""

Numbers = npt.NDArray[np.int64]


def write_varints(numbers: Numbers) -> bytes:
    """`numbers`, 0 to 2^35 - 1 each, one after another."""
    shifts = 7 * np.arange(MAX_VARINT_BYTES)
    groups = numbers[:, None] >> shifts
    # A byte is written if bits are left at it, the first always; its top bit is set if bits are left after it.
    is_written = (groups > 0) | (shifts == 0)
    is_followed = groups > 127
    octets = ((groups & 127) | np.where(is_followed, 128, 0)).astype(np.uint8)
    return bytes(octets[is_written])


def read_varints(data: npt.NDArray[np.uint8], start: int, count: int) -> tuple[Numbers, int] | None:
    """`count` numbers of `data` from `start` on, and their end. None if `data` ends too early, or a number is too long."""
    # A number takes at least one byte, so this allocates no more memory than the data could fill.
    if count > data.size - start:
        return None
    if count == 0:
        return np.empty(0, np.int64), start
    octets = data[start : start + MAX_VARINT_BYTES * count]
    ends = np.flatnonzero(octets < 128)[:count] + 1
    sizes = np.diff(ends, prepend=0)
    if ends.size < count or sizes.max() > MAX_VARINT_BYTES:
        return None
    firsts = ends - sizes
    places = np.arange(ends[-1]) - np.repeat(firsts, sizes)
    groups = (octets[: ends[-1]].astype(np.int64) & 127) << (7 * places)
    return np.add.reduceat(groups, firsts), start + int(ends[-1])
