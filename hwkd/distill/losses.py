"""The losses of training, their lambdas, and how good a student is on images that it does not train on."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from hwkd.errors import InputError
from hwkd.models.base import CodecOutput, HyperpriorCodec
from hwkd.qualities import LMBDA_HIGH, LMBDA_LOW, LMBDA_OF_UNIT_GAIN, lmbda_at

# The losses of the paper (arXiv 2509.10366): rate-distortion, Eq. 1, Eq. 2, the KLD variant, the hybrid.
#
# L1 = latent * d(y_hat_s, y_hat_t) + output * MSE(x_hat_s, x_hat_t) + rd * RD
# L2 = L1 + hyper * d(z_hat_s, z_hat_t)
#
# with d the mean squared error, or the KL divergence of softmaxes over channels. In the hybrid, z_hat_t is that of a
# second teacher. RD = bpp + lmbda * 255^2 * MSE(x_hat_s, x), CompressAI's convention with x in [0, 1].

DISTANCES = ("mse", "kld")


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms; a term of weight 0 is off and not computed. The defaults are Eq. 1 of the paper."""

    rd: float = 0.6
    latent: float = 0.2
    output: float = 0.2
    hyper: float = 0.0
    distance: str = "mse"

    def __post_init__(self) -> None:
        for name in ("rd", "latent", "output", "hyper"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise InputError(f"the weight of the {name} term must be 0 or more, got {value}")
        if self.distance not in DISTANCES:
            raise InputError(f"--kd-loss takes mse or kld, got {self.distance!r}")
        if self.rd + self.latent + self.output + self.hyper == 0:
            raise InputError("every term of the loss has weight 0: nothing would be learnt")

    @property
    def needs_teacher(self) -> bool:
        """Whether a term compares with a teacher."""
        return self.latent + self.output + self.hyper > 0


@dataclass(frozen=True)
class Targets:
    """The targets of the student: y_hat and x_hat of the teacher, z_hat of the teacher or of a second one."""

    y_hat: Tensor
    z_hat: Tensor
    x_hat: Tensor


@dataclass(frozen=True)
class LossTerms:
    """One step's loss and its parts, scalars; a term that is off is None. bpp is the estimate by likelihoods; rd is
    weighted where each image has its own lambda, bpp and mse are plain means."""

    total: Tensor
    rd: Tensor
    bpp: Tensor
    mse: Tensor
    latent: Tensor | None
    hyper: Tensor | None
    output: Tensor | None


class Projections(nn.Module):
    """1x1 convolutions from the student's latents to the teacher's where their channel counts differ.

    Trained with the student and dropped after training. The start is the identity on the channels both have.
    """

    def __init__(self, student: tuple[int, int], teacher: tuple[int, int]) -> None:
        """A projection for y and one for z.

        Args:
            student, teacher: (channels of y, channels of z).
        """
        super().__init__()
        self.y = _projection(student[0], teacher[0])
        self.z = _projection(student[1], teacher[1])


def _projection(from_channels: int, to_channels: int) -> nn.Module:
    if from_channels == to_channels:
        return nn.Identity()
    layer = nn.Conv2d(from_channels, to_channels, 1, bias=False)
    with torch.no_grad():
        layer.weight.zero_()
        for c in range(min(from_channels, to_channels)):
            layer.weight[c, c] = 1.0
    return layer


def bits_per_pixel(output: CodecOutput, pixels: int) -> Tensor:
    """The estimated rate, -sum(log2 likelihoods) / pixels, a scalar."""
    bits = output.y_likelihoods.log2().sum() + output.z_likelihoods.log2().sum()
    return -bits / pixels


def latent_distance(student: Tensor, teacher: Tensor, distance: str) -> Tensor:
    """How far two latents [B, C, h, w] of equal shape are apart, a scalar.

    mse: mean over all elements. kld: KL(softmax_C(teacher) || softmax_C(student)), mean over all elements, as the
    paper's code has it (`KLDivLoss(log_target=True)` of log-softmaxes).
    """
    if distance == "mse":
        return F.mse_loss(student, teacher)
    # Not reduction="mean": torch announces that it will come to mean a sum divided by the batch.
    summed = F.kl_div(
        F.log_softmax(student, 1), F.log_softmax(teacher, 1), reduction="sum", log_target=True
    )
    return summed / student.numel()


class _ImageMse(torch.autograd.Function):
    """The mean squared error of each image, [B], of two batches; one pass over the pixels forward, one back.

    Autograd's own passes over them nine times, which was a fifth of a training step on a CPU.
    """

    @staticmethod
    def forward(ctx: Any, x_hat: Tensor, x: Tensor) -> Tensor:
        """Of [B, 3, H, W], both; x takes no gradient."""
        error = x_hat - x
        ctx.save_for_backward(error)
        squares: Tensor = torch.linalg.vector_norm(error, dim=(1, 2, 3)).square()
        return squares / error[0].numel()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """2 (x_hat - x) / n."""
        (error,) = ctx.saved_tensors
        return error * (gradient * (2 / error[0].numel()))[:, None, None, None], None


def loss_terms(
    student: CodecOutput,
    x: Tensor,
    lmbda: float | Tensor,
    weights: LossWeights,
    targets: Targets | None,
    projections: Projections | None,
) -> LossTerms:
    """The loss of one batch.

    Args:
        student: the student's pass over x.
        x: images, [B, 3, H, W] in [0, 1].
        lmbda: rate-distortion trade-off, CompressAI's; or [B], one for each image. The images' losses are then weighted
            (hwkd/distill/losses.py) before their mean is taken.
        weights: the weight of each term.
        targets: the teachers' outputs on x; None where no term needs them.
        projections: None where no term needs them.
    Source: arXiv 2509.10366, Eq. 1 and 2.
    """
    bits = student.y_likelihoods.log2().sum((1, 2, 3)) + student.z_likelihoods.log2().sum((1, 2, 3))
    bpp_of_each = -bits / (x.shape[2] * x.shape[3])
    mse_of_each: Tensor = _ImageMse.apply(student.x_hat, x)  # type: ignore[no-untyped-call]
    rd_of_each = bpp_of_each + lmbda * 255**2 * mse_of_each
    rd = (weight(lmbda) * rd_of_each if isinstance(lmbda, Tensor) else rd_of_each).mean()
    bpp, mse = bpp_of_each.mean(), mse_of_each.mean()
    total = weights.rd * rd
    latent = hyper = output = None
    if targets is not None and projections is not None:
        if weights.latent:
            y_hat = projections.y(student.y_hat)
            latent = latent_distance(y_hat, targets.y_hat, weights.distance)
            total = total + weights.latent * latent
        if weights.hyper:
            z_hat = projections.z(student.z_hat)
            hyper = latent_distance(z_hat, targets.z_hat, weights.distance)
            total = total + weights.hyper * hyper
        if weights.output:
            output = F.mse_loss(student.x_hat, targets.x_hat)
            total = total + weights.output * output
    return LossTerms(total, rd, bpp, mse, latent, hyper, output)


# How good a student is on images that it does not train on.


@torch.no_grad()
def bpp_and_mse(
    student: HyperpriorCodec, x: Tensor, device: str = "cpu", *, bf16: bool = False
) -> tuple[float, float]:
    """(bpp, MSE) of images [B, 3, H, W], with rounded latents, the rate estimated by likelihoods; x_hat clamped.

    Args:
        student: a codec in evaluation mode.
    """
    output = student(x.to(device), bf16=bf16)
    bpp = bits_per_pixel(output, x.shape[0] * x.shape[2] * x.shape[3]).item()
    return bpp, nn.functional.mse_loss(output.x_hat.cpu().clamp(0, 1), x).item()


def validation_rd(
    student: HyperpriorCodec, x: Tensor, lmbda: float | None, device: str, *, bf16: bool
) -> float:
    """bpp + lmbda * 255^2 * MSE of one image, as `bpp_and_mse`.

    Args:
        lmbda: None for a student of all rates: the mean over VALIDATED_QUALITIES, weighted as in training.
    """
    if lmbda is not None:
        bpp, mse = bpp_and_mse(student, x, device, bf16=bf16)
        return bpp + lmbda * 255**2 * mse
    losses = []
    for quality in VALIDATED_QUALITIES:
        of_quality = lmbda_at(quality)
        student.set_lmbda(of_quality)
        bpp, mse = bpp_and_mse(student, x, device, bf16=bf16)
        scale = float(weight(torch.tensor(of_quality)))
        losses.append(scale * (bpp + of_quality * 255**2 * mse))
    return sum(losses) / len(losses)


# The lambda of each crop where a student of all rates is trained, and what its loss weighs.

WEIGHT_POWER = 0.4
"""bpp + lmbda 255^2 MSE grows with lmbda about as fast: over it every rate counts about the same."""

VALIDATED_QUALITIES = (10, 50, 90)

_SPREAD = (5**0.5 - 1) / 2
"""Multiples of the golden ratio, modulo 1, lie evenly however many there are."""


def drawn(key: tuple[int, ...], batch: int, rows: range) -> Tensor:
    """The lambdas of `rows` of the batch number `batch`, [rows]: even in ln(lmbda) over LMBDA_LOW..LMBDA_HIGH.

    The rows of one batch share one random number and lie evenly around it. A row's lambda depends on `key` (the run's
    seed and what is drawn for), the batch and the row only, so that it is the same in every process and after a resume.
    """
    first = np.random.default_rng((*key, batch)).random()
    places = torch.tensor([(first + row * _SPREAD) % 1 for row in rows], dtype=torch.float64)
    return (LMBDA_LOW * (LMBDA_HIGH / LMBDA_LOW) ** places).float()


def weight(lmbda: Tensor) -> Tensor:
    """The weight of the loss of a crop of this lambda, in the shape of `lmbda`."""
    return (LMBDA_OF_UNIT_GAIN / lmbda) ** WEIGHT_POWER
