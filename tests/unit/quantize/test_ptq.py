from copy import deepcopy

import pytest
import torch
from torch import Tensor

from hwkd.bits import BitPlan
from hwkd.models.base import HyperpriorCodec
from hwkd.models.build import build
from hwkd.models.spec import student_spec
from hwkd.quantize import ptq
from hwkd.quantize.ptq import balance_stream, post_training_quantize, round_weights
from hwkd.quantize.qat import calibrate, conv_layers, is_calibrated, quantize, quantized_layers


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


# Weights rounded by what they do to the outputs: against nearest rounding, on layers whose inputs are unlike.


def outputs_of(codec: HyperpriorCodec, name: str, images: Tensor) -> tuple[Tensor, Tensor]:
    """What layer `name` takes and gives."""
    seen: list[tuple[Tensor, Tensor]] = []
    hook = codec.get_submodule(name).register_forward_hook(
        lambda _, arguments, output: seen.append((arguments[0], output))
    )
    with torch.no_grad():
        codec(images)
    hook.remove()
    return seen[0]


@pytest.mark.parametrize("bits", [4, 7])
def test_the_first_layer_errs_less_than_by_nearest_rounding(
    codec: HyperpriorCodec, images: Tensor, bits: int
) -> None:
    """Pixels beside each other are alike, so that the errors of their weights can make up for each other."""
    name = next(iter(quantized_layers(post_training_quantize(codec, BitPlan(8, 8), [images]))))
    plan = BitPlan(bits, 8)
    x, exact = outputs_of(codec, name, images)
    errors = []
    for keeps in (True, False):
        quantized = post_training_quantize(codec, plan, [images], keeps_weights=keeps)
        layer = quantized_layers(quantized)[name]
        with torch.no_grad():
            error = layer(x) - exact
        # Of the whole output: that of `linear`, whose rest `head` makes up, is about its mean here.
        errors.append(float((error - error.mean((0, 2, 3), keepdim=True)).square().mean()))
    assert errors[1] < 0.5 * errors[0], errors


def test_rounded_weights_lie_on_the_grid_of_their_layer(
    codec: HyperpriorCodec, images: Tensor
) -> None:
    """So that what was rounded is what the layer's quantizer, which has no state, makes of them."""
    rounded = post_training_quantize(codec, BitPlan(5, 8), [images])
    checked = 0
    for name, layer in quantized_layers(rounded).items():
        if name.startswith(("h_", "g_s.post")) or layer.groups > 1:
            continue
        if not isinstance(layer, torch.nn.Conv2d):
            continue
        with torch.no_grad():
            on_grid = layer.quant_weight().value
        assert torch.allclose(layer.weight, on_grid, rtol=0, atol=1e-6), name
        checked += 1
    assert checked


def test_the_hyper_networks_and_the_activations_stay(
    codec: HyperpriorCodec, images: Tensor
) -> None:
    quantized = deepcopy(codec)
    quantize(quantized, BitPlan(7, 8))
    calibrate(quantized, [images])
    before = {k: v.clone() for k, v in quantized.state_dict().items()}
    round_weights(quantized, [images])
    after = quantized.state_dict()
    assert after.keys() == before.keys()
    changed = {k for k, v in after.items() if not torch.equal(v, before[k])}
    assert changed
    assert all(k.startswith(("g_a.", "g_s.")) and k.endswith(("weight", "bias")) for k in changed)


