import pytest
import torch
from torch import nn

from hwkd.errors import InputError
from hwkd.measure.eager.macs import count_macs
from hwkd.measure.layer_table import codec_layers, network_layers
from hwkd.measure.layers import LayerCost
from hwkd.models.build import build

FAMILIES = ("gdn", "relu", "patch")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("size", [(64, 64), (100, 40), (200, 130)])
def test_the_macs_of_the_layers_are_those_of_the_networks(tiny_specs, family, size):
    codec = build(tiny_specs[family])
    layers = codec_layers(codec, *size)
    count = count_macs(codec, *size)
    for network, macs in count.by_network.items():
        assert sum(layer.macs for layer in layers if layer.network == network) == macs > 0
    assert {layer.name: layer.macs for layer in layers if layer.macs} == count.by_layer


def test_the_first_convolution_is_as_by_hand(tiny_specs):
    # 100x40 is padded to 128x64. 3 to 8 channels, 5x5, stride 2.
    (first,) = (x for x in codec_layers(build(tiny_specs["gdn"]), 100, 40) if x.name == "g_a.0")
    assert first == LayerCost(
        name="g_a.0",
        network="g_a",
        operator="conv",
        c_in=3,
        c_out=8,
        kernel=5,
        stride=2,
        groups=1,
        in_values=3 * 128 * 64,
        out_values=8 * 64 * 32,
        weights=25 * 3 * 8,
        macs=25 * 3 * 8 * 64 * 32,
    )


def test_a_transposed_convolution_and_gdn_are_as_by_hand(tiny_specs):
    layers = {layer.name: layer for layer in codec_layers(build(tiny_specs["gdn"]), 64, 64)}
    up, gdn = layers["g_s.0"], layers["g_s.1"]
    assert (up.operator, up.c_in, up.c_out, up.kernel, up.stride) == ("transposed", 12, 8, 5, 2)
    assert (up.in_values, up.out_values) == (12 * 4 * 4, 8 * 8 * 8)
    assert (up.weights, up.macs) == (25 * 12 * 8, 4 * 4 * 25 * 12 * 8)
    assert (gdn.operator, gdn.c_in, gdn.c_out, gdn.weights) == ("gdn", 8, 8, 8 * 8)
    assert (gdn.in_values, gdn.out_values, gdn.macs) == (8 * 8 * 8, 8 * 8 * 8, 8 * 8 * 8 * 8)


def test_a_depthwise_layer_names_its_groups(tiny_specs):
    layers = {layer.name: layer for layer in codec_layers(build(tiny_specs["patch"]), 64, 64)}
    mix = layers["g_a.trunk.0.mix"]
    assert (mix.groups, mix.c_in, mix.kernel, mix.macs) == (16, 16, 3, 9 * 16 * 4 * 4)


def test_layers_inside_a_network_stand_in_the_order_they_run():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.MaxPool2d(2), nn.SiLU(), nn.Conv2d(4, 5, 1))
    layers = network_layers(model, torch.zeros(1, 3, 8, 8))
    assert [layer.name for layer in layers] == ["0", "1", "2", "3"]
    assert [layer.operator for layer in layers] == ["conv", "pool", "nonlinear", "conv"]
    assert [layer.macs for layer in layers] == [3 * 4 * 64, 0, 0, 4 * 5 * 16]
    assert (layers[1].in_values, layers[1].out_values) == (4 * 64, 4 * 16)


def test_a_dense_layer_has_its_features_as_channels():
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 5))
    (layer,) = network_layers(model, torch.zeros(1, 3, 2, 2))
    assert (layer.operator, layer.c_in, layer.c_out) == ("dense", 12, 5)
    assert (layer.weights, layer.macs) == (60, 60)


def test_a_layer_that_runs_twice_stands_twice():
    one = nn.Conv2d(4, 4, 1)
    layers = network_layers(nn.Sequential(one, one), torch.zeros(1, 4, 8, 8))
    assert [layer.macs for layer in layers] == [4 * 4 * 64] * 2


def test_the_longer_side_of_a_kernel_counts():
    (layer,) = network_layers(nn.Conv2d(4, 4, (1, 7)), torch.zeros(1, 4, 8, 8))
    assert layer.kernel == 7


def test_the_codec_is_left_as_it_was(tiny_specs):
    codec = build(tiny_specs["gdn"]).train()
    codec_layers(codec, 64, 64)
    assert all(module.training for module in codec.modules())
    assert not any(module._forward_hooks for module in codec.modules())


@pytest.mark.parametrize("size", [(0, 64), (64, 0)])
def test_an_image_without_pixels_is_refused(tiny_specs, size):
    with pytest.raises(InputError, match=r"has no layers to count; give 1x1 or more"):
        codec_layers(build(tiny_specs["relu"]), *size)
