"""The `patch` family: a linear transform of 16x16 patches, started from their PCA, plus learned residual trunks.

All work happens at 1/16 and 1/4 of the resolution, in 1x1 and depthwise 3x3 convolutions: cheap to run, and
quick to train, because the start is a transform codec that already works. Related: EVC (arXiv 2302.05071) and
DCVC-RT (arXiv 2502.20762), which also avoid full-resolution features.
"""

import math
from collections.abc import Mapping
from typing import ClassVar, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hwkd.centroids import LARGEST, PULLS
from hwkd.models.base import HyperpriorCodec, Images, ResidualStream
from hwkd.models.compat import LowerBound
from hwkd.models.families.patch import PATCH, PATCH_VALUES, POST, POST_VALUES, PatchSpec
from hwkd.models.inherit import (
    Conv,
    Index,
    copy_bottleneck,
    copy_chain,
    copy_filters,
    in_norm,
    most,
    out_norm,
)
from hwkd.qualities import (
    DEFAULT_QUALITY,
    GAIN_UNITS,
    LMBDA_HIGH,
    LMBDA_LOW,
    LMBDA_OF_UNIT_GAIN,
    LOG_SCALE_STEP,
    SCALE_LEVELS,
    SCALE_MIN,
    Anchors,
    lmbda_at,
)

_LOWEST_INDEX_AT_START = -32
"""For a codec of all rates: a channel may start silent, and be worth its bits at a higher quality only."""

_START_BATCHES = 16
"""Least number of batches of images for the principal components of their patches."""


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


class LearnedGains(nn.Module):
    """The gain of each channel of y at `lmbda`, which may be set.

        ln gain(c, lmbda) = ln(lmbda / LMBDA_OF_UNIT_GAIN) / 2 + deviation(c, lmbda)

    The deviation is learned at `anchors` lambdas, at equal distances of ln(lmbda) from LMBDA_LOW to LMBDA_HIGH, and linear
    between them. The last anchor's is 0: the gains at one lambda can as well stand in the weights of g_a and g_s.
    Source: gained VAE (arXiv 2003.02012); the base is that of EVC's quantization steps (arXiv 2302.05071, section 3.3).
    """

    def __init__(self, anchors: int, M: int) -> None:
        super().__init__()
        self.deviations = nn.Parameter(torch.zeros(anchors - 1, M))
        self.lmbda = torch.tensor([lmbda_at(DEFAULT_QUALITY)])

    def log(self) -> Tensor:
        """ln gain, [B, M, 1, 1], of each image; B is 1 where they share one lambda."""
        return self.log_at(self.lmbda)[:, :, None, None]

    def log_at(self, lmbda: Tensor) -> Tensor:
        """ln gain, [B, M], at each of `lmbda`, [B], within LMBDA_LOW..LMBDA_HIGH."""
        lmbda = lmbda.to(self.deviations)
        last = len(self.deviations)
        deviations = torch.cat([self.deviations, torch.zeros_like(self.deviations[:1])])
        place = (lmbda / LMBDA_LOW).log() * (last / math.log(LMBDA_HIGH / LMBDA_LOW))
        below = place.floor().clamp(0, last - 1).long()
        part = (place - below).clamp(0, 1)[:, None]
        base = (lmbda / LMBDA_OF_UNIT_GAIN).log()[:, None] / 2
        return base + (1 - part) * deviations[below] + part * deviations[below + 1]

    @torch.no_grad()
    def at_anchors(self) -> Anchors:
        """ln gain at the anchors as whole numbers (hwkd/qualities.py), [anchors, M] int16."""
        places = torch.linspace(0, 1, len(self.deviations) + 1, dtype=torch.float64)
        lmbdas = LMBDA_LOW * (places * math.log(LMBDA_HIGH / LMBDA_LOW)).exp()
        logs = self.log_at(lmbdas.float()).double().cpu()
        stored: Anchors = (logs * (GAIN_UNITS / LOG_SCALE_STEP)).round().numpy().astype(np.int16)
        return stored


