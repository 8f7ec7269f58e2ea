"""The training loop: one phase at a time, bit-reproducible on a CPU, interrupted and resumed at will."""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hwkd.distill.checkpoint import TrainState, state_path, write_state
from hwkd.distill.config import RunConfig
from hwkd.distill.losses import LossTerms, Projections, bits_per_pixel, loss_terms
from hwkd.distill.teaching import Batches
from hwkd.errors import HwkdError
from hwkd.files import append_line
from hwkd.models.base import HyperpriorCodec

WARM_UP_STEPS = 200
LAST_RATE = 0.01
GRADIENT_NORM = 1.0
AUX_RATE = 1e-3
AUX_EVERY = 5
"""The quantiles move slowly: their own optimizer steps at every fifth step."""
TIMED_STEPS = 25
"""Steps that are timed, after as many untimed ones, before `--minutes` is turned into a number of steps."""
EPOCH_STEPS = 200
"""Steps from one validation to the next. Not how often checkpoints are written: that may change on resume."""
PLATEAU_PATIENCE = 10


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
    """What a progress bar shows; the loss terms are of the last step, `validation` an RD loss."""

    phase: str
    step: int
    steps: int | None
    terms: dict[str, float]
    psnr_db: float
    images_per_s: float
    validation: float | None


class Interrupted(HwkdError):
    """The user stopped the run; its checkpoint stands."""

    exit_code = 130


