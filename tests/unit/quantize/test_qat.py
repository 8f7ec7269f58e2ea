import copy
import math

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load, save
from torch import Tensor, nn

from hwkd.bits import ACT_BITS, WEIGHT_BITS, BitPlan
from hwkd.errors import InputError
from hwkd.models.base import CodecOutput, HyperpriorCodec
from hwkd.models.build import build
from hwkd.models.spec import HyperpriorSpec, PatchSpec, Spec
from hwkd.qualities import Y_HAT_STEP
from hwkd.quantize.integer import integer_weights, layer_bits
from hwkd.quantize.ptq import post_training_quantize
from hwkd.quantize.qat import (
    calibrate,
    conv_layers,
    is_calibrated,
    layer_inputs,
    quantize,
    quantized_layers,
    round_medians,
    set_weight_bits,
)
from tests.unit.quantize.conftest import lively


def is_power_of_two(scale: Tensor) -> bool:
    mantissa, _ = torch.frexp(scale)
    return bool((mantissa == 0.5).all())


@pytest.mark.parametrize("bits", WEIGHT_BITS)
def test_weights_lie_on_the_stated_grid(codec: HyperpriorCodec, bits: int) -> None:
    weights = {name: layer.weight.detach().clone() for name, layer in conv_layers(codec).items()}
    quantize(codec, BitPlan(bits, 8))
    layers = quantized_layers(codec)
    assert layers.keys() == weights.keys()
    largest = 2 ** (bits - 1) - 1
    for name, grid in integer_weights(codec).items():
        layer, w = layers[name], weights[name]
        w_fq = layer.quant_weight().value
        channel = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
        others = [d for d in range(4) if d != channel]
        assert grid.bits == bits
        assert grid.values.dtype == torch.int8
        assert int(grid.values.abs().max()) <= largest
        assert torch.equal(w_fq, grid.scale * grid.values), name
        assert grid.scale.numel() == layer.out_channels == grid.scale.shape[channel]
        # The steps that the definition gives: largest |w| of the channel, floored, over the integer range.
        floor = 2.0**-5 if name.startswith("h_s.") else 2.0**-14
        peak = w.abs().amax(others, keepdim=True).clamp_min(floor)
        if name.startswith("h_s."):
            expected = torch.exp2(torch.ceil(torch.log2(peak))) / 2 ** (bits - 1)
            assert is_power_of_two(grid.scale)
        else:
            expected = peak / largest
        assert torch.allclose(grid.scale, expected, rtol=1e-6)
        # Nothing is further off than half a step, unless it was clipped.
        off = (w_fq - w).abs() - 0.5001 * grid.scale
        assert bool(((off <= 0) | (grid.values.abs() == largest)).all()), name


@pytest.mark.parametrize("bits", ACT_BITS)
def test_activations_lie_on_the_stated_grid(
    codec: HyperpriorCodec, images: Tensor, bits: int
) -> None:
    quantize(codec, BitPlan(8, bits))
    calibrate(codec, [images])
    inputs = layer_inputs(codec)
    seen = inputs_of_layers(codec, images)
    for name, layer in quantized_layers(codec).items():
        kind, signed = inputs[name].kind, inputs[name].signed
        if kind != "activation":
            continue
        on_grid = layer.input_quant(seen[name])
        q = (on_grid.value / on_grid.scale).detach()
        assert int(on_grid.bit_width) == bits
        assert torch.allclose(q, q.round(), atol=1e-3), name
        low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
        assert low <= float(q.min().round()) and float(q.max().round()) <= high, name
        assert is_power_of_two(on_grid.scale) or not name.startswith("h_s.")
        if not signed:
            assert float(seen[name].min()) >= 0, f"{name} was taken for non-negative"


def test_given_inputs_keep_their_values(codec: HyperpriorCodec, images: Tensor) -> None:
    quantize(codec, BitPlan(8, 4))
    calibrate(codec, [images])
    seen = inputs_of_layers(codec, images)
    scales = {"pixels": 1 / 255, "symbols": 1.0, "integers": 1.0}
    checked = set()
    for name, layer_input in layer_inputs(codec).items():
        if layer_input.kind in ("activation", "fractions"):
            continue
        on_grid = quantized_layers(codec)[name].input_quant(seen[name])
        assert torch.equal(on_grid.value, seen[name]), name
        assert float(on_grid.scale) == pytest.approx(scales[layer_input.kind])
        checked.add(layer_input.kind)
    assert {"pixels", "symbols"} <= checked


