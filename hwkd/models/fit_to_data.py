"""Start a convolutional student from random filters at the right scale, measured on one batch."""

from typing import cast

import torch
from torch import Tensor, nn

from hwkd.models.hyperprior import ConvHyperprior

LATENT_SPREAD = 3.0
"""Standard deviation of y at the start: some symbols away from zero, few far away."""

PIXEL_SPREAD = 0.2
"""Standard deviation of x_hat at the start: that of photographs in [0, 1]."""


@torch.no_grad()
def fit_to_data(codec: ConvHyperprior, x: Tensor) -> None:
    """Rescale each convolution of g_a and g_s once, in order, so that its output on `x` has unit spread.

    torch's default initialisation shrinks the signal layer by layer: at equal steps this start stood at a third of
    its RD loss. h_a and h_s keep the default: rescaled too, they let z collapse to zero. A
    data-dependent start as in LSUV (Mishkin and Matas 2016, arXiv 1511.06422).

    Args:
        x: images, [B, 3, H, W] in [0, 1].
    """
    g_a, g_s = cast(nn.Sequential, codec.g_a), cast(nn.Sequential, codec.g_s)
    y = _fit(g_a, x, LATENT_SPREAD)
    _fit(g_s, torch.round(y), PIXEL_SPREAD)
    last = cast(nn.ConvTranspose2d, g_s[-1])
    assert last.bias is not None
    last.bias.add_(x.mean((0, 2, 3)))


def _fit(chain: nn.Sequential, h: Tensor, last_spread: float) -> Tensor:
    for i, layer in enumerate(chain):
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            assert layer.bias is not None
            layer.bias.zero_()
            out = layer(h)
            means = out.mean((0, 2, 3))
            # Of the centred output: the channels' means alone may spread wider than all that varies within them.
            spread = (out - means[:, None, None]).std()
            gain = (last_spread if i == len(chain) - 1 else 1.0) / spread
            layer.weight.mul_(gain)
            layer.bias.copy_(-gain * means)
        h = layer(h)
    return h
