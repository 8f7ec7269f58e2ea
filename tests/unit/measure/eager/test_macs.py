import logging

import pytest
import torch
from fvcore.nn import FlopCountAnalysis
from torch import nn

from hwkd.errors import InputError
from hwkd.measure.eager.macs import codec_layers, count_macs, network_layers
from hwkd.measure.layers import LayerCost
from hwkd.models.build import build
from hwkd.models.spec import HyperpriorSpec, PatchSpec

TINY_PATCH = PatchSpec(M=12, H=8, Z=8, C=16, widths=(16,), post=(8,))


@pytest.mark.parametrize(
    ("N", "gmacs"),
    [(128, 34.241), (112, 26.703), (96, 20.096), (64, 9.674), (32, 2.975), (16, 1.022)],
)
def test_reproduces_the_papers_table(N, gmacs):
    """arXiv 2509.10366, tables of section 5.2, at 768x512 and M=192."""
    codec = build(HyperpriorSpec("gdn", (N, N, N), 192, N, N))
    assert round(count_macs(codec, 768, 512).total_macs / 1e9, 3) == gmacs


def test_patch_codec_counts_as_by_hand():
    M, H, Z, C, w, p = 12, 8, 8, 16, 16, 8
    at_4, at_16, at_32, at_64 = 16 * 16, 4 * 4, 2 * 2, 1  # positions of a 64x64 image
    block = C * w + 9 * w + w * C + C * 2 * w + 2 * w * C
    g_a = at_16 * (768 * M + 768 * C + block + C * M)
    g_s = at_16 * (M * 768 + M * C + block + C * 768) + at_4 * 2 * 9 * 48 * p
    h_a = at_16 * 9 * M * H + at_32 * 25 * H * H + at_64 * 25 * H * Z
    h_s = at_64 * 9 * Z * 4 * H + at_32 * 9 * H * 4 * H + at_16 * 9 * H * M
    count = count_macs(build(TINY_PATCH), 64, 64)
    assert count.by_network == {"g_a": g_a, "h_a": h_a, "h_s": h_s, "g_s": g_s}
    assert count.encode_macs == g_a + h_a + h_s
    assert count.decode_macs == h_s + g_s
    assert count.total_macs == g_a + h_a + h_s + g_s
    assert count.macs_per_pixel == count.total_macs / 4096
    assert count.by_layer["g_a.linear"] == at_16 * 768 * M


def test_layers_add_up_to_their_networks():
    count = count_macs(build(HyperpriorSpec("gdn", (8, 8, 8), 12, 8, 8)), 100, 40)
    for name, macs in count.by_network.items():
        layers = [n for layer, n in count.by_layer.items() if layer.startswith(f"{name}.")]
        assert sum(layers) == macs > 0
    # A transposed 5x5 from 12 to 8 channels on 2x1 blocks of 4x4 inputs; GDN's 1x1 on its outputs.
    assert count.by_layer["g_s.0"] == 2 * 16 * 25 * 12 * 8
    assert count.by_layer["g_s.1"] == 2 * 64 * 8 * 8


@pytest.mark.parametrize("size", [(192, 128), (130, 65)])
def test_a_traced_block_scales_to_a_trace_of_the_whole_image(size):
    codec = build(HyperpriorSpec("relu", (8, 8, 8), 12, 8, 8)).eval()
    width, height = size
    whole = torch.zeros(1, 3, 128, 192)  # both sizes pad to it
    g_a = FlopCountAnalysis(codec.g_a, whole).unsupported_ops_warnings(False).total()
    count = count_macs(codec, width, height)
    assert count.by_network["g_a"] == g_a
    assert count.macs_per_pixel == count.total_macs / (width * height)


def test_says_what_was_not_counted_and_keeps_fvcore_quiet(caplog):
    with caplog.at_level(logging.DEBUG):
        count = count_macs(build(HyperpriorSpec("gdn", (8, 8, 8), 12, 8, 8)), 64, 64)
    assert count.not_counted["abs"] == 1  # before h_a
    assert count.not_counted["rsqrt"] == 3  # GDN in g_a
    assert count.not_counted["sqrt"] == 3  # inverse GDN in g_s
    assert caplog.records == []


def test_a_size_without_pixels_is_refused():
    with pytest.raises(InputError, match="image of 0x64 has no MACs"):
        count_macs(build(TINY_PATCH), 0, 64)


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
