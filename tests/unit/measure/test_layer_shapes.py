import pytest

from hwkd.measure.layer_shapes import AMOUNTS, amounts, shape, shape_work
from hwkd.measure.layers import LayerCost


def layer(operator="conv", kernel=5, stride=2, groups=1, c_in=64, c_out=32):
    return LayerCost(
        name="a",
        network="g_a",
        operator=operator,
        c_in=c_in,
        c_out=c_out,
        kernel=kernel,
        stride=stride,
        groups=groups,
        in_values=1000,
        out_values=500,
        weights=7,
        macs=9000,
    )


@pytest.mark.parametrize(
    ("of", "name"),
    [
        (layer(), "conv5s2"),
        (layer(c_in=3), "conv5s2_rgb"),
        (layer(c_out=4), "conv5s2_rgb"),
        (layer(c_out=5), "conv5s2"),
        (layer("transposed"), "transposed5s2"),
        (layer("transposed", c_out=3), "transposed5s2_rgb"),
        (layer(kernel=3, stride=1, groups=64), "conv3s1_dw"),
        (layer(kernel=1, stride=1, groups=2), "conv1s1_grouped"),
        (layer("gdn"), "gdn"),
        (layer("dense"), "dense"),
    ],
)
def test_the_name_says_operator_kernel_stride_and_grouping(of, name):
    assert shape(of) == name


def test_amounts_are_macs_values_and_one_call():
    of = dict(zip(AMOUNTS, amounts(layer()), strict=True))
    assert of == {"macs": 9000, "values": 1500, "calls": 1}


def test_a_shape_that_was_profiled_has_its_own_rates():
    known = {"conv5s2.macs", "conv5s2.calls", "any.macs", "any.values", "rest.values"}
    work, is_seen = shape_work(layer(), known)
    assert is_seen
    # The rate of conv5s2.values was zero: it does not fall back to that of all shapes.
    assert work == {"conv5s2.macs": 9000, "conv5s2.calls": 1, "rest.values": 500}


def test_a_shape_that_was_not_gets_the_rates_of_all():
    work, is_seen = shape_work(layer("gdn"), {"conv5s2.macs", "any.macs", "any.values"})
    assert not is_seen
    assert work == {"any.macs": 9000, "any.values": 1500}
