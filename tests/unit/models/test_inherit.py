"""Inherited students against their teachers: by function where the dropped channels are silent, by weight elsewhere."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from hwkd.models.base import HyperpriorCodec
from hwkd.models.build import build
from hwkd.models.inherit import LATENT_SPREAD, PIXEL_SPREAD, fit_to_data, inherit, same_shapes
from hwkd.models.spec import HyperpriorSpec, PatchSpec, Spec

ALL = ("g_a", "g_s", "h_a", "h_s")
GDN = HyperpriorSpec("gdn", (8, 8, 8), 12, 8, 8)
PATCH = PatchSpec(M=12, H=8, Z=8, C=16, widths=(16, 12), post=(8,))


def _filters(layer: nn.Conv2d | nn.ConvTranspose2d) -> Tensor:
    """The weights with the output channels first, a view."""
    weight = layer.weight.detach()
    return weight.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) else weight


def _make_known(layers: dict[str, list[int]], codec: HyperpriorCodec) -> None:
    """Make the output channels named in `layers` those of by far the largest importance."""
    for name, kept in layers.items():
        _filters(codec.get_submodule(name))[kept] *= 30


def _silence(layers: dict[str, list[int]], codec: HyperpriorCodec) -> None:
    """Make the output channels named in `layers` zero for every input."""
    for name, dropped in layers.items():
        layer = codec.get_submodule(name)
        _filters(layer)[dropped] = 0
        layer.bias.detach()[dropped] = 0


def _subpixels(channels: list[int]) -> list[int]:
    return [4 * c + i for c in channels for i in range(4)]


def _agree(student: HyperpriorCodec, teacher: HyperpriorCodec, x: Tensor, *names: str) -> None:
    with torch.no_grad():
        mine, theirs = student.eval()(x), teacher.eval()(x)
    for name in names:
        torch.testing.assert_close(
            getattr(mine, name), getattr(theirs, name), rtol=1e-4, atol=1e-5, msg=name
        )


@pytest.mark.parametrize("family", ["gdn", "relu", "patch"])
def test_a_student_of_the_teachers_shape_becomes_the_teacher(
    family: str, tiny_specs, lively, batch
) -> None:
    teacher, student = lively(tiny_specs[family]), build(tiny_specs[family])
    assert inherit(student, teacher) == ALL
    y_hat = teacher(batch).y_hat
    assert bool(y_hat.any())
    _agree(student, teacher, batch, "y_hat", "z_hat", "x_hat", "scales_hat")
    _agree(student, teacher, batch, "y_likelihoods", "z_likelihoods")


@pytest.mark.parametrize("family", ["gdn", "relu"])
def test_a_narrower_student_equals_a_teacher_whose_dropped_channels_are_silent(
    family: str, lively, batch
) -> None:
    teacher = lively(replace(GDN, family=family))
    _silence(
        {
            **{"g_a.0": [0, 3], "g_a.2": [7], "g_a.4": [1, 2, 5]},
            **{"g_s.0": [6, 7, 0], "g_s.2": [4], "g_s.4": [2, 5]},
            **{"h_a.0": [0, 1], "h_a.2": [3, 7], "h_a.4": [2, 6, 7]},
            **{"h_s.0": [5, 6], "h_s.2": [0, 4]},
        },
        teacher,
    )
    student = build(HyperpriorSpec(family, (6, 7, 5), 12, 6, 5))
    assert inherit(student, teacher) == ALL
    assert bool(teacher(batch).z_hat.any())
    _agree(student, teacher, batch, "y", "y_hat", "x_hat", "scales_hat", "y_likelihoods")
    kept = teacher(batch).z[:, [0, 1, 3, 4, 5]]
    torch.testing.assert_close(student(batch).z, kept, rtol=1e-4, atol=1e-5)


def test_a_narrower_patch_student_equals_a_teacher_whose_dropped_channels_are_silent(
    lively, batch
) -> None:
    teacher = lively(PATCH)
    stream, h_s0, h_s3 = [0, 4, 5, 9, 15], _subpixels([1, 6, 7]), _subpixels([0, 2, 3])
    silent = {"h_a.0": [2, 5, 6], "h_a.2": [0, 1, 7], "h_a.4": [3, 4], "h_s.0": h_s0, "h_s.3": h_s3}
    for g in ("g_a", "g_s"):
        silent[f"{g}.stem"] = stream
        for block in (0, 1):
            for layer in ("mix_out", "feed_out"):
                silent[f"{g}.trunk.{block}.{layer}"] = stream
        silent |= {f"{g}.trunk.0.mix_in": [3, 8], f"{g}.trunk.0.mix": [3, 8]}
        silent |= {f"{g}.trunk.0.feed_in": [0, 9, 17, 31], f"{g}.trunk.1.mix_in": [0, 1]}
        silent |= {f"{g}.trunk.1.mix": [0, 1], f"{g}.trunk.1.feed_in": [2, 3, 22, 23]}
    silent["g_s.post.0.conv_in"] = [1, 4, 7]
    _silence(silent, teacher)
    student = build(PatchSpec(M=12, H=5, Z=6, C=11, widths=(14, 10), post=(5,)))
    assert inherit(student, teacher) == ALL
    assert bool(teacher(batch).z_hat.any())
    _agree(student, teacher, batch, "y", "y_hat", "x_hat", "scales_hat", "y_likelihoods")


def test_the_gdn_channels_kept_are_those_of_the_largest_importance(lively) -> None:
    teacher = lively(GDN)
    latent = [0, 2, 3, 7, 8, 11]
    known = {"g_a.0": [1, 3, 4, 6], "g_a.2": [0, 2, 5], "g_a.4": [2, 7], "g_a.6": latent}
    known |= {"g_s.0": [3, 6], "g_s.2": [1, 4, 7], "g_s.4": [0, 1, 2, 5]}
    _make_known(known, teacher)
    student = build(HyperpriorSpec("gdn", (4, 3, 2), 6, 8, 8))
    assert inherit(student, teacher) == ALL
    # h_a reads the kept channels of y, and h_s gives their scales.
    assert torch.equal(student.h_a[0].weight, teacher.h_a[0].weight[:, latent])
    assert torch.equal(student.h_s[4].weight, teacher.h_s[4].weight[latent])
    assert torch.equal(student.h_s[4].bias, teacher.h_s[4].bias[latent])
    into: list[int] | None = None
    for name, out in {**known, "g_s.6": [0, 1, 2]}.items():
        if name == "g_s.0":
            into = latent
        mine, theirs = student.get_submodule(name), teacher.get_submodule(name)
        expected = _filters(theirs)[out]
        assert torch.equal(_filters(mine), expected if into is None else expected[:, into]), name
        assert torch.equal(mine.bias, theirs.bias[out])
        into = out


def test_gdn_parameters_are_cut_to_the_kept_channels(lively) -> None:
    teacher = lively(GDN)
    with torch.no_grad():
        for name in ("g_a.1", "g_s.5"):
            gdn = teacher.get_submodule(name)
            gdn.beta.copy_(torch.arange(1.0, 9.0))
            gdn.gamma.copy_(torch.arange(64.0).reshape(8, 8))
    _make_known({"g_a.0": [1, 4, 6], "g_s.4": [0, 3, 7]}, teacher)
    student = build(replace(GDN, widths=(3, 8, 8)))
    assert inherit(student, teacher) == ALL
    for name, kept in (("g_a.1", [1, 4, 6]), ("g_s.5", [0, 3, 7])):
        gdn = student.get_submodule(name)
        assert gdn.beta.tolist() == [k + 1.0 for k in kept]
        assert gdn.gamma.tolist() == [[8.0 * i + j for j in kept] for i in kept]


def test_a_channels_importance_counts_the_layer_that_reads_it(lively) -> None:
    teacher = lively(replace(GDN, family="relu"))
    # Channels 2 and 5 are not made loud, but read loudly.
    teacher.get_submodule("g_a.2").weight.detach()[:, [2, 5]] *= 30
    student = build(replace(GDN, family="relu", widths=(2, 8, 8)))
    inherit(student, teacher)
    assert torch.equal(student.g_a[0].weight, teacher.g_a[0].weight[[2, 5]])


def test_the_entropy_bottleneck_is_cut_to_the_kept_channels_of_z(lively, batch) -> None:
    teacher = lively(GDN)
    with torch.no_grad():
        for _, parameter in teacher.entropy_bottleneck.named_parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    kept = [0, 3, 4, 6, 7]
    _make_known({"h_a.4": kept}, teacher)
    student = build(replace(GDN, Z=5))
    assert inherit(student, teacher) == ALL
    mine = dict(student.entropy_bottleneck.named_parameters())
    for name, parameter in teacher.entropy_bottleneck.named_parameters():
        assert torch.equal(mine[name], parameter[kept]), name
    z, likelihoods = teacher(batch).z_hat, teacher(batch).z_likelihoods
    _, student_likelihoods = student.eval().entropy_bottleneck(z[:, kept])
    torch.testing.assert_close(student_likelihoods, likelihoods[:, kept])


def test_a_patch_student_with_fewer_latents_keeps_the_first_components(lively) -> None:
    teacher = lively(PATCH)
    student = build(replace(PATCH, M=7))
    assert inherit(student, teacher) == ALL
    assert torch.equal(student.h_a[0].weight, teacher.h_a[0].weight[:, :7])
    assert torch.equal(student.h_s[6].weight, teacher.h_s[6].weight[:7])
    assert torch.equal(student.g_a.linear.weight, teacher.g_a.linear.weight[:7])
    assert torch.equal(student.g_a.head.weight, teacher.g_a.head.weight[:7])
    assert torch.equal(student.g_s.linear.weight, teacher.g_s.linear.weight[:, :7])
    assert torch.equal(student.g_s.stem.weight, teacher.g_s.stem.weight[:, :7])


def test_the_students_blocks_come_from_the_same_relative_depth(lively) -> None:
    teacher = lively(replace(PATCH, widths=(16, 16, 16, 16)))
    student = build(replace(PATCH, widths=(16, 16)))
    inherit(student, teacher)
    for mine, theirs in ((0, 0), (1, 2)):
        held, expected = student.g_a.trunk[mine], teacher.g_a.trunk[theirs]
        for name, parameter in held.named_parameters():
            assert torch.equal(parameter, expected.get_parameter(name)), name


def test_a_teacher_without_blocks_leaves_the_students_as_they_are(lively) -> None:
    student = build(PATCH)
    before = {name: p.detach().clone() for name, p in student.g_a.trunk.named_parameters()}
    assert inherit(student, lively(replace(PATCH, widths=()))) == ALL
    for name, parameter in student.g_a.trunk.named_parameters():
        assert torch.equal(parameter, before[name]), name


@pytest.mark.parametrize(("mine", "theirs"), [(1, 3), (3, 1)])
def test_a_hyperprior_of_another_kernel_is_not_inherited_and_the_transforms_are(
    mine: int, theirs: int, lively
) -> None:
    teacher = lively(replace(PATCH, hyper_kernel=theirs))
    student = build(replace(PATCH, hyper_kernel=mine))
    before = {name: p.detach().clone() for name, p in student.named_parameters()}
    assert inherit(student, teacher) == ("g_a", "g_s")
    assert torch.equal(student.g_a.head.weight, teacher.g_a.head.weight)
    for name, parameter in student.named_parameters():
        if not name.startswith(("g_a.", "g_s.")):
            assert torch.equal(parameter, before[name]), name


def test_h_s_of_patch_keeps_the_four_sub_pixels_of_a_channel_together(lively) -> None:
    teacher = lively(PATCH)
    kept = [1, 2, 4, 7]
    # One loud sub-pixel makes its whole channel matter.
    _make_known({"h_s.0": [4 * c + 3 for c in kept], "h_s.3": [4 * c for c in kept]}, teacher)
    student = build(replace(PATCH, H=4))
    assert inherit(student, teacher) == ALL
    rows = _subpixels(kept)
    assert torch.equal(student.h_s[0].weight, teacher.h_s[0].weight[rows])
    assert torch.equal(student.h_s[3].weight, teacher.h_s[3].weight[rows][:, kept])
    assert torch.equal(student.h_s[6].weight, teacher.h_s[6].weight[:, kept])


@pytest.mark.parametrize(
    ("student", "teacher"),
    [
        pytest.param(PATCH, GDN, id="another family"),
        pytest.param(GDN, PATCH, id="another family, the other way"),
        pytest.param(replace(GDN, M=13), GDN, id="more latents"),
        pytest.param(replace(GDN, widths=(9, 8, 8)), GDN, id="wider"),
        pytest.param(replace(PATCH, M=13), PATCH, id="patch, more latents"),
        pytest.param(replace(PATCH, C=17), PATCH, id="patch, wider trunk"),
    ],
)
def test_nothing_is_inherited_or_changed_where_the_layers_do_not_fit(
    student: Spec, teacher: Spec, lively
) -> None:
    model = build(student)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    assert inherit(model, lively(teacher)) == ()
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_from_mbt2018_mean_only_the_transforms_of_the_image_are_inherited(lively, batch) -> None:
    teacher, student = lively(replace(GDN, family="mean")), build(GDN)
    before = {name: p.detach().clone() for name, p in student.named_parameters()}
    assert inherit(student, teacher) == ("g_a", "g_s")
    _agree(student, teacher, batch, "y")
    y_hat = teacher(batch).y_hat
    torch.testing.assert_close(student.g_s(y_hat), teacher.g_s(y_hat))
    for name, parameter in student.named_parameters():
        if not name.startswith(("g_a.", "g_s.")):
            assert torch.equal(parameter, before[name]), name


def test_only_one_architecture_has_the_same_shapes(lively, tiny_specs) -> None:
    assert same_shapes(build(GDN), build(GDN))
    assert not same_shapes(build(GDN), build(replace(GDN, M=13)))
    assert not same_shapes(build(GDN), build(tiny_specs["relu"]))
    assert not same_shapes(build(PATCH), build(replace(PATCH, widths=(16, 12, 12))))


@pytest.mark.parametrize("spec", [GDN, PATCH], ids=str)
def test_no_tensor_of_another_device_is_made(spec: Spec) -> None:
    # "meta" holds no values, but refuses a tensor of the CPU as a GPU would.
    assert inherit(build(spec).to("meta"), build(spec).to("meta")) == ALL


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
