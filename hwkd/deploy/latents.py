"""Which symbols a codec's latents can take once it is exported, seen on images."""

from collections.abc import Iterable

import torch
from torch import Tensor

from hwkd.deploy.coder_ends import Latents
from hwkd.models.base import HyperpriorCodec
from hwkd.models.patch import PatchCodec
from hwkd.quantize.calibrate import SYMBOL_MAX

WIDE_MAX = 127 * 256 + 127
"""What two 8-bit digits hold."""

_WIDE_FROM = SYMBOL_MAX // 2
"""A channel of `patch` whose symbols exceed this on the images seen gets a second digit: others may hold twice."""

_CHANNELS_A_KERNEL = 8


@torch.no_grad()
def latents_of(codec: HyperpriorCodec, images: Iterable[Tensor]) -> Latents:
    """The latents of `codec`.

    In gdn and relu every symbol has 8 bits, as in training. In `patch` the first channels, up to the last that needs it,
    hold more; the principal components come first, so that these are few.

    Args:
        images: [1, 3, H, W] in [0, 1], sides multiples of 64.
    """
    if not isinstance(codec, PatchCodec):
        return Latents(codec.M, codec.Z, SYMBOL_MAX, SYMBOL_MAX, codec.M)
    largest = torch.zeros(codec.M)
    for x in images:
        largest = torch.maximum(largest, codec.g_a(x).abs().amax((0, 2, 3)))
    wide = torch.nonzero(largest > _WIDE_FROM).flatten()
    if not len(wide):
        return Latents(codec.M, codec.Z, SYMBOL_MAX, SYMBOL_MAX, 0)
    channels = -(-(int(wide[-1]) + 1) // _CHANNELS_A_KERNEL) * _CHANNELS_A_KERNEL
    return Latents(codec.M, codec.Z, WIDE_MAX, SYMBOL_MAX, min(channels, codec.M))
