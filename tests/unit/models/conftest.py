from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from hwkd.models.base import HyperpriorCodec
from hwkd.models.build import build
from hwkd.models.spec import Spec


@pytest.fixture(scope="session")
def lively(batch) -> Callable[..., HyperpriorCodec]:
    """lively(spec, seed=0): a codec in evaluation mode in which every layer does something; y and z spread by 3."""

    def make(spec: Spec, seed: int = 0) -> HyperpriorCodec:
        torch.manual_seed(seed)
        codec = build(spec).eval()
        with torch.no_grad():
            for parameter in codec.parameters():
                if not parameter.any():
                    parameter.normal_(0, 0.05)
            last = ("g_a.linear", "g_a.head") if spec.family == "patch" else ("g_a.6",)
            y = codec.g_a(batch)
            _scale(codec, last, 3 / y.std())
            z = codec.hyper_analysis(codec.g_a(batch))
            _scale(codec, ("h_a.4",), 3 / z.std())
            codec.entropy_bottleneck.quantiles[:, :, 1] = 0
        return codec

    return make


def _scale(codec: HyperpriorCodec, layers: tuple[str, ...], factor: Tensor) -> None:
    for name in layers:
        for parameter in codec.get_submodule(name).parameters():
            parameter.mul_(factor)


@pytest.fixture(scope="session")
def batch(photo) -> Tensor:
    """Four images, [4, 3, 128, 128] in [0, 1]."""
    stacked = np.stack([photo(128, 128, seed) for seed in range(4)])
    return torch.from_numpy(stacked).permute(0, 3, 1, 2).float() / 255
