"""The reach against the networks themselves: where a tile's gradient is not zero, there it depends on."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from hwkd.export.checks import reach
from hwkd.models.base import HyperpriorCodec
from hwkd.models.build import build
from hwkd.models.spec import PatchSpec, Spec

PATCH = PatchSpec(M=4, H=4, Z=4, C=4, widths=(4,), post=(4,))

pytestmark = pytest.mark.usefixtures("in_one_thread")


@pytest.fixture(params=["gdn", "relu", "patch", "no blocks", "three blocks, two pairs"])
def spec(request, tiny_specs) -> Spec:
    shapes = {
        "no blocks": replace(PATCH, widths=(), post=()),
        "three blocks, two pairs": replace(PATCH, widths=(4, 4, 4), post=(4, 4)),
    }
    return shapes.get(request.param) or tiny_specs[request.param]


def all_passing(spec: Spec) -> HyperpriorCodec:
    """A codec of positive weights in float64: no ReLU stops anything, no sum cancels."""
    codec = build(spec).double().eval()
    with torch.no_grad():
        for transform in (codec.g_a, codec.h_a, codec.h_s, codec.g_s):
            for name, parameter in transform.named_parameters():
                if name.endswith(("weight", "bias")):
                    parameter.uniform_(0.01, 0.02)
    return codec


def extent(gradient: Tensor, first: int, last: int) -> tuple[int, int]:
    """How far [first, last), on the last axis, the gradient goes to the left and to the right."""
    touched = torch.nonzero(gradient.abs().amax((0, 1, 2))).flatten()
    return first - int(touched.min()), int(touched.max()) + 1 - last


def of_axis(x: Tensor, transposed: bool) -> Tensor:
    return x.transpose(2, 3) if transposed else x


@pytest.mark.parametrize("transposed", [False, True], ids=["columns", "rows"])
def test_the_encoders_reach_is_the_networks_up_to_64_pixels(spec: Spec, transposed: bool) -> None:
    codec = all_passing(spec)
    # A strip wide enough that the reach ends within it, around the tile of pixels 320 to 384.
    x = torch.rand((1, 3, 64, 704), dtype=torch.float64, requires_grad=True)
    y = of_axis(codec.g_a(of_axis(x, transposed)), transposed)
    z = of_axis(codec.hyper_analysis(of_axis(y, transposed)), transposed)
    (y[..., 20:24].sum() + z[..., 5:6].sum()).backward()
    before, after = extent(x.grad, 320, 384)
    # None of it lies outside, and 64 pixels less would be too little.
    found = reach(codec).encoder_px
    assert found == (-(-before // 64) * 64, -(-after // 64) * 64)
    assert before > 64 or after > 0


@pytest.mark.parametrize("transposed", [False, True], ids=["columns", "rows"])
def test_the_hyper_reach_is_the_networks(spec: Spec, transposed: bool) -> None:
    codec = all_passing(spec)
    z = torch.rand((1, codec.Z, 2, 21), dtype=torch.float64, requires_grad=True)
    scales = of_axis(codec.h_s(of_axis(z, transposed)), transposed)
    scales[..., 40:44].sum().backward()
    assert reach(codec).hyper_z == max(extent(z.grad, 10, 11))


@pytest.mark.parametrize("transposed", [False, True], ids=["columns", "rows"])
def test_the_decoders_reach_is_the_networks(spec: Spec, transposed: bool) -> None:
    codec = all_passing(spec)
    y = torch.rand((1, codec.M, 4, 41), dtype=torch.float64, requires_grad=True)
    x_hat = of_axis(codec.g_s(of_axis(y, transposed)), transposed)
    x_hat[..., 320:336].sum().backward()
    assert reach(codec).decoder_y == max(extent(y.grad, 20, 21))


def test_the_reach_by_hand(tiny_specs) -> None:
    """gdn: four 5x5 of stride 2, then 3x3 and two 5x5 of stride 2 at 1/16: 2 (1 + 2 + 4 + 8) + 16 + 2 (16 + 32)
    = 142 pixels before a tile; 2 (1 + 2 + 4 + 8) + 16 + 2 (16 + 32) - 63 = 79 after it, for a stride moves its
    kernel to the left. h_s: two transposed 5x5 and a 3x3 at 1/4 of a position: 1 + 1/2 + 1/4, over 1, so 2."""
    found = reach(build(tiny_specs["gdn"]))
    assert found.encoder_px == (192, 128)
    assert found.hyper_z == 2
