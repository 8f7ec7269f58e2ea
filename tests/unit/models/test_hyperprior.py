"""The convolutional codecs against compressai's own classes, and what the shared forward pass promises."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from hwkd.models.base import HyperpriorCodec
from hwkd.models.build import build
from hwkd.models.compat import MeanScaleHyperprior, ScaleHyperprior
from hwkd.models.hyperprior import ConvHyperprior, MeanScaleCodec
from hwkd.models.patch import PatchCodec
from hwkd.models.spec import HyperpriorSpec

N, M = 8, 12
MEAN = HyperpriorSpec("mean", (N, N, N), M, N, N)


def _published(kind: type[nn.Module]) -> nn.Module:
    """A compressai model whose latents are not all zero and whose medians are not whole numbers."""
    torch.manual_seed(3)
    model = kind(N, M).eval()
    with torch.no_grad():
        for transform in ("g_a", "h_a", "h_s"):
            for module in getattr(model, transform).modules():
                if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                    module.weight.mul_(4)
        model.entropy_bottleneck.quantiles[:, :, 1] = torch.randn(N, 1)
    return model


@pytest.fixture(params=["gdn", "mean"])
def pair(request) -> Iterator[tuple[HyperpriorCodec, nn.Module]]:
    theirs = _published(ScaleHyperprior if request.param == "gdn" else MeanScaleHyperprior)
    mine = build(HyperpriorSpec(request.param, (N, N, N), M, N, N)).eval()
    mine.load_state_dict(theirs.state_dict(), strict=True)
    yield mine, theirs


@torch.no_grad()
def test_a_pass_in_evaluation_equals_compressais_on_the_same_weights(pair, batch) -> None:
    mine, theirs = pair
    output, expected = mine(batch), theirs(batch)
    assert bool(output.y_hat.any()) and bool(output.z_hat.any())
    for name, value in (
        ("x_hat", output.x_hat),
        ("y", output.y_likelihoods),
        ("z", output.z_likelihoods),
    ):
        reference = expected[name] if name == "x_hat" else expected["likelihoods"][name]
        torch.testing.assert_close(value, reference, rtol=0, atol=0, msg=name)
    torch.testing.assert_close(output.y, theirs.g_a(batch), rtol=0, atol=0)


@torch.no_grad()
def test_a_pass_in_training_equals_compressais_with_the_same_noise(pair, batch) -> None:
    mine, theirs = (model.train() for model in pair)
    torch.manual_seed(11)
    output = mine(batch)
    torch.manual_seed(11)
    expected = theirs(batch)
    assert torch.equal(output.x_hat, expected["x_hat"])
    assert torch.equal(output.y_likelihoods, expected["likelihoods"]["y"])
    assert torch.equal(output.z_likelihoods, expected["likelihoods"]["z"])


def test_the_parameters_are_compressais_name_for_name(pair) -> None:
    mine, theirs = pair
    assert {n: p.shape for n, p in mine.named_parameters()} == {
        n: p.shape for n, p in theirs.named_parameters()
    }


@torch.no_grad()
def test_means_shift_the_rounding_of_y(batch) -> None:
    codec = build(MEAN).eval()
    output = codec(batch)
    assert output.means_hat is not None and output.means_hat.shape == output.y.shape
    offset = output.y_hat - output.means_hat
    torch.testing.assert_close(offset, (output.y - output.means_hat).round(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", ["gdn", "relu", "patch"])
@torch.no_grad()
def test_every_tensor_has_its_documented_shape(family: str, tiny_specs, batch) -> None:
    output = build(tiny_specs[family]).eval()(batch)
    for name in ("y", "y_hat", "scales_hat", "y_likelihoods"):
        assert getattr(output, name).shape == (4, 12, 8, 8), name
    for name in ("z", "z_hat", "z_likelihoods"):
        assert getattr(output, name).shape == (4, 8, 2, 2), name
    assert output.x_hat.shape == batch.shape
    assert output.means_hat is None
    for likelihoods in (output.y_likelihoods, output.z_likelihoods):
        assert likelihoods.min() > 0 and likelihoods.max() <= 1


@pytest.mark.parametrize("family", ["gdn", "relu", "patch", "mean"])
def test_under_bf16_the_entropy_models_stay_in_float32(family: str, tiny_specs, batch) -> None:
    codec = build({**tiny_specs, "mean": MEAN}[family]).train()
    convolutions: set[torch.dtype] = set()
    entropy: list[Tensor] = []
    for module in codec.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.register_forward_hook(lambda _m, _i, out: convolutions.add(out.dtype))
    for model in (codec.entropy_bottleneck, codec.gaussian_conditional):
        model.register_forward_hook(
            lambda _m, args, out: entropy.extend(t for t in (*args, *out) if t is not None)
        )
    output = codec(batch, bf16=True)
    assert convolutions == {torch.bfloat16}
    assert len(entropy) >= 7 and {t.dtype for t in entropy} == {torch.float32}
    held = [value for value in vars(output).values() if value is not None]
    assert {t.dtype for t in held} == {torch.float32}
    assert {p.dtype for p in codec.parameters()} == {torch.float32}


@torch.no_grad()
def test_bf16_changes_little(batch) -> None:
    codec = build(HyperpriorSpec("gdn", (N, N, N), M, N, N)).eval()
    exact, rounded = codec(batch).x_hat, codec(batch, bf16=True).x_hat
    # bf16 keeps 8 significant bits; eight layers, each within 2^-8 of their values.
    assert not torch.equal(exact, rounded)
    assert (exact - rounded).abs().max() < 8 * 2**-8 * exact.abs().max().clamp_min(1)


def test_relu_has_no_gdn_and_its_widths_are_its_own() -> None:
    codec = build(HyperpriorSpec("relu", (4, 6, 10), 12, 8, 5))
    widths = [m.out_channels for m in codec.g_a if isinstance(m, nn.Conv2d)]
    mirrored = [m.out_channels for m in codec.g_s if isinstance(m, nn.ConvTranspose2d)]
    assert (widths, mirrored) == ([4, 6, 10, 12], [10, 6, 4, 3])
    assert [type(m) for m in codec.g_a][1::2] == [nn.ReLU] * 3
    assert (codec.M, codec.Z) == (12, 5)


def test_build_gives_each_family_its_class(tiny_specs) -> None:
    assert type(build(tiny_specs["gdn"])) is ConvHyperprior
    assert type(build(tiny_specs["relu"])) is ConvHyperprior
    assert type(build(tiny_specs["patch"])) is PatchCodec
    assert type(build(MEAN)) is MeanScaleCodec
