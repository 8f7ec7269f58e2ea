from torch import Tensor

from hwkd.bits import BitPlan
from hwkd.models.base import HyperpriorCodec
from hwkd.models.build import build
from hwkd.models.spec import HyperpriorSpec
from hwkd.quantize.brevitas_qat import quantize
from hwkd.quantize.inputs import conv_layers
from hwkd.quantize.layers import integer_weights, layer_bits, left_in_float, weight_bytes
from hwkd.quantize.qat import calibrate


def test_report_covers_every_layer(codec: HyperpriorCodec, images: Tensor) -> None:
    quantize(codec, BitPlan(4, 6))
    assert all(
        layer.act_scale is None for layer in layer_bits(codec) if layer.input_kind == "activation"
    )
    calibrate(codec, [images])
    report = layer_bits(codec)
    assert [layer.name for layer in report] == list(conv_layers(codec))
    for layer in report:
        assert layer.weight_bits == 4
        assert layer.power_of_two == layer.name.startswith("h_s.")
        assert layer.act_scale is not None and layer.act_scale > 0
        beyond_8 = {"activation": 6, "integers": None, "fractions": None}
        assert layer.act_bits == beyond_8.get(layer.input_kind, 8)
        assert bool(layer.act_note) == (layer.input_kind != "activation")


def test_kinds_of_layers() -> None:
    codec = build(HyperpriorSpec("relu", (8, 8, 8), 12, 8, 8))
    quantize(codec, BitPlan())
    kinds = {layer.name: layer.kind for layer in layer_bits(codec)}
    assert kinds["g_a.0"] == "conv" and kinds["g_s.0"] == "transposed"


def test_float_codec_has_no_report_and_all_layers_left_in_float(codec: HyperpriorCodec) -> None:
    assert layer_bits(codec) == ()
    assert integer_weights(codec) == {}
    sentences = left_in_float(codec)
    for name in conv_layers(codec):
        assert f"{name}: float32 weights and input, it was not quantized" in sentences


def test_gdn_and_biases_are_listed() -> None:
    codec = build(HyperpriorSpec("gdn", (8, 8, 8), 12, 8, 8))
    quantize(codec, BitPlan())
    sentences = left_in_float(codec)
    assert "g_a.1: GDN, its squares, 1x1 convolution, root and product are float32" in sentences
    assert sum("inverse GDN" in s for s in sentences) == 3
    assert sentences[-1].startswith("biases: ")
    assert len(sentences) == 7


def test_float_bytes_are_four_per_parameter(codec: HyperpriorCodec) -> None:
    count = sum(
        p.numel() for t in (codec.g_a, codec.h_a, codec.h_s, codec.g_s) for p in t.parameters()
    )
    assert weight_bytes(codec) == 4 * count


def test_quantized_bytes_by_hand() -> None:
    codec = build(HyperpriorSpec("relu", (2, 2, 2), 3, 2, 1))
    # weights, output channels (= biases) of g_a, g_s, h_a, h_s
    layers = [
        *[(3 * 2 * 25, 2), (2 * 2 * 25, 2), (2 * 2 * 25, 2), (2 * 3 * 25, 3)],
        *[(3 * 2 * 25, 2), (2 * 2 * 25, 2), (2 * 2 * 25, 2), (2 * 3 * 25, 3)],
        *[(3 * 2 * 9, 2), (2 * 2 * 25, 2), (2 * 1 * 25, 1)],
        *[(1 * 2 * 25, 2), (2 * 2 * 25, 2), (2 * 3 * 9, 3)],
    ]
    # Learned activation scales: every layer but g_a.0 (pixels), g_s.0 and h_s.0 (symbols).
    scales = len(layers) - 3
    quantize(codec, BitPlan(3, 8))
    expected = sum(-(-3 * n // 8) + 4 * c + 4 * c for n, c in layers) + 4 * scales
    assert weight_bytes(codec) == expected
    # Held to two bits, but for the entropy path: the last three.
    held = [
        -(-bits * n // 8) for bits, part in ((2, layers[:-3]), (3, layers[-3:])) for n, _ in part
    ]
    assert weight_bytes(codec, 2) == sum(held) + sum(8 * c for _, c in layers) + 4 * scales
