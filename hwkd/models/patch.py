"""The `patch` family: a linear transform of 16x16 patches, started from their PCA, plus learned residual trunks.

All work happens at 1/16 and 1/4 of the resolution, in 1x1 and depthwise 3x3 convolutions: cheap to run, and
quick to train, because the start is a transform codec that already works. Related: EVC (arXiv 2302.05071) and
DCVC-RT (arXiv 2502.20762), which also avoid full-resolution features.
"""

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hwkd.models.base import HyperpriorCodec
from hwkd.models.compat import LowerBound
from hwkd.models.spec import PATCH, PATCH_VALUES

POST = 4
POST_VALUES = 3 * POST * POST

# compressai's table of scales: 64 values, logarithmic from 0.11 to 256 (models/base.py get_scale_table).
SCALE_MIN, SCALE_MAX, SCALE_LEVELS = 0.11, 256.0, 64
LOG_SCALE_STEP = math.log(SCALE_MAX / SCALE_MIN) / (SCALE_LEVELS - 1)


def zeroed(layer: nn.Conv2d) -> nn.Conv2d:
    """`layer` with weight and bias zero: a residual branch that starts as the identity."""
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


class Block(nn.Module):
    """Two residual branches on C channels: 1x1, depthwise 3x3, 1x1; then 1x1, 1x1 (hidden widths w and 2w)."""

    def __init__(self, C: int, w: int) -> None:
        super().__init__()
        self.mix_in = nn.Conv2d(C, w, 1)
        self.mix = nn.Conv2d(w, w, 3, padding=1, groups=w)
        self.mix_out = zeroed(nn.Conv2d(w, C, 1))
        self.feed_in = nn.Conv2d(C, 2 * w, 1)
        self.feed_out = zeroed(nn.Conv2d(2 * w, C, 1))

    def forward(self, u: Tensor) -> Tensor:
        """Both branches, [B, C, h, w] to the same."""
        u = u + self.mix_out(F.relu(self.mix(F.relu(self.mix_in(u)))))
        return u + cast(Tensor, self.feed_out(F.relu(self.feed_in(u))))


