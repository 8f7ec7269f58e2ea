"""The gains of a bundle of all rates: what one quality feeds its networks.

    encoder: y = clip(round(g_a(x) gain), -limit, limit)
    hyper:   index = clip(h_s(z) + shift, 0, 63)
    decoder: g_s(round(c step + means) Y_HAT_STEP), c the centroids of y (hwkd/centroids.py)

What is rounded is y_hat / gain in steps of the grid of hwkd/qualities.py. `limit` keeps it within what the decoder holds: one
8-bit digit, or two in the channels before `narrow_from`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from hwkd.errors import InputError
from hwkd.qualities import (
    DEFAULT_QUALITY,
    GAIN_UNITS,
    HIGHEST,
    MOST_ANCHORS,
    SCALE_LEVELS,
    Anchors,
    check_within,
    gains,
    index_shifts,
)
from hwkd.runtime.manifest import Manifest

NARROW_MAX = 127
"""The largest value of one 8-bit digit."""

WIDE_MAX = 127 * 256 + 127
"""The largest value of two 8-bit digits."""

HIGHEST_STEP = 4.0
"""Step of y at HIGHEST, in Y_HAT_STEPs (hwkd/qualities.py)."""

_MOST_LOG_GAIN = SCALE_LEVELS * GAIN_UNITS
"""A gain moves no scale by more than the table of scales is long."""

_FIELDS = {"anchors", "narrow_from"}

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Rate:
    """One quality: gain, limit, shift and step as in the module's docstring, each [1, M, 1, 1] float32.

    limit and shift are whole numbers.
    """

    quality: int
    gain: Float32
    limit: Float32
    shift: Float32
    step: Float32


@dataclass(frozen=True, eq=False)
class Gains:
    """The gains of a bundle, by channel of y.

    Attributes:
        anchors: as hwkd.qualities.gains.
        narrow_from: channels from this one on have one digit in the decoder.
        largest_y: bound of the symbols at every quality.
    """

    anchors: Anchors
    narrow_from: int
    largest_y: int
    _rates: dict[int, Rate] = field(default_factory=dict, repr=False)

    def rate(self, quality: int) -> Rate:
        """The rate of `quality`, LOWEST to HIGHEST; made once."""
        if quality not in self._rates:
            self._rates[quality] = self._made(quality)
        return self._rates[quality]

    def _made(self, quality: int) -> Rate:
        gain = gains(self.anchors, quality)
        # Beside the gain at HIGHEST as stored, so that a symbol there is whole steps.
        step = HIGHEST_STEP * gains(self.anchors, HIGHEST).astype(np.float64) / gain
        held = np.full(len(gain), NARROW_MAX)
        held[: self.narrow_from] = WIDE_MAX
        # What lies less than half above still rounds to it.
        limit = np.minimum(np.floor((held + 0.49) / step), self.largest_y)
        arrays = (gain, limit, index_shifts(self.anchors, quality), step)
        return Rate(quality, *(a.astype(np.float32).reshape(1, -1, 1, 1) for a in arrays))

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Plain arrays for an npz, which `read_gains` reads back."""
        return {"anchors": self.anchors, "narrow_from": np.array(self.narrow_from, np.int32)}


def read_gains(arrays: Mapping[str, npt.NDArray[Any]], manifest: Manifest) -> Gains:
    """The gains that `to_arrays` described, of the bundle of `manifest`.

    Raises:
        InputError: arrays of another form, or gains that no model has.
    """
    if set(arrays) != _FIELDS:
        raise _damaged(f"its arrays are {', '.join(sorted(arrays)[:8])}")
    anchors, narrow_from = arrays["anchors"], arrays["narrow_from"]
    if anchors.dtype != np.int16 or anchors.ndim != 2 or anchors.shape[1] != manifest.M:
        raise _damaged(f"anchors are {anchors.dtype} {list(anchors.shape)}, and M is {manifest.M}")
    if not 2 <= len(anchors) <= MOST_ANCHORS:
        raise _damaged(f"{len(anchors)} anchors, and 2 to {MOST_ANCHORS} are accepted")
    if not -_MOST_LOG_GAIN <= anchors.min() <= anchors.max() <= _MOST_LOG_GAIN:
        raise _damaged(
            f"they reach from {anchors.min()} to {anchors.max()}, and {_MOST_LOG_GAIN} is the most"
        )
    if (anchors[-1] != anchors[-1, 0]).any():
        raise _damaged(f"channels differ at quality {HIGHEST}")
    if narrow_from.dtype != np.int32 or narrow_from.shape != ():
        raise _damaged("narrow_from is no number")
    if not 0 <= narrow_from <= manifest.M:
        raise _damaged(f"narrow_from is {narrow_from}, and M is {manifest.M}")
    return Gains(anchors, int(narrow_from), manifest.largest_y)


def chosen_quality(manifest: Manifest, quality: int | None) -> int | None:
    """The quality that the bundle of `manifest` codes at for the requested `quality`; None where it has one rate.

    Raises:
        InputError: a quality that the bundle does not have.
    """
    if manifest.qualities is None:
        if quality is None:
            return None
        raise InputError(
            f"{manifest.name} codes at one rate and takes no quality, got {quality}; leave it out, or give a model of all "
            "rates"
        )
    low, high = manifest.qualities
    if quality is None:
        return min(max(DEFAULT_QUALITY, low), high)
    check_within(manifest.name, manifest.qualities, quality)
    return quality


def _damaged(cause: str) -> InputError:
    return InputError(f"the bundle's gains are damaged ({cause}): get the bundle again")
