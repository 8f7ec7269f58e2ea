"""The integer tables the entropy coder works with: made once at export, the same numbers on every machine."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from hwkd.errors import InputError

PRECISION = 16
"""Bits of a probability: the frequencies of a table's bins sum to TOTAL."""

TOTAL = 1 << PRECISION
LOOKUP_BITS = 8
"""Bits of a slot that `Tables.lookup` is indexed by."""

MAX_TABLES = 4096
MAX_SYMBOL = 1 << 20
"""The largest magnitude of a symbol, within a table or escaped."""

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Tables:
    """T cumulative frequency tables of different lengths, checked so that a coder never reads outside of them.

    A table of B bins is B + 1 numbers that rise strictly from 0 to TOTAL. Bin b stands for the symbol offset + b, except
    the last one: it is the escape, for every symbol that has no bin (CompressAI's tail mass).

    cdf: uint32, the tables one after another. starts: int64 [T + 1], where each begins in cdf, and its end.
    offsets: int32 [T], the symbol of each table's first bin. All three are copied and may not be written to.

    Raises:
        InputError: other types or shapes, no table or over MAX_TABLES, a table without at least one symbol and the
            escape or one that does not rise from 0 to TOTAL, a symbol over MAX_SYMBOL.
    """

    cdf: npt.NDArray[np.uint32]
    starts: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int32]

    def __post_init__(self) -> None:
        _require_form("cdf", self.cdf, np.uint32)
        _require_form("starts", self.starts, np.int64)
        _require_form("offsets", self.offsets, np.int32)
        for name in ("cdf", "starts", "offsets"):
            own = getattr(self, name).copy()
            own.flags.writeable = False
            object.__setattr__(self, name, own)
        self._check_sizes()
        self._check_rise()

    def _check_sizes(self) -> None:
        count = self.offsets.size
        if not 1 <= count <= MAX_TABLES:
            raise _unusable(f"{count} tables, accepted are 1 to {MAX_TABLES}")
        if self.starts.size != count + 1:
            raise _unusable(f"{self.starts.size} starts for {count} tables, expected {count + 1}")
        if self.starts[0] != 0 or self.starts[-1] != self.cdf.size:
            raise _unusable(
                f"they reach from {self.starts[0]} to {self.starts[-1]} of {self.cdf.size} numbers"
            )
        # Compared, not subtracted: a difference of damaged numbers may wrap around. No number above the last start
        # is left once they are in order.
        if not (self.starts[1:] >= self.starts[:-1]).all():
            raise _unusable("their starts are not in order")
        if self.bins.min() < 2:
            raise _unusable(
                f"table {self.bins.argmin()} has {max(self.bins.min(), 0)} bins, accepted are 2 or more: "
                "one for a symbol and one for the escape"
            )

    def _check_rise(self) -> None:
        rises = self.cdf[1:] > self.cdf[:-1]
        # Between the end of one table and the start of the next there is nothing to compare.
        rises[self.starts[1:-1] - 1] = True
        ends = (self.cdf[self.starts[:-1]] == 0) & (self.cdf[self.starts[1:] - 1] == TOTAL)
        if not (rises.all() and ends.all()):
            # The number that does not rise belongs to the last table that begins at or before it.
            at = np.searchsorted(self.starts, rises.argmin(), side="right") - 1
            table = at if ends.all() else ends.argmin()
            raise _unusable(f"table {table} does not rise strictly from 0 to {TOTAL}")
        first = self.offsets.astype(np.int64)
        last = first + self.bins - 2
        if first.min() < -MAX_SYMBOL or last.max() > MAX_SYMBOL:
            raise _unusable(
                f"symbols from {first.min()} to {last.max()}, accepted are -{MAX_SYMBOL} to {MAX_SYMBOL}"
            )

    @property
    def count(self) -> int:
        """T."""
        return self.offsets.size

    @cached_property
    def bins(self) -> npt.NDArray[np.int64]:
        """[T], the bins of each table, its escape among them."""
        return np.diff(self.starts) - 1

    @cached_property
    def packed(self) -> npt.NDArray[np.uint32]:
        """Of cdf's shape: where a bin's slots start, times 2^16, plus its frequency. 0 where a table ends."""
        packed = np.zeros(self.cdf.size, np.uint32)
        packed[:-1] = (self.cdf[:-1] << np.uint32(16)) | (self.cdf[1:] - self.cdf[:-1])
        packed[self.starts[1:] - 1] = 0
        return packed

    @cached_property
    def lookup(self) -> npt.NDArray[np.uint16]:
        """[T * 2^LOOKUP_BITS], the bin that holds the first of the slots with these top bits, for each table.

        The bin of any slot is this one or, seldom far away, one after it.
        """
        # One search over all tables: each is lifted above the ones before it.
        lift = np.arange(self.count, dtype=np.int64) * (TOTAL + 1)
        lifted = self.cdf + np.repeat(lift, self.bins + 1)
        slots = lift[:, None] + np.arange(0, TOTAL, TOTAL >> LOOKUP_BITS)
        found = np.searchsorted(lifted, slots, side="right") - 1 - self.starts[:-1, None]
        return found.astype(np.uint16).ravel()

    def plain_bins(self, is_wanted: npt.NDArray[np.bool_]) -> list[tuple[int, int, int, int]]:
        """Of cdf's length: frequency f, 2^47 f, 2^16 - f and first slot of each bin, for loops in plain Python.

        is_wanted: of cdf's length, the bins to look up; nothing is known of the others.
        """
        places = np.flatnonzero(is_wanted)
        packed = self.packed[places]
        frequency = (packed & np.uint32(TOTAL - 1)).astype(np.int64)
        # A bin has no more than 2^16 - 1 slots, so 2^47 f fits in 63 bits.
        columns = (frequency, frequency << 47, TOTAL - frequency, packed >> np.uint32(PRECISION))
        found = [(0, 0, 0, 0)] * self.cdf.size
        rows = zip(*(column.tolist() for column in columns), strict=True)
        for place, row in zip(places.tolist(), rows, strict=True):
            found[place] = row
        return found

    @cached_property
    def plain_lookup(self) -> list[int]:
        """`lookup` as places in `packed`, for loops in plain Python."""
        first = np.repeat(self.starts[:-1], 1 << LOOKUP_BITS)
        places: list[int] = (first + self.lookup).tolist()
        return places

    @classmethod
    def from_padded(cls, cdf: Array, lengths: Array, offsets: Array) -> "Tables":
        """Tables in CompressAI's form: its `_quantized_cdf`, `_cdf_length` and `_offset`, as numpy arrays.

        Args:
            cdf: [T, L], any integers; of each row only the beginning counts.
            lengths: [T], how much of each row: its bins + 1.
            offsets: [T].
        Raises:
            InputError: not such arrays, or as `Tables`.
        """
        shapes = cdf.shape, lengths.shape, offsets.shape
        if cdf.ndim != 2 or shapes[1:] != (cdf.shape[:1],) * 2 or cdf.size == 0:
            raise _unusable(f"shapes {shapes}, expected ([T, L], [T], [T]) with T and L over 0")
        for array in (cdf, lengths, offsets):
            if array.dtype.kind not in "iu":
                raise _unusable(f"numbers of type {array.dtype}, expected integers")
        if lengths.min() < 0 or lengths.max() > cdf.shape[1]:
            raise _unusable(
                f"lengths from {lengths.min()} to {lengths.max()} in rows of {cdf.shape[1]}"
            )
        ragged = cdf[np.arange(cdf.shape[1]) < lengths[:, None]]
        if ragged.size and (ragged.min() < 0 or ragged.max() > TOTAL):
            raise _unusable(
                f"numbers from {ragged.min()} to {ragged.max()}, accepted are 0 to {TOTAL}"
            )
        if offsets.min() < -MAX_SYMBOL or offsets.max() > MAX_SYMBOL:
            raise _unusable(f"offsets from {offsets.min()} to {offsets.max()}")
        starts = np.zeros(lengths.size + 1, np.int64)
        starts[1:] = np.cumsum(lengths, dtype=np.int64)
        return cls(ragged.astype(np.uint32), starts, offsets.astype(np.int32))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array], prefix: str = "") -> "Tables":
        """The tables that `to_arrays` gave, from an npz opened with allow_pickle=False say.

        Raises:
            InputError: an array is missing, or as `Tables`.
        """
        missing = [
            prefix + name for name in ("cdf", "starts", "offsets") if prefix + name not in arrays
        ]
        if missing:
            raise _unusable(f"no {', '.join(missing)} among {', '.join(arrays) or 'no arrays'}")
        return cls(arrays[prefix + "cdf"], arrays[prefix + "starts"], arrays[prefix + "offsets"])

    def to_arrays(self, prefix: str = "") -> dict[str, Array]:
        """The three arrays by name, each name with `prefix` before it."""
        return {
            prefix + "cdf": self.cdf,
            prefix + "starts": self.starts,
            prefix + "offsets": self.offsets,
        }


def _require_form(name: str, array: Array, dtype: type[np.generic]) -> None:
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.ndim != 1:
        received = (
            f"{array.dtype} {list(array.shape)}"
            if isinstance(array, np.ndarray)
            else type(array).__name__
        )
        raise _unusable(f"{name} is {received}, expected {np.dtype(dtype)} in one dimension")


def _unusable(what: str) -> InputError:
    return InputError(f"unusable coding tables: {what}; export the model again")
