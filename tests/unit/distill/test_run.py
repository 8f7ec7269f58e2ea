"""How a run starts, what its phases do to the student, and what it leaves in the folder."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hwkd.bits import BitPlan
from hwkd.distill.batches import Teaching
from hwkd.distill.checkpoint import read_state
from hwkd.distill.losses import LossWeights
from hwkd.distill.run import distill
from hwkd.distill.run_folder import load_model, load_run
from hwkd.errors import InputError
from hwkd.models.build import build
from hwkd.models.compat import GDN
from hwkd.models.spec import HyperpriorSpec, PatchSpec
from hwkd.quantize.brevitas_qat import quantized_layers

RD_ONLY = LossWeights(1, 0, 0, 0)
UNTRAINED: dict[str, Any] = {"float_steps": 0, "bits": None, "loss": RD_ONLY}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, run):
    """A finished run with both phases: its folder and its outcome."""
    folder = tmp_path_factory.mktemp("finished")
    return folder, run(folder)


def _outputs(codec, photo):
    x = torch.from_numpy(photo(128, 64, 9)).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        return codec(x)


def _assert_equal(one, other) -> None:
    """Two passes of one model; its memory format may change the order in which a convolution sums."""
    for name, value in vars(one).items():
        if value is not None:
            torch.testing.assert_close(value, getattr(other, name), rtol=1e-5, atol=1e-5, msg=name)


def test_the_folder_holds_the_files_of_a_run(finished) -> None:
    folder, _ = finished
    held = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert held == {
        *("config.json", "metrics.jsonl", "events.jsonl"),
        *("float.safetensors", "student.safetensors"),
        "checkpoint/state.pt",
    }


def test_the_student_and_its_float_twin_are_read_back_from_the_folder(finished, photo) -> None:
    folder, outcome = finished
    held = load_run(folder)
    _assert_equal(_outputs(held.codec, photo), _outputs(outcome.student, photo))
    assert (held.name, held.lmbda, held.bits) == (folder.name, 0.025, BitPlan())
    twin = load_model(f"{folder}:float")
    _assert_equal(_outputs(twin.codec, photo), _outputs(outcome.float_student, photo))
    assert (twin.name, twin.bits) == (f"{folder.name} (float)", None)
    assert held.sha256 != twin.sha256


def test_the_quantized_student_is_ready_to_code(finished) -> None:
    _, outcome = finished
    assert not outcome.student.training
    assert len(quantized_layers(outcome.student)) == 14  # 4 in g_a, 4 in g_s, 3 in h_a, 3 in h_s
    assert not quantized_layers(outcome.float_student)
    for codec in (outcome.student, outcome.float_student):
        medians = codec.entropy_bottleneck.quantiles[:, :, 1]
        assert torch.equal(medians, medians.round())
        assert codec.entropy_bottleneck._quantized_cdf.numel() > 0
        assert codec.gaussian_conditional._quantized_cdf.numel() > 0


def test_projections_are_told_of_and_dropped(finished) -> None:
    folder, outcome = finished
    assert outcome.notes[1:] == (
        "y has 12 channels, the teacher's 16: the latent term goes through a learnt 1x1 projection",
        "z has 8 channels, the teacher's 10: the hyper term goes through a learnt 1x1 projection",
    )
    assert set(read_state(folder).projections) == {"y.weight", "z.weight"}
    assert not any("projections" in name for name in outcome.student.state_dict())


def test_the_projections_are_trained(finished) -> None:
    trained = read_state(finished[0]).projections["y.weight"][:, :, 0, 0]
    assert not torch.equal(trained, torch.eye(16, 12))


def test_no_projection_is_told_of_where_its_term_is_off(tmp_path: Path, run) -> None:
    outcome = run(tmp_path, **{**UNTRAINED, "loss": LossWeights(0.5, 0, 0.5, 0)})
    assert outcome.notes == ("the student starts from random filters, scaled on one batch",)


def test_a_student_of_the_starts_shape_is_its_copy(tmp_path: Path, run, tiny_specs, photo) -> None:
    start = build(tiny_specs["patch"]).eval()
    start.update(force=True)
    outcome = run(
        tmp_path, spec=tiny_specs["patch"], start="teacher T", inherits=start, **UNTRAINED
    )
    assert outcome.notes == ("the student starts as a copy of teacher T",)
    _assert_equal(_outputs(outcome.student, photo), _outputs(start, photo))


def test_a_start_of_another_lambda_has_its_latents_scaled(
    tmp_path: Path, run, tiny_specs, photo
) -> None:
    start = build(tiny_specs["patch"]).eval()
    start.update(force=True)
    batch = torch.from_numpy(photo(64, 64, 1)).permute(2, 0, 1)[None].float() / 255
    y = start.g_a(batch).detach()
    outcome = run(
        tmp_path,
        spec=tiny_specs["patch"],
        lmbda=0.0025,
        start="run q5",
        inherits=start,
        start_lmbda=0.01,
        **UNTRAINED,
    )
    assert outcome.notes == (
        "the student starts as a copy of run q5",
        "its latents are scaled from lmbda 0.01 to 0.0025",
    )
    torch.testing.assert_close(outcome.student.g_a(batch).detach(), y / 2, rtol=1e-4, atol=1e-4)


def test_a_narrower_student_inherits(tmp_path: Path, run, teaching, config) -> None:
    spec = replace(config.spec, widths=(6, 6, 6), M=16)
    outcome = run(tmp_path, spec=spec, start="teacher T", inherits=teaching.teacher, **UNTRAINED)
    assert outcome.notes == ("the student inherits g_a, g_s, h_a, h_s from teacher T",)
    weights = {f[:1].tobytes() for f in teaching.teacher.g_a[0].weight[:, :, :1].numpy()}
    kept = {f[:1].tobytes() for f in outcome.student.g_a[0].weight[:, :, :1].detach().numpy()}
    assert len(kept) == 6 and kept < weights


def test_relu_filters_inherited_from_gdn_are_rescaled(
    tmp_path: Path, run, teaching, images
) -> None:
    spec = HyperpriorSpec("relu", (8, 8, 8), 16, 8, 10)
    outcome = run(tmp_path, spec=spec, start="teacher T", inherits=teaching.teacher, **UNTRAINED)
    assert outcome.notes == (
        "the student inherits g_a, g_s, h_a, h_s from teacher T",
        "its filters are rescaled on one batch, because GDN's gain is missing",
    )
    assert not any(isinstance(module, GDN) for module in outcome.student.modules())


def test_a_patch_student_with_nothing_to_inherit_starts_from_pca(
    tmp_path: Path, run, tiny_specs, teaching
) -> None:
    outcome = run(
        tmp_path,
        spec=tiny_specs["patch"],
        start="teacher T",
        inherits=teaching.teacher,
        **UNTRAINED,
    )
    assert outcome.notes == (
        "the student starts from the principal components of the training patches",
        "nothing could be inherited from teacher T: its layers do not fit",
    )
    linear = outcome.student.g_a.linear.weight[:, :, 0, 0].double()
    gram = linear @ linear.T
    torch.testing.assert_close(gram, gram[0, 0] * torch.eye(12).double(), rtol=1e-4, atol=1e-3)


def test_the_hybrids_second_teacher_gives_z(tmp_path: Path, images, teaching, config) -> None:
    torch.manual_seed(1)
    second = build(PatchSpec(M=12, H=8, Z=6, C=16, widths=(16,), post=())).eval()
    outcome = distill(
        replace(config, float_steps=2, bits=None),
        tmp_path,
        images,
        Teaching(teaching.teacher, second),
        None,
        resume=False,
        show=lambda _progress: None,
        wants_to_stop=lambda: False,
    )
    assert outcome.notes[2].startswith("z has 8 channels, the teacher's 6: ")
    assert read_state(tmp_path).projections["z.weight"].shape == (6, 8, 1, 1)


def test_a_float_student_has_no_quantized_phase(tmp_path: Path, run, photo) -> None:
    outcome = run(tmp_path, bits=None)
    assert outcome.steps == {"float": 8}
    _assert_equal(_outputs(outcome.student, photo), _outputs(outcome.float_student, photo))
    _assert_equal(_outputs(load_run(tmp_path).codec, photo), _outputs(outcome.student, photo))


def test_calibration_alone_leaves_the_float_weights(tmp_path: Path, run) -> None:
    outcome = run(tmp_path, ptq=True, float_steps=2)
    assert outcome.steps == {"float": 2, "qat": 0}
    quantized = dict(outcome.student.named_parameters())
    for name, parameter in outcome.float_student.named_parameters():
        assert torch.equal(parameter, quantized[name]), name
    scales = [p for n, p in quantized.items() if n.endswith("scaling_impl.value")]
    assert len(scales) > 0 and all(bool((s != 1).all()) for s in scales)


def test_the_quantized_phase_trains_weights_and_scales(finished) -> None:
    _, outcome = finished
    floats = dict(outcome.float_student.named_parameters())
    trained = dict(outcome.student.named_parameters())
    moved = [n for n in floats if n.endswith("weight") and not torch.equal(floats[n], trained[n])]
    assert {n.split(".")[0] for n in moved} == {"g_a", "g_s", "h_a", "h_s"}


def test_a_pattern_that_matches_no_layer_is_refused_before_anything_is_written(
    tmp_path: Path, run
) -> None:
    folder = tmp_path / "run"
    with pytest.raises(InputError, match=r"no layer matches 'g_a\.trunk\.\*'"):
        run(folder, bits=BitPlan(8, 8, (("g_a.trunk.*", 4, 8),)))
    assert not folder.exists()