class MeanContext(nn.Module):
    """Means of the first channels of y at every second place, from the rounded ones at the places around it.

    The places are those of a checkerboard (He et al. 2021, arXiv 2103.15306): the even ones, row + column, have a mean of
    zero; each odd one's is a function of the 3x3 places around it, of which the even ones are known. Only the mean
    depends on it, and the scale does not, as in JPEG AI: so all symbols are read in one go, and machines that differ in
    the last digits of a mean still read the same symbols. Patches share no pixels, so their first components, slow waves,
    go on in their neighbours.

    Attributes:
        scale: scale of each channel, [channels]. The network's inputs are divided by it, and its outputs multiplied by it.
    """

    scale: Tensor

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.channels = channels
        self.conv_in = nn.Conv2d(channels, width, 3, padding=1)
        self.conv_out = zeroed(nn.Conv2d(width, channels, 1))
        self.register_buffer("scale", torch.ones(channels))

    def forward(self, y_hat: Tensor) -> Tensor:
        """Means of all channels, [B, M, h, w], zero but in the first channels of odd places; of y_hat only its even
        places count."""
        scale = self.scale[:, None, None]
        rows, columns = (torch.arange(side, device=y_hat.device) for side in y_hat.shape[2:])
        is_odd = (rows[:, None] + columns) % 2 == 1
        known = (y_hat[:, : self.channels] / scale).masked_fill(is_odd, 0)
        means = self.conv_out(F.relu(self.conv_in(known))).float() * scale
        means = means.masked_fill(~is_odd, 0)
        return F.pad(means, (0, 0, 0, 0, 0, y_hat.shape[1] - self.channels))