def test_y_hat_over_its_gain_is_rounded_to_the_same_grid_at_every_quality() -> None:
    """Steps of a quarter over the largest gain, sqrt(0.18 / 0.025), in training as well; its gradient passes."""
    codec = lively(PatchSpec(M=12, H=8, Z=8, C=16, widths=(16,), post=(8,), anchors=3))
    quantize(codec, BitPlan())
    step = 1 / (4 * math.sqrt(0.18 / 0.025))
    u = torch.tensor(
        [-300.0, -1.6 * step, 0.4 * step, 0.6 * step, 4 * step, 2e3], requires_grad=True
    )
    for name in ("g_s.linear", "g_s.stem"):
        on_grid = quantized_layers(codec)[name].input_quant
        for mode in (on_grid.train(), on_grid.eval()):
            rounded = mode(u).value
            steps = (rounded / step).detach()
            torch.testing.assert_close(steps, (u.detach() / step).round(), rtol=1e-5, atol=1e-4)
        u.grad = None
        on_grid.train()(u).value.sum().backward()
        assert u.grad is not None and u.grad.tolist() == [1.0] * 6


def test_z_hat_is_clipped_to_8_bits_and_rounded_only_in_evaluation(codec: HyperpriorCodec) -> None:
    quantize(codec, BitPlan())
    on_grid = quantized_layers(codec)["h_s.0"].input_quant
    z = torch.tensor([-300.0, -0.4, 0.5, 1.5, 300.0])
    assert on_grid.eval()(z).value.tolist() == [-128.0, 0.0, 0.0, 2.0, 127.0]
    assert on_grid.train()(z).value.tolist() == [-128.0, pytest.approx(-0.4), 0.5, 1.5, 127.0]


def test_a_layer_computes_with_its_integers(codec: HyperpriorCodec, images: Tensor) -> None:
    quantize(codec, BitPlan(4, 8))
    calibrate(codec, [images])
    seen, grids = inputs_of_layers(codec, images), integer_weights(codec)
    for name, layer in quantized_layers(codec).items():
        w_fq = grids[name].scale * grids[name].values
        x_fq = layer.input_quant(seen[name])
        step = x_fq.scale * grids[name].scale.flatten()
        b_fq = torch.round(layer.bias / step) * step
        if isinstance(layer, nn.ConvTranspose2d):
            out = F.conv_transpose2d(
                x_fq.value, w_fq, b_fq, layer.stride, layer.padding, layer.output_padding
            )
        else:
            out = F.conv2d(x_fq.value, w_fq, b_fq, layer.stride, layer.padding, groups=layer.groups)
        assert torch.equal(layer(seen[name]), out), name


def test_layers_take_their_own_bits(codec: HyperpriorCodec) -> None:
    names = list(conv_layers(codec))
    quantize(codec, BitPlan(4, 8, layers=((names[0], 8, 8), ("h_s.*", 6, 8))))
    bits = {name: grid.bits for name, grid in integer_weights(codec).items()}
    assert bits[names[0]] == 8
    assert {bits[n] for n in names if n.startswith("h_s.")} == {6}
    assert {bits[n] for n in names[1:] if not n.startswith("h_s.")} == {4}


def test_8_bits_change_little(codec: HyperpriorCodec, images: Tensor) -> None:
    with torch.no_grad():
        before = codec(images)
        quantize(codec, BitPlan())
        calibrate(codec, [images])
        after = codec(images)
    assert (after.y - before.y).abs().mean() < 0.03 * before.y.abs().mean()
    assert (after.x_hat - before.x_hat).abs().mean() < 0.05 * before.x_hat.std()


def test_building_draws_no_random_numbers(spec: Spec) -> None:
    codec = build(spec)
    state = torch.get_rng_state()
    quantize(codec, BitPlan())
    assert torch.equal(torch.get_rng_state(), state)


