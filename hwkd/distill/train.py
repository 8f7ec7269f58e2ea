"""The training loop: one phase at a time, bit-reproducible on a CPU, interrupted and resumed at will."""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hwkd.distill import rates
from hwkd.distill.batches import Batches
from hwkd.distill.checkpoint import TrainState, state_path, write_state
from hwkd.distill.config import RunConfig
from hwkd.distill.distributed import ALONE, Processes
from hwkd.distill.losses import Projections
from hwkd.distill.optimizers import Average
from hwkd.distill.step import NotFinite, Stepper
from hwkd.distill.validate import validation_rd
from hwkd.errors import HwkdError
from hwkd.files import append_line
from hwkd.models.base import HyperpriorCodec

EPOCH_STEPS = 200
"""Steps from one validation to the next. Not how often checkpoints are written: that may change on resume."""
PLATEAU_PATIENCE = 10
PHASES = ("float", "qat")


@dataclass(frozen=True)
class Phase:
    """One phase of a run. steps: None where the time decides. bf16: run the convolutions under autocast."""

    name: str
    steps: int | None
    minutes: float | None
    lr: float
    bf16: bool


@dataclass(frozen=True)
class Progress:
    """What a progress bar shows; the loss terms are of the last step, `validation` an RD loss.

    wait_ms: what a step has waited for its crops, on average since the last row of the log.
    """

    phase: str
    step: int
    steps: int | None
    terms: dict[str, float]
    psnr_db: float
    images_per_s: float
    wait_ms: float
    validation: float | None


class Interrupted(HwkdError):
    """The user stopped the run; its checkpoint stands."""

    exit_code = 130


