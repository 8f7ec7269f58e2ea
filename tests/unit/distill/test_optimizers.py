import math

import pytest
import torch
from torch import nn

from hwkd.distill.optimizers import (
    MOMENTUM,
    MUON_RATE,
    Average,
    Muon,
    optimizers,
    orthogonal,
    takes_muon,
)
from hwkd.models.build import build


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("g_a.trunk.0.mix_in.weight", (48, 48, 1, 1), True),
        ("g_a.trunk.0.mix_in.weight", (48, 47, 1, 1), False),
        ("h_a.2.weight", (64, 64, 5, 5), True),
        ("g_s.post.0.conv_in.weight", (64, 48, 3, 3), True),
        # Depthwise: each filter reads one channel.
        ("g_a.trunk.0.mix.weight", (96, 1, 3, 3), False),
        # Principal components.
        ("g_s.linear.weight", (768, 320, 1, 1), False),
        ("g_a.trunk.0.mix_in.bias", (96,), False),
    ],
)
def test_muon_moves_the_filters_of_wide_layers(
    name: str, shape: tuple[int, ...], expected: bool
) -> None:
    assert takes_muon(name, torch.zeros(shape)) is expected


def test_every_parameter_has_one_optimizer(all_rates_spec) -> None:
    codec = build(all_rates_spec)
    named = dict(codec.named_parameters())
    adam, muon = optimizers(named, "muon", 1e-3, bf16=False)
    held = [id(p) for one in (adam, muon) for group in one.param_groups for p in group["params"]]
    assert sorted(held) == sorted(map(id, named.values()))
    wide = {
        name for name, p in named.items() if any(p is q for q in muon.param_groups[0]["params"])
    }
    assert "g_a.trunk.0.mix_in.weight" in wide and "gains.deviations" not in wide
    assert muon.param_groups[0]["lr"] == pytest.approx(MUON_RATE * 1e-3)
    (alone,) = optimizers(named, "adam", 1e-3, bf16=False)
    assert len(alone.param_groups[0]["params"]) == len(named)


def test_an_orthogonal_matrix_keeps_its_directions_and_evens_out_their_lengths() -> None:
    left, _ = torch.linalg.qr(torch.randn(3, 8, 8))
    right, _ = torch.linalg.qr(torch.randn(3, 20, 8))
    lengths = torch.logspace(0, -1.5, 8)
    found = orthogonal(left @ torch.diag(lengths) @ right.mT)
    # In the basis of its own singular vectors the result is diagonal.
    inside = left.mT @ found @ right
    diagonal = inside.diagonal(dim1=1, dim2=2)
    assert (inside - torch.diag_embed(diagonal)).abs().max() < 1e-4
    assert diagonal.min() > 0.6 and diagonal.max() < 1.3


def test_a_step_of_muon_is_its_formula() -> None:
    torch.manual_seed(0)
    # Two of one shape, one tall, one of a kernel: all kinds of what is made orthogonal together.
    shapes = ((48, 60, 1, 1), (48, 60, 1, 1), (60, 48, 1, 1), (48, 12, 3, 3))
    parameters = [nn.Parameter(torch.randn(shape)) for shape in shapes]
    before = [p.detach().clone() for p in parameters]
    muon = Muon(parameters, 0.01, bf16=False)
    momenta = [torch.zeros(shape) for shape in shapes]
    for _ in range(2):
        for p in parameters:
            p.grad = torch.randn_like(p)
        muon.step()
        for i, p in enumerate(parameters):
            assert p.grad is not None
            momenta[i] += (1 - MOMENTUM) * (p.grad - momenta[i])
            update = (p.grad + MOMENTUM * (momenta[i] - p.grad)).flatten(1)
            tall = update.shape[0] > update.shape[1]
            (move,) = orthogonal((update.T if tall else update)[None])
            move = move.T if tall else move
            before[i] -= 0.01 * 0.2 * math.sqrt(max(update.shape)) * move.reshape(p.shape)
    for p, expected in zip(parameters, before, strict=True):
        torch.testing.assert_close(p.detach(), expected, rtol=0, atol=1e-5)


def test_the_average_follows_the_weights_and_leaves_the_quantiles(all_rates_spec) -> None:
    codec = build(all_rates_spec)
    average = Average(codec)
    weight, quantiles = codec.g_a.linear.weight, codec.entropy_bottleneck.quantiles
    start = weight.detach().clone()
    expected, kept = start.clone(), quantiles.detach().clone()
    for step in (1, 2, 3):
        with torch.no_grad():
            weight.add_(1.0)
            quantiles.add_(1.0)
        average.update()
        expected += (weight.detach() - expected) / (1 + step / 10)
    with average.in_place():
        torch.testing.assert_close(weight.detach(), expected)
        torch.testing.assert_close(quantiles.detach(), kept + 3)
    torch.testing.assert_close(weight.detach(), start + 3)
    average.take_over()
    torch.testing.assert_close(weight.detach(), expected)


def test_an_average_reads_back_bit_for_bit(all_rates_spec) -> None:
    codec = build(all_rates_spec)
    average = Average(codec)
    with torch.no_grad():
        codec.g_a.linear.weight.add_(1.0)
    average.update()
    again = Average(build(all_rates_spec))
    again.restore(average.state())
    assert again.state()["steps"] == 1
    held = average.state()["parameters"]
    assert all(torch.equal(held[n], p) for n, p in again.state()["parameters"].items())