def test_state_dict_restores_a_fresh_model_bit_for_bit(
    spec: Spec, codec: HyperpriorCodec, images: Tensor
) -> None:
    plan = BitPlan(5, 7)
    quantize(codec, plan)
    calibrate(codec, [images])
    stored = save(codec.state_dict())
    fresh = build(spec).eval()
    quantize(fresh, plan)
    parameters = {name: id(p) for name, p in fresh.named_parameters()}
    assert not is_calibrated(fresh)
    fresh.load_state_dict(load(stored))
    assert is_calibrated(fresh)
    # An optimizer made before the load must hold the very parameters that the model uses after it.
    assert {name: id(p) for name, p in fresh.named_parameters()} == parameters
    with torch.no_grad():
        assert_same(fresh(images), codec(images))
        assert_same(copy.deepcopy(codec)(images), codec(images))


def test_training_resumes_bit_for_bit(spec: Spec, codec: HyperpriorCodec, images: Tensor) -> None:
    plan = BitPlan(4, 8)
    quantize(codec, plan)
    calibrate(codec, [images])
    optimizer = make_optimizer(codec)
    train(codec, optimizer, images, range(2))
    stored, stored_optimizer = save(codec.state_dict()), copy.deepcopy(optimizer.state_dict())
    train(codec, optimizer, images, range(2, 4))

    fresh = build(spec)
    quantize(fresh, plan)
    fresh_optimizer = make_optimizer(fresh)
    fresh.load_state_dict(load(stored))
    fresh_optimizer.load_state_dict(stored_optimizer)
    train(fresh, fresh_optimizer, images, range(2, 4))
    for (name, a), (_, b) in zip(
        codec.state_dict().items(), fresh.state_dict().items(), strict=True
    ):
        assert torch.equal(a, b), name


def test_gradients_reach_weights_and_scales(codec: HyperpriorCodec, images: Tensor) -> None:
    quantize(codec, BitPlan(4, 4))
    calibrate(codec, [images])
    train(codec, make_optimizer(codec), images, range(1))
    for transform in ("g_a", "h_a", "h_s", "g_s"):
        parameters = dict(getattr(codec, transform).named_parameters())
        assert any("scaling_impl" in name for name in parameters)
        for name, parameter in parameters.items():
            assert parameter.grad is not None, f"{transform}.{name}"
            assert bool(parameter.grad.isfinite().all())
            assert bool(parameter.grad.any()), f"{transform}.{name}"


def test_bf16_runs_and_is_close(codec: HyperpriorCodec, images: Tensor) -> None:
    quantize(codec, BitPlan())
    calibrate(codec, [images])
    with torch.no_grad():
        exact, bf16 = codec(images), codec(images, bf16=True)
    assert (bf16.y - exact.y).abs().mean() < 0.05 * exact.y.abs().mean()


def test_a_silent_channel_keeps_its_bias(spec: Spec, images: Tensor) -> None:
    codec = build(spec).eval()
    name, layer = next(iter(conv_layers(codec).items()))
    with torch.no_grad():
        layer.weight[0].zero_()
        layer.bias[0] = 0.75
    quantize(codec, BitPlan())
    calibrate(codec, [images])
    out = quantized_layers(codec)[name](inputs_of_layers(codec, images)[name])
    assert torch.allclose(out[:, 0], torch.tensor(0.75), atol=1e-6)


def test_medians_of_z_become_integers(codec: HyperpriorCodec, images: Tensor) -> None:
    quantiles = codec.entropy_bottleneck.quantiles
    with torch.no_grad():
        quantiles[:, 0, 1] = torch.linspace(-2.3, 2.3, len(quantiles))
    before = quantiles.detach().clone()
    quantize(codec, BitPlan())
    calibrate(codec, [images])
    z_hat = codec(images).z_hat
    assert torch.equal(z_hat, z_hat.round())
    assert torch.equal(quantiles[:, 0, 1], before[:, 0, 1].round())
    assert torch.equal(quantiles[:, 0, ::2], before[:, 0, ::2])
    round_medians(codec)
    assert torch.equal(quantiles[:, 0, 1], before[:, 0, 1].round())


