import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hwkd import centroids, qualities
from hwkd.models.build import build, recognise
from hwkd.models.patch import PatchCodec
from hwkd.models.spec import PatchSpec
from hwkd.qualities import lmbda_at

LMBDA = 0.025
GAIN = math.sqrt(
    2 * LMBDA * 255**2 * math.log(2) / 36
)  # 7.91: a step of an eighth per orthonormal coefficient
SPEC = PatchSpec(M=192, H=8, Z=8, C=24, widths=(16, 16), post=(8,))
TINY = replace(SPEC, M=12)


@pytest.fixture(scope="module")
def many(photo) -> Tensor:
    """[8, 3, 256, 256]: 2048 patches, more than the 768 values of one."""
    stacked = np.stack([photo(256, 256, seed) for seed in range(8)])
    return torch.from_numpy(stacked).permute(0, 3, 1, 2).float() / 255


@pytest.fixture(scope="module")
def started(many) -> PatchCodec:
    torch.manual_seed(0)
    codec = build(SPEC)
    assert isinstance(codec, PatchCodec)
    codec.start_from_pca(many, LMBDA)
    return codec.eval()


def _matrix(layer: nn.Conv2d) -> Tensor:
    return layer.weight.detach()[:, :, 0, 0].double()


def _patches(x: Tensor) -> Tensor:
    """[n, 768]: the 16x16 patches of x - 0.5, one a row."""
    return F.pixel_unshuffle(x - 0.5, 16).permute(0, 2, 3, 1).reshape(-1, 768).double()


def test_the_linear_paths_are_orthonormal_components_times_the_gain(started) -> None:
    analysis, synthesis = _matrix(started.g_a.linear) / GAIN, _matrix(started.g_s.linear) * GAIN
    identity = torch.eye(192, dtype=torch.float64)
    torch.testing.assert_close(analysis @ analysis.T, identity, rtol=0, atol=1e-5)
    torch.testing.assert_close(synthesis, analysis.T, rtol=0, atol=1e-6)


def test_synthesis_undoes_analysis_on_the_kept_components(started) -> None:
    both = _matrix(started.g_a.linear) @ _matrix(started.g_s.linear)
    torch.testing.assert_close(both, torch.eye(192, dtype=torch.float64), rtol=0, atol=1e-5)
    assert not started.g_a.linear.bias.any() and not started.g_s.linear.bias.any()


def test_the_components_are_the_strongest_of_the_training_patches(started, many) -> None:
    v = _patches(many)
    energy = torch.linalg.svdvals(
        v
    ).square()  # in falling order; that of the components found must be the same
    kept = (v @ _matrix(started.g_a.linear).T / GAIN).square().sum(0)
    torch.testing.assert_close(kept, energy[:192], rtol=1e-3, atol=1e-4)


def test_the_stem_has_unit_spread_on_the_training_patches(started, many) -> None:
    with torch.no_grad():
        u = started.g_a.stem(F.pixel_unshuffle(many - 0.5, 16))
    rms = u.square().mean((0, 2, 3)).sqrt()
    torch.testing.assert_close(rms, torch.ones(24), rtol=1e-3, atol=0)


def test_the_start_reconstructs_a_smooth_image_well(started) -> None:
    rows, columns = torch.meshgrid(torch.arange(256.0), torch.arange(256.0), indexing="ij")
    x = torch.stack([0.5 + 0.3 * torch.sin((rows + k * columns) / 90) for k in range(3)])[None]
    with torch.no_grad():
        x_hat = started(x).x_hat
    # 192 of 768 coefficients, each off by 1 / (12 gain^2) as a uniform rounding error is, would leave 34.8 dB; most
    # coefficients of a smooth image are zero and stay so.
    assert -10 * math.log10((x_hat - x).square().mean().item()) > 35


