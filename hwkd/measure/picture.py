"""An image of any size, made in code."""

import numpy as np

from hwkd.images import Pixels


def picture(width: int, height: int) -> Pixels:
    """A smooth image with some texture, [height, width, 3] uint8: about a photograph's rate, unlike noise.

    Made row by row, so that its making does not set the peak.
    """
    rng = np.random.default_rng(0)
    columns = np.arange(width)[:, None]
    image = np.empty((height, width, 3), np.uint8)
    for row in range(height):
        wave = np.sin(columns / 37 + np.sin(row / 53) + np.arange(3)) + np.sin(
            row / 29 + columns / 71
        )
        image[row] = (128 + 50 * wave + rng.normal(0, 4, (width, 3))).clip(0, 255).astype(np.uint8)
    return image
