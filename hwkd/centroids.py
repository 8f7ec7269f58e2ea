"""Where a rounded latent is decoded: not at the symbol, but at the mean of its prior around it.

The prior is a Gaussian with a mean of zero, so more of what rounds to 1 was below 1 than above. The decoder knows the scale's
index of each symbol, exactly and before it reads the symbol:

    decoded = symbol - sign(symbol) PULLS[index, min(|symbol|, LARGEST)]

Nothing of it is written, and the encoder knows nothing of it. The means of patch-medium's latents (crops of its training images,
qualities 10 to 90) are those of a Gaussian to 0.04 for the symbol 1, at scales from 0.18 on, and to 0.06 for 2, at scales from 0.6 on;
smaller scales have few such symbols. Larger symbols are pulled less than a Gaussian's, as the tails are heavier: they take the pull
of LARGEST. The mean is the best value for an interval in squared error (Lloyd 1982,
"Least squares quantization in PCM", IEEE Trans. Inf. Theory 28, section III).
"""

import math

import numpy as np
import numpy.typing as npt

from hwkd.qualities import LOG_SCALE_STEP, SCALE_LEVELS, SCALE_MIN

LARGEST = 2
"""Symbols of this size and beyond share one entry."""

PULL_UNITS = 256
"""A pull is a whole number of so many parts of a symbol, so that every machine has the same."""


def _pull(scale: float, size: int) -> float:
    """How far below `size`, 1 or more, the mean of a Gaussian between size - 1/2 and size + 1/2 lies."""
    near, far = (size - 0.5) / scale, (size + 0.5) / scale
    density = (math.exp(-(near**2) / 2) - math.exp(-(far**2) / 2)) / math.sqrt(2 * math.pi)
    probability = (math.erfc(near / math.sqrt(2)) - math.erfc(far / math.sqrt(2))) / 2
    return round((size - scale * density / probability) * PULL_UNITS) / PULL_UNITS


PULLS: npt.NDArray[np.float32] = np.array(
    [
        [0.0, *(_pull(SCALE_MIN * math.exp(LOG_SCALE_STEP * index), size) for size in (1, LARGEST))]
        for index in range(SCALE_LEVELS)
    ],
    np.float32,
)
"""By index of the scale and size of the symbol, [SCALE_LEVELS, LARGEST + 1]: 0 for the symbol 0, below 1/2 for all."""

_SIGNED = np.concatenate([-PULLS[:, :0:-1], PULLS], 1).ravel()
"""By index of the scale and symbol from -LARGEST to LARGEST."""


def decoded(
    symbols: npt.NDArray[np.int32], indexes: npt.NDArray[np.uint8]
) -> npt.NDArray[np.float32]:
    """The values that g_s reads for `symbols`, with the scales of `indexes`, of the same shape."""
    values: npt.NDArray[np.float32] = np.array(symbols, np.float32, order="C")
    flat = values.reshape(-1)
    places = np.flatnonzero(flat != 0)  # few of them
    found = flat[places]
    entries = np.clip(found, -LARGEST, LARGEST).astype(np.int32) + LARGEST
    entries += indexes.reshape(-1)[places].astype(np.int32) * (2 * LARGEST + 1)
    flat[places] = found - _SIGNED.take(entries)
    return values
