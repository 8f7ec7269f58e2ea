"""The lambda of each crop where a student of all rates is trained, and what its loss weighs."""

import numpy as np
import torch
from torch import Tensor

from hwkd.qualities import LMBDA_HIGH, LMBDA_LOW, LMBDA_OF_UNIT_GAIN

WEIGHT_POWER = 0.4
"""bpp + lmbda 255^2 MSE grows with lmbda about as fast: over it every rate counts about the same."""

VALIDATED_QUALITIES = (10, 50, 90)

_SPREAD = (5**0.5 - 1) / 2
"""Multiples of the golden ratio, modulo 1, lie evenly however many there are."""


def drawn(key: tuple[int, ...], batch: int, rows: range) -> Tensor:
    """The lambdas of `rows` of the batch number `batch`, [rows]: even in ln(lmbda) over LMBDA_LOW..LMBDA_HIGH.

    The rows of one batch share one random number and lie evenly around it. A row's lambda depends on `key` (the run's
    seed and what is drawn for), the batch and the row only, so that it is the same in every process and after a resume.
    """
    first = np.random.default_rng((*key, batch)).random()
    places = torch.tensor([(first + row * _SPREAD) % 1 for row in rows], dtype=torch.float64)
    return (LMBDA_LOW * (LMBDA_HIGH / LMBDA_LOW) ** places).float()


def weight(lmbda: Tensor) -> Tensor:
    """What the loss of a crop of this lambda counts, of the shape of `lmbda`."""
    return (LMBDA_OF_UNIT_GAIN / lmbda) ** WEIGHT_POWER
