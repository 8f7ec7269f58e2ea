"""The common part of every hyperprior codec here: the flow of Balle et al. 2018 around four transforms."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from hwkd.images import Pixels
from hwkd.models.compat import CompressionModel, EntropyBottleneck, GaussianConditional
from hwkd.models.families.family import Family, Spec, family_of
from hwkd.qualities import Anchors

# Training noise as a function of where it is used, not of how many numbers were drawn before.

LATENTS = ("y", "z")


@dataclass(frozen=True)
class RowNoise:
    """The uniform noise on the latents of some rows of one step's batch.

    A row's noise depends on `key` (the run's seed, the phase), the step and the row's place in the whole batch. It is
    the same whichever process trains the row, alone or among others, and in a run that was resumed.

    Attributes:
        rows: places in the whole batch, one for each image of the pass.
    """

    key: tuple[int, ...]
    step: int
    rows: range

    def like(self, latent: Tensor, name: str) -> Tensor:
        """Uniform in [-1/2, 1/2), the shape of `latent` [B, C, h, w].

        Args:
            name: one of LATENTS.
        """
        noise = torch.empty(latent.shape, dtype=latent.dtype, device=latent.device)
        generator = torch.Generator(latent.device)
        for of_row, row in zip(noise, self.rows, strict=True):
            words = (*self.key, self.step, row, LATENTS.index(name))
            seed = int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0])
            generator.manual_seed(seed >> 1)  # torch takes 63 bits
            of_row.uniform_(-0.5, 0.5, generator=generator)
        return noise


class NoisyBottleneck(EntropyBottleneck):  # type: ignore[misc]
    """CompressAI's entropy bottleneck, which trains on `noise` [B, C, h, w] where some is set, else on its own."""

    noise: Tensor | None = None

    def quantize(self, inputs: Tensor, mode: str, means: Tensor | None = None) -> Tensor:
        """As CompressAI's; `inputs` is [C, 1, B h w]."""
        if mode != "noise" or self.noise is None:
            result: Tensor = super().quantize(inputs, mode, means)
            return result
        return inputs + self.noise.transpose(0, 1).reshape(inputs.shape)


class _NormalWithin(torch.autograd.Function):
    """The probability of the unit interval around `values` by a normal distribution with a mean of zero and `scales`.

    As CompressAI's `_likelihood`, to the bit, with the derivative written out: image by image, so that what is between
    stays in a processor's cache.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, scales: Tensor) -> Tensor:
        """Of [B, M, h, w], both."""
        found = torch.empty_like(values)
        for out, value, scale in zip(found, values, scales, strict=True):
            size = value.abs()
            below = (size + 0.5).div_(scale).mul_(_HALF_ROOT).erfc_().mul_(0.5)
            torch.sub(size, 0.5, out=out).div_(scale).mul_(_HALF_ROOT).erfc_().mul_(0.5).sub_(below)
        ctx.save_for_backward(values, scales)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """p the density of the unit normal: (p(far) - p(near)) / scale by size, and by scale
        (near p(near) - far p(far)) / scale."""
        values, scales = ctx.saved_tensors
        of_values, of_scales = torch.empty_like(values), torch.empty_like(scales)
        for by_value, by_scale, value, scale, given in zip(
            of_values, of_scales, values, scales, gradient, strict=True
        ):
            size = value.abs()
            far, near = (size + 0.5).div_(scale), size.sub_(0.5).div_(scale)
            given = given * _DENSITY / scale
            at_far = far.square().mul_(-0.5).exp_().mul_(given)
            at_near = near.square().mul_(-0.5).exp_().mul_(given)
            torch.sub(at_far, at_near, out=by_value).mul_(value.sign())
            torch.mul(near, at_near, out=by_scale).sub_(far.mul_(at_far))
        return of_values, of_scales


_HALF_ROOT = 2**-0.5
_DENSITY = (2 * math.pi) ** -0.5


class NoisyConditional(GaussianConditional):  # type: ignore[misc]
    """CompressAI's Gaussian conditional, which trains on `noise`, the shape of its input, where some is set."""

    noise: Tensor | None = None

    def quantize(self, inputs: Tensor, mode: str, means: Tensor | None = None) -> Tensor:
        """As CompressAI's."""
        if mode != "noise" or self.noise is None:
            result: Tensor = super().quantize(inputs, mode, means)
            return result
        return inputs + self.noise

    def _likelihood(self, inputs: Tensor, scales: Tensor, means: Tensor | None = None) -> Tensor:
        values = inputs if means is None else inputs - means
        scales = self.lower_bound_scale(scales)
        result: Tensor = _NormalWithin.apply(values, scales.expand_as(values))  # type: ignore[no-untyped-call]
        return result


