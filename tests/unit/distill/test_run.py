"""How a run starts, what its phases do to the student, and what it leaves in the folder."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from hwkd.bits import BitPlan
from hwkd.distill.batches import Teaching
from hwkd.distill.losses import LossWeights
from hwkd.distill.run import distill
from hwkd.distill.run_folder import load_model, load_run, read_state, state_path
from hwkd.errors import InputError, Interrupted
from hwkd.models.build import build
from hwkd.models.compat import GDN
from hwkd.models.spec import HyperpriorSpec, PatchSpec
from hwkd.quantize.qat import quantized_layers

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


def test_calibration_alone_trains_nothing_and_rounds_the_weights(tmp_path: Path, run) -> None:
    outcome = run(tmp_path, ptq=True, float_steps=2)
    assert outcome.steps == {"float": 2, "qat": 0}
    quantized = dict(outcome.student.named_parameters())
    for name, parameter in outcome.float_student.named_parameters():
        # Those of g_a and g_s are put on their grids, and their biases make up for it (hwkd/quantize/ptq.py).
        if not name.startswith(("g_a.", "g_s.")):
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


# A run that was stopped or killed, and resumed, is bit for bit the run that was not.

VARIANTS: dict[str, dict[str, Any]] = {
    "relu, kld, bf16, plateau": {
        "family": "relu",
        "precision": "bf16",
        "schedule": "plateau",
        "loss": LossWeights(0.5, 0.2, 0.2, 0.1, "kld"),
    },
    "patch, 4 bits, pool, plateau": {
        "family": "patch",
        "bits": BitPlan(4, 8, (("g_a.*", 6, 8),)),
        "cached_crops": 4,
        "schedule": "plateau",
    },
    "patch, all rates, muon, pool": {
        "family": "all rates",
        "lmbda": None,
        "optimizer": "muon",
        "cached_crops": 4,
    },
    "gdn, no teacher": {"loss": LossWeights(1, 0, 0, 0)},
}


def _rows(folder: Path) -> list[dict[str, Any]]:
    """The logged rows without the one figure that a clock decides."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in ("seconds", "wait_ms")} for row in rows]