class Loop:
    """Trains `student` through one phase after another and keeps `folder` resumable.

    Writes folder/checkpoint/state.pt and appends to folder/metrics.jsonl.
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
    ) -> None:
        self._config, self._folder = config, folder
        self._student, self._projections = student, projections
        self._batches, self._held_out = batches, held_out
        self._show, self._wants_to_stop = show, wants_to_stop
        self.steps: dict[str, int] = {}
        self.seconds = 0.0

    def run(self, phase: Phase, resumed: TrainState | None) -> None:
        """Train through `phase`, from its start or from `resumed`, a state of this phase.

        Raises:
            Interrupted: the user asked to stop; the state is written.
            HwkdError: the loss is not finite.
        """
        optimizer, aux_optimizer = self._optimizers(phase.lr)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, factor=0.5, patience=PLATEAU_PATIENCE
        )
        first = 0
        if resumed is not None:
            self._restore(resumed, optimizer, aux_optimizer, plateau)
            first = resumed.step
        if phase.steps is not None:
            self.steps[phase.name] = phase.steps

        def save(step: int) -> None:
            state = self._state(phase, step, optimizer, aux_optimizer, plateau)
            write_state(self._folder, state)

        self._student.train()
        began = last_shown = time.perf_counter()
        held_seconds = self.seconds
        validation: float | None = None
        step = first
        while step < self.steps.get(phase.name, step + 1):
            if step - first == TIMED_STEPS:
                timed_from = time.perf_counter()
            if step - first == 2 * TIMED_STEPS and phase.name not in self.steps:
                assert phase.minutes is not None
                per_step = (time.perf_counter() - timed_from) / TIMED_STEPS
                self.steps[phase.name] = max(step + 1, round(60 * phase.minutes / per_step))
            if self._config.schedule == "cosine":
                self._set_rate(optimizer, phase.lr * self._cosine(phase.name, step))
            else:
                self._warm_up(optimizer, phase.lr, step)
            terms = self._step(phase, step, optimizer, aux_optimizer)
            step += 1
            self.seconds = held_seconds + time.perf_counter() - began
            if step % EPOCH_STEPS == 0:
                validation = self._validate(phase.bf16)
                if self._config.schedule == "plateau" and step >= WARM_UP_STEPS:
                    plateau.step(validation)
                self._log(phase.name, step, terms, optimizer, validation)
            if time.perf_counter() - last_shown > 0.2 or step == self.steps.get(phase.name):
                last_shown = time.perf_counter()
                speed = (step - first) * self._config.batch / (last_shown - began)
                self._show(self._progress(phase.name, step, terms, speed, validation))
            if self._wants_to_stop():
                if phase.name in self.steps:
                    save(step)
                raise Interrupted(self._how_to_go_on(phase.name, step))
            if step % self._config.checkpoint_every == 0 and phase.name in self.steps:
                save(step)
        save(step)

    def _how_to_go_on(self, phase: str, step: int) -> str:
        if phase in self.steps:
            how = "the checkpoint is written, run the same command with --resume to go on"
        elif state_path(self._folder).exists():
            how = "run the same command with --resume to go on from the phase's start"
        else:
            how = "nothing is kept of so few: run the same command again"
        return f"stopped at step {step} of the {phase} phase; {how}"

    def _step(
        self,
        phase: Phase,
        step: int,
        optimizer: torch.optim.Optimizer,
        aux_optimizer: torch.optim.Optimizer,
    ) -> LossTerms:
        x, targets = self._batches.next()
        output = self._student(x, bf16=phase.bf16)
        terms = loss_terms(
            output, x, self._config.lmbda, self._config.loss, targets, self._projections
        )
        if not math.isfinite(terms.total.item()):
            raise HwkdError(
                f"the loss is not finite at step {step} of the {phase.name} phase, on crops of "
                f"{', '.join(self._batches.names)}; the last good checkpoint stands in "
                f"{self._folder / 'checkpoint'}: try a lower --lr"
            )
        optimizer.zero_grad(set_to_none=True)
        terms.total.backward()
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, GRADIENT_NORM)
        optimizer.step()
        if step % AUX_EVERY == 0:
            self._step_quantiles(aux_optimizer)
        return terms

    def _step_quantiles(self, aux_optimizer: torch.optim.Optimizer) -> None:
        """Move the outer quantiles; the median keeps its place, so that z_hat - median stays an integer.

        The students' medians are whole numbers from the start (hwkd/quantize/brevitas_qat.py `round_medians`): an
        integer h_s reads the symbols themselves.
        """
        aux_optimizer.zero_grad(set_to_none=True)
        self._student.aux_loss().backward()
        quantiles = self._student.entropy_bottleneck.quantiles
        assert quantiles.grad is not None
        quantiles.grad[:, :, 1] = 0
        aux_optimizer.step()

    def _optimizers(self, lr: float) -> tuple[torch.optim.Adam, torch.optim.Adam]:
        named = dict(self._student.named_parameters())
        if self._projections is not None:
            named |= {f"projections.{n}": p for n, p in self._projections.named_parameters()}
        main = [p for n, p in sorted(named.items()) if not n.endswith("quantiles")]
        aux = [p for n, p in sorted(named.items()) if n.endswith("quantiles")]
        trainable = [p for p in main if p.requires_grad]
        return torch.optim.Adam(trainable, lr, fused=True), torch.optim.Adam(
            aux, AUX_RATE, fused=True
        )

    def _cosine(self, phase: str, step: int) -> float:
        """The share of the peak rate: linear warm-up, and half a cosine down to LAST_RATE.

        The cosine starts when a run by minutes knows its length, in a run by steps too: the one repeats the other.
        """
        done = step / self.steps[phase] if step >= 2 * TIMED_STEPS else 0.0
        fall = LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
        return min(1.0, (step + 1) / WARM_UP_STEPS) * fall

    def _warm_up(self, optimizer: torch.optim.Optimizer, lr: float, step: int) -> None:
        if step < WARM_UP_STEPS:
            self._set_rate(optimizer, lr * (step + 1) / WARM_UP_STEPS)

    @staticmethod
    def _set_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
        for group in optimizer.param_groups:
            group["lr"] = lr

    @torch.no_grad()
    def _validate(self, bf16: bool) -> float:
        """Mean RD loss over the held-out images, rounded latents, estimated rate."""
        self._student.eval()
        losses = []
        for x in self._held_out:
            output = self._student(x.to(self._config.device), bf16=bf16)
            bpp = bits_per_pixel(output, x.shape[2] * x.shape[3]).item()
            mse = nn.functional.mse_loss(output.x_hat.cpu().clamp(0, 1), x).item()
            losses.append(bpp + self._config.lmbda * 255**2 * mse)
        self._student.train()
        return sum(losses) / len(losses)

    def _progress(
        self, phase: str, step: int, terms: LossTerms, speed: float, validation: float | None
    ) -> Progress:
        return Progress(
            phase, step, self.steps.get(phase), _plain(terms), _psnr_db(terms), speed, validation
        )

    def _log(
        self,
        phase: str,
        step: int,
        terms: LossTerms,
        optimizer: torch.optim.Optimizer,
        validation: float,
    ) -> None:
        row: dict[str, Any] = {
            "phase": phase,
            "step": step,
            "seconds": round(self.seconds, 2),
            "lr": optimizer.param_groups[0]["lr"],
            "psnr_db": round(_psnr_db(terms), 3),
            "validation_rd": round(validation, 5),
            **{name: round(value, 6) for name, value in _plain(terms).items()},
        }
        append_line(self._folder / "metrics.jsonl", json.dumps(row))

    def _state(
        self,
        phase: Phase,
        step: int,
        optimizer: torch.optim.Optimizer,
        aux_optimizer: torch.optim.Optimizer,
        plateau: torch.optim.lr_scheduler.ReduceLROnPlateau,
    ) -> TrainState:
        return TrainState(
            phase=phase.name,
            step=step,
            steps=dict(self.steps),
            student=dict(self._student.state_dict()),
            projections={} if self._projections is None else dict(self._projections.state_dict()),
            optimizer=optimizer.state_dict(),
            aux_optimizer=aux_optimizer.state_dict(),
            plateau=plateau.state_dict(),
            torch_rng=torch.get_rng_state(),
            crops=self._batches.state(),
            seconds=self.seconds,
        )

    def _restore(
        self,
        state: TrainState,
        optimizer: torch.optim.Optimizer,
        aux_optimizer: torch.optim.Optimizer,
        plateau: torch.optim.lr_scheduler.ReduceLROnPlateau,
    ) -> None:
        self._student.load_state_dict(state.student)
        if self._projections is not None:
            self._projections.load_state_dict(state.projections)
        optimizer.load_state_dict(state.optimizer)
        aux_optimizer.load_state_dict(state.aux_optimizer)
        plateau.load_state_dict(state.plateau)
        torch.set_rng_state(state.torch_rng)
        self._batches.restore(state.crops)
        self.steps = dict(state.steps)
        self.seconds = state.seconds


def _plain(terms: LossTerms) -> dict[str, float]:
    names = ("total", "rd", "bpp", "mse", "latent", "hyper", "output")
    values = {name: getattr(terms, name) for name in names}
    return {name: value.item() for name, value in values.items() if value is not None}


def _psnr_db(terms: LossTerms) -> float:
    return -10 * math.log10(max(terms.mse.item(), 1e-12))
