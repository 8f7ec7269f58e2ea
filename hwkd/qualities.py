"""Qualities 1 to 100 of a model of all rates: what each means, and its gains in whole numbers.

    lmbda(quality) = LMBDA_LOW * (LMBDA_HIGH / LMBDA_LOW) ^ ((quality - 1) / 99)

CompressAI's qualities 1 to 8 have lambdas from LMBDA_LOW to LMBDA_HIGH too, and are CURVE_QUALITIES here, to the nearest.
"""

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from hwkd.errors import InputError

LOWEST, HIGHEST = 1, 100
DEFAULT_QUALITY = 50
CURVE_QUALITIES = (1, 15, 29, 44, 58, 72, 86, 100)
"""The points of a model's curve: CompressAI's qualities, to the nearest."""

LMBDA_LOW, LMBDA_HIGH = 0.0018, 0.18

LMBDA_OF_UNIT_GAIN = 0.025
"""The lambda with a base gain of 1: the latents of a model of all rates are in its steps."""

LARGEST_GAIN = math.sqrt(LMBDA_HIGH / LMBDA_OF_UNIT_GAIN)
"""The gain of every channel at HIGHEST: there no channel deviates (hwkd/models/patch.py)."""

Y_HAT_STEP = 1 / (4 * LARGEST_GAIN)
"""The grid that y_hat / gain is rounded to where g_s computes in integers: at HIGHEST a symbol is 4 of its steps,
below it more, so that what rounding adds is under a 16th of what quantization left, and less the lower the quality."""

SCALE_MIN, SCALE_MAX, SCALE_LEVELS = 0.11, 256.0, 64
"""CompressAI's table of scales: 64 values, logarithmic from 0.11 to 256 (its models/base.py get_scale_table)."""
LOG_SCALE_STEP = math.log(SCALE_MAX / SCALE_MIN) / (SCALE_LEVELS - 1)

GAIN_UNITS = 256
"""A stored gain is a whole number of so many parts of a step of the scales' table, by its logarithm."""

MOST_ANCHORS = 16

Anchors = npt.NDArray[np.int16]


def check_quality(quality: int) -> None:
    """Raise InputError where `quality` is no whole number from LOWEST to HIGHEST."""
    if type(quality) is not int or not LOWEST <= quality <= HIGHEST:
        raise InputError(
            f"a quality must be a whole number from {LOWEST} to {HIGHEST}, got {quality}"
        )


def check_within(name: str, qualities: tuple[int, int], quality: int) -> None:
    """Raise InputError where the model called `name`, which has `qualities` from the first to the second, has not this one."""
    low, high = qualities
    if type(quality) is not int or not low <= quality <= high:
        raise InputError(
            f"a quality of {name} must be a whole number from {low} to {high}, got {quality}"
        )


def nearest(wanted: Iterable[int], qualities: tuple[int, int]) -> tuple[int, ...]:
    """The qualities of `wanted`, moved into the range of a model that has `qualities`; each once, in order."""
    low, high = qualities
    return tuple(sorted({min(max(quality, low), high) for quality in wanted}))


def lmbda_at(quality: int) -> float:
    """The lambda of R + lambda 255^2 MSE that `quality` stands for. Raises InputError as `check_quality`."""
    check_quality(quality)
    return LMBDA_LOW * math.exp(place_of(quality) * math.log(LMBDA_HIGH / LMBDA_LOW))


def place_of(quality: int) -> float:
    """The place of `quality` between LOWEST (0) and HIGHEST (1)."""
    return (quality - LOWEST) / (HIGHEST - LOWEST)


def log_gains(anchors: Anchors, quality: int) -> npt.NDArray[np.int64]:
    """The gains of each channel at `quality`, [M]: by their logarithms, in 1 / GAIN_UNITS of a step of the scales' table.

    Linear between the anchors, which stand at equal distances, rounded half up: whole numbers only, so that every machine
    gets the same ones.

    Args:
        anchors: [A, M], A from 2.
    """
    steps, whole = (len(anchors) - 1) * (quality - LOWEST), HIGHEST - LOWEST
    below = min(steps // whole, len(anchors) - 2)
    part = steps - below * whole
    low, high = anchors[below].astype(np.int64), anchors[below + 1].astype(np.int64)
    found: npt.NDArray[np.int64] = (2 * (low * (whole - part) + high * part) + whole) // (2 * whole)
    return found


def gains(anchors: Anchors, quality: int) -> npt.NDArray[np.float32]:
    """The gains themselves, [M]: what y is multiplied by before it is rounded, and divided by after."""
    logs = log_gains(anchors, quality) * (LOG_SCALE_STEP / GAIN_UNITS)
    found: npt.NDArray[np.float32] = np.exp(logs).astype(np.float32)
    return found


def index_shifts(anchors: Anchors, quality: int) -> npt.NDArray[np.int32]:
    """The number that a gain adds to the scale's index of each channel, [M]: to the nearest, halves up."""
    shifts = (2 * log_gains(anchors, quality) + GAIN_UNITS) // (2 * GAIN_UNITS)
    return shifts.astype(np.int32)
