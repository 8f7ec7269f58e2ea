"""How good a student is on images that it does not train on."""

import torch
from torch import Tensor, nn

from hwkd.distill.losses import bits_per_pixel
from hwkd.models.base import HyperpriorCodec


@torch.no_grad()
def validation_rd(
    student: HyperpriorCodec, x: Tensor, lmbda: float, device: str, *, bf16: bool
) -> float:
    """bpp + lmbda * 255^2 * MSE of one image [1, 3, H, W], with rounded latents, the rate estimated by likelihoods.

    student: in evaluation mode.
    """
    output = student(x.to(device), bf16=bf16)
    bpp = bits_per_pixel(output, x.shape[2] * x.shape[3]).item()
    mse = nn.functional.mse_loss(output.x_hat.cpu().clamp(0, 1), x).item()
    return bpp + lmbda * 255**2 * mse
