import pytest
import torch
from torch import Tensor

from hwkd.models.base import HyperpriorCodec
from hwkd.models.build import build
from hwkd.models.spec import HyperpriorSpec, PatchSpec, Spec

SPECS: dict[str, Spec] = {
    "gdn": HyperpriorSpec("gdn", (8, 8, 8), 12, 8, 8),
    "relu": HyperpriorSpec("relu", (8, 8, 8), 12, 8, 8),
    "patch": PatchSpec(M=12, H=8, Z=8, C=16, widths=(16,), post=(8,)),
    "patch of all rates": PatchSpec(M=12, H=8, Z=8, C=16, widths=(16,), post=(8,), anchors=3),
}


@pytest.fixture(params=sorted(SPECS))
def spec(request: pytest.FixtureRequest) -> Spec:
    return SPECS[request.param]


@pytest.fixture
def codec(spec: Spec) -> HyperpriorCodec:
    """A tiny codec of each family whose latents are not all zero."""
    return lively(spec)


@pytest.fixture
def images() -> Tensor:
    """[2, 3, 64, 128]: 8-bit noise over a ramp."""
    generator = torch.Generator().manual_seed(1)
    ramp = torch.linspace(0, 200, 128).expand(2, 3, 64, 128)
    noise = torch.randint(0, 56, (2, 3, 64, 128), generator=generator)
    return (ramp + noise).floor() / 255


def lively(spec: Spec) -> HyperpriorCodec:
    torch.manual_seed(0)
    codec = build(spec).eval()
    with torch.no_grad():
        for parameter in codec.parameters():
            # Residual branches start at zero; here they shall do something.
            if parameter.dim() == 4 and not parameter.any():
                parameter.normal_(0, 0.05)
        for transform in ("g_a", "h_a", "h_s"):
            for module in getattr(codec, transform).modules():
                if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
                    module.weight.mul_(3)
    return codec
