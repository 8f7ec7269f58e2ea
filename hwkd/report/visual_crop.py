"""Which part of an image is shown where not all of it fits, and how it is embedded without loss."""

import base64
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from hwkd.images import Pixels

LEAST_SIDE = 192
"""Pixels: a smaller part of an image says little about a codec."""

_GRID = 16
"""Pixels between the places that are tried for a crop, and between the sides."""


@dataclass(frozen=True)
class Crop:
    """A part of an image, in pixels: its left upper corner and its size."""

    x: int
    y: int
    width: int
    height: int

    def of(self, image: Pixels) -> Pixels:
        """The part of `image`, [height, width, 3]."""
        return image[self.y : self.y + self.height, self.x : self.x + self.width]


def most_detailed(image: Pixels) -> tuple[float, float]:
    """The middle (x, y), in pixels, of the window with the largest mean gradient; the first of equal ones, row by row.

    Windows have LEAST_SIDE pixels a side, or the image's where that is smaller, and lie on a grid of 16 pixels. The
    gradient is the absolute difference of neighbours, right and below, of R + G + B.
    """
    height, width = image.shape[:2]
    grey = image.sum(axis=2, dtype=np.int16)
    gradient = np.zeros((height, width), np.int16)
    gradient[:, 1:] += np.abs(np.diff(grey, axis=1))
    gradient[1:] += np.abs(np.diff(grey, axis=0))
    rows = np.add.reduceat(gradient, np.arange(0, height, _GRID), axis=0, dtype=np.int64)
    blocks = np.add.reduceat(rows, np.arange(0, width, _GRID), axis=1)
    sums = np.pad(blocks.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    tall, wide = (min(LEAST_SIDE // _GRID, count) for count in blocks.shape)
    windows = sums[tall:, wide:] - sums[:-tall, wide:] - sums[tall:, :-wide] + sums[:-tall, :-wide]
    row, column = np.unravel_index(int(windows.argmax()), windows.shape)
    return (int(column) + wide / 2) * _GRID, (int(row) + tall / 2) * _GRID


def crop_at(width: int, height: int, middle: tuple[float, float], side: int) -> Crop:
    """The crop of at most `side` pixels a side around `middle`, moved to lie within an image of width x height.

    A crop of a smaller side lies within that of a larger one.
    """
    wide, tall = min(side, width), min(side, height)
    x = min(max(int(middle[0]) - wide // 2, 0), width - wide)
    y = min(max(int(middle[1]) - tall // 2, 0), height - tall)
    return Crop(x, y, wide, tall)


def sides(longest: int) -> list[int]:
    """The sides that may be shown of images whose longest side is `longest`: that, then down to LEAST_SIDE in steps of 16."""
    return [longest, *range((longest - 1) // _GRID * _GRID, LEAST_SIDE - 1, -_GRID)]


def spread(count: int, most: int) -> list[int]:
    """At most `most` of the numbers 0..count - 1, evenly over all of them, rising."""
    kept = min(count, most)
    return [(2 * place + 1) * count // (2 * kept) for place in range(kept)]


def embedded(pixels: Pixels) -> str:
    """A data: address that holds `pixels`, [H, W, 3], as lossless WebP: every decoder gives back the same pixels."""
    sink = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(pixels))
    # quality is effort where nothing is lost; more gains 0.3 % and takes four times as long.
    image.save(sink, format="WEBP", lossless=True, quality=75, method=4, exact=True)
    return "data:image/webp;base64," + base64.b64encode(sink.getvalue()).decode()