def test_inputs_that_are_functions_of_others_are_no_obstacle() -> None:
    """Of patch-large's trunk, 160 channels made of 91, the covariance is singular up to rounding."""
    few = torch.randn(300, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values = few @ torch.randn(12, 40, generator=torch.Generator().manual_seed(1)).double()
    covariance = values.T @ values / len(values) * torch.logspace(0, -8, 40).double()
    covariance = (covariance + covariance.T) / 2
    factor = ptq._factor_of_inverse(covariance)
    assert factor.isfinite().all()


def test_the_factor_is_that_of_the_inverse() -> None:
    generator = torch.Generator().manual_seed(2)
    values = torch.randn(60, 20, generator=generator, dtype=torch.float64)
    covariance = values.T @ values / len(values)
    factor = ptq._factor_of_inverse(covariance)
    unit = torch.eye(20, dtype=torch.float64)
    torch.testing.assert_close(factor.T @ factor @ covariance, unit)


# The encoder's residual stream, its channels balanced for the last layer that reads it.


def unbalanced(codec: HyperpriorCodec) -> HyperpriorCodec:
    """A copy that computes the same, one channel of the stream 64 times as large."""
    copied = deepcopy(codec)
    stream = copied.encoder_stream()
    assert stream is not None
    with torch.no_grad():
        for layer in stream.writers:
            assert layer.bias is not None
            layer.weight[1] *= 64
            layer.bias[1] *= 64
        for layer in (*stream.readers, *stream.ends):
            layer.weight[:, 1] /= 64
    return copied


def with_a_head(images: Tensor, width: int = 16) -> HyperpriorCodec:
    """A patch codec with all of y in its trunk, in random filters."""
    torch.manual_seed(0)
    codec = build(student_spec("patch", (width, 16), 32, 8, 8)).eval()
    codec.start(lambda count: images[:1].repeat(count, 1, 1, 1), 64, 1, 0.025)
    g_a = codec.g_a
    with torch.no_grad():
        for layer in (*codec.encoder_stream().writers, g_a.head):  # type: ignore[union-attr]
            torch.nn.init.normal_(layer.weight, std=layer.weight[0].numel() ** -0.5)
        g_a.linear.weight.zero_()  # type: ignore[union-attr]
    return codec


def test_a_large_channel_of_the_stream_costs_the_others_no_bits(images: Tensor) -> None:
    codec = with_a_head(images)
    with torch.no_grad():
        y = codec(images).y
        errors = []
        for one in (codec, unbalanced(codec)):
            assert torch.allclose(one(images).y, y, rtol=1e-4, atol=1e-4)
            quantized = post_training_quantize(one, BitPlan(8, 8), [images])
            errors.append(float((quantized(images).y - y).square().mean()))
    assert errors[1] < 1.5 * errors[0], errors


def test_balancing_changes_nothing_but_the_scales_of_channels(images: Tensor) -> None:
    codec = unbalanced(with_a_head(images))
    balanced = deepcopy(codec)
    balance_stream(balanced, BitPlan(8, 8), [images])
    stem, before = balanced.g_a.stem.weight, codec.g_a.stem.weight  # type: ignore[union-attr]
    ratios = (stem / before).flatten(1)  # type: ignore[operator]
    assert ratios[1].mean() < ratios[0].mean() / 16
    assert torch.allclose(ratios, ratios[:, :1].expand_as(ratios), rtol=1e-4)
    with torch.no_grad():
        assert torch.allclose(balanced(images).y, codec(images).y, rtol=1e-4, atol=1e-4)
        assert torch.allclose(balanced(images).x_hat, codec(images).x_hat, atol=1e-4)


def test_one_large_weight_costs_the_others_of_its_row_no_bits(images: Tensor) -> None:
    codec = with_a_head(images, 128)
    head = codec.g_a.head  # type: ignore[union-attr]
    with torch.no_grad():
        head.weight[:, 1] = 30 * head.weight[:, 0].abs().max()  # type: ignore[operator, index]
    quantized = post_training_quantize(codec, BitPlan(7, 8), [images])
    layers = quantized_layers(quantized)
    first, rest = (layers[name].quant_weight() for name in ("g_a.head", "g_a.head_rest"))
    balanced = deepcopy(codec)
    balance_stream(balanced, BitPlan(7, 8), [images])
    trained = balanced.g_a.head.weight  # type: ignore[union-attr]
    step = float(first.scale.max())
    # Rounding that suits the inputs moves a weight by a few of its finer steps, never by half of a coarse one.
    assert (first.value + rest.value - trained).abs().max() < step / 8
    assert (first.value - trained).abs().max() > step / 4


def test_the_rest_of_a_layer_is_what_its_rounding_took(images: Tensor) -> None:
    codec = with_a_head(images, 128)
    quantized = deepcopy(codec)
    quantize(quantized, BitPlan(4, 8))
    layers = quantized_layers(quantized)
    first, rest = layers["g_a.head"], layers["g_a.head_rest"]
    with torch.no_grad():
        both = first.quant_weight().value + rest.weight
    assert torch.allclose(both, codec.g_a.head.weight, atol=1e-7)  # type: ignore[union-attr]
    assert rest.bias is None


def test_a_narrow_trunk_has_no_rest(images: Tensor) -> None:
    codec = with_a_head(images)
    quantize(codec, BitPlan(4, 8))
    assert "g_a.head_rest" not in quantized_layers(codec)


def test_a_silent_channel_of_the_stream_gives_finite_weights(images: Tensor) -> None:
    codec = with_a_head(images)
    stream = codec.encoder_stream()
    assert stream is not None
    with torch.no_grad():
        for layer in stream.writers:
            layer.weight[2].zero_()
            assert layer.bias is not None
            layer.bias[2] = 0
    balance_stream(codec, BitPlan(8, 8), [images])
    assert all(torch.isfinite(p).all() for p in codec.parameters())


def test_a_stream_whose_last_reader_is_still_zero_stays_as_it_is(images: Tensor) -> None:
    codec = build(student_spec("patch", (16, 16), 32, 8, 8)).eval()
    before = {k: v.clone() for k, v in codec.state_dict().items()}
    balance_stream(codec, BitPlan(8, 8), [images])
    assert all(torch.equal(v, before[k]) for k, v in codec.state_dict().items())


def test_a_codec_without_a_stream_stays_as_it_is(images: Tensor) -> None:
    codec = build(student_spec("gdn", (8,), 12, 8, 8))
    before = {k: v.clone() for k, v in codec.state_dict().items()}
    balance_stream(codec, BitPlan(8, 8), [images])
    assert all(torch.equal(v, before[k]) for k, v in codec.state_dict().items())
