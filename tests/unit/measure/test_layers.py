import pytest

from hwkd.errors import InputError
from hwkd.measure.layers import (
    AMOUNTS,
    EXPONENTS,
    OPERATORS,
    REFERENCE_CHANNELS,
    TERMS,
    LayerCost,
    amounts,
    shape,
    shape_work,
    work,
)


def conv(c_in=64, c_out=64, kernel=1, stride=1, groups=1, side=10, operator="conv"):
    """A layer with outputs of side x side; its MACs and weights by the closed formula."""
    weights = c_in // groups * c_out * kernel**2
    in_values = c_in * (side * stride) ** 2
    out_values = c_out * side**2
    return LayerCost(
        name="a",
        network="g_a",
        operator=operator,
        c_in=c_in,
        c_out=c_out,
        kernel=kernel,
        stride=stride,
        groups=groups,
        in_values=in_values,
        out_values=out_values,
        weights=weights,
        macs=weights * side**2,
    )


def test_four_blocks_are_an_image_of_twice_the_side():
    assert conv(8, 16, 3, side=10).times(4) == conv(8, 16, 3, side=20)


def test_a_pointwise_layer_at_the_reference_width_weighs_what_it_has():
    assert REFERENCE_CHANNELS == 64
    assert work(conv()) == {"pointwise": 64 * 64 * 100, "values": 2 * 64 * 100, "calls": 1}


@pytest.mark.parametrize(
    ("kernel", "term", "weight"),
    # 64 / sqrt(256 x 256) is a quarter, its root a half, its fourth root 0.7071.
    [(1, "pointwise", 0.5**0.5), (3, "winograd", 0.5), (5, "spatial", 0.5**0.5)],
)
def test_a_mac_is_cheaper_between_four_times_the_channels(kernel, term, weight):
    layer = conv(256, 256, kernel)
    assert work(layer)[term] == pytest.approx(layer.macs * weight, rel=1e-12)


def test_channels_are_averaged_geometrically():
    layer = conv(16, 256)
    assert work(layer)["pointwise"] == pytest.approx(layer.macs, rel=1e-12)


@pytest.mark.parametrize(
    ("layer", "term"),
    [
        (conv(16, 64, 3), "winograd"),
        (conv(15, 64, 3), "spatial"),
        (conv(64, 64, 3, stride=2), "spatial"),
        (conv(64, 64, 3, groups=2), "spatial"),
        (conv(64, 64, 5), "spatial"),
        (conv(64, 64, 3, groups=64), "depthwise"),
        (conv(64, 64, 1, operator="transposed"), "spatial"),
        (conv(64, 64, 5, stride=2, operator="transposed"), "spatial"),
        (conv(1, 64, 5), "spatial"),
        (conv(64, 64, 3, side=1), "dense"),
        (conv(64, 1000, side=1, operator="dense"), "dense"),
        (conv(64, 1000, side=3, operator="dense"), "dense"),
    ],
)
def test_each_layer_has_one_term_of_macs_its_values_and_its_call(layer, term):
    values = "winograd_values" if term == "winograd" else "values"
    terms = work(layer)
    assert set(terms) == {term, values, "calls"}
    assert terms[values] == layer.in_values + layer.out_values
    assert terms["calls"] == 1


def test_depthwise_macs_are_not_weighed():
    layer = conv(256, 256, 3, groups=256)
    assert work(layer)["depthwise"] == layer.macs == 9 * 256 * 100


def test_the_channels_of_a_group_count():
    # Two groups of 32 channels: 64 / 32 doubles, to the power of a quarter.
    layer = conv(64, 64, 5, groups=2)
    assert work(layer)["spatial"] == pytest.approx(layer.macs * 2**0.25, rel=1e-12)


def test_a_dense_layer_weighs_its_weights_however_often_they_are_read():
    assert work(conv(64, 1000, side=3, operator="dense"))["dense"] == 64_000


def test_gdn_is_a_pointwise_layer_and_one_nonlinear_function():
    assert work(conv(operator="gdn")) == {
        "pointwise": 64 * 64 * 100,
        "nonlinear": 64 * 100,
        "values": 2 * 64 * 100,
        "calls": 1,
    }


def test_nonlinear_functions_and_pools_run_beside_the_layers():
    assert work(conv(operator="nonlinear")) == {"nonlinear": 6400}
    assert work(conv(stride=2, operator="pool")) == {"values": 64 * 20 * 20}


def test_every_term_is_declared():
    for operator in OPERATORS:
        for kernel in (1, 3, 5):
            assert set(work(conv(kernel=kernel, operator=operator))) <= set(TERMS)
    assert set(EXPONENTS) <= set(TERMS)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"operator": "relu"}, "operator of layer a must be one of conv, transposed, dense, gdn, "),
        ({"c_in": 0}, "c_in of layer a must be 1 or more, got 0"),
        ({"stride": 0}, "stride of layer a must be 1 or more, got 0"),
        ({"out_values": 0}, "out_values of layer a must be 1 or more, got 0"),
        ({"macs": -1}, "weights and macs of layer a must be 0 or more, got 4096 and -1"),
        ({"weights": -1}, "weights and macs of layer a must be 0 or more, got -1 and 409600"),
    ],
)
def test_what_cannot_be_is_refused(fields, message):
    with pytest.raises(InputError) as caught:
        LayerCost(**(vars(conv()) | fields))
    assert str(caught.value).startswith(message)


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