@dataclass(frozen=True)
class CodecOutput:
    """All tensors of one pass, named as in the paper.

    Attributes:
        y, y_hat: [B, M, H/16, W/16]; y_hat as g_s has it: decoded (`HyperpriorCodec.decoded`), with its means.
        z, z_hat: [B, Z, H/64, W/64].
        x_hat: [B, 3, H, W], about [0, 1].
        y_likelihoods, z_likelihoods: the shapes of y and z, in (0, 1].
        scales_hat: the shape of y, > 0.
        means_hat: the shape of y, or None where the prior's mean is zero.
    """

    y: Tensor
    y_hat: Tensor
    z: Tensor
    z_hat: Tensor
    x_hat: Tensor
    scales_hat: Tensor
    means_hat: Tensor | None
    y_likelihoods: Tensor
    z_likelihoods: Tensor


@dataclass(frozen=True)
class ResidualStream:
    """A sum of layers' outputs that other layers read, with nothing between.

    Divide a channel of it by any positive number in all writers, multiply it in all readers: the codec computes the same.

    Attributes:
        writers: their outputs are added to the stream.
        readers: 1x1 convolutions of the stream before its end.
        ends: 1x1 convolutions of all of it: one, and the one of what rounding took from its weights, if there is one.
    """

    writers: tuple[nn.Conv2d, ...]
    readers: tuple[nn.Conv2d, ...]
    ends: tuple[nn.Conv2d, ...]


