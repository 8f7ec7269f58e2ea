import pytest
import torch
from torch import Tensor

from hwkd.bits import BitPlan
from hwkd.errors import InputError
from hwkd.models.base import HyperpriorCodec
from hwkd.models.build import build
from hwkd.models.spec import HyperpriorSpec
from hwkd.quantize.brevitas_qat import quantize
from hwkd.quantize.layers import layer_bits
from hwkd.quantize.ptq import post_training_quantize
from hwkd.quantize.requantize import set_weight_bits

LAYERS = {"gdn": ("g_a.0", "h_s.0"), "relu": ("g_a.0", "h_s.0"), "patch": ("g_a.linear", "h_s.0")}


@pytest.fixture
def names(spec) -> tuple[str, str]:
    """A layer of floating scales, and one of the entropy path."""
    return LAYERS[spec.family]


def test_it_computes_what_one_quantized_with_these_bits_does(
    codec: HyperpriorCodec, images: Tensor, names: tuple[str, str]
) -> None:
    changed = post_training_quantize(codec, BitPlan(8, 8), [images], keeps_weights=True)
    set_weight_bits(changed, dict(zip(names, (4, 3), strict=True)))
    plan = BitPlan(8, 8, ((names[0], 4, 8), (names[1], 3, 8)))
    fresh = post_training_quantize(codec, plan, [images], keeps_weights=True)
    assert [layer.weight_bits for layer in layer_bits(changed)] == [
        layer.weight_bits for layer in layer_bits(fresh)
    ]
    assert changed.state_dict().keys() == fresh.state_dict().keys()
    with torch.no_grad():
        theirs, ours = fresh(images), changed(images)
    assert torch.equal(ours.x_hat, theirs.x_hat)
    assert torch.equal(ours.y, theirs.y)


def test_its_own_bits_bring_back_what_it_was(
    codec: HyperpriorCodec, images: Tensor, names: tuple[str, str]
) -> None:
    quantized = post_training_quantize(codec, BitPlan(7, 8), [images], keeps_weights=True)
    with torch.no_grad():
        before = quantized(images).x_hat
        set_weight_bits(quantized, {names[0]: 2})
        assert not torch.equal(quantized(images).x_hat, before)
        set_weight_bits(quantized, {names[0]: 7})
        assert torch.equal(quantized(images).x_hat, before)


@pytest.mark.parametrize(("name", "bits"), [("g_a.0", 9), ("g_a.0", 1), ("g_x.0", 4)])
def test_other_bits_and_layers_are_refused(name: str, bits: int) -> None:
    quantized = build(HyperpriorSpec("relu", (8, 8, 8), 12, 8, 8))
    quantize(quantized, BitPlan(8, 8))
    with pytest.raises(InputError, match=rf"cannot give layer '{name}' {bits} bits"):
        set_weight_bits(quantized, {name: bits})
