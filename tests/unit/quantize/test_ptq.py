import torch
from torch import Tensor

from hwkd.bits import BitPlan
from hwkd.models.base import HyperpriorCodec
from hwkd.quantize.brevitas_qat import quantized_layers
from hwkd.quantize.inputs import conv_layers
from hwkd.quantize.ptq import post_training_quantize
from hwkd.quantize.qat import is_calibrated


def test_one_call_quantizes_a_copy(codec: HyperpriorCodec, images: Tensor) -> None:
    before = {k: v.clone() for k, v in codec.state_dict().items()}
    quantized = post_training_quantize(codec, BitPlan(8, 8), [images])
    assert not quantized_layers(codec)
    assert codec.state_dict().keys() == before.keys()
    assert all(torch.equal(v, before[k]) for k, v in codec.state_dict().items())
    assert quantized_layers(quantized).keys() == conv_layers(codec).keys()
    assert is_calibrated(quantized) and not quantized.training


def test_more_weight_bits_stay_closer(codec: HyperpriorCodec, images: Tensor) -> None:
    with torch.no_grad():
        y = codec(images).y
        errors = [
            float(
                (post_training_quantize(codec, BitPlan(b, 8), [images])(images).y - y)
                .square()
                .mean()
            )
            for b in (3, 5, 8)
        ]
    assert errors[0] > errors[1] > errors[2]


def test_the_same_images_give_the_same_codec(codec: HyperpriorCodec, images: Tensor) -> None:
    once = post_training_quantize(codec, BitPlan(8, 8), [images])
    again = post_training_quantize(codec, BitPlan(8, 8), [images])
    with torch.no_grad():
        assert torch.equal(once(images).x_hat, again(images).x_hat)
