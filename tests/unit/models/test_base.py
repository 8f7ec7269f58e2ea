"""Noise that belongs to a row of a step, whoever trains it."""

import pytest
import torch

from hwkd.models.base import NoisyConditional, RowNoise
from hwkd.models.build import build
from hwkd.models.compat import GaussianConditional


def _noise(step: int = 3, rows: range = range(4), key: tuple[int, ...] = (7, 0)) -> RowNoise:
    return RowNoise(key, step, rows)


def test_a_rows_noise_is_the_same_in_any_part_of_the_batch() -> None:
    whole = _noise().like(torch.zeros(4, 3, 2, 2), "y")
    parts = [
        _noise(rows=rows).like(torch.zeros(2, 3, 2, 2), "y") for rows in (range(2), range(2, 4))
    ]
    assert torch.equal(whole, torch.cat(parts))


@pytest.mark.parametrize("other", [_noise(step=4), _noise(rows=range(4, 8)), _noise(key=(7, 1))])
def test_another_step_row_or_key_has_other_noise(other: RowNoise) -> None:
    like = torch.zeros(4, 3, 2, 2)
    assert not torch.equal(_noise().like(like, "y"), other.like(like, "y"))
    assert not torch.equal(_noise().like(like, "y"), _noise().like(like, "z"))


def test_it_is_uniform_between_minus_and_plus_a_half() -> None:
    noise = _noise().like(torch.zeros(4, 16, 32, 32), "y")
    assert noise.min() >= -0.5 and noise.max() < 0.5
    # The variance of a uniform distribution of width 1 is 1/12; 65536 values know it to about 0.0003.
    assert noise.var().item() == pytest.approx(1 / 12, abs=0.002)
    assert noise.mean().item() == pytest.approx(0, abs=0.005)


@pytest.mark.parametrize("family", ["gdn", "patch"])
def test_a_pass_in_training_has_this_noise_on_its_latents_and_no_other(tiny_specs, family) -> None:
    codec = build(tiny_specs[family]).train()
    codec.rounds_in_training = False
    x = torch.rand(2, 3, 64, 64)
    output = codec(x, noise=_noise(rows=range(5, 7)))
    for name in ("y", "z"):
        latent = getattr(output, name)
        noise = _noise(rows=range(5, 7)).like(latent, name)
        assert torch.equal(getattr(output, f"{name}_hat"), latent + noise)
    assert not torch.equal(codec(x).y_hat, output.y_hat)  # drawn from torch's own generator again


def test_a_pass_in_evaluation_rounds(tiny_specs) -> None:
    codec = build(tiny_specs["gdn"]).eval()
    output = codec(torch.rand(2, 3, 64, 64), noise=_noise(rows=range(2)))
    assert torch.equal(output.y_hat, output.y.round())


def test_the_likelihood_of_a_normal_latent_is_compressais_and_so_is_its_gradient() -> None:
    torch.manual_seed(0)
    values = (3 * torch.randn(2, 4, 8, 8)).requires_grad_()
    scales = (3 * torch.rand(2, 4, 8, 8)).requires_grad_()
    ours, theirs = NoisyConditional(None), GaussianConditional(None)
    weights = torch.rand(2, 4, 8, 8)
    found, expected = (one._likelihood(values, scales) for one in (ours, theirs))
    assert torch.equal(found, expected)
    gradients = (
        torch.autograd.grad((weights * one).sum(), (values, scales)) for one in (found, expected)
    )
    torch.testing.assert_close(*gradients)
    means = torch.randn(2, 4, 8, 8)
    found, expected = (one._likelihood(values, scales, means) for one in (ours, theirs))
    assert torch.equal(found, expected)
