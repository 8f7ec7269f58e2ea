import pytest
import torch
from torch import nn

from hwkd.models.build import build
from hwkd.models.fit_to_data import LATENT_SPREAD, PIXEL_SPREAD, fit_to_data


@pytest.fixture(params=["gdn", "relu"])
def fitted(request, tiny_specs, batch):
    codec = build(tiny_specs[request.param])
    before = {name: p.detach().clone() for name, p in codec.named_parameters()}
    fit_to_data(codec, batch)
    return codec, before


def _spreads(chain: nn.Sequential, h: torch.Tensor) -> list[float]:
    spreads = []
    for layer in chain:
        h = layer(h)
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            spreads.append(h.std().item())
    return spreads


def test_every_convolution_has_unit_spread_and_y_its_own(fitted, batch) -> None:
    codec, _ = fitted
    with torch.no_grad():
        y = codec.g_a(batch)
        g_a, g_s = _spreads(codec.g_a, batch), _spreads(codec.g_s, y.round())
    assert g_a == pytest.approx([1, 1, 1, LATENT_SPREAD], rel=1e-3)
    assert g_s[:3] == pytest.approx([1, 1, 1], rel=1e-3)
    assert (LATENT_SPREAD, PIXEL_SPREAD) == (3.0, 0.2)


def test_y_is_centred_channel_by_channel(fitted, batch) -> None:
    codec, _ = fitted
    means = codec.g_a(batch).mean((0, 2, 3))
    torch.testing.assert_close(means, torch.zeros(12), rtol=0, atol=1e-4)


def test_x_hat_starts_with_the_images_mean_and_spread(fitted, batch) -> None:
    codec, _ = fitted
    x_hat = codec.g_s(codec.g_a(batch).round())
    means = x_hat.mean((0, 2, 3))
    torch.testing.assert_close(means, batch.mean((0, 2, 3)), rtol=0, atol=1e-4)
    assert (x_hat - means[:, None, None]).std().item() == pytest.approx(PIXEL_SPREAD, rel=1e-3)


def test_the_hyperprior_and_the_activations_stay_as_they_were(fitted) -> None:
    codec, before = fitted
    changed = {n for n, p in codec.named_parameters() if not torch.equal(p, before[n])}
    convolutions = {
        f"{g}.{i}.{p}" for g in ("g_a", "g_s") for i in (0, 2, 4, 6) for p in ("weight", "bias")
    }
    assert changed == convolutions


def test_only_the_scale_of_a_filter_changes(fitted) -> None:
    codec, before = fitted
    for name in ("g_a.0.weight", "g_s.6.weight"):
        ratio = codec.get_parameter(name) / before[name]
        torch.testing.assert_close(ratio, ratio.mean().expand_as(ratio), rtol=1e-3, atol=0)
