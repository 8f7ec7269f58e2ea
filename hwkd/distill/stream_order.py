"""Which image each row of each batch is cropped from, endlessly: a function of the seed and the step alone."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

VISITS = 8
"""Crops that are taken of an image once it is decoded, at as many steps: decoding costs far more than cropping."""
STRIDE = 5
"""Of the rows' first steps: any two rows side by side, and any few, then change their images far from each other."""

# What chance is asked for: each has sequences of its own.
_OF_EPOCH, _OF_CROP = 0, 1


@dataclass(frozen=True)
class Lanes:
    """Each row of the batches is a lane: it stays with one image for `visits` steps and then takes the next place.

    The lanes change their images at different steps, so that about as many are decoded for each step. In the endless
    sequence of places every one is taken by exactly one lane, in turn `place // size` by lane `place % size`; a lane
    that begins in the middle of its first turn visits that first image fewer times.

    size: rows of a batch, over all processes.
    """

    size: int
    visits: int

    def at(self, step: int, row: int) -> tuple[int, int]:
        """(place, visit) of a row: the image's place in the endless sequence, and how often it was there before."""
        turn, visit = divmod(step + row * STRIDE % self.visits, self.visits)
        return turn * self.size + row, visit


class Order:
    """The endless sequence of `count` images: one permutation after another, so that none is repeated before all."""

    def __init__(self, count: int, seed: int) -> None:
        self.count, self._seed = count, seed
        self._epochs: dict[int, npt.NDArray[np.int64]] = {}

    def index(self, place: int, shift: int = 0) -> int:
        """The image at a place, or the one that lies `shift` behind it in the same epoch's order, round its end."""
        epoch, at = divmod(place, self.count)
        if epoch not in self._epochs:
            # Lanes, and the images decoded ahead of them, are in two epochs at once where one ends.
            if len(self._epochs) == 2:
                del self._epochs[min(self._epochs)]
            rng = np.random.default_rng((self._seed, _OF_EPOCH, epoch))
            self._epochs[epoch] = rng.permutation(self.count)
        return int(self._epochs[epoch][(at + shift) % self.count])


def crop_chance(seed: int, place: int, visit: int) -> np.random.Generator:
    """What decides where the crop of this visit lies and how it is turned."""
    return np.random.default_rng((seed, _OF_CROP, place, visit))
