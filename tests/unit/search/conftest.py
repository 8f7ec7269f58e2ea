"""A small search that trains nothing: its trainer knows the loss of a student by its channels."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from hwkd.bits import BitPlan
from hwkd.quantity import Quantity
from hwkd.search.cost import Budget, Cost
from hwkd.search.settings import Settings, TeacherFacts
from hwkd.search.space import FamilySpace, Range, Space
from hwkd.search.study import (
    SearchLimit,
    create_or_join,
    found_in,
    open_storage,
    set_limit,
    storage_errors,
)
from hwkd.search.train import Standing
from hwkd.search.trial import Trial, rungs, trial_from_dict
from hwkd.search.worker import Worker

BITS = BitPlan(8)


def predicted(value: float) -> Quantity:
    return Quantity(value, "predicted", "a formula", value / 2, value * 2, 0.9)


def cost_by_channels(spec: Any) -> Cost:
    """A millisecond for each channel of the widths and of y."""
    ms = sum(spec.widths) + spec.M
    return Cost(float(ms) / 10, predicted(ms), predicted(10 * ms), ms / 1000, ms / 500)


def small_space() -> Space:
    widths = [Range(name, 8, 32, 8) for name in ("N1", "N2", "N3")]
    rest = [Range("M", 16, 32, 16), Range("H", 8, 8, 8), Range("Z", 8, 8, 8)]
    blocks = [Range(name, 16, 48, 8) for name in ("w1", "w2", "w3")]
    return Space(
        (
            FamilySpace("gdn", (*widths, *rest)),
            FamilySpace("patch", (*blocks, *rest, Range("post", 4, 8, 4))),
        )
    )


def small_settings(**changes: Any) -> Settings:
    made: dict[str, Any] = {
        "target": "raspberry-pi-4",
        "target_sha256": "ab",
        "budget": Budget(120.0, None, None),
        "space": small_space(),
        "weight_bits": 8,
        "lmbda": 0.025,
        "teachers": (
            TeacherFacts("patch-q5", "patch-q5", "cd", ("patch",)),
            TeacherFacts("hyperprior-64", "hyperprior-64", "ef", ("gdn", "relu")),
        ),
        "data": "embedded photographs",
        "steps": 8,
        "crop": 64,
        "batch": 2,
        "pool": 4,
        "lr": 5e-4,
        "seed": 3,
    }
    return Settings(**{**made, **changes})


def loss_of(spec: Any, steps: int) -> float:
    """Less with more channels in the last layer, and with more steps."""
    return 4.0 - 0.05 * spec.widths[-1] - 0.01 * spec.widths[0] + 1.0 / steps


class MadeUpTrainer:
    """loss_of at every rung; `fails` may raise in place of it."""

    def __init__(self, steps: int, fails: Callable[[int], None] = lambda seed: None) -> None:
        self.steps, self.fails = steps, fails
        self.seeds: list[int] = []

    def train(self, spec: Any, seed: int, max_mib: float | None, goes_on: Any) -> Standing:
        self.seeds.append(seed)
        for step in rungs(self.steps):
            self.fails(seed)
            standing = Standing(step, loss_of(spec, step), 0.5, 30.0, BITS)
            if step == self.steps or not goes_on(standing):
                break
        return standing


class Search:
    """A study in `place`, worked on by a MadeUpTrainer."""

    def __init__(self, place: Path, settings: Settings | None = None, paper_n: Any = (16,)) -> None:
        self.settings = settings or small_settings()
        self.storage = open_storage(str(place), must_exist=False)
        self.study: optuna.Study = create_or_join(
            self.storage,
            self.settings,
            "",
            lambda: self.settings.space,
            cost_by_channels,
            paper_n,
            SearchLimit(trials=0),
        )

    def work(self, trials: int, trainer: MadeUpTrainer | None = None) -> tuple[Trial, ...]:
        set_limit(self.study, SearchLimit(trials=trials))
        made = trainer or MadeUpTrainer(self.settings.steps)
        args: Any = (self.storage, self.study, self.settings, cost_by_channels, lambda: made)
        with storage_errors("the study"):
            Worker(*args, lambda progress: None).work()
        return self.found()

    def found(self) -> tuple[Trial, ...]:
        return found_in(self.study)


@pytest.fixture
def search(tmp_path: Path) -> Callable[..., Search]:
    """search(file, ...): a Search in a file of this test's folder."""
    return lambda name="study.journal", *more, **named: Search(tmp_path / name, *more, **named)


def without_times(found: tuple[Trial, ...]) -> list[Trial]:
    """Everything but the seconds, which no two runs share."""
    return [trial_from_dict({**f.to_dict(), "seconds": None}, f.number, f.state) for f in found]