def test_heads_and_last_layers_of_residual_branches_are_zero(started) -> None:
    zero = {"g_a.head", "g_s.head", "g_s.post.0.conv_out"}
    zero |= {
        f"{g}.trunk.{i}.{n}"
        for g in ("g_a", "g_s")
        for i in (0, 1)
        for n in ("mix_out", "feed_out")
    }
    silent = {
        name
        for name, module in started.named_modules()
        if isinstance(module, nn.Conv2d) and not module.weight.any()
    }
    assert silent == zero


def test_the_start_is_the_linear_codec_alone(started, photo) -> None:
    x = torch.from_numpy(photo(64, 64, 50)).permute(2, 0, 1)[None].float() / 255
    y_hat = (_patches(x) @ _matrix(started.g_a.linear).T).round()
    expected = y_hat @ _matrix(started.g_s.linear).T
    with torch.no_grad():
        x_hat = started(x).x_hat
    torch.testing.assert_close(_patches(x_hat), expected, rtol=0, atol=1e-4)


def test_h_s_starts_at_the_spread_of_each_latent_channel(started, many) -> None:
    spread = (_patches(many) @ _matrix(started.g_a.linear).T).square().mean(0).sqrt()
    z_hat = torch.zeros(1, 8, 1, 1)
    with torch.no_grad():
        started_at = started.h_s[-1].bias.double()
        scale = started.entropy_parameters(z_hat)[0]
    expected = (torch.log(0.6 * spread / 0.11) / math.log(256 / 0.11) * 63).clamp(0, 63)
    torch.testing.assert_close(started_at, expected, rtol=0, atol=1e-2)
    assert scale.min() >= 0.11


@pytest.mark.parametrize("seed", [0, 1])
def test_the_scale_index_is_never_negative_and_learns_from_below_zero(seed: int) -> None:
    torch.manual_seed(seed)
    codec = build(TINY)
    assert isinstance(codec, PatchCodec)
    index = codec.scale_index(torch.randn(2, 8, 2, 2) * 50)
    assert (index == 0).any() and bool((index >= 0).all())
    # LowerBound lets a gradient through where it leads back above the bound.
    (-index.sum()).backward()
    bias = codec.h_s[-1].bias.grad
    assert bias is not None and bool((bias == -2 * 8 * 8).all())


@pytest.mark.parametrize(
    ("index", "scale"), [(0.0, 0.11), (63.0, 256.0), (31.5, math.sqrt(0.11 * 256))]
)
def test_the_scale_is_the_tables_at_the_index(index: float, scale: float) -> None:
    codec = build(TINY)
    with torch.no_grad():
        codec.h_s[-1].weight.zero_()
        codec.h_s[-1].bias.fill_(index)
    scales_hat, means_hat = codec.entropy_parameters(torch.zeros(1, 8, 1, 1))
    assert means_hat is None
    torch.testing.assert_close(scales_hat, torch.full((1, 12, 4, 4), scale), rtol=1e-5, atol=0)


def test_whole_indexes_are_compressais_table_of_scales() -> None:
    from compressai.models.base import get_scale_table

    codec = build(TINY)
    index = torch.arange(64.0)
    scales = 0.11 * torch.exp(index * math.log(256 / 0.11) / 63)
    torch.testing.assert_close(scales, get_scale_table(), rtol=1e-5, atol=0)
    with torch.no_grad():
        codec.h_s[-1].weight.zero_()
        codec.h_s[-1].bias.copy_(index[5:17])
    held = codec.entropy_parameters(torch.zeros(1, 8, 1, 1))[0][0, :, 0, 0]
    torch.testing.assert_close(held, scales[5:17], rtol=1e-5, atol=0)


