"""Range asymmetric numeral systems (rANS) over bins of integer tables: the loops, compiled.

Source: J. Duda, "Asymmetric numeral systems", arXiv 1311.2540 (2013); several states over one sequence of words:
F. Giesen, "Interleaved entropy coders", arXiv 1402.3392 (2014).

A state x is a uint64 in [LOW, 2^32 LOW), words are uint32. A bin of frequency f whose slots start at s of 2^16:
    encode: x' = (x // f) 2^16 + x mod f + s,    after the low 32 bits of x went out as a word if x >= 2^47 f
    decode: x' = f (x // 2^16) + x mod 2^16 - s, then a word comes in below x' if x' < LOW
Encoding runs over the symbols backwards and writes its words from the end, so decoding reads them in order. As f < 2^16
and LOW = 2^31, one word a symbol is always enough. Symbol c is coded with the state c mod lanes: the states do not wait
for each other.

Every operand of the arithmetic is a uint64, constants too: numba makes a float of uint64 and int64.
"""

import numpy as np
import numpy.typing as npt

from hwkd.codec.compiled import compiled, read_only

LOW = np.uint64(1 << 31)
"""Where every state starts in the encoder, so where it must end in the decoder."""

OUT_OF_WORDS = -1
OUT_OF_ESCAPES = -2

_SYMBOLS, _INDEXES, _POSITIONS = read_only("int32"), read_only("uint16"), read_only("uint32")
_PACKED, _STARTS, _OFFSETS = read_only("uint32"), read_only("int64"), read_only("int32")
_WORDS, _LOOKUP = read_only("uint32"), read_only("uint16")

_BITS_8, _BITS_16, _BITS_32, _BITS_47 = np.uint64(8), np.uint64(16), np.uint64(32), np.uint64(47)
_MASK_16, _MASK_32 = np.uint64(0xFFFF), np.uint64(0xFFFFFFFF)

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Uint16 = npt.NDArray[np.uint16]
Uint32 = npt.NDArray[np.uint32]
Uint64 = npt.NDArray[np.uint64]


@compiled(f"int64({_INDEXES}, int64, uint32[::1])")
def select(indexes: Uint16, silent: int, positions: Uint32) -> int:
    """Write the positions whose index is not `silent` to `positions`, of the same size; how many."""
    count = 0
    for i in range(indexes.size):
        # Written before it is known to stay: a branch here is mispredicted half the time.
        positions[count] = i
        count += int(np.int64(indexes[i]) != silent)
    return count


@compiled(
    f"UniTuple(int64, 2)({_SYMBOLS}, {_INDEXES}, {_POSITIONS}, {_PACKED}, {_STARTS}, {_OFFSETS}, "
    "uint64[::1], uint32[::1], uint32[::1])"
)
def encode(
    symbols: Int32,
    indexes: Uint16,
    positions: Uint32,
    packed: Uint32,
    starts: Int64,
    offsets: Int32,
    states: Uint64,
    words: Uint32,
    escaped: Uint32,
) -> tuple[int, int]:
    """Code the symbols at `positions`; those without a bin as escapes.

    Args:
        symbols, indexes: [n]. positions: [coded], rising. packed, starts, offsets: of Tables.
        states: [lanes], lanes a power of two; in and out.
        words: [coded], out, filled from the end.
        escaped: [coded], out: positions of the escapes, falling.
    Returns:
        Where the words begin, and how many symbols were escaped.
    """
    at = words.size
    escapes = 0
    lane_mask = states.size - 1
    for c in range(positions.size - 1, -1, -1):
        i = np.int64(positions[c])
        table = np.int64(indexes[i])
        start = starts[table]
        escape = starts[table + 1] - start - 2
        found = np.int64(symbols[i]) - np.int64(offsets[table])
        if found < 0 or found >= escape:
            found = escape
            escaped[escapes] = i
            escapes += 1
        bin_ = np.uint64(packed[start + found])
        frequency = bin_ & _MASK_16
        x = states[c & lane_mask]
        if x >= frequency << _BITS_47:
            at -= 1
            words[at] = np.uint32(x & _MASK_32)
            x = x >> _BITS_32
        quotient = x // frequency
        states[c & lane_mask] = (
            (quotient << _BITS_16) + (x - quotient * frequency) + (bin_ >> _BITS_16)
        )
    return at, escapes


@compiled(
    f"UniTuple(int64, 2)({_WORDS}, {_INDEXES}, {_POSITIONS}, {_PACKED}, {_STARTS}, {_OFFSETS}, {_LOOKUP}, "
    "uint64[::1], int32[::1], uint32[::1])"
)
def decode(
    words: Uint32,
    indexes: Uint16,
    positions: Uint32,
    packed: Uint32,
    starts: Int64,
    offsets: Int32,
    lookup: Uint16,
    states: Uint64,
    symbols: Int32,
    escaped: Uint32,
) -> tuple[int, int]:
    """Decode the symbols at `positions`; any words may be given.

    Args:
        words: what `encode` wrote, from the first. indexes: [n]. positions: [coded], rising.
        packed, starts, offsets, lookup: of Tables.
        states: [lanes]; in, as `encode` left them, and out.
        symbols: [n], out, at `positions` only; an escaped one gets the symbol after the last with a bin.
        escaped: [escapes expected], out: positions of the escapes, rising.
    Returns:
        How many words were read, or OUT_OF_WORDS, or OUT_OF_ESCAPES; and how many symbols were escaped.
    """
    at = 0
    escapes = 0
    lane_mask = states.size - 1
    for c in range(positions.size):
        i = np.int64(positions[c])
        table = np.int64(indexes[i])
        start = starts[table]
        x = states[c & lane_mask]
        slot = x & _MASK_16
        found = start + np.int64(lookup[(table << 8) + np.int64(slot >> _BITS_8)])
        bin_ = np.uint64(packed[found])
        # The bins of a table cover every slot, so the search ends within it.
        while slot - (bin_ >> _BITS_16) >= bin_ & _MASK_16:
            found += 1
            bin_ = np.uint64(packed[found])
        x = (bin_ & _MASK_16) * (x >> _BITS_16) + slot - (bin_ >> _BITS_16)
        if x < LOW:
            if at >= words.size:
                return OUT_OF_WORDS, escapes
            x = (x << _BITS_32) | np.uint64(words[at])
            at += 1
        states[c & lane_mask] = x
        symbols[i] = found - start + np.int64(offsets[table])
        if found == starts[table + 1] - 2:
            if escapes >= escaped.size:
                return OUT_OF_ESCAPES, escapes
            escaped[escapes] = i
            escapes += 1
    return at, escapes