def test_pattern_without_a_layer_is_refused_and_changes_nothing(codec: HyperpriorCodec) -> None:
    with pytest.raises(
        InputError, match=r"^no layer matches 'g_a.99'; this model's layers are g_a"
    ):
        quantize(codec, BitPlan(8, 8, layers=(("g_a.99", 4, 8),)))
    assert not quantized_layers(codec)


def test_quantizing_twice_is_refused(codec: HyperpriorCodec) -> None:
    quantize(codec, BitPlan())
    with pytest.raises(
        InputError, match=r"^this model is already quantized; start from its float checkpoint$"
    ):
        quantize(codec, BitPlan())


def test_mean_scale_teacher_is_refused() -> None:
    teacher = build(HyperpriorSpec("mean", (8, 8, 8), 12, 8, 8))
    with pytest.raises(InputError) as error:
        quantize(teacher, BitPlan())
    assert str(error.value) == (
        "a MeanScaleCodec cannot be quantized, its latents are not integers; "
        "it serves as a teacher: distil it into family gdn, relu or patch"
    )


def inputs_of_layers(codec: HyperpriorCodec, images: Tensor) -> dict[str, Tensor]:
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> object:
        return lambda _, args: seen.__setitem__(name, args[0].detach())

    hooks = [
        layer.register_forward_pre_hook(keep(name)) for name, layer in conv_layers(codec).items()
    ]
    with torch.no_grad():
        codec(images)
    for hook in hooks:
        hook.remove()
    return seen


def make_optimizer(codec: HyperpriorCodec) -> torch.optim.Optimizer:
    return torch.optim.Adam([p for p in codec.parameters() if p.requires_grad], 1e-3)


def train(
    codec: HyperpriorCodec, optimizer: torch.optim.Optimizer, x: Tensor, steps: range
) -> None:
    codec.train()
    for step in steps:
        torch.manual_seed(step)
        output = codec(x)
        rate = -(output.y_likelihoods.log2().sum() + output.z_likelihoods.log2().sum())
        loss = 100 * F.mse_loss(output.x_hat, x) + rate / math.prod(x.shape)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def assert_same(a: CodecOutput, b: CodecOutput) -> None:
    for field in ("y", "z", "scales_hat", "x_hat", "y_likelihoods", "z_likelihoods"):
        assert torch.equal(getattr(a, field), getattr(b, field)), field


LMBDAS = (0.0018, 0.0018 * 100 ** (49 / 99), 0.18)
"""Of qualities 1, 50 and 100: 50 is 49 of 99 steps up from 0.0018 to a hundred times that."""


def test_scale_is_the_largest_input_over_the_integer_range(
    codec: HyperpriorCodec, images: Tensor
) -> None:
    peaks: dict[str, Tensor] = {}

    def keep(name: str) -> object:
        def largest(_: object, args: tuple[Tensor]) -> None:
            both = torch.cat([peaks.get(name, torch.zeros(0)), args[0].abs().flatten()])
            peaks[name] = both.topk(2).values

        return largest

    def on_grid(_: object, args: tuple[Tensor]) -> Tensor:
        return torch.round(args[0] / Y_HAT_STEP) * Y_HAT_STEP

    inputs = layer_inputs(codec)
    hooks = []
    for name, layer in conv_layers(codec).items():
        if inputs[name].kind == "fractions":  # which are rounded while scales are found, too
            hooks.append(layer.register_forward_pre_hook(on_grid))
        layer.register_forward_pre_hook(keep(name))
    with torch.no_grad():
        for lmbda in LMBDAS:
            codec(images, lmbda=lmbda)
    for hook in hooks:
        hook.remove()
    quantize(codec, BitPlan())
    calibrate(codec, [images])
    checked = 0
    for name, layer_input in layer_inputs(codec).items():
        if layer_input.kind != "activation" or name.startswith("h_s."):
            continue
        top = 128 if layer_input.signed else 255
        scale = float(quantized_layers(codec)[name].input_quant.scale())
        # The last layer that reads the encoder's stream has room for more than it has seen.
        room = 1.3 if name == "g_a.head" else 1.0
        most, second = (max(room * float(peak), 2**-10) / top for peak in peaks[name])
        # Fewer than 150,000 values: the 99.999th percentile is the maximum or its neighbour.
        assert second * 0.99 <= scale <= most * 1.01, (name, second, scale, most)
        checked += 1
    assert checked > 3


