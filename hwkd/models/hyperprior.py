"""The scale hyperprior in the families `gdn` and `relu`, and mbt2018-mean as a teacher.

With equal widths the parameters are CompressAI's, name for name, so checkpoints travel both ways.
"""

from typing import cast

from torch import Tensor, nn

from hwkd.models.base import HyperpriorCodec, Images
from hwkd.models.compat import GDN, conv, deconv
from hwkd.models.families.family import family_of
from hwkd.models.families.hyperprior import HyperpriorSpec
from hwkd.models.inherit import (
    Conv,
    Index,
    copy_bottleneck,
    copy_chain,
    fit_to_data,
    in_norm,
    most,
    out_norm,
)


def _activation(spec: HyperpriorSpec, channels: int, *, inverse: bool) -> nn.Module:
    return GDN(channels, inverse=inverse) if family_of(spec).has_gdn else nn.ReLU()


class ConvHyperprior(HyperpriorCodec):
    """Stride-2 5x5 convolutions with GDN or ReLU between (Balle et al. 2018, arXiv 1802.01436, figure 4)."""

    def __init__(self, spec: HyperpriorSpec) -> None:
        super().__init__(spec)
        n1, n2, n3 = spec.widths
        self.g_a = nn.Sequential(
            conv(3, n1),
            _activation(spec, n1, inverse=False),
            conv(n1, n2),
            _activation(spec, n2, inverse=False),
            conv(n2, n3),
            _activation(spec, n3, inverse=False),
            conv(n3, spec.M),
        )
        self.g_s = nn.Sequential(
            deconv(spec.M, n3),
            _activation(spec, n3, inverse=True),
            deconv(n3, n2),
            _activation(spec, n2, inverse=True),
            deconv(n2, n1),
            _activation(spec, n1, inverse=True),
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

    def inherit(self, teacher: HyperpriorCodec) -> tuple[str, ...]:
        """From any codec of this kind, whatever stands between its convolutions."""
        if not isinstance(teacher, ConvHyperprior):
            return ()
        t_a, t_s = cast(nn.Sequential, teacher.g_a), cast(nn.Sequential, teacher.g_s)
        y = most(out_norm(cast(Conv, t_a[6])) * in_norm(cast(Conv, t_s[0])), self.M)
        inherited = []
        if copy_chain(list(cast(nn.Sequential, self.g_a)), list(t_a), None, y):
            inherited.append("g_a")
        if copy_chain(list(cast(nn.Sequential, self.g_s)), list(t_s), y, None):
            inherited.append("g_s")
        if inherited and type(self) is type(teacher):  # mbt2018-mean has another h_a and h_s
            inherited += self._inherit_hyper(teacher, y)
        return tuple(inherited)

    def _inherit_hyper(self, teacher: HyperpriorCodec, y: Index) -> list[str]:
        """h_a, h_s and the entropy bottleneck, where nothing is wider. y: the channels of the teacher's y that are kept."""
        if self.Z > teacher.Z:
            return []
        t_a, t_s = cast(nn.Sequential, teacher.h_a), cast(nn.Sequential, teacher.h_s)
        z = most(out_norm(cast(Conv, t_a[-1])), self.Z)
        s_a, s_s = cast(nn.Sequential, self.h_a), cast(nn.Sequential, self.h_s)
        if not (copy_chain(list(s_a), list(t_a), y, z) and copy_chain(list(s_s), list(t_s), z, y)):
            return []
        copy_bottleneck(self, teacher, z)
        return ["h_a", "h_s"]

    def start(self, images: Images, crop: int, batch: int, lmbda: float | None) -> str:
        """From random filters at the right scale."""
        fit_to_data(self, images(2 * batch))
        return "the student starts from random filters, scaled on one batch"

    def adapt(
        self,
        start: HyperpriorCodec,
        images: Images,
        batch: int,
        lmbda: float | None,
        start_lmbda: float | None,
    ) -> list[str]:
        """Scale filters that stood between GDNs, where there are none."""
        if self.family.has_gdn or not start.family.has_gdn:
            return []
        fit_to_data(self, images(2 * batch))
        return ["its filters are rescaled on one batch, because GDN's gain is missing"]


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
