"""The training loop, its step and its rates: one phase at a time, bit-reproducible on a CPU, interrupted and resumed at will."""

import json
import math
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from hwkd.distill.batches import Batches, Part
from hwkd.distill.config import RunConfig
from hwkd.distill.distributed import ALONE, Processes
from hwkd.distill.losses import (
    LossTerms,
    LossWeights,
    Projections,
    Targets,
    loss_terms,
    validation_rd,
)
from hwkd.distill.optimizers import Average, optimizers
from hwkd.distill.run_folder import TrainState, state_path, write_state
from hwkd.errors import HwkdError, Interrupted
from hwkd.files import append_line
from hwkd.models.base import HyperpriorCodec, RowNoise

# One step of training: a batch, in one part or several, in one process or several, to one move of the weights.

GRADIENT_NORM = 1.0
AUX_RATE = 1e-3
AUX_EVERY = 5
"""The quantiles move slowly: their own optimizer steps at every fifth step."""

TERMS = ("total", "rd", "bpp", "mse", "latent", "hyper", "output")


class NotFinite(Exception):
    """The loss of a step is not finite; no weight has moved."""


class _Taught(nn.Module):
    """The student and its projections with the loss on top: what DistributedDataParallel wants as one module."""

    def __init__(
        self,
        student: HyperpriorCodec,
        projections: Projections | None,
        lmbda: float | None,
        loss: LossWeights,
    ) -> None:
        super().__init__()
        self.student, self.projections = student, projections
        self.lmbda, self.loss = lmbda, loss

    def forward(
        self,
        x: Tensor,
        lmbda: Tensor | None,
        targets: Targets | None,
        noise: RowNoise,
        bf16: bool,
    ) -> LossTerms:
        output = self.student(x, bf16=bf16, noise=noise, lmbda=lmbda)
        of_loss = self.lmbda if lmbda is None else lmbda
        assert of_loss is not None  # a run of one rate has it, one of all rates has each crop's
        return loss_terms(output, x, of_loss, self.loss, targets, self.projections)


class Stepper:
    """Trains `student` step by step, the gradient's norm clipped to GRADIENT_NORM.

    Every process of `processes` makes its own, and steps with the others: the gradients are averaged by
    DistributedDataParallel. A batch's gradient is the same whatever the number of processes and parts, but for the
    order of float sums: each row has its own noise (hwkd/models/base.py), and parts are of equal size.

    Attributes:
        lmbda: None where each crop has its own.
        lr: Adam's peak rate.
        key: random key of the noise: the run's seed and the phase.
        optimizer: one of hwkd.distill.optimizers.OPTIMIZERS.
        bf16: run the optimizer's matrix products in bfloat16.
    """

    def __init__(
        self,
        student: HyperpriorCodec,
        projections: Projections | None,
        *,
        lmbda: float | None,
        loss: LossWeights,
        lr: float,
        key: tuple[int, ...],
        processes: Processes = ALONE,
        optimizer: str = "adam",
        bf16: bool = False,
    ) -> None:
        self._student, self._key, self._processes = student, key, processes
        taught = _Taught(student, projections, lmbda, loss)
        named = sorted(taught.named_parameters())
        aux = [p for name, p in named if name.endswith("quantiles")]
        main = {name: p for name, p in named if p.requires_grad and not name.endswith("quantiles")}
        self.optimizers = optimizers(main, optimizer, lr, bf16=bf16)
        self._peaks = [of.param_groups[0]["lr"] for of in self.optimizers]
        self.aux_optimizer = torch.optim.Adam(aux, AUX_RATE, fused=True)
        self._taught: _Taught | DistributedDataParallel = taught
        if processes.count > 1:
            # The quantiles take no part in the loss: their gradient is the same everywhere, and DDP must not wait for it.
            for parameter in aux:
                parameter.requires_grad_(False)
            with warnings.catch_warnings():
                # Newer versions of torch have another name for it, which older ones do not know.
                warnings.simplefilter("ignore", FutureWarning)
                self._taught = DistributedDataParallel(taught, broadcast_buffers=False)
            # A 1x1 convolution's gradient has the strides of either memory format; the copy this costs is small.
            warnings.filterwarnings("ignore", "Grad strides do not match bucket view", UserWarning)
            for parameter in aux:
                parameter.requires_grad_(True)

    def set_rate(self, share: float) -> None:
        """The rate of the next steps, as a share of the peak rate."""
        for peak, optimizer in zip(self._peaks, self.optimizers, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = share * peak

    def step(self, number: int, parts: Iterable[Part], *, bf16: bool) -> dict[str, float]:
        """Step `number` on this process's share of a batch; the loss and its terms, those that are on, over all of it.

        Raises:
            NotFinite: the loss is not; in every process at once.
        """
        terms = self.gradients(number, parts, bf16=bf16)
        groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]
        parameters = [p for group in groups for p in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, GRADIENT_NORM)
        for optimizer in self.optimizers:
            optimizer.step()
        if number % AUX_EVERY == 0:
            self._step_quantiles()
        return terms

    def gradients(self, number: int, parts: Iterable[Part], *, bf16: bool) -> dict[str, float]:
        """As `step`, without moving a weight: the gradients of the whole batch are left in the parameters."""
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        found: list[dict[str, float]] = []
        for part in parts:
            is_last = part.of == len(found) + 1
            noise = RowNoise(self._key, number, part.rows)
            with nullcontext() if is_last else self._without_exchange():
                terms = cast(LossTerms, self._taught(part.x, part.lmbda, part.targets, noise, bf16))
                found.append(self._over_processes(terms))
                if not math.isfinite(found[-1]["total"]):
                    raise NotFinite
                (terms.total / part.of).backward()
        return {name: sum(one[name] for one in found) / len(found) for name in found[0]}

    def _without_exchange(self) -> "nullcontext[None]":
        if isinstance(self._taught, DistributedDataParallel):
            return cast("nullcontext[None]", self._taught.no_sync())
        return nullcontext()

    def _over_processes(self, terms: LossTerms) -> dict[str, float]:
        held = {name: getattr(terms, name) for name in TERMS}
        values = {name: value.item() for name, value in held.items() if value is not None}
        return dict(zip(values, self._processes.mean(list(values.values())), strict=True))

    def _step_quantiles(self) -> None:
        """Move the outer quantiles; the median keeps its place, so that z_hat - median stays an integer.

        The students' medians are whole numbers from the start (hwkd/quantize/qat.py `round_medians`): an
        integer h_s reads the symbols themselves.
        """
        self.aux_optimizer.zero_grad(set_to_none=True)
        self._student.aux_loss().backward()
        quantiles = self._student.entropy_bottleneck.quantiles
        assert quantiles.grad is not None
        quantiles.grad[:, :, 1] = 0
        self.aux_optimizer.step()


