"""A run that was stopped or killed, and resumed, is bit for bit the run that was not."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from hwkd.bits import BitPlan
from hwkd.distill.checkpoint import read_state, state_path
from hwkd.distill.losses import LossWeights
from hwkd.distill.train import Interrupted
from hwkd.errors import InputError

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
