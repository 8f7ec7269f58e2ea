"""How good a student is on images that it does not train on."""

import torch
from torch import Tensor, nn

from hwkd.distill.lambdas import VALIDATED_QUALITIES, weight
from hwkd.distill.losses import bits_per_pixel
from hwkd.models.base import HyperpriorCodec
from hwkd.qualities import lmbda_at


@torch.no_grad()
def bpp_and_mse(
    student: HyperpriorCodec, x: Tensor, device: str = "cpu", *, bf16: bool = False
) -> tuple[float, float]:
    """(bpp, MSE) of images [B, 3, H, W], with rounded latents, the rate estimated by likelihoods; x_hat clamped.

    student: in evaluation mode.
    """
    output = student(x.to(device), bf16=bf16)
    bpp = bits_per_pixel(output, x.shape[0] * x.shape[2] * x.shape[3]).item()
    return bpp, nn.functional.mse_loss(output.x_hat.cpu().clamp(0, 1), x).item()


def validation_rd(
    student: HyperpriorCodec, x: Tensor, lmbda: float | None, device: str, *, bf16: bool
) -> float:
    """bpp + lmbda * 255^2 * MSE of one image, as `bpp_and_mse`.

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
