"""The loops of hwkd/codec/entropy.py in plain Python. Compiled loops take 50 ms to be ready and are not available everywhere.

Every number of the coder fits in 64 bits for any data, so Python's unbounded integers give the same results.
"""

from itertools import cycle

import numpy as np
import numpy.typing as npt

from hwkd.codec.tables import Tables

Int64 = npt.NDArray[np.int64]
Uint32 = npt.NDArray[np.uint32]


def encode_bins(bins: Int64, states: list[int], tables: Tables) -> list[int]:
    """The words of `bins`, in the order of decoding; `states` are changed in place.

    Args:
        bins: [coded], the place in `tables.packed` of each symbol to code.
        states: the state of each lane.
    """
    is_used = np.zeros(tables.cdf.size, bool)
    is_used[bins] = True
    parts = tables.plain_bins(is_used)
    lanes = len(states)
    written: list[tuple[int, int]] = []
    # A lane's state depends on its own symbols alone, so the lanes are coded one after the other, each in a variable.
    for lane, state in enumerate(states):
        x = state
        own = bins[lane::lanes][::-1].tolist()
        last = lane + lanes * (len(own) - 1)
        for c, bin_ in zip(range(last, -1, -lanes), own, strict=True):
            frequency, limit, rest, start = parts[bin_]
            if x >= limit:
                written.append((c, x & 0xFFFFFFFF))
                x >>= 32
            # (x // f) 2^16 + x mod f + s
            x += x // frequency * rest + start
        states[lane] = x
    written.sort()  # a symbol writes one word at most, so no two are of one c
    return [word for _, word in written]


def decode_bins(
    words: Uint32, used: npt.NDArray[np.uint16], states: list[int], tables: Tables
) -> tuple[Int64, int]:
    """The bins of the symbols with the tables `used`, as places in `tables.packed`, and the number of words that were read.

    If the words end too early, only the bins before that. `states` are changed in place.
    """
    is_used = np.zeros(tables.count, bool)
    is_used[used] = True
    parts, lookup = tables.plain_bins(np.repeat(is_used, tables.bins + 1)), tables.plain_lookup
    unread = iter(words.tolist())
    found: list[int] = []
    low = 1 << 31
    try:
        for lane, table in zip(cycle(range(len(states))), used.tolist()):  # the first has no end
            x = states[lane]
            slot = x & 0xFFFF
            bin_ = lookup[(table << 8) + (slot >> 8)]
            frequency, _, _, start = parts[bin_]
            # The bins of a table cover every slot, so the search ends within it.
            while slot >= start + frequency:
                bin_ += 1
                frequency, _, _, start = parts[bin_]
            x = frequency * (x >> 16) + slot - start
            if x < low:
                x = x << 32 | next(unread)
            states[lane] = x
            found.append(bin_)
    except StopIteration:
        pass
    return np.array(found, np.int64), words.size - sum(1 for _ in unread)
