"""What `hwkd verify` tries: photographs, cut small or whole, and images and symbols made in code.

What is made comes from whole numbers and the raw output of PCG64 only, so that it is the same on every machine.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt

from hwkd.codec.networks import Symbols
from hwkd.images import Pixels

COUNT = 220
"""Images unless said otherwise: half of them crops, half made. At these sizes a minute or so for a small model."""

CROP_SIDES = (64, 96, 100, 128, 150, 192)
MADE_SIZES = (
    *((64, 64), (1, 1), (1, 70), (65, 3), (96, 128), (130, 66)),
    *((128, 192), (63, 65), (192, 64), (17, 200), (33, 31)),
)
"""(height, width): multiples of 64, one over, one under, thin, and single pixels. As many as share no factor with the
kinds of patterns, so that all meet."""

Z_SIZES = ((1, 1), (2, 3), (3, 3), (4, 7), (5, 6))
"""(height, width) of symbols of z: borders alone, and 3x3 kernels with and without them."""

_KINDS = 6
_STEP_DOWN, _STEP_ALONG = 37, 53
"""Pixels between crops that follow one another."""


def quality_of(number: int, qualities: Sequence[int]) -> int | None:
    """The quality to code image `number` of `mixed` at; None where there are none to choose from.

    Each in turn; after a round of all kinds of patterns one is left out, so that each kind meets each quality.
    """
    return qualities[(number + number // (2 * _KINDS)) % len(qualities)] if qualities else None


def mixed(photographs: Iterable[Pixels], images: int) -> Iterator[Pixels]:
    """`images` images: a photograph and a made one in turn; made ones only when the photographs are out."""
    photographs = iter(photographs)
    made = map(made_image, count())
    for number in range(images):
        photograph = next(photographs, None) if number % 2 == 0 else None
        yield next(made) if photograph is None else photograph


def crops(photographs: Sequence[Pixels]) -> Iterator[Pixels]:
    """Squares of CROP_SIDES, or what there is of them, at ever other places of each of `photographs`; without end."""
    for number in count():
        photograph = photographs[number % len(photographs)]
        side = CROP_SIDES[number // len(photographs) % len(CROP_SIDES)]
        top = number * _STEP_DOWN % max(photograph.shape[0] - side, 1)
        left = number * _STEP_ALONG % max(photograph.shape[1] - side, 1)
        yield photograph[top : top + side, left : left + side]


def made_image(number: int) -> Pixels:
    """Pattern `number`, 0 or more, [H, W, 3]: noise of three kinds, a ramp, a checkerboard or one colour."""
    height, width = MADE_SIZES[number % len(MADE_SIZES)]
    turn, kind = divmod(number, _KINDS)
    raw = np.random.PCG64(number).random_raw(4 * height * width).astype("<u8").view(np.uint8)
    noise = raw.reshape(8, height, width, 4)[..., :3]
    rows, columns = np.mgrid[:height, :width, :1][:2]
    image: npt.NDArray[Any]
    match kind:
        case 0:
            image = noise[0]
        case 1:  # nearly Gaussian: a mean of eight
            image = noise.sum(0, dtype=np.uint16) // 8
        case 2:  # the ends of the range and nothing between
            image = 255 * (noise[0] >> 7)
        case 3:
            image = (rows + 2 * columns) * np.array([1, 2, 3]) + number
        case 4:
            side = 1 + turn % 16
            is_light = (rows // side + columns // side) % 2 == 1
            image = np.where(is_light, noise[0, 0, 0], noise[1, 0, 0])
        case _:  # black and white first
            colour = [255 * turn] * 3 if turn < 2 else noise[0, 0, 0]
            image = np.full((height, width, 3), colour)
    return image.astype(np.uint8)


def made_symbols(channels: int, largest: int) -> Iterator[Symbols]:
    """Symbols of z, [channels, h, w], that no image may give: small, medium and large noise, and the two ends alone.

    largest: they lie in -largest - 1 .. largest, and reach both.
    """
    tops = (2, largest // 8, largest)
    for number, (height, width) in enumerate(Z_SIZES):
        raw = np.random.PCG64(number).random_raw(channels * height * width)
        noise = (raw >> 32).astype(np.int64).reshape(channels, height, width)
        for top in tops:
            yield (noise % (2 * top + 2) - top - 1).astype(np.int32)
        yield np.where(noise % 2 == 0, -largest - 1, largest).astype(np.int32)