def test_calibration_repeats_exactly_and_forgets_what_was(
    codec: HyperpriorCodec, images: Tensor
) -> None:
    quantize(codec, BitPlan())
    calibrate(codec, [images])
    first = {k: v.clone() for k, v in codec.state_dict().items()}
    calibrate(codec, [images * 0.1])
    assert any(not torch.equal(v, first[k]) for k, v in codec.state_dict().items())
    calibrate(codec, [images])
    assert all(torch.equal(v, first[k]) for k, v in codec.state_dict().items())


def test_calibration_changes_no_weight_and_keeps_the_mode(
    codec: HyperpriorCodec, images: Tensor
) -> None:
    quantize(codec, BitPlan())
    before = {k: v.clone() for k, v in codec.state_dict().items() if "scaling_impl" not in k}
    codec.train()
    assert not is_calibrated(codec)
    calibrate(codec, [images])
    assert is_calibrated(codec)
    assert codec.training and all(m.training for m in codec.modules())
    assert all(torch.equal(v, codec.state_dict()[k]) for k, v in before.items())


def test_calibration_counts_images_and_clipped_latents(
    codec: HyperpriorCodec, images: Tensor
) -> None:
    quantize(codec, BitPlan())
    with torch.no_grad():
        last = quantized_layers(codec)["g_a.linear" if hasattr(codec.g_a, "linear") else "g_a.6"]
        last.bias[0] = 500.0
    seen = calibrate(codec, [images, images[:1]])
    assert seen.images == 3
    # A codec of all rates is seen at the highest quality, too, with the gain that stands there.
    gain = math.sqrt(0.18 / 0.025) if codec.serves_all_rates else 1
    assert 450 <= seen.largest_y / gain <= 550
    # One of the 12 channels of y lies beyond 127, everywhere.
    assert seen.clipped_y_fraction == pytest.approx(1 / 12)


def test_training_right_after_calibration_keeps_the_scales(
    codec: HyperpriorCodec, images: Tensor
) -> None:
    quantize(codec, BitPlan())
    calibrate(codec, [images])
    before = {k: v.clone() for k, v in codec.state_dict().items()}
    codec.train()
    codec(images)
    assert all(torch.equal(v, before[k]) for k, v in codec.state_dict().items())


def test_no_image_is_refused(codec: HyperpriorCodec) -> None:
    quantize(codec, BitPlan())
    with pytest.raises(InputError) as error:
        calibrate(codec, [])
    assert (
        str(error.value)
        == "calibration needs at least one image, got none; give a folder of photographs"
    )


def test_float_codec_is_refused(codec: HyperpriorCodec, images: Tensor) -> None:
    with pytest.raises(
        InputError, match=r"^this model is not quantized; quantize it before it is calibrated$"
    ):
        calibrate(codec, [images])


def test_a_codec_of_all_rates_is_calibrated_at_its_lowest_middle_and_highest_quality(
    images: Tensor,
) -> None:
    spec = PatchSpec(M=12, H=8, Z=8, C=16, widths=(16,), post=(8,), anchors=3)
    codec = lively(spec)
    peaks: list[float] = []
    codec.h_a.register_forward_pre_hook(lambda _, args: peaks.append(float(args[0].abs().max())))
    with torch.no_grad():
        for lmbda in LMBDAS:
            codec(images, lmbda=lmbda)
    quantize(codec, BitPlan())
    seen = calibrate(codec, [images])
    assert seen.images == len(images)
    assert peaks[0] < peaks[1] < peaks[2]
    scale = float(quantized_layers(codec)["h_a.0"].input_quant.scale())
    assert scale == pytest.approx(peaks[2] / 255, rel=0.05)
    # And stands where it can be used on batches of any size.
    codec(images[:1])
    assert float(codec.gains.lmbda) == pytest.approx(0.0018 * 100 ** (49 / 99))  # of quality 50


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
