"""The scale hyperprior in the families `gdn` and `relu`, and mbt2018-mean as a teacher.

With equal widths the parameters are CompressAI's, name for name, so checkpoints travel both ways.
"""

from typing import cast

from torch import Tensor, nn

from hwkd.models.base import HyperpriorCodec
from hwkd.models.compat import GDN, conv, deconv
from hwkd.models.spec import HyperpriorSpec


def _activation(family: str, channels: int, *, inverse: bool) -> nn.Module:
    return nn.ReLU() if family == "relu" else GDN(channels, inverse=inverse)


class ConvHyperprior(HyperpriorCodec):
    """Stride-2 5x5 convolutions with GDN or ReLU between (Balle et al. 2018, arXiv 1802.01436, figure 4)."""

    def __init__(self, spec: HyperpriorSpec) -> None:
        super().__init__(spec.M, spec.Z)
        n1, n2, n3 = spec.widths
        self.g_a = nn.Sequential(
            conv(3, n1),
            _activation(spec.family, n1, inverse=False),
            conv(n1, n2),
            _activation(spec.family, n2, inverse=False),
            conv(n2, n3),
            _activation(spec.family, n3, inverse=False),
            conv(n3, spec.M),
        )
        self.g_s = nn.Sequential(
            deconv(spec.M, n3),
            _activation(spec.family, n3, inverse=True),
            deconv(n3, n2),
            _activation(spec.family, n2, inverse=True),
            deconv(n2, n1),
            _activation(spec.family, n1, inverse=True),
            deconv(n1, 3),
        )
        self.h_a = nn.Sequential(
            conv(spec.M, spec.H, stride=1, kernel_size=3),
            nn.ReLU(),
            conv(spec.H, spec.H),
            nn.ReLU(),
            conv(spec.H, spec.Z),
        )
        self.h_s = nn.Sequential(
            deconv(spec.Z, spec.H),
            nn.ReLU(),
            deconv(spec.H, spec.H),
            nn.ReLU(),
            conv(spec.H, spec.M, stride=1, kernel_size=3),
            nn.ReLU(),
        )


class MeanScaleCodec(ConvHyperprior):
    """mbt2018-mean (Minnen et al. 2018, arXiv 1809.02736): h_s gives means beside the scales. A teacher only."""

    def __init__(self, spec: HyperpriorSpec) -> None:
        super().__init__(spec)
        M, H, Z = spec.M, spec.H, spec.Z
        self.h_a = nn.Sequential(
            conv(M, H, stride=1, kernel_size=3),
            nn.LeakyReLU(),
            conv(H, H),
            nn.LeakyReLU(),
            conv(H, Z),
        )
        self.h_s = nn.Sequential(
            deconv(Z, M),
            nn.LeakyReLU(),
            deconv(M, M * 3 // 2),
            nn.LeakyReLU(),
            conv(M * 3 // 2, M * 2, stride=1, kernel_size=3),
        )

    def hyper_analysis(self, y: Tensor) -> Tensor:
        """z = h_a(y): with means to predict, the sign of y matters."""
        return cast(Tensor, self.h_a(y))

    def entropy_parameters(self, z_hat: Tensor) -> tuple[Tensor, Tensor | None]:
        """Scales and means, the two halves of h_s's channels."""
        scales_hat, means_hat = self.h_s(z_hat).chunk(2, 1)
        return scales_hat, means_hat