class PatchAnalysis(nn.Module):
    """g_a: y = linear(patches of x) + head(trunk(patches of x)); the head starts at zero.

    Attributes:
        head_rest: in a quantized codec, what rounding took from the weights of the head, on a finer grid.
    """

    gains: "LearnedGains | None" = None
    """The gains by which y is multiplied; None in a codec of one rate."""

    head_rest: nn.Conv2d | None

    def __init__(self, M: int, C: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.linear = nn.Conv2d(PATCH_VALUES, M, 1)
        self.stem = nn.Conv2d(PATCH_VALUES, C, 1)
        self.trunk = nn.Sequential(*[Block(C, w) for w in widths])
        self.head = zeroed(nn.Conv2d(C, M, 1))
        self.head_rest = None

    def forward(self, x: Tensor) -> Tensor:
        """y, [B, M, H/16, W/16], of x, [B, 3, H, W] in [0, 1]."""
        patches = F.pixel_unshuffle(x - 0.5, PATCH)
        y: Tensor = self.linear(patches)
        u = self.trunk(self.stem(patches))
        y = y + self.head(u)
        if self.head_rest is not None:
            y = y + self.head_rest(u)
        return y if self.gains is None else y * self.gains.log().exp()


class PatchSynthesis(nn.Module):
    """g_s: x_hat = deblock(linear(y_hat) + head(trunk(y_hat))), y_hat = coded + means; the head starts at zero."""

    gains: "LearnedGains | None" = None
    """The gains by which the coded latents are divided first; None in a codec of one rate."""

    def __init__(
        self,
        M: int,
        C: int,
        widths: tuple[int, ...],
        post: tuple[int, ...],
        context: tuple[int, int] | None,
    ) -> None:
        super().__init__()
        self.context = None if context is None else MeanContext(*context)
        self.linear = nn.Conv2d(M, PATCH_VALUES, 1)
        self.stem = nn.Conv2d(M, C, 1)
        self.trunk = nn.Sequential(*[Block(C, w) for w in widths])
        self.head = zeroed(nn.Conv2d(C, PATCH_VALUES, 1))
        self.post = nn.Sequential(*[Deblock(w) for w in post])

    def forward(self, coded: Tensor) -> Tensor:
        """x_hat, [B, 3, H, W], of the coded latents, y_hat less its means (`means`), [B, M, H/16, W/16].

        Args:
            coded: as `PatchCodec.decoded` gives them, less than 1/2 from their symbols. The means are those of the symbols:
                the encoder knows no other.
        """
        gain = None if self.gains is None else self.gains.log().exp()
        y_hat = coded if gain is None else coded / gain
        if self.context is not None:
            symbols = _rounded(coded)
            y_hat = y_hat + self.context(symbols if gain is None else symbols / gain)
        patches = self.linear(y_hat) + self.head(self.trunk(self.stem(y_hat)))
        quarter = F.pixel_unshuffle(F.pixel_shuffle(patches, PATCH), POST)
        return F.pixel_shuffle(self.post(quarter), POST) + 0.5

    def means(self, y: Tensor) -> Tensor:
        """The means that g_s adds to the coded latents of y, [B, M, h, w], at y's scale; y's even places are rounded here."""
        assert self.context is not None
        rounded = _rounded(y)
        if self.gains is None:
            return cast(Tensor, self.context(rounded))
        gain = self.gains.log().exp()
        return cast(Tensor, self.context(rounded / gain)) * gain


def _rounded(y: Tensor) -> Tensor:
    """`y` rounded, with a straight-through gradient."""
    return y + (torch.round(y) - y).detach() if y.requires_grad else torch.round(y)


class PatchCodec(HyperpriorCodec):
    """The `patch` codec: see the module's docstring.

    h_s gives the scale's place in compressai's table directly: scale = 0.11 * (256 / 0.11) ^ (h_s(z_hat) / 63), so
    that an integer h_s can emit the table's index. Most of its latents are exactly zero once rounded, which noise
    hides from g_s: it trains on rounded latents.

    One codec serves all rates where it has anchors: y is multiplied by a gain for each channel before it is rounded, and
    divided by it in g_s (`LearnedGains`). As the table of scales is logarithmic, a gain adds ln(gain) / LOG_SCALE_STEP to the
    place that h_s gives.

    Where it has a context, y is coded less means that depend on rounded latents around it (`MeanContext`).

    A codec of all rates decodes a symbol at its centroid (hwkd/centroids.py); g_s of a codec of one rate reads whole
    numbers.
    """

    pulls: Tensor
    rounds_in_training = True
    after_relu: ClassVar[Mapping[type[nn.Module], tuple[str, ...]]] = {
        Block: ("mix", "mix_out", "feed_out"),
        Deblock: ("conv_out",),
        MeanContext: ("conv_out",),
    }

    def __init__(self, spec: PatchSpec) -> None:
        super().__init__(spec)
        M, H, Z, hyper_kernel = spec.M, spec.H, spec.Z, spec.hyper_kernel
        context = (spec.context[0], spec.context[1]) if spec.context else None
        self.g_a = PatchAnalysis(M, spec.C, spec.widths)
        self.g_s = PatchSynthesis(M, spec.C, spec.widths, spec.post, context)
        self.h_a = nn.Sequential(
            nn.Conv2d(M, H, hyper_kernel, padding=hyper_kernel // 2),
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
            nn.Conv2d(H, M, hyper_kernel, padding=hyper_kernel // 2),
        )
        self.index_bound = LowerBound(0.0)
        self.gains: LearnedGains | None = None
        if spec.anchors:
            self.gains = LearnedGains(spec.anchors, M)
            self.register_buffer("pulls", torch.from_numpy(PULLS).flatten(), persistent=False)
            # Not registered again: their parameters belong to the codec.
            self.g_a.__dict__["gains"] = self.g_s.__dict__["gains"] = self.gains

    @property
    def serves_all_rates(self) -> bool:
        """Whether `set_lmbda` has a choice."""
        return self.gains is not None

    def set_lmbda(self, lmbda: float | Tensor) -> None:
        """Make the passes that follow ones for `lmbda`: of all images, or [B] of each image of a batch.

        A codec of one rate has nothing to set, and takes any.
        """
        if self.gains is not None:
            self.gains.lmbda = torch.as_tensor(lmbda, dtype=torch.float32).reshape(-1)

    def residual(self, y: Tensor) -> Tensor:
        """y less the means that its context gives, where the codec has one."""
        g_s = cast(PatchSynthesis, self.g_s)
        return y if g_s.context is None else y - g_s.means(y)

    def hyper_analysis(self, y: Tensor) -> Tensor:
        """z = h_a(log(1 + |y|)): the spread of y is a matter of orders of magnitude."""
        return cast(Tensor, self.h_a(torch.log1p(y.abs())))

    def scale_index(self, z_hat: Tensor) -> Tensor:
        """The real-valued place in the table of scales, >= 0, [B, M, H/16, W/16]."""
        place = self.h_s(z_hat).float()
        if self.gains is not None:
            place = place + self.gains.log() / LOG_SCALE_STEP
        return cast(Tensor, self.index_bound(place))

    def entropy_parameters(self, z_hat: Tensor) -> tuple[Tensor, Tensor | None]:
        """The scales of the table at the place that h_s gives; the means are zero."""
        return SCALE_MIN * torch.exp(LOG_SCALE_STEP * self.scale_index(z_hat)), None

    def decoded(self, symbols: Tensor, scales_hat: Tensor) -> Tensor:
        """The centroids of a codec of all rates, at the scale of the table that is nearest by its logarithm."""
        if self.gains is None:
            return symbols
        index = ((scales_hat / SCALE_MIN).log() / LOG_SCALE_STEP).round().clamp(0, SCALE_LEVELS - 1)
        size = symbols.abs().clamp(max=LARGEST)
        # Weights that diverge are told by the loss, not by a place outside of the table.
        entry = (index * (LARGEST + 1) + size).nan_to_num().long()
        return symbols - symbols.sign() * self.pulls[entry]

    @torch.no_grad()
    def reorder_latents(self, order: Tensor) -> None:
        """Put channel order[i] of y at place i; a codec with the same images otherwise.

        Args:
            order: a permutation of M channels that leaves those of a context where they are.
        """
        g_a, g_s = cast(PatchAnalysis, self.g_a), cast(PatchSynthesis, self.g_s)
        h_a, h_s = cast(nn.Sequential, self.h_a)[0], cast(nn.Sequential, self.h_s)[-1]
        for writing in (g_a.linear, g_a.head, g_a.head_rest, cast(nn.Conv2d, h_s)):
            if writing is None:
                continue
            writing.weight.copy_(writing.weight[order])
            if writing.bias is not None:
                writing.bias.copy_(writing.bias[order])
        for reading in (g_s.linear, g_s.stem, cast(nn.Conv2d, h_a)):
            reading.weight.copy_(reading.weight[:, order])
        if self.gains is not None:
            self.gains.deviations.copy_(self.gains.deviations[:, order])

    def encoder_stream(self) -> ResidualStream:
        """The trunk of g_a, which the head reads at its end."""
        g_a = cast(PatchAnalysis, self.g_a)
        blocks = [cast(Block, block) for block in g_a.trunk]
        return ResidualStream(
            writers=(g_a.stem, *[w for block in blocks for w in (block.mix_out, block.feed_out)]),
            readers=tuple(r for block in blocks for r in (block.mix_in, block.feed_in)),
            ends=(g_a.head,) if g_a.head_rest is None else (g_a.head, g_a.head_rest),
        )

    def gains_at_anchors(self) -> Anchors | None:
        """The gains at the anchors of a codec of all rates."""
        return None if self.gains is None else self.gains.at_anchors()

    def inherit(self, teacher: HyperpriorCodec) -> tuple[str, ...]:
        """Inherit from another `patch` codec."""
        if not isinstance(teacher, PatchCodec):
            return ()
        # A teacher's components stand in the order of their variance.
        y = torch.arange(self.M, device=next(teacher.parameters()).device)
        transforms = _inherit_transforms(self, teacher, y)
        return (*transforms, *_inherit_hyper(self, teacher, y)) if transforms else ()

    def start(self, images: Images, crop: int, batch: int, lmbda: float | None) -> str:
        """Start from the principal components of the images' patches."""
        patches = crop**2 * 3 // PATCH_VALUES
        count = max(_START_BATCHES * batch, 2 * PATCH_VALUES // patches)
        self.start_from_pca(images(count), LMBDA_OF_UNIT_GAIN if lmbda is None else lmbda)
        return "the student starts from the principal components of the training patches"

    def adapt(
        self,
        start: HyperpriorCodec,
        images: Images,
        batch: int,
        lmbda: float | None,
        start_lmbda: float | None,
    ) -> list[str]:
        """Fit the steps of quantization to this codec's own lambda."""
        assert isinstance(start, PatchCodec)  # nothing is inherited from others
        if self.gains is not None and start.gains is not None:
            return []
        if start.gains is not None:
            assert lmbda is not None  # a student without gains has one rate
            logs = start.gains.log_at(torch.tensor([lmbda]))[0, : self.M]
            self.scale_latents(logs.exp(), shift_scales=True)
            return [f"its latents are those of lmbda {lmbda:g}, of a model of all rates"]
        to = LMBDA_OF_UNIT_GAIN if lmbda is None else lmbda
        if start_lmbda is None or start_lmbda == to:
            return []
        # Steps of quantization are as 1 / sqrt(lmbda) at high rate (see `start_from_pca`).
        self.scale_latents(math.sqrt(to / start_lmbda))
        return [f"its latents are scaled from lmbda {start_lmbda:g} to {to:g}"]

    @torch.no_grad()
    def start_from_pca(self, x: Tensor, lmbda: float) -> None:
        """Set the linear paths to the principal components of the 16x16 patches of `x`, [B, 3, H, W] in [0, 1].

        A quantization step is 1 / gain per orthonormal coefficient, gain^2 = 2 lmbda 255^2 ln2 / 36: the form that
        d(R + lmbda D) / d(step) = 0 has at high rate, with the constant that trained best. The
        trunks start from the same components at unit spread, h_s from the spread of each latent channel.

        `x` must hold at least as many patches as a patch has values, or the components are not determined.
        """
        gain = pca_gain(lmbda)
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
        if g_s.context is not None:
            g_s.context.scale.copy_(std_y[: g_s.context.channels])
        last = cast(nn.Conv2d, cast(nn.Sequential, self.h_s)[-1])
        last.weight.mul_(0.1)
        assert last.bias is not None
        lowest = _LOWEST_INDEX_AT_START if self.serves_all_rates else 0
        places = (0.6 * std_y / SCALE_MIN).log() / LOG_SCALE_STEP
        last.bias.copy_(places.clamp(lowest, SCALE_LEVELS - 1).float())

    @torch.no_grad()
    def scale_latents(self, factor: float | Tensor, *, shift_scales: bool = False) -> None:
        """Make y `factor` times as large, all of it or each channel, [M], and leave x_hat as it is, but for rounding.

        Args:
            shift_scales: change h_s too. If False, the scales follow y through log(1 + |y|) alone: this fitted better for a
                codec that was trained at one rate.
        """
        g_a, g_s = cast(PatchAnalysis, self.g_a), cast(PatchSynthesis, self.g_s)
        by = torch.as_tensor(factor, device=g_a.linear.weight.device).expand(self.M)
        for layer in (g_a.linear, g_a.head):
            assert layer.bias is not None
            layer.weight.mul_(by[:, None, None, None])
            layer.bias.mul_(by)
        for layer in (g_s.linear, g_s.stem):
            layer.weight.div_(by[:, None, None])
        if g_s.context is not None:
            g_s.context.scale.mul_(by[: g_s.context.channels])
        if shift_scales:
            last = cast(nn.Conv2d, cast(nn.Sequential, self.h_s)[-1])
            assert last.bias is not None
            last.bias.add_(by.log() / LOG_SCALE_STEP)


def pca_gain(lmbda: float) -> float:
    """Quantization steps of an orthonormal coefficient of a patch in [0, 1] that suit `lmbda` (`start_from_pca`)."""
    return math.sqrt(2 * lmbda * 255**2 * math.log(2) / 36)


def _set(layer: nn.Conv2d, weight: Tensor) -> None:
    layer.weight.copy_(weight.float()[:, :, None, None])
    assert layer.bias is not None
    layer.bias.zero_()


# What a `patch` student inherits from a `patch` teacher: see hwkd/models/inherit.py.


def _inherit_transforms(student: PatchCodec, teacher: PatchCodec, y: Index) -> tuple[str, ...]:
    s_a, t_a = cast(PatchAnalysis, student.g_a), cast(PatchAnalysis, teacher.g_a)
    s_s, t_s = cast(PatchSynthesis, student.g_s), cast(PatchSynthesis, teacher.g_s)
    if s_a.stem.out_channels > t_a.stem.out_channels:
        return ()
    stream = most(out_norm(t_a.stem) * in_norm(t_a.head), s_a.stem.out_channels)
    copy_filters(s_a.linear, t_a.linear, out=y)
    copy_filters(s_a.stem, t_a.stem, out=stream)
    copy_filters(s_a.head, t_a.head, out=y, into=stream)
    _blocks(s_a.trunk, t_a.trunk, stream)
    stream = most(out_norm(t_s.stem) * in_norm(t_s.head), s_s.stem.out_channels)
    copy_filters(s_s.linear, t_s.linear, into=y)
    copy_filters(s_s.stem, t_s.stem, out=stream, into=y)
    copy_filters(s_s.head, t_s.head, into=stream)
    _blocks(s_s.trunk, t_s.trunk, stream)
    for pair, source in zip(s_s.post, t_s.post, strict=False):
        _deblock(cast(Deblock, pair), cast(Deblock, source))
    if s_s.context is not None and t_s.context is not None:
        _context(s_s.context, t_s.context)
    mine, theirs = student.gains, teacher.gains
    if mine is not None and theirs is not None and len(mine.deviations) == len(theirs.deviations):
        mine.deviations.copy_(theirs.deviations[:, y])
    return ("g_a", "g_s")


def _context(student: MeanContext, teacher: MeanContext) -> None:
    """Inherit the context. Channels have the same order in both: the teacher's first channels are the student's."""
    if student.channels > teacher.channels:
        return
    known = torch.arange(student.channels, device=teacher.scale.device)
    student.scale.copy_(teacher.scale[known])
    if student.conv_in.out_channels > teacher.conv_in.out_channels:
        return
    hidden = most(
        out_norm(teacher.conv_in) * in_norm(teacher.conv_out), student.conv_in.out_channels
    )
    copy_filters(student.conv_in, teacher.conv_in, out=hidden, into=known)
    copy_filters(student.conv_out, teacher.conv_out, out=known, into=hidden)


def _blocks(student: nn.Sequential, teacher: nn.Sequential, stream: Index) -> None:
    """Each of the student's blocks takes the teacher's block at the same relative depth, where it has any."""
    if not len(teacher):
        return
    for i, mine in enumerate(student):
        theirs = teacher[min(len(teacher) - 1, i * len(teacher) // len(student))]
        _block(cast(Block, mine), cast(Block, theirs), stream)


def _block(student: Block, teacher: Block, stream: Index) -> None:
    if student.mix_in.out_channels > teacher.mix_in.out_channels:
        return
    hidden = most(
        out_norm(teacher.mix_in) * out_norm(teacher.mix) * in_norm(teacher.mix_out),
        student.mix_in.out_channels,
    )
    copy_filters(student.mix_in, teacher.mix_in, out=hidden, into=stream)
    copy_filters(student.mix, teacher.mix, out=hidden)
    copy_filters(student.mix_out, teacher.mix_out, out=stream, into=hidden)
    fed = most(out_norm(teacher.feed_in) * in_norm(teacher.feed_out), student.feed_in.out_channels)
    copy_filters(student.feed_in, teacher.feed_in, out=fed, into=stream)
    copy_filters(student.feed_out, teacher.feed_out, out=stream, into=fed)


def _deblock(student: Deblock, teacher: Deblock) -> None:
    if student.conv_in.out_channels > teacher.conv_in.out_channels:
        return
    hidden = most(
        out_norm(teacher.conv_in) * in_norm(teacher.conv_out), student.conv_in.out_channels
    )
    copy_filters(student.conv_in, teacher.conv_in, out=hidden)
    copy_filters(student.conv_out, teacher.conv_out, into=hidden)


def _inherit_hyper(student: PatchCodec, teacher: PatchCodec, y: Index) -> tuple[str, ...]:
    """h_a, h_s and the entropy bottleneck, where nothing is wider.

    Args:
        y: the channels of the teacher's y that are kept.
    """
    if student.Z > teacher.Z:
        return ()
    s_a, t_a = cast(nn.Sequential, student.h_a), cast(nn.Sequential, teacher.h_a)
    z = most(out_norm(cast(Conv, t_a[-1])), student.Z)
    if not copy_chain(list(s_a), list(t_a), y, z):
        return ()
    # h_s: each 3x3 convolution gives four sub-pixels per channel, in groups of four (PixelShuffle).
    s_s, t_s = cast(nn.Sequential, student.h_s), cast(nn.Sequential, teacher.h_s)
    into = z
    for i, consumer in ((0, 3), (3, 6)):
        mine, theirs = cast(nn.Conv2d, s_s[i]), cast(nn.Conv2d, t_s[i])
        four = out_norm(theirs).square().reshape(-1, 4).sum(1).sqrt()
        keep = most(four * in_norm(cast(Conv, t_s[consumer])), mine.out_channels // 4)
        sub_pixels = (keep[:, None] * 4 + torch.arange(4, device=keep.device)).flatten()
        copy_filters(mine, theirs, out=sub_pixels, into=into)
        into = keep
    copy_filters(cast(Conv, s_s[6]), cast(Conv, t_s[6]), out=y, into=into)
    copy_bottleneck(student, teacher, z)
    return ("h_a", "h_s")
