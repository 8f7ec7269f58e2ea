"""Each term against its formula, written out in numpy float64."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hwkd.distill.losses import (
    LossTerms,
    LossWeights,
    Projections,
    Targets,
    bits_per_pixel,
    latent_distance,
    loss_terms,
    weight,
)
from hwkd.errors import InputError
from hwkd.models.base import CodecOutput

LMBDA = 0.025
B, H, W = 2, 64, 64


def _random(*shape: int, seed: int, low: float = -3.0, high: float = 3.0) -> Tensor:
    values = np.random.default_rng(seed).uniform(low, high, shape)
    return torch.from_numpy(values)


def _student(M: int = 6, Z: int = 4) -> CodecOutput:
    y, z = _random(B, M, 4, 4, seed=1), _random(B, Z, 1, 1, seed=2)
    return CodecOutput(
        y=y,
        y_hat=y.round(),
        z=z,
        z_hat=z.round(),
        x_hat=_random(B, 3, H, W, seed=3, low=0, high=1),
        scales_hat=torch.ones_like(y),
        means_hat=None,
        y_likelihoods=_random(B, M, 4, 4, seed=4, low=0.01, high=1),
        z_likelihoods=_random(B, Z, 1, 1, seed=5, low=0.01, high=1),
    )


X = _random(B, 3, H, W, seed=6, low=0, high=1)


def _targets(M: int = 6, Z: int = 4) -> Targets:
    return Targets(
        y_hat=_random(B, M, 4, 4, seed=7).round(),
        z_hat=_random(B, Z, 1, 1, seed=8).round(),
        x_hat=_random(B, 3, H, W, seed=9, low=0, high=1),
    )


def _same_channels() -> Projections:
    return Projections((6, 4), (6, 4)).double()


def _terms(weights: LossWeights, targets: Targets | None = None) -> LossTerms:
    return loss_terms(
        _student(), X, LMBDA, weights, _targets() if targets is None else targets, _same_channels()
    )


def _mse(a: Tensor, b: Tensor) -> float:
    return float(((a.numpy() - b.numpy()) ** 2).mean())


def _bpp(output: CodecOutput) -> float:
    bits = (
        -np.log2(output.y_likelihoods.numpy()).sum() - np.log2(output.z_likelihoods.numpy()).sum()
    )
    return float(bits / (B * H * W))


def _rd(output: CodecOutput) -> float:
    return _bpp(output) + LMBDA * 255**2 * _mse(output.x_hat, X)


def _kld(student: Tensor, teacher: Tensor) -> float:
    s, t = student.numpy(), teacher.numpy()
    p_s = np.exp(s) / np.exp(s).sum(1, keepdims=True)
    p_t = np.exp(t) / np.exp(t).sum(1, keepdims=True)
    return float((p_t * (np.log(p_t) - np.log(p_s))).mean())


def test_bits_per_pixel_of_known_likelihoods() -> None:
    # 4 values of 1/2 and 2 of 1/8: 4 * 1 + 2 * 3 = 10 bits on 5 pixels.
    output = _student()
    known = CodecOutput(
        **{
            **vars(output),
            "y_likelihoods": torch.full((1, 4, 1, 1), 0.5),
            "z_likelihoods": torch.full((1, 2, 1, 1), 0.125),
        }
    )
    assert bits_per_pixel(known, 5).item() == 2.0


def test_rate_distortion_is_bpp_plus_lmbda_255_squared_mse() -> None:
    terms = _terms(LossWeights(rd=1, latent=0, output=0))
    assert terms.bpp.item() == pytest.approx(_bpp(_student()), abs=1e-6)
    assert terms.mse.item() == pytest.approx(_mse(_student().x_hat, X), abs=1e-6)
    assert terms.rd.item() == pytest.approx(_rd(_student()), abs=1e-6)
    assert terms.total.item() == pytest.approx(_rd(_student()), abs=1e-6)


def test_equation_1_weighs_latent_output_and_rd_by_the_papers_defaults() -> None:
    s, t = _student(), _targets()
    expected = 0.2 * _mse(s.y_hat, t.y_hat) + 0.2 * _mse(s.x_hat, t.x_hat) + 0.6 * _rd(s)
    terms = _terms(LossWeights())
    assert terms.total.item() == pytest.approx(expected, abs=1e-6)
    assert terms.hyper is None


def test_equation_2_adds_the_hyper_latent() -> None:
    s, t = _student(), _targets()
    expected = (
        0.3 * _mse(s.y_hat, t.y_hat)
        + 0.1 * _mse(s.x_hat, t.x_hat)
        + 0.5 * _rd(s)
        + 0.7 * _mse(s.z_hat, t.z_hat)
    )
    terms = _terms(LossWeights(rd=0.5, latent=0.3, output=0.1, hyper=0.7))
    assert terms.total.item() == pytest.approx(expected, abs=1e-6)


def test_kld_is_of_softmaxes_over_channels_meaned_over_all_elements() -> None:
    s, t = _student(), _targets()
    terms = _terms(LossWeights(rd=0.6, latent=0.2, output=0.2, hyper=0.2, distance="kld"))
    assert terms.latent is not None and terms.hyper is not None
    assert terms.latent.item() == pytest.approx(_kld(s.y_hat, t.y_hat), abs=1e-6)
    assert terms.hyper.item() == pytest.approx(_kld(s.z_hat, t.z_hat), abs=1e-6)
    expected = (
        0.2 * _kld(s.y_hat, t.y_hat)
        + 0.2 * _mse(s.x_hat, t.x_hat)
        + 0.6 * _rd(s)
        + 0.2 * _kld(s.z_hat, t.z_hat)
    )
    assert terms.total.item() == pytest.approx(expected, abs=1e-6)


def test_kld_of_a_latent_with_itself_is_zero_and_its_direction_is_teacher_first() -> None:
    # Two channels, softmax (1/2, 1/2) and (3/4, 1/4): KL(t || s) = 3/4 ln(3/2) + 1/4 ln(1/2), over 2 elements.
    student = torch.zeros(1, 2, 1, 1, dtype=torch.float64)
    teacher = torch.tensor([np.log(3.0), 0.0]).reshape(1, 2, 1, 1)
    expected = (0.75 * np.log(1.5) + 0.25 * np.log(0.5)) / 2
    assert latent_distance(student, teacher, "kld").item() == pytest.approx(expected, abs=1e-9)
    assert latent_distance(teacher, teacher, "kld").item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("term", ["latent", "output", "hyper"])
def test_one_term_alone_is_the_whole_loss_and_the_others_are_off(term: str) -> None:
    s, t = _student(), _targets()
    name = {"latent": "y_hat", "output": "x_hat", "hyper": "z_hat"}[term]
    weights = {"rd": 0.0, "latent": 0.0, "output": 0.0, "hyper": 0.0, term: 2.0}
    terms = _terms(LossWeights(**weights))
    expected = _mse(getattr(s, name), getattr(t, name))
    assert terms.total.item() == pytest.approx(2 * expected, abs=1e-6)
    on = {n for n in ("latent", "output", "hyper") if getattr(terms, n) is not None}
    assert on == {term}


def test_the_terms_need_no_targets_when_only_rd_is_on() -> None:
    terms = loss_terms(_student(), X, LMBDA, LossWeights(1, 0, 0, 0), None, None)
    assert terms.total.item() == pytest.approx(_rd(_student()), abs=1e-6)
    assert (terms.latent, terms.hyper, terms.output) == (None, None, None)


def test_projections_of_equal_channels_have_no_parameters() -> None:
    projections = Projections((6, 4), (6, 4))
    assert list(projections.parameters()) == []
    assert isinstance(projections.y, nn.Identity) and isinstance(projections.z, nn.Identity)


def test_projections_start_as_the_identity_on_shared_channels_and_zero_beyond() -> None:
    projections = Projections((2, 4), (3, 2))
    y, z = torch.randn(1, 2, 4, 4), torch.randn(1, 4, 1, 1)
    assert torch.equal(projections.y(y), torch.cat([y, torch.zeros(1, 1, 4, 4)], 1))
    assert torch.equal(projections.z(z), z[:, :2])
    assert [n for n, _ in projections.named_parameters()] == ["y.weight", "z.weight"]


def test_latent_terms_compare_the_projected_student_and_train_the_projection() -> None:
    s, t = _student(M=6, Z=4), _targets(M=8, Z=3)
    projections = Projections((6, 4), (8, 3)).double()
    terms = loss_terms(s, X, LMBDA, LossWeights(0, 1, 0, 1), t, projections)
    padded = np.concatenate([s.y_hat.numpy(), np.zeros((B, 2, 4, 4))], 1)
    expected = ((padded - t.y_hat.numpy()) ** 2).mean() + _mse(s.z_hat[:, :3], t.z_hat)
    assert terms.total.item() == pytest.approx(expected, abs=1e-6)
    terms.total.backward()
    for parameter in projections.parameters():
        assert parameter.grad is not None and bool(parameter.grad.any())


@pytest.mark.parametrize("name", ["rd", "latent", "output", "hyper"])
@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf")])
def test_weights_outside_their_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(InputError) as error:
        LossWeights(**{name: value})
    assert str(error.value) == f"the weight of the {name} term must be 0 or more, got {value}"


def test_an_unknown_distance_is_refused() -> None:
    with pytest.raises(InputError) as error:
        LossWeights(distance="l1")
    assert str(error.value) == "--kd-loss takes mse or kld, got 'l1'"


def test_a_loss_without_terms_is_refused() -> None:
    with pytest.raises(InputError) as error:
        LossWeights(0, 0, 0, 0)
    assert str(error.value) == "every term of the loss has weight 0: nothing would be learnt"


def test_a_teacher_is_needed_for_every_term_but_rd() -> None:
    assert not LossWeights(1, 0, 0, 0).needs_teacher
    for i in range(1, 4):
        weights = [1.0, 0.0, 0.0, 0.0]
        weights[i] = 0.1
        assert LossWeights(*weights).needs_teacher


def test_the_gradient_of_the_mean_squared_errors_is_autograds() -> None:
    x_hat = (X + 0.1 * torch.randn_like(X)).requires_grad_()
    lmbda = torch.linspace(0.01, 0.1, len(X))
    output = CodecOutput(**{**vars(_student()), "x_hat": x_hat})
    terms = loss_terms(output, X, lmbda, LossWeights(1, 0, 0, 0), None, None)
    (found,) = torch.autograd.grad(terms.total, x_hat)
    plain = (weight(lmbda) * lmbda * 255**2 * (x_hat - X).square().mean((1, 2, 3))).mean()
    (expected,) = torch.autograd.grad(plain, x_hat)
    torch.testing.assert_close(found, expected)
