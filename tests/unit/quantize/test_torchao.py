import pytest
import torch
from torch import Tensor, nn

from hwkd.bits import BitPlan
from hwkd.errors import InputError
from hwkd.models.base import HyperpriorCodec
from hwkd.models.compat import GDN
from hwkd.quantize.integer import weight_bytes
from hwkd.quantize.qat import conv_layers, quantize
from hwkd.quantize.torchao import pt2e, weight_only


def names_left(sentences: tuple[str, ...]) -> set[str]:
    return {sentence.split(":")[0] for sentence in sentences}


def gdn_layers(codec: HyperpriorCodec) -> set[str]:
    return {name for name, module in codec.named_modules() if isinstance(module, GDN)}


@pytest.mark.parametrize(("bits", "tolerance"), [(8, 0.05), (4, 0.5)])
def test_weight_only_converts_or_lists_every_layer(
    codec: HyperpriorCodec, images: Tensor, bits: int, tolerance: float
) -> None:
    result = weight_only(codec, bits)
    layers = conv_layers(codec)
    expected = {
        name
        for name, layer in layers.items()
        if isinstance(layer, nn.ConvTranspose2d) or layer.groups > 1
    }
    assert names_left(result.left_in_float) == expected | gdn_layers(codec)
    assert set(result.converted) == layers.keys() - expected
    assert isinstance(result.model, HyperpriorCodec)
    limit = 2 ** (bits - 1)
    for name in result.converted:
        values = conv_layers(result.model)[name].weight.qdata
        assert values.dtype == torch.int8
        assert -limit <= int(values.min()) and int(values.max()) < limit
    with torch.no_grad():
        y, y_q = codec(images).y, result.model(images).y
    assert 0 < (y_q - y).abs().mean() < tolerance * y.abs().mean()
    assert result.weight_bytes < weight_bytes(codec)


def test_weight_only_bytes_by_formula(codec: HyperpriorCodec) -> None:
    result = weight_only(codec, 4)
    expected = weight_bytes(codec)
    for name in result.converted:
        weight = conv_layers(codec)[name].weight
        # One scale per output channel and kernel position.
        scales = weight.shape[0] * weight.shape[2] * weight.shape[3]
        expected += weight.numel() // 2 + 4 * scales - 4 * weight.numel()
    assert result.weight_bytes == expected


def test_weight_only_refuses_other_bits(codec: HyperpriorCodec) -> None:
    with pytest.raises(InputError) as error:
        weight_only(codec, 5)
    assert str(error.value) == (
        "the torchao backend stores weights in 8 or 4 bits, got 5; give --bits 8 or --bits 4, or use --backend brevitas"
    )


def test_torchao_refuses_a_brevitas_model(codec: HyperpriorCodec, images: Tensor) -> None:
    quantize(codec, BitPlan())
    for call in (lambda: weight_only(codec, 8), lambda: pt2e(codec, [images])):
        with pytest.raises(InputError, match=r"^the torchao backend needs a float model"):
            call()


def test_pt2e_converts_or_lists_every_layer(codec: HyperpriorCodec, images: Tensor) -> None:
    result = pt2e(codec, [images])
    layers = conv_layers(codec)
    expected = {
        name
        for name, layer in layers.items()
        if isinstance(layer, nn.ConvTranspose2d) or name.startswith(("h_a.", "h_s."))
    }
    assert names_left(result.left_in_float) == expected | gdn_layers(codec)
    assert set(result.converted) == layers.keys() - expected
    assert isinstance(result.model, dict) and result.model.keys() == {"g_a", "g_s"}
    with torch.no_grad():
        y, y_q = codec.g_a(images), result.model["g_a"](images)
        assert 0 < (y_q - y).abs().mean() < 0.1 * y.abs().mean()
        result.model["g_s"](y.round())
    assert result.weight_bytes < weight_bytes(codec)


def test_pt2e_needs_one_shape(codec: HyperpriorCodec, images: Tensor) -> None:
    with pytest.raises(InputError) as error:
        pt2e(codec, [images, images[:1]])
    assert str(error.value) == (
        "PT2E needs calibration batches of one shape, got [(1, 3, 64, 128), (2, 3, 64, 128)]; "
        "crop the images to one size"
    )
    with pytest.raises(
        InputError, match=r"^PT2E needs calibration batches of one shape, got none;"
    ):
        pt2e(codec, [])
