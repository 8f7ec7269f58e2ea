"""Whole numbers from 0 in bytes of seven bits, the low ones first; the top bit says that another byte follows.

The numbers of LEB128, as protocol buffers and WebAssembly write them.
"""

import numpy as np
import numpy.typing as npt

from hwkd.codec.compiled import compiled, read_only

MAX_BYTES = 5
"""Bytes of one number at most, so that a number is under 2^35."""

Numbers = npt.NDArray[np.int64]


def write(numbers: Numbers) -> bytes:
    """`numbers`, 0 to 2^35 - 1 each, one after another."""
    out = np.empty(MAX_BYTES * numbers.size, np.uint8)
    return out[: _write(np.ascontiguousarray(numbers), out)].tobytes()


def read(data: npt.NDArray[np.uint8], start: int, count: int) -> tuple[Numbers, int] | None:
    """`count` numbers of `data` from `start` on, and where they end. None: data ends before, or one is too long."""
    # A number takes a byte at least: no memory is asked for that the data could not fill.
    if count > data.size - start:
        return None
    numbers = np.empty(count, np.int64)
    end = _read(data, start, numbers)
    return None if end < 0 else (numbers, end)


@compiled(f"int64({read_only('int64')}, uint8[::1])")
def _write(numbers: Numbers, out: npt.NDArray[np.uint8]) -> int:
    at = 0
    for i in range(numbers.size):
        number = numbers[i]
        while number > 127:
            out[at] = np.uint8((number & 127) | 128)
            number >>= 7
            at += 1
        out[at] = np.uint8(number)
        at += 1
    return at


@compiled(f"int64({read_only('uint8')}, int64, int64[::1])")
def _read(data: npt.NDArray[np.uint8], start: int, numbers: Numbers) -> int:
    at = start
    for i in range(numbers.size):
        number = np.int64(0)
        for k in range(MAX_BYTES):
            if at >= data.size:
                return -1
            byte = np.int64(data[at])
            at += 1
            number |= (byte & 127) << (7 * k)
            if byte < 128:
                break
        else:
            return -1
        numbers[i] = number
    return at
