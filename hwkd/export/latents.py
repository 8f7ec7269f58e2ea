"""Which symbols a codec's latents can take once it is exported, seen on images."""

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor

from hwkd.export.coder_ends import Latents
from hwkd.models.base import HyperpriorCodec
from hwkd.models.patch import PatchCodec, PatchSynthesis
from hwkd.qualities import LMBDA_HIGH
from hwkd.quantize.qat import SYMBOL_MAX
from hwkd.runtime.gains import HIGHEST_STEP, WIDE_MAX

_WIDE_FROM = SYMBOL_MAX // 2
"""A channel of `patch` whose symbols exceed this on the images seen gets a second digit: others may hold twice."""

_CHANNELS_A_KERNEL = 8


@torch.no_grad()
def latents_of(codec: HyperpriorCodec, images: Iterable[Tensor]) -> Latents:
    """The latents of `codec`.

    In gdn and relu every symbol has 8 bits, as in training. In `patch` the first channels, up to the last that needs it,
    hold more; the principal components come first, so that these are few. In one of all rates what counts is y in steps of
    the grid of g_s; a symbol has the fewest of them at the highest quality, where y has the most symbols: there it is seen.

    Args:
        images: [1, 3, H, W] in [0, 1], sides multiples of 64.
    """
    if not isinstance(codec, PatchCodec):
        return Latents(codec.M, codec.Z, SYMBOL_MAX, SYMBOL_MAX, codec.M)
    has_gains = codec.serves_all_rates
    codec.set_lmbda(LMBDA_HIGH)
    largest = torch.zeros(codec.M)
    for x in images:
        largest = torch.maximum(largest, codec.g_a(x).abs().amax((0, 2, 3)))
    wide = torch.nonzero(largest * (HIGHEST_STEP if has_gains else 1) > _WIDE_FROM).flatten()
    if not len(wide):
        return Latents(codec.M, codec.Z, SYMBOL_MAX, SYMBOL_MAX, 0, has_gains)
    context = cast(PatchSynthesis, codec.g_s).context
    # A mean comes on top of its symbol.
    most = max(int(wide[-1]) + 1, 0 if context is None else context.channels)
    channels = -(-most // _CHANNELS_A_KERNEL) * _CHANNELS_A_KERNEL
    return Latents(codec.M, codec.Z, WIDE_MAX, SYMBOL_MAX, min(channels, codec.M), has_gains)
