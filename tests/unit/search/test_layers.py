import pytest

from hwkd.bits import BitPlan
from hwkd.measure.layer_table import codec_layers
from hwkd.models.build import build
from hwkd.models.spec import HyperpriorSpec, PatchSpec
from hwkd.quantize.brevitas_qat import quantize
from hwkd.quantize.inputs import conv_layers
from hwkd.quantize.layers import weight_bytes
from hwkd.search.layers import macs_per_pixel, stored_bytes, student_layers, weight_names

SPECS = (
    HyperpriorSpec("gdn", (8, 16, 24), 20, 12, 10),
    HyperpriorSpec("relu", (8, 16, 24), 20, 12, 10),
    PatchSpec(M=20, H=12, Z=10, C=40, widths=(16, 40), post=(12, 8)),
    PatchSpec(20, 12, 10, 40, (16, 40), (12, 8), anchors=3, context=(6, 14), hyper_kernel=1),
)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_layers_are_those_of_a_model_that_is_built_and_traced(spec):
    assert student_layers(spec, 100, 200) == codec_layers(build(spec), 100, 200)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_stored_bytes_are_those_of_the_quantized_model(spec):
    bits = BitPlan(7, 8, (("g_s.*", 5, 8), ("h_s.0", 4, 8)))
    codec = build(spec)
    names = weight_names(spec)
    assert names == {name: layer.weight.numel() for name, layer in conv_layers(codec).items()}
    quantize(codec, bits)
    assert stored_bytes(spec, bits) == weight_bytes(codec)


def test_the_papers_teacher_takes_the_macs_that_it_published():
    spec = HyperpriorSpec("gdn", (128, 128, 128), 192, 128, 128)
    layers = student_layers(spec, 768, 512)
    # Per pixel, by hand: g_a 25 x 3 x 128 / 4 and so on down to 25 x 128 x 192 / 256, each GDN 128^2 / 4^k; g_s mirrors.
    g_a = 25 * 3 * 128 / 4 + 25 * 128**2 * (1 / 16 + 1 / 64) + 25 * 128 * 192 / 256
    gdn = 128**2 * (1 / 4 + 1 / 16 + 1 / 64)
    h = 9 * 192 * 128 / 256 + 25 * 128**2 * (1 / 1024 + 1 / 4096)
    assert macs_per_pixel(layers, 768, 512) == pytest.approx(2 * (g_a + gdn + h))