class Deblock(nn.Module):
    """A residual pair of 3x3 convolutions at quarter resolution, against the edges of the patches."""

    def __init__(self, w: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(POST_VALUES, w, 3, padding=1)
        self.conv_out = zeroed(nn.Conv2d(w, POST_VALUES, 3, padding=1))

    def forward(self, u: Tensor) -> Tensor:
        """[B, 48, H/4, W/4] to the same."""
        return u + cast(Tensor, self.conv_out(F.relu(self.conv_in(u))))


class PatchAnalysis(nn.Module):
    """g_a: y = linear(patches of x) + head(trunk(patches of x)); the head starts at zero."""

    def __init__(self, M: int, C: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.linear = nn.Conv2d(PATCH_VALUES, M, 1)
        self.stem = nn.Conv2d(PATCH_VALUES, C, 1)
        self.trunk = nn.Sequential(*[Block(C, w) for w in widths])
        self.head = zeroed(nn.Conv2d(C, M, 1))

    def forward(self, x: Tensor) -> Tensor:
        """y, [B, M, H/16, W/16], of x, [B, 3, H, W] in [0, 1]."""
        patches = F.pixel_unshuffle(x - 0.5, PATCH)
        return cast(Tensor, self.linear(patches) + self.head(self.trunk(self.stem(patches))))


class PatchSynthesis(nn.Module):
    """g_s: x_hat = deblock(linear(y_hat) + head(trunk(y_hat))); the head starts at zero."""

    def __init__(self, M: int, C: int, widths: tuple[int, ...], post: tuple[int, ...]) -> None:
        super().__init__()
        self.linear = nn.Conv2d(M, PATCH_VALUES, 1)
        self.stem = nn.Conv2d(M, C, 1)
        self.trunk = nn.Sequential(*[Block(C, w) for w in widths])
        self.head = zeroed(nn.Conv2d(C, PATCH_VALUES, 1))
        self.post = nn.Sequential(*[Deblock(w) for w in post])

    def forward(self, y_hat: Tensor) -> Tensor:
        """x_hat, [B, 3, H, W], of y_hat, [B, M, H/16, W/16]."""
        patches = self.linear(y_hat) + self.head(self.trunk(self.stem(y_hat)))
        quarter = F.pixel_unshuffle(F.pixel_shuffle(patches, PATCH), POST)
        return F.pixel_shuffle(self.post(quarter), POST) + 0.5


class PatchCodec(HyperpriorCodec):
    """The `patch` codec: see the module's docstring.

    h_s gives the scale's place in compressai's table directly: scale = 0.11 * (256 / 0.11) ^ (h_s(z_hat) / 63), so
    that an integer h_s can emit the table's index. Most of its latents are exactly zero once rounded, which noise
    hides from g_s: it trains on rounded latents.
    """

    rounds_in_training = True

    def __init__(
        self,
        *,
        M: int,
        H: int,
        Z: int,
        C: int,
        widths: tuple[int, ...],
        post: tuple[int, ...],
    ) -> None:
        super().__init__(M, Z)
        self.g_a = PatchAnalysis(M, C, widths)
        self.g_s = PatchSynthesis(M, C, widths, post)
        self.h_a = nn.Sequential(
            nn.Conv2d(M, H, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(H, H, 5, 2, 2),
            nn.ReLU(),
            nn.Conv2d(H, Z, 5, 2, 2),
        )
        self.h_s = nn.Sequential(
            nn.Conv2d(Z, 4 * H, 3, padding=1),
            nn.PixelShuffle(2),
            nn.ReLU(),
            nn.Conv2d(H, 4 * H, 3, padding=1),
            nn.PixelShuffle(2),
            nn.ReLU(),
            nn.Conv2d(H, M, 3, padding=1),
        )
        self.index_bound = LowerBound(0.0)

    def hyper_analysis(self, y: Tensor) -> Tensor:
        """z = h_a(log(1 + |y|)): the spread of y is a matter of orders of magnitude."""
        return cast(Tensor, self.h_a(torch.log1p(y.abs())))

    def scale_index(self, z_hat: Tensor) -> Tensor:
        """The real-valued place in the table of scales, >= 0, [B, M, H/16, W/16]."""
        return cast(Tensor, self.index_bound(self.h_s(z_hat).float()))

    def entropy_parameters(self, z_hat: Tensor) -> tuple[Tensor, Tensor | None]:
        """The scales of the table at the place that h_s gives; the means are zero."""
        return SCALE_MIN * torch.exp(LOG_SCALE_STEP * self.scale_index(z_hat)), None

    @torch.no_grad()
    def start_from_pca(self, x: Tensor, lmbda: float) -> None:
        """Set the linear paths to the principal components of the 16x16 patches of `x`, [B, 3, H, W] in [0, 1].

        A quantization step is 1 / gain per orthonormal coefficient, gain^2 = 2 lmbda 255^2 ln2 / 36: the form that
        d(R + lmbda D) / d(step) = 0 has at high rate, with the constant that trained best. The
        trunks start from the same components at unit spread, h_s from the spread of each latent channel.

        `x` must hold at least as many patches as a patch has values, or the components are not determined.
        """
        gain = math.sqrt(2 * lmbda * 255**2 * math.log(2) / 36)
        v = F.pixel_unshuffle(x - 0.5, PATCH).permute(0, 2, 3, 1).reshape(-1, PATCH_VALUES).double()
        variance, basis = torch.linalg.eigh(v.T @ v / len(v))
        std, basis = variance.flip(0).clamp_min(1e-12).sqrt(), basis.flip(1)
        g_a, g_s = cast(PatchAnalysis, self.g_a), cast(PatchSynthesis, self.g_s)
        M, C = self.M, g_a.stem.out_channels
        std_y = gain * std[:M]
        _set(g_a.linear, basis[:, :M].T * gain)
        _set(g_a.stem, (basis[:, :C] / std[:C]).T)
        _set(g_s.linear, basis[:, :M] / gain)
        g_s.stem.weight.mul_(2 / std_y.float().clamp_min(1)[None, :, None, None])
        last = cast(nn.Conv2d, cast(nn.Sequential, self.h_s)[-1])
        last.weight.mul_(0.1)
        assert last.bias is not None
        last.bias.copy_(((0.6 * std_y / SCALE_MIN).log() / LOG_SCALE_STEP).clamp(0, 63).float())

    @torch.no_grad()
    def scale_latents(self, factor: float) -> None:
        """Make y `factor` times as large and leave x_hat as it is, but for rounding: other steps, for another lambda.

        h_a and h_s stay: the scales follow y through log(1 + |y|), and shifted as well they fitted worse.
        """
        g_a, g_s = cast(PatchAnalysis, self.g_a), cast(PatchSynthesis, self.g_s)
        for layer in (g_a.linear, g_a.head):
            assert layer.bias is not None
            layer.weight.mul_(factor)
            layer.bias.mul_(factor)
        for layer in (g_s.linear, g_s.stem):
            layer.weight.div_(factor)


def _set(layer: nn.Conv2d, weight: Tensor) -> None:
    layer.weight.copy_(weight.float()[:, :, None, None])
    assert layer.bias is not None
    layer.bias.zero_()