# The training loop: one phase at a time, bit-reproducible on a CPU, interrupted and resumed at will.

EPOCH_STEPS = 200
"""Steps from one validation to the next. Not how often checkpoints are written: that may change on resume."""
PLATEAU_PATIENCE = 10
PHASES = ("float", "qat")


@dataclass(frozen=True)
class Phase:
    """One phase of a run.

    Attributes:
        steps: None where the time decides.
        bf16: run the convolutions under autocast.
    """

    name: str
    steps: int | None
    minutes: float | None
    lr: float
    bf16: bool


@dataclass(frozen=True)
class TrainProgress:
    """The values of a progress bar. The loss terms are of the last step; `validation` is an RD loss.

    Attributes:
        wait_ms: time that a step waits for its crops, on average since the last row of the log.
    """

    phase: str
    step: int
    steps: int | None
    terms: dict[str, float]
    psnr_db: float
    images_per_s: float
    wait_ms: float
    validation: float | None


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
        show: Callable[[TrainProgress], None],
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
        """Train through `phase`, from its start or from `resumed`, a state of this phase. The student then has the average of
        its weights.

        Raises:
            Interrupted: the user stopped the run; the state is written.
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
            if step - first == TIMED_STEPS:
                timed_from = time.perf_counter()
            if step - first == 2 * TIMED_STEPS and phase.name not in self.steps:
                assert phase.minutes is not None
                per_step = (time.perf_counter() - timed_from) / TIMED_STEPS
                per_step = self._processes.mean([per_step])[0]
                # Not so few that the fall of wsd would have begun before.
                least = math.ceil(2 * TIMED_STEPS / (1 - DECAY_SHARE))
                self.steps[phase.name] = max(least, round(60 * phase.minutes / per_step))
            if self._config.schedule != "plateau":
                share = {"wsd": wsd, "cosine": cosine}[self._config.schedule]
                stepper.set_rate(share(step, self.steps.get(phase.name)))
            elif step < WARM_UP_STEPS:
                stepper.set_rate(warm_up(step))
            terms = self._step(phase, step, stepper)
            average.update()
            step += 1
            self.seconds = held_seconds + time.perf_counter() - began
            wait_ms = 1000 * (self._batches.wait_s - waited_s) / (step - logged)
            if step % EPOCH_STEPS == 0:
                with average.in_place():
                    validation = self._validate(phase.bf16)
                if self._config.schedule == "plateau" and step >= WARM_UP_STEPS:
                    for plateau in plateaus:
                        plateau.step(validation)
                self._log(phase.name, step, terms, stepper, validation, wait_ms)
                logged, waited_s = step, self._batches.wait_s
            if time.perf_counter() - last_shown > 0.2 or step == self.steps.get(phase.name):
                last_shown = time.perf_counter()
                speed = (step - first) * self._config.batch / (last_shown - began)
                self._show(
                    TrainProgress(
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


# The learning rate of a step: a linear warm-up, then constant and a linear fall, half a cosine, or the paper's plateau.

WARM_UP_STEPS = 200
LAST_RATE = 0.01
DECAY_SHARE = 0.35
"""Share of a phase of the schedule wsd, at its end, in which the rate falls."""
TIMED_STEPS = 25
"""Steps that are timed, after as many untimed ones, before `--minutes` is turned into a number of steps."""


def warm_up(step: int) -> float:
    """The share of the peak rate in the linear warm-up; 1 after it."""
    return min(1.0, (step + 1) / WARM_UP_STEPS)


def wsd(step: int, steps: int | None) -> float:
    """The share of the peak rate at `step` of `steps`: linear warm-up, constant, a linear fall to LAST_RATE at the end.

    Until the fall nothing depends on how many steps there will be, so that a run can be made longer (warm-up, stable,
    decay: S. Hu et al., arXiv 2404.06395, section 4).

    Args:
        steps: None while the length is not known.
    """
    left = 1.0 if steps is None else (steps - step) / (DECAY_SHARE * steps)
    return warm_up(step) * max(LAST_RATE, min(1.0, left))


def cosine(step: int, steps: int | None) -> float:
    """The share of the peak rate at `step` of `steps`: linear warm-up, and half a cosine down to LAST_RATE.

    The cosine starts when a run by minutes knows its length, in a run by steps too: the one repeats the other.

    Args:
        steps: None while the length is not known.
    """
    done = step / steps if steps is not None and step >= 2 * TIMED_STEPS else 0.0
    fall = LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    return warm_up(step) * fall
