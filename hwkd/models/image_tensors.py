"""Between 8-bit images and what the networks take and give."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hwkd.images import Pixels


def padded(image: Pixels, factor: int) -> Tensor:
    """`image`, [H, W, 3] uint8, as [1, 3, H', W'] float32 in [0, 1], H' and W' the next multiples of `factor`."""
    height, width = image.shape[:2]
    x = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float() / 255
    return F.pad(x, (0, -width % factor, 0, -height % factor), mode="replicate")


def to_pixels(x_hat: Tensor, width: int, height: int) -> Pixels:
    """`x_hat`, [1, 3, H', W'], cut to `width` x `height`, clamped to [0, 1] and rounded to uint8 [H, W, 3]."""
    x = x_hat[0, :, :height, :width].clamp(0, 1).mul(255).round()
    return np.asarray(x.to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy())