class HyperpriorCodec(CompressionModel):  # type: ignore[misc]
    """A codec with a hyperprior (Balle et al. 2018, arXiv 1802.01436, figure 4).

    x -> g_a -> y -> h_a -> z -> Q -> z_hat -> h_s -> scales_hat
                |                                         |
                '------> Q -> y_hat (coded with scales) <-'
                               '-> g_s -> x_hat

    Subclasses build `g_a g_s h_a h_s` from a spec; state-dict names are CompressAI's. In training mode the latents carry
    uniform noise; in evaluation mode they are rounded.

    Attributes:
        rounds_in_training: the rate is still estimated on noisy latents, but g_s (and the distillation losses) see the
            rounded y with a straight-through gradient (Minnen and Singh 2020, arXiv 2007.08739, section 3.2).
        after_relu: modules of its transforms, and which of their layers read the output of a ReLU without standing next
            to it.
    """

    rounds_in_training = False
    after_relu: ClassVar[Mapping[type[nn.Module], tuple[str, ...]]] = {}

    g_a: nn.Module
    g_s: nn.Module
    h_a: nn.Module
    h_s: nn.Module
    downsampling_factor = 64

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec = spec
        self.M, self.Z = spec.M, spec.Z
        self.entropy_bottleneck = NoisyBottleneck(spec.Z)
        self.gaussian_conditional = NoisyConditional(None)

    @property
    def family(self) -> Family:
        """The facts on codecs of this kind."""
        return family_of(self.spec)

    def hyper_analysis(self, y: Tensor) -> Tensor:
        """z = h_a(|y|)."""
        return cast(Tensor, self.h_a(torch.abs(y)))

    def entropy_parameters(self, z_hat: Tensor) -> tuple[Tensor, Tensor | None]:
        """(scales_hat, means_hat) of the prior of y; the means are None for a zero-mean prior."""
        return cast(Tensor, self.h_s(z_hat)), None

    @property
    def serves_all_rates(self) -> bool:
        """Whether `set_lmbda` has a choice: one codec then serves every lambda of hwkd/qualities.py."""
        return False

    def set_lmbda(self, lmbda: float | Tensor) -> None:
        """Set `lmbda` for the passes that follow; a codec of one rate has nothing to set."""

    def residual(self, y: Tensor) -> Tensor:
        """The part of y that is rounded and coded, before rounding: y less the means that g_s adds again. Here all of y."""
        return y

    def decoded(self, symbols: Tensor, scales_hat: Tensor) -> Tensor:
        """The values that g_s reads for rounded latents, which have the prior `scales_hat`, both [B, M, H/16, W/16].

        Here the symbols themselves.
        """
        return symbols

    def encoder_stream(self) -> "ResidualStream | None":
        """The residual stream that ends in the last layer before y; None where there is none."""
        return None

    def gains_at_anchors(self) -> Anchors | None:
        """ln gain at the anchors as whole numbers (hwkd/qualities.py), [anchors, M] int16; None: one rate."""
        return None

    def inherit(self, teacher: "HyperpriorCodec") -> tuple[str, ...]:
        """As `hwkd.models.inherit.inherit`, after its checks, without gradients. Here it inherits nothing."""
        return ()

    def start(self, images: "Images", crop: int, batch: int, lmbda: float | None) -> str:
        """First weights without a teacher, fitted to `images`, in place; what they are, in words.

        Args:
            crop: side of the images in pixels. batch: how many of them a step of the training takes.
            lmbda: what the codec will be trained for; None: all rates.
        """
        raise NotImplementedError

    def adapt(
        self,
        start: "HyperpriorCodec",
        images: "Images",
        batch: int,
        lmbda: float | None,
        start_lmbda: float | None,
    ) -> list[str]:
        """Make up, in place, for what differs between this codec and `start`, which it inherited from; in words.

        Args:
            images, batch, lmbda: as `start` takes them. start_lmbda: what `start` was trained for; None: not known.
        """
        return []

    def forward(
        self,
        x: Tensor,
        *,
        bf16: bool = False,
        noise: RowNoise | None = None,
        lmbda: float | Tensor | None = None,
    ) -> CodecOutput:
        """Code `x`, [B, 3, H, W] in [0, 1], H and W multiples of 64.

        bf16 runs the four transforms under autocast; the entropy models always stay in float32.

        Args:
            noise: the noise of training mode, one row for each row of x. None: torch's own generator draws it.
            lmbda: as `set_lmbda`; it stays set for later passes. None: as it was last set.
        """
        if lmbda is not None:
            self.set_lmbda(lmbda)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=bf16):
            y = self.g_a(x)
            z = self.hyper_analysis(y)
        y, z = y.float(), z.float()
        with torch.autocast(x.device.type, torch.bfloat16, enabled=bf16):
            residual = self.residual(y)
        self.entropy_bottleneck.noise = None if noise is None else noise.like(z, "z")
        self.gaussian_conditional.noise = None if noise is None else noise.like(y, "y")
        z_hat, z_likelihoods = self.entropy_bottleneck(z)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=bf16):
            scales_hat, means_hat = self.entropy_parameters(z_hat)
        scales_hat = scales_hat.float()
        means_hat = None if means_hat is None else means_hat.float()
        coded, y_likelihoods = self.gaussian_conditional(residual, scales_hat, means=means_hat)
        self.entropy_bottleneck.noise = self.gaussian_conditional.noise = None
        if self.training and self.rounds_in_training:
            rounded = self.gaussian_conditional.quantize(residual, "dequantize", means_hat)
            coded = residual + (self.decoded(rounded, scales_hat) - residual).detach()
        elif not self.training:
            coded = self.decoded(coded, scales_hat)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=bf16):
            x_hat = self.g_s(coded)
        return CodecOutput(
            y,
            coded + (y - residual),
            z,
            z_hat,
            x_hat.float(),
            scales_hat,
            means_hat,
            y_likelihoods,
            z_likelihoods,
        )


Images = Callable[[int], Tensor]
"""So many new images to fit first weights to, [B, 3, H, W] in [0, 1]."""

# Between 8-bit images and what the networks take and give.


def padded(image: Pixels, factor: int) -> Tensor:
    """`image`, [H, W, 3] uint8, as [1, 3, H', W'] float32 in [0, 1], H' and W' the next multiples of `factor`."""
    height, width = image.shape[:2]
    x = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float() / 255
    return F.pad(x, (0, -width % factor, 0, -height % factor), mode="replicate")


def to_pixels(x_hat: Tensor, width: int, height: int) -> Pixels:
    """`x_hat`, [1, 3, H', W'], cut to `width` x `height`, clamped to [0, 1] and rounded to uint8 [H, W, 3]."""
    x = x_hat[0, :, :height, :width].clamp(0, 1).mul(255).round()
    return np.asarray(x.to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy())
