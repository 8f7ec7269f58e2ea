from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from hwkd.errors import HwkdError
from hwkd.export.subpixel import as_subpixel
from hwkd.quantize.integer import Grid, IntegerLayer


def transposed_layer(C_in: int, C_out: int, rng: np.random.Generator) -> IntegerLayer:
    return IntegerLayer(
        name="g_s.0",
        kind="transposed",
        input_kind="activation",
        input=Grid(0.125, -128, 127),
        weight=rng.integers(-127, 128, (C_in, C_out, 5, 5)).astype(np.int8),
        weight_step=(rng.integers(1, 100, C_out) / 64).astype(np.float32),
        bias=rng.integers(-(2**20), 2**20, C_out),
        stride=2,
        padding=2,
        output_padding=1,
        groups=1,
    )


@settings(max_examples=30, deadline=None)
@given(
    C_in=st.integers(1, 4),
    C_out=st.integers(1, 4),
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    seed=st.integers(0, 999),
)
def test_it_is_the_transposed_convolution(
    C_in: int, C_out: int, height: int, width: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    layer = transposed_layer(C_in, C_out, rng)
    plain = as_subpixel(layer)
    x = torch.from_numpy(rng.integers(-128, 128, (1, C_in, height, width))).double()
    expected = F.conv_transpose2d(
        x,
        torch.from_numpy(layer.weight).double(),
        torch.from_numpy(layer.bias).double(),
        stride=2,
        padding=2,
        output_padding=1,
    )
    weight, bias = torch.from_numpy(plain.weight).double(), torch.from_numpy(plain.bias).double()
    assert (plain.kind, plain.stride, plain.padding, plain.groups) == ("conv", 1, 1, 1)
    found = F.pixel_shuffle(F.conv2d(x, weight, bias, padding=1), 2)
    assert found.shape == (1, C_out, 2 * height, 2 * width)
    assert torch.equal(found, expected)
    # The step of each of the four channels that one becomes.
    np.testing.assert_array_equal(plain.weight_step, np.repeat(layer.weight_step, 4))
    assert plain.input == layer.input


def test_a_transposed_convolution_of_another_shape_is_refused() -> None:
    layer = transposed_layer(2, 3, np.random.default_rng(0))
    for changed in (
        replace(layer, weight=layer.weight[:, :, :3, :3]),
        replace(layer, stride=1),
        replace(layer, padding=1),
        replace(layer, output_padding=0),
        replace(layer, groups=2),
        replace(layer, kind="conv"),
    ):
        with pytest.raises(HwkdError, match=r"^g_s\.0: no sub-pixel form is known for a "):
            as_subpixel(changed)