def test_h_a_sees_log_1_plus_the_magnitude() -> None:
    codec = build(TINY).eval()
    y = torch.randn(1, 12, 4, 4) * 100
    expected = codec.h_a(torch.log(1 + y.abs()))
    torch.testing.assert_close(codec.hyper_analysis(y), expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(codec.hyper_analysis(-y), codec.hyper_analysis(y))


def test_in_training_g_s_sees_rounded_latents_and_the_rate_noisy_ones(lively, batch) -> None:
    codec = lively(TINY).train()
    seen: list[Tensor] = []
    codec.g_s.register_forward_pre_hook(lambda _m, args: seen.append(args[0]))
    output = codec(batch)
    assert torch.equal(output.y_hat.detach(), output.y.detach().round())
    assert torch.equal(seen[0], output.y_hat)
    again = codec(batch)
    assert torch.equal(again.y_hat, output.y_hat)
    # Another draw of noise, other likelihoods; those of rounded latents would be equal.
    assert not torch.equal(again.y_likelihoods, output.y_likelihoods)
    # Half a step of noise at most: between the likelihoods at y - 1/2 and y + 1/2, for a unimodal prior.
    conditional = codec.gaussian_conditional.eval()
    ends = [
        conditional._likelihood(output.y + shift, output.scales_hat) for shift in (-0.5, 0.0, 0.5)
    ]
    low = torch.minimum(ends[0], ends[2]).clamp_min(1e-9)
    high = torch.where(output.y.abs() <= 0.5, torch.inf, torch.maximum(ends[0], ends[2]))
    assert bool((output.y_likelihoods >= low - 1e-6).all())
    assert bool((output.y_likelihoods <= high.clamp_min(1e-9) + 1e-6).all())


def test_the_gradient_flows_straight_through_the_rounding(lively, batch) -> None:
    codec = lively(TINY).train()
    output = codec(batch)
    weights = torch.randn_like(output.y_hat)
    (gradient,) = torch.autograd.grad((output.y_hat * weights).sum(), output.y)
    assert torch.equal(gradient, weights)


def test_in_evaluation_the_likelihoods_are_of_the_rounded_latents(lively, batch) -> None:
    output = lively(TINY)(batch)
    assert torch.equal(output.y_hat, output.y.round())
    scale = output.scales_hat.clamp_min(0.11)
    normal = torch.distributions.Normal(torch.zeros_like(scale), scale)
    magnitude = output.y_hat.abs()
    expected = normal.cdf(0.5 - magnitude) - normal.cdf(-0.5 - magnitude)
    torch.testing.assert_close(output.y_likelihoods, expected.clamp_min(1e-9), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("factor", [0.5, 2**-0.5, 3.0])
def test_scaled_latents_are_the_factor_times_as_large_and_the_image_is_the_same(
    lively, batch, factor: float
) -> None:
    codec = lively(TINY)
    with torch.no_grad():
        y = codec.g_a(batch)
        x_hat = codec.g_s(y)
        codec.scale_latents(factor)
        scaled = codec.g_a(batch)
    torch.testing.assert_close(scaled, factor * y, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(codec.g_s(scaled).detach(), x_hat, rtol=1e-4, atol=1e-4)


ALL_RATES = replace(TINY, C=16, anchors=3, context=(4, 8), hyper_kernel=1)


@pytest.fixture
def all_rates() -> PatchCodec:
    """A codec of all rates whose gains deviate and whose means are not zero."""
    torch.manual_seed(0)
    codec = build(ALL_RATES)
    assert isinstance(codec, PatchCodec) and codec.gains is not None
    nn.init.normal_(codec.gains.deviations, std=0.3)
    nn.init.normal_(codec.g_s.context.conv_out.weight, std=0.5)
    for layer in (codec.g_a.linear, codec.h_a[0]):
        layer.weight.data.mul_(20)
    return codec.eval().requires_grad_(False)


def test_a_gain_is_the_root_of_lambda_times_a_deviation_that_is_0_at_the_last_anchor(
    all_rates: PatchCodec,
) -> None:
    gains = all_rates.gains
    assert gains is not None
    # Anchors at quality 1, 50.5, 100; a quarter of the way lies halfway between the first two.
    lmbdas = torch.tensor([0.0018, 0.0018 * 100**0.25, 0.018, 0.18])
    first, second = gains.deviations.double()
    base = 0.5 * (lmbdas.double() / 0.025).log()[:, None]
    deviation = torch.stack([first, (first + second) / 2, second, torch.zeros(12)])
    torch.testing.assert_close(gains.log_at(lmbdas).double(), base + deviation, atol=1e-5, rtol=0)


def test_gains_as_whole_numbers_are_those_of_training(all_rates: PatchCodec) -> None:
    gains = all_rates.gains
    assert gains is not None
    for quality in (1, 20, 50, 51, 77, 100):
        trained = gains.log_at(torch.tensor([lmbda_at(quality)])).exp()[0].numpy()
        stored = qualities.gains(gains.at_anchors(), quality)
        # Rounded to 1 / 256 of a step of 0.123: to half of 0.05 %, at the anchors and between them.
        assert np.abs(stored / trained - 1).max() < 0.001


def test_each_image_of_a_batch_has_its_own_lambda(all_rates: PatchCodec) -> None:
    x = torch.rand(2, 3, 64, 64)
    lmbdas = torch.tensor([0.0018, 0.18])
    both = all_rates(x, lmbda=lmbdas)
    for i in range(2):
        one = all_rates(x[i : i + 1], lmbda=float(lmbdas[i]))
        for name in ("y", "y_hat", "x_hat", "scales_hat"):
            torch.testing.assert_close(getattr(both, name)[i : i + 1], getattr(one, name))


def test_a_gain_scales_y_and_moves_the_index_and_nothing_else(all_rates: PatchCodec) -> None:
    assert all_rates.gains is not None
    x, z_hat = torch.rand(1, 3, 64, 64), torch.randn(1, 8, 1, 1).round()
    found = {}
    for lmbda in (0.0018, 0.18):
        all_rates.set_lmbda(lmbda)
        gain = all_rates.gains.log().exp()
        found[lmbda] = (all_rates.g_a(x) / gain, all_rates.h_s(z_hat))
        place = all_rates.h_s(z_hat) + gain.log() / (math.log(256 / 0.11) / 63)
        torch.testing.assert_close(all_rates.scale_index(z_hat), place.clamp_min(0))
    for low, high in zip(*found.values(), strict=True):
        torch.testing.assert_close(low, high)


def test_a_codec_of_one_rate_has_nothing_to_set(started: PatchCodec) -> None:
    x = torch.rand(1, 3, 64, 64)
    before = started(x).x_hat
    assert torch.equal(started(x, lmbda=0.18).x_hat, before)
    assert not started.serves_all_rates


def test_means_lie_at_odd_places_and_depend_on_rounded_even_ones_alone(
    all_rates: PatchCodec,
) -> None:
    context = all_rates.g_s.context
    y_hat = 3 * torch.randn(1, 12, 6, 7)
    means = context(y_hat)
    odd = (torch.arange(6)[:, None] + torch.arange(7)) % 2 == 1
    assert not means[..., ~odd].any() and means[:, :4, odd].all()
    assert not means[:, 4:].any()
    others = torch.where(odd, torch.randn_like(y_hat), y_hat)
    assert torch.equal(context(others), means)
    # A mean reads the 3x3 places around it.
    changed = y_hat.clone()
    changed[..., 0, 0] += 5
    assert {tuple(at) for at in (context(changed) != means).any(1)[0].nonzero().tolist()} == {
        (0, 1),
        (1, 0),
    }


def test_a_codec_of_all_rates_decodes_symbols_at_their_centroids(all_rates: PatchCodec) -> None:
    symbols = torch.randint(-4, 5, (2, 12, 6, 7)).float()
    indexes = torch.randint(0, 64, symbols.shape)
    scales_hat = 0.11 * (256 / 0.11) ** (indexes / 63)
    found = all_rates.decoded(symbols, scales_hat).numpy()
    expected = centroids.decoded(symbols.int().numpy(), indexes.to(torch.uint8).numpy())
    np.testing.assert_array_equal(found, expected)


def test_a_codec_of_one_rate_decodes_whole_symbols(started: PatchCodec) -> None:
    symbols = torch.randint(-4, 5, (1, 12, 6, 7)).float()
    assert torch.equal(started.decoded(symbols, torch.full_like(symbols, 0.5)), symbols)


@pytest.mark.parametrize("broken", ["g_a.linear", "h_s.6"])
def test_weights_that_are_not_finite_give_a_loss_that_is_not(
    all_rates: PatchCodec, broken: str
) -> None:
    codec = copy.deepcopy(all_rates)
    codec.get_submodule(broken).weight.data.fill_(math.nan)
    for is_training in (False, True):
        output = codec.train(is_training)(torch.rand(1, 3, 64, 64), lmbda=0.025)
        assert output.y_likelihoods.isnan().any()


def test_g_s_trains_on_the_centroids_with_the_gradient_of_the_latents(
    all_rates: PatchCodec,
) -> None:
    codec = copy.deepcopy(all_rates).train().requires_grad_(True)
    seen: list[torch.Tensor] = []
    hook = codec.g_s.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    output = codec(torch.rand(1, 3, 64, 64), lmbda=0.18)
    hook.remove()
    symbols = torch.round(codec.residual(output.y))
    assert symbols.any()
    torch.testing.assert_close(seen[0], codec.decoded(symbols, output.scales_hat))
    output.x_hat.sum().backward()
    assert codec.g_a.linear.weight.grad.abs().max() > 0
    # Where a symbol is decoded says nothing on how its scale should be.
    assert all(p.grad is None or not p.grad.any() for p in codec.h_s.parameters())


@pytest.mark.parametrize("lmbda", [0.0018, 0.18])
def test_what_is_coded_and_what_g_s_adds_make_y_hat(all_rates: PatchCodec, lmbda: float) -> None:
    x = torch.rand(1, 3, 128, 128)
    output = all_rates(x, lmbda=lmbda)
    assert all_rates.gains is not None
    gain = all_rates.gains.log().exp()
    symbols = torch.round(all_rates.residual(output.y))
    coded = all_rates.decoded(symbols, output.scales_hat)
    # As a decoder has it: centroids, and means from the symbols of even places.
    decoded = coded + gain * all_rates.g_s.context(symbols / gain)
    torch.testing.assert_close(decoded, output.y_hat, atol=1e-4, rtol=1e-5)
    assert (symbols - all_rates.residual(output.y)).abs().max() <= 0.5 + 1e-4
    torch.testing.assert_close(all_rates.g_s(coded), output.x_hat)


def test_training_passes_gradients_to_gains_and_context(all_rates: PatchCodec) -> None:
    all_rates.requires_grad_(True).train()
    output = all_rates(torch.rand(2, 3, 64, 64), lmbda=torch.tensor([0.002, 0.1]))
    (output.x_hat.square().sum() - output.y_likelihoods.log2().sum()).backward()
    assert all_rates.gains is not None
    for parameter in (all_rates.gains.deviations, all_rates.g_s.context.conv_in.weight):
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0


def test_a_copy_has_gains_of_its_own(all_rates: PatchCodec) -> None:
    copied = copy.deepcopy(all_rates)
    assert copied.g_a.gains is copied.gains is copied.g_s.gains
    copied.set_lmbda(0.18)
    x = torch.rand(1, 3, 64, 64)
    assert not torch.equal(copied.g_a(x), all_rates.g_a(x))


def test_weights_of_a_codec_of_all_rates_are_recognised(all_rates: PatchCodec) -> None:
    assert recognise(all_rates.state_dict(), {}, "a file") == ALL_RATES