def _assert_same_run(one: Path, other: Path) -> None:
    for name in ("float.safetensors", "student.safetensors", "config.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    assert _rows(one) == _rows(other)
    first, second = vars(read_state(one)), vars(read_state(other))
    for state in (first, second):
        del state["seconds"]
    assert str(first) == str(second)
    assert all(torch.equal(a, second["student"][n]) for n, a in first["student"].items())
    averages = (state["average"]["parameters"] for state in (first, second))
    assert all(
        torch.equal(a, b) for a, b in zip(*(held.values() for held in averages), strict=True)
    )
    assert all(torch.equal(a, second["projections"][n]) for n, a in first["projections"].items())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, run) -> Path:
    """A run that nothing disturbed; beside it, in killed-k, what lay on the disk before step k was saved."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    run(folder, each_step=lambda k: shutil.copytree(folder, folder.parent / f"killed-{k}"))
    return folder


def _killed(whole: Path, step: int, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole.parent / f"killed-{step}", tmp_path / "killed"))


@pytest.mark.parametrize("step", [4, 8, 9, 12])
def test_whatever_the_step_at_which_it_was_killed(
    tmp_path: Path, run, whole: Path, step: int
) -> None:
    # A checkpoint is written after steps 3, 6, 8 (the last in float), 11 and 12.
    killed = _killed(whole, step, tmp_path)
    run(killed, resume=True)
    _assert_same_run(whole, killed)


def test_whatever_the_step_at_which_it_was_stopped(tmp_path: Path, run, whole: Path) -> None:
    # One step at a time at the borders: before the first checkpoint, at the end of each phase.
    for length, resume in ((1, False), (6, True), (1, True), (1, True), (2, True), (1, True)):
        with pytest.raises(Interrupted):
            run(tmp_path, resume=resume, stop_after=length)
    run(tmp_path, resume=True)
    _assert_same_run(whole, tmp_path)


@pytest.mark.parametrize("variant", VARIANTS)
def test_whatever_the_family_the_loss_and_the_schedule(
    tmp_path: Path, run, tiny_specs, all_rates_spec, variant: str
) -> None:
    changes = dict(VARIANTS[variant])
    specs = {**tiny_specs, "all rates": all_rates_spec}
    changes["spec"] = specs[changes.pop("family", "gdn")]
    run(tmp_path / "whole", **changes)
    # Once within the float phase, and once within the quantized one.
    for length, resume in ((4, False), (6, True)):
        with pytest.raises(Interrupted):
            run(tmp_path / "stopped", resume=resume, stop_after=length, **changes)
    outcome = run(tmp_path / "stopped", resume=True, **changes)
    assert outcome.steps == {"float": 8, "qat": 4}
    _assert_same_run(tmp_path / "whole", tmp_path / "stopped")


def test_a_run_killed_before_its_first_checkpoint_starts_anew(
    tmp_path: Path, run, whole: Path
) -> None:
    killed = _killed(whole, 2, tmp_path)
    with pytest.raises(InputError) as error:
        run(killed, resume=True)
    assert str(error.value) == (
        f"{killed} holds no checkpoint to resume from: leave out --resume, or name the run with -o"
    )
    run(killed)
    _assert_same_run(whole, killed)


def test_a_row_that_was_half_logged_is_dropped(tmp_path: Path, run, whole: Path) -> None:
    killed = _killed(whole, 12, tmp_path)
    with (killed / "metrics.jsonl").open("a") as log:
        log.write('{"phase": "qat", "st')
    run(killed, resume=True)
    _assert_same_run(whole, killed)


def test_another_seed_gives_another_run(tmp_path: Path, run, whole: Path) -> None:
    run(tmp_path, seed=1, float_steps=2, qat_steps=0)
    one, other = (load_file(folder / "float.safetensors") for folder in (whole, tmp_path))
    assert not torch.equal(one["g_a.0.weight"], other["g_a.0.weight"])


def test_a_stop_writes_a_checkpoint_and_says_how_to_go_on(tmp_path: Path, run) -> None:
    with pytest.raises(Interrupted) as error:
        run(tmp_path, stop_after=10)
    assert str(error.value) == (
        "stopped at step 2 of the qat phase; the checkpoint is written, "
        "run the same command with --resume to go on"
    )
    assert error.value.exit_code == 130
    state = read_state(tmp_path)
    assert (state.phase, state.step, state.steps) == ("qat", 2, {"float": 8, "qat": 4})


def test_a_finished_run_resumed_gives_the_same_student(tmp_path: Path, run) -> None:
    run(tmp_path)
    before = (tmp_path / "student.safetensors").read_bytes()
    outcome = run(tmp_path, resume=True)
    assert (tmp_path / "student.safetensors").read_bytes() == before
    assert outcome.steps == {"float": 8, "qat": 4}


def test_a_folder_that_holds_a_run_is_not_overwritten(tmp_path: Path, run) -> None:
    run(tmp_path, float_steps=1, qat_steps=1)
    message = (
        f"{tmp_path} holds a run already: continue it with --resume, start it over with --force, "
        "or give another -o"
    )
    with pytest.raises(InputError) as error:
        run(tmp_path)
    assert str(error.value) == message
    state_path(tmp_path).unlink()  # the finished student alone is worth as much
    with pytest.raises(InputError) as error:
        run(tmp_path)
    assert str(error.value) == message


def test_another_configuration_is_not_resumed(tmp_path: Path, run) -> None:
    with pytest.raises(Interrupted):
        run(tmp_path, stop_after=3)
    with pytest.raises(InputError) as error:
        run(tmp_path, resume=True, lr=1e-3, batch=3)
    assert str(error.value) == (
        f"{tmp_path} was started with another configuration: batch was 2, is now 3; "
        "lr was 0.0005, is now 0.001. Give the old values, or another -o for a new run"
    )
    run(tmp_path, resume=True, checkpoint_every=5)


def test_a_folder_that_is_no_run_is_not_resumed(tmp_path: Path, run) -> None:
    with pytest.raises(InputError) as error:
        run(tmp_path, resume=True)
    assert str(error.value) == (
        f"{tmp_path} holds no run to resume: leave out --resume, or name the run with -o"
    )