class Loop:
    """Trains `student` through one phase after another and keeps `folder` resumable.

    The first of `processes` writes folder/checkpoint/state.pt and appends to folder/metrics.jsonl.
    """

    def __init__(
        self,
        config: RunConfig,
        folder: Path,
        student: HyperpriorCodec,
        projections: Projections | None,
        batches: Batches,
        held_out: Sequence[Tensor],
        show: Callable[[Progress], None],
        wants_to_stop: Callable[[], bool],
        processes: Processes = ALONE,
    ) -> None:
        self._config, self._folder = config, folder
        self._processes = processes
        self._student, self._projections = student, projections
        self._batches, self._held_out = batches, held_out
        self._show, self._wants_to_stop = show, wants_to_stop
        self.steps: dict[str, int] = {}
        self.seconds = 0.0

    def run(self, phase: Phase, resumed: TrainState | None) -> None:
        """Train through `phase`, from its start or from `resumed`, a state of this phase; the student is left with the
        average of its weights.

        Raises:
            Interrupted: the user asked to stop; the state is written.
            HwkdError: the loss is not finite.
        """
        stepper = Stepper(
            self._student,
            self._projections,
            lmbda=self._config.lmbda,
            loss=self._config.loss,
            lr=phase.lr,
            key=(self._config.seed, PHASES.index(phase.name)),
            processes=self._processes,
            optimizer=self._config.optimizer,
            bf16=self._config.precision == "bf16",
        )
        average = Average(self._student)
        plateaus = [
            torch.optim.lr_scheduler.ReduceLROnPlateau(
                optimizer, factor=0.5, patience=PLATEAU_PATIENCE
            )
            for optimizer in stepper.optimizers
        ]
        first = 0
        if resumed is not None:
            self._restore(resumed, stepper, plateaus, average)
            first = resumed.step
        if phase.steps is not None:
            self.steps[phase.name] = phase.steps

        def save(step: int) -> None:
            if self._processes.is_first:
                write_state(self._folder, self._state(phase, step, stepper, plateaus, average))

        self._student.train()
        began = last_shown = time.perf_counter()
        held_seconds = self.seconds
        validation: float | None = None
        step = logged = first
        waited_s = self._batches.wait_s
        while step < self.steps.get(phase.name, step + 1):
            if step - first == rates.TIMED_STEPS:
                timed_from = time.perf_counter()
            if step - first == 2 * rates.TIMED_STEPS and phase.name not in self.steps:
                assert phase.minutes is not None
                per_step = (time.perf_counter() - timed_from) / rates.TIMED_STEPS
                per_step = self._processes.mean([per_step])[0]
                self.steps[phase.name] = max(step + 1, round(60 * phase.minutes / per_step))
            if self._config.schedule != "plateau":
                share = {"wsd": rates.wsd, "cosine": rates.cosine}[self._config.schedule]
                stepper.set_rate(share(step, self.steps.get(phase.name)))
            elif step < rates.WARM_UP_STEPS:
                stepper.set_rate(rates.warm_up(step))
            terms = self._step(phase, step, stepper)
            average.update()
            step += 1
            self.seconds = held_seconds + time.perf_counter() - began
            wait_ms = 1000 * (self._batches.wait_s - waited_s) / (step - logged)
            if step % EPOCH_STEPS == 0:
                with average.in_place():
                    validation = self._validate(phase.bf16)
                if self._config.schedule == "plateau" and step >= rates.WARM_UP_STEPS:
                    for plateau in plateaus:
                        plateau.step(validation)
                self._log(phase.name, step, terms, stepper, validation, wait_ms)
                logged, waited_s = step, self._batches.wait_s
            if time.perf_counter() - last_shown > 0.2 or step == self.steps.get(phase.name):
                last_shown = time.perf_counter()
                speed = (step - first) * self._config.batch / (last_shown - began)
                self._show(
                    Progress(
                        phase.name,
                        step,
                        self.steps.get(phase.name),
                        terms,
                        _psnr_db(terms),
                        speed,
                        wait_ms,
                        validation,
                    )
                )
            if self._processes.any(self._wants_to_stop()):
                if phase.name in self.steps:
                    save(step)
                raise Interrupted(self._how_to_go_on(phase.name, step))
            if step % self._config.checkpoint_every == 0 and phase.name in self.steps:
                save(step)
        save(step)
        average.take_over()

    def _how_to_go_on(self, phase: str, step: int) -> str:
        if phase in self.steps:
            how = "the checkpoint is written, run the same command with --resume to go on"
        elif state_path(self._folder).exists():
            how = "run the same command with --resume to go on from the phase's start"
        else:
            how = "nothing is kept of so few: run the same command again"
        return f"stopped at step {step} of the {phase} phase; {how}"

    def _step(self, phase: Phase, step: int, stepper: Stepper) -> dict[str, float]:
        try:
            return stepper.step(step, self._batches.next(), bf16=phase.bf16)
        except NotFinite as error:
            raise HwkdError(
                f"the loss is not finite at step {step} of the {phase.name} phase, on crops of "
                f"{', '.join(self._batches.names)}; the last good checkpoint stands in "
                f"{self._folder / 'checkpoint'}: try a lower --lr"
            ) from error

    def _validate(self, bf16: bool) -> float:
        """The mean RD loss over the held-out images, of which every process takes a share."""
        self._student.eval()
        mine = self._held_out[self._processes.rank :: self._processes.count]
        losses = [
            validation_rd(self._student, x, self._config.lmbda, self._config.device, bf16=bf16)
            for x in mine
        ]
        self._student.train()
        total = self._processes.mean([sum(losses)])[0] * self._processes.count
        return total / len(self._held_out)

    def _log(
        self,
        phase: str,
        step: int,
        terms: dict[str, float],
        stepper: Stepper,
        validation: float,
        wait_ms: float,
    ) -> None:
        if not self._processes.is_first:
            return
        row: dict[str, Any] = {
            "phase": phase,
            "step": step,
            "seconds": round(self.seconds, 2),
            "wait_ms": round(wait_ms, 3),
            "megapixels": round(step * self._config.batch * self._config.crop**2 / 1e6, 2),
            "lr": stepper.optimizers[0].param_groups[0]["lr"],
            "psnr_db": round(_psnr_db(terms), 3),
            "validation_rd": round(validation, 5),
            **{name: round(value, 6) for name, value in terms.items()},
        }
        append_line(self._folder / "metrics.jsonl", json.dumps(row))

    def _state(
        self,
        phase: Phase,
        step: int,
        stepper: Stepper,
        plateaus: Sequence[torch.optim.lr_scheduler.ReduceLROnPlateau],
        average: Average,
    ) -> TrainState:
        return TrainState(
            phase=phase.name,
            step=step,
            steps=dict(self.steps),
            student=dict(self._student.state_dict()),
            projections={} if self._projections is None else dict(self._projections.state_dict()),
            average=average.state(),
            optimizers=[optimizer.state_dict() for optimizer in stepper.optimizers],
            aux_optimizer=stepper.aux_optimizer.state_dict(),
            plateaus=[plateau.state_dict() for plateau in plateaus],
            batches=self._batches.state(),
            seconds=self.seconds,
        )

    def _restore(
        self,
        state: TrainState,
        stepper: Stepper,
        plateaus: Sequence[torch.optim.lr_scheduler.ReduceLROnPlateau],
        average: Average,
    ) -> None:
        self._student.load_state_dict(state.student)
        if self._projections is not None:
            self._projections.load_state_dict(state.projections)
        average.restore(state.average)
        for optimizer, held in zip(stepper.optimizers, state.optimizers, strict=True):
            optimizer.load_state_dict(held)
        stepper.aux_optimizer.load_state_dict(state.aux_optimizer)
        for plateau, held in zip(plateaus, state.plateaus, strict=True):
            plateau.load_state_dict(held)
        self._batches.restore(state.batches)
        self.steps = {**state.steps, **self.steps}
        self.seconds = state.seconds


def _psnr_db(terms: dict[str, float]) -> float:
    return -10 * math.log10(max(terms["mse"], 1e-12))
