"""The loop's rules: rates, quantiles, lengths by minutes, a loss that is not finite, the log."""

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from hwkd.distill import train as step_module
from hwkd.distill.losses import LossTerms, LossWeights
from hwkd.distill.run import with_steps
from hwkd.distill.run_folder import read_state, state_path
from hwkd.errors import HwkdError, InputError, Interrupted

RD_ONLY = LossWeights(1, 0, 0, 0)
FLOAT_ONLY: dict[str, Any] = {"bits": None, "loss": RD_ONLY, "qat_steps": 0}


class Clock:
    """A clock on which step k of a run takes `step_s` seconds, or `first_s[k]`, and nothing else takes time."""

    def __init__(self) -> None:
        self.now, self.steps = 0.0, 0
        self.step_s = 0.5
        self.first_s: list[float] = []

    def step(self) -> None:
        is_first = self.steps < len(self.first_s)
        self.now += self.first_s[self.steps] if is_first else self.step_s
        self.steps += 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock, terms = Clock(), step_module.loss_terms

    def timed(*args: Any) -> LossTerms:
        clock.step()
        return terms(*args)

    monkeypatch.setattr(step_module, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    monkeypatch.setattr(step_module, "loss_terms", timed)
    return clock


def _rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def _lr(folder: Path) -> float:
    rate: float = read_state(folder).optimizers[0]["param_groups"][0]["lr"]
    return rate


def test_the_medians_never_move_and_the_outer_quantiles_do(tmp_path: Path, run) -> None:
    held: list[torch.Tensor] = []

    def look(step: int) -> None:
        if step > 1:  # the checkpoint of the step before
            held.append(read_state(tmp_path).student["entropy_bottleneck.quantiles"])

    run(tmp_path, checkpoint_every=1, each_step=look)
    medians = torch.stack([q[:, 0, 1] for q in held])
    assert torch.equal(medians, medians[:1].expand_as(medians))
    assert torch.equal(medians, medians.round())
    assert (held[-1][:, :, [0, 2]] != held[0][:, :, [0, 2]]).all()


@pytest.mark.parametrize(
    ("step", "expected"),
    # Warm-up over 2 steps; the cosine from step 4 on, where a run by minutes would know its length.
    [
        (0, 0.5),
        (1, 1.0),
        (3, 1.0),
        (4, 0.01 + 0.99 * (1 + math.cos(math.pi * 4 / 8)) / 2),
        (7, 0.01 + 0.99 * (1 + math.cos(math.pi * 7 / 8)) / 2),
    ],
)
def test_the_rate_warms_up_and_falls_by_a_cosine(
    tmp_path: Path, run, step: int, expected: float
) -> None:
    with pytest.raises(Interrupted):
        run(tmp_path, stop_after=step + 1, lr=4e-4, schedule="cosine", **FLOAT_ONLY)
    assert _lr(tmp_path) == pytest.approx(4e-4 * expected, rel=1e-9)


@pytest.mark.parametrize(
    ("step", "expected"),
    # Warm-up over 2 of 8 steps; over the last 0.35 x 8 = 2.8 steps it falls.
    [(0, 0.5), (1, 1.0), (5, 1.0), (6, 2 / 2.8), (7, 1 / 2.8)],
)
def test_the_rate_stays_and_falls_at_the_end(
    tmp_path: Path, run, step: int, expected: float
) -> None:
    with pytest.raises(Interrupted):
        run(tmp_path, stop_after=step + 1, lr=4e-4, **FLOAT_ONLY)
    assert _lr(tmp_path) == pytest.approx(4e-4 * expected, rel=1e-9)


def test_a_longer_run_goes_on_from_where_the_rate_had_not_fallen(tmp_path: Path, run) -> None:
    with pytest.raises(Interrupted):
        run(tmp_path / "short", stop_after=5, **FLOAT_ONLY)
    longer = {**FLOAT_ONLY, "float_steps": 12}
    run(tmp_path / "short", resume=True, **longer)
    run(tmp_path / "long", **longer)
    for name in ("student.safetensors", "config.json"):
        one, other = (tmp_path / folder / name for folder in ("short", "long"))
        assert one.read_bytes() == other.read_bytes()


def test_the_plateau_halves_the_rate_when_validation_stalls(
    tmp_path: Path, run, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Validated after steps 2, 4, 6 and 8; with a patience of 0 each that is not better halves the rate at once.
    losses = iter([3.0, 3.5, 2.0, 2.5])
    monkeypatch.setattr(step_module.Loop, "_validate", lambda *_args: next(losses))
    run(tmp_path, schedule="plateau", lr=4e-4, **FLOAT_ONLY)
    rows = _rows(tmp_path)
    assert [row["lr"] for row in rows] == pytest.approx([4e-4, 2e-4, 2e-4, 1e-4])
    assert [row["validation_rd"] for row in rows] == [3.0, 3.5, 2.0, 2.5]


BY_MINUTES: dict[str, Any] = {**FLOAT_ONLY, "float_steps": None, "minutes": 0.1}


def test_minutes_become_steps_by_the_measured_speed(tmp_path: Path, run, clock: Clock) -> None:
    # 0.4 minutes at half a second a step: 3/4 of 48 steps in float, 1/4 quantized.
    minutes: dict[str, Any] = {"float_steps": None, "qat_steps": None, "minutes": 0.4}
    outcome = run(tmp_path, loss=RD_ONLY, **minutes)
    assert outcome.steps == {"float": 36, "qat": 12}
    assert outcome.seconds == pytest.approx(24.0)


def test_the_first_steps_do_not_count_towards_the_speed(tmp_path: Path, run, clock: Clock) -> None:
    # Two slow steps (caches, lazy set-up), then two that are timed: 0.1 minutes are 12 steps of half a second.
    clock.first_s = [9.0, 9.0]
    assert run(tmp_path, **BY_MINUTES).steps == {"float": 12}


def test_resuming_keeps_the_steps_whatever_the_speed_then(
    tmp_path: Path, run, clock: Clock
) -> None:
    with pytest.raises(Interrupted):
        run(tmp_path, stop_after=7, **BY_MINUTES)
    clock.step_s = 3.0
    outcome = run(tmp_path, resume=True, **BY_MINUTES)
    assert outcome.steps == {"float": 12}
    assert outcome.seconds == pytest.approx(7 * 0.5 + 5 * 3.0)


def test_a_time_too_short_for_the_timing_takes_steps_of_which_the_timed_ones_see_no_fall(
    tmp_path: Path, run, config, clock: Clock
) -> None:
    """So that a run of as many steps repeats it: 0.35 of 7 steps fall, after the fourth."""
    minutes: dict[str, Any] = {**BY_MINUTES, "minutes": 0.001}
    outcome = run(tmp_path / "minutes", **minutes)
    assert outcome.steps == {"float": 7}
    steps = with_steps(replace(config, **minutes), outcome.steps)
    run(tmp_path / "steps", **{**minutes, "minutes": None, "float_steps": steps.float_steps})
    one, other = (read_state(tmp_path / name).student for name in ("minutes", "steps"))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_stop_before_the_length_is_known_keeps_nothing_and_says_so(
    tmp_path: Path, run, clock: Clock
) -> None:
    with pytest.raises(Interrupted) as error:
        run(tmp_path, stop_after=3, **BY_MINUTES)
    assert str(error.value) == (
        "stopped at step 3 of the float phase; nothing is kept of so few: run the same command again"
    )
    assert not state_path(tmp_path).exists()
    assert run(tmp_path, **BY_MINUTES).steps == {"float": 12}


def test_a_run_by_minutes_is_repeated_by_its_steps(
    tmp_path: Path, run, config, clock: Clock
) -> None:
    outcome = run(tmp_path / "minutes", **BY_MINUTES)
    steps = with_steps(replace(config, **BY_MINUTES), outcome.steps)
    assert (steps.float_steps, steps.qat_steps, steps.minutes) == (12, 0, None)
    run(tmp_path / "steps", **{**FLOAT_ONLY, "float_steps": steps.float_steps})
    one, other = (read_state(tmp_path / name).student for name in ("minutes", "steps"))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_how_often_checkpoints_are_written_changes_nothing_else(tmp_path: Path, run) -> None:
    for every in (1, 7):
        run(tmp_path / str(every), schedule="plateau", checkpoint_every=every, **FLOAT_ONLY)
    one, other = (read_state(tmp_path / name).student for name in ("1", "7"))
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert [row["step"] for row in _rows(tmp_path / "7")] == [2, 4, 6, 8]


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_checkpoint(
    tmp_path: Path, run, monkeypatch: pytest.MonkeyPatch
) -> None:
    terms = step_module.loss_terms
    calls = 0

    def broken(*args: Any) -> LossTerms:
        nonlocal calls
        calls += 1
        good = terms(*args)
        return replace(good, total=good.total * math.nan) if calls == 6 else good

    with monkeypatch.context() as patched, pytest.raises(HwkdError) as error:
        patched.setattr(step_module, "loss_terms", broken)
        run(tmp_path, **FLOAT_ONLY)
    assert error.value.exit_code == 1 and not isinstance(error.value, InputError)
    # The names of the batch: two crops, of the training images.
    text = str(error.value)
    names = text.split("on crops of ")[1].split(";")[0].split(", ")
    assert len(names) == 2 and set(names) <= {"0.png", "1.png", "2.png"}
    assert text == (
        f"the loss is not finite at step 5 of the float phase, on crops of {', '.join(names)}; "
        f"the last good checkpoint stands in {tmp_path / 'checkpoint'}: try a lower --lr"
    )
    assert read_state(tmp_path).step == 3
    assert run(tmp_path, resume=True, **FLOAT_ONLY).steps == {"float": 8}


def test_the_log_has_a_row_per_epoch_with_the_terms_that_are_on(tmp_path: Path, run) -> None:
    run(tmp_path, loss=LossWeights(0.5, 0.5, 0, 0))
    rows = _rows(tmp_path)
    assert [(row["phase"], row["step"]) for row in rows] == [
        *(("float", k) for k in (2, 4, 6, 8)),
        *(("qat", k) for k in (2, 4)),
    ]
    for row in rows:
        assert set(row) == {
            *("phase", "step", "seconds", "wait_ms", "megapixels", "lr", "psnr_db"),
            "validation_rd",
            *("total", "rd", "bpp", "mse", "latent"),
        }
        assert row["rd"] == pytest.approx(row["bpp"] + 0.025 * 255**2 * row["mse"], rel=1e-3)
        assert row["total"] == pytest.approx(0.5 * row["rd"] + 0.5 * row["latent"], abs=1e-4)
        # mse is logged to six decimals.
        assert row["psnr_db"] == pytest.approx(-10 * math.log10(row["mse"]), abs=1e-2)


def test_training_lowers_the_loss(tmp_path: Path, run, tiny_specs) -> None:
    run(tmp_path, spec=tiny_specs["relu"], lr=2e-3, **{**FLOAT_ONLY, "float_steps": 30})
    rows = _rows(tmp_path)
    assert rows[-1]["validation_rd"] < 0.95 * rows[0]["validation_rd"]
