import logging

import pytest
import torch
from fvcore.nn import FlopCountAnalysis

from hwkd.errors import InputError
from hwkd.measure.eager.macs import count_macs
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
