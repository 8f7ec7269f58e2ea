"""One step of training: a batch, in one part or several, in one process or several, to one move of the weights."""

import math
import warnings
from collections.abc import Iterable
from contextlib import nullcontext
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from hwkd.distill.losses import LossTerms, LossWeights, Projections, Targets, loss_terms
from hwkd.distill.processes import ALONE, Processes
from hwkd.distill.teaching import Part
from hwkd.models.base import HyperpriorCodec
from hwkd.models.noise import RowNoise

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
        lmbda: float,
        loss: LossWeights,
    ) -> None:
        super().__init__()
        self.student, self.projections = student, projections
        self.lmbda, self.loss = lmbda, loss

    def forward(self, x: Tensor, targets: Targets | None, noise: RowNoise, bf16: bool) -> LossTerms:
        output = self.student(x, bf16=bf16, noise=noise)
        return loss_terms(output, x, self.lmbda, self.loss, targets, self.projections)


class Stepper:
    """Trains `student` step by step with Adam, the gradient's norm clipped to GRADIENT_NORM.

    Every process of `processes` makes its own, and steps with the others: the gradients are averaged by
    DistributedDataParallel. A batch's gradient is the same whatever the number of processes and parts, but for the
    order of float sums: each row has its own noise (hwkd/models/noise.py), and parts are of equal size.

    key: of the noise, the run's seed and the phase.
    """

    def __init__(
        self,
        student: HyperpriorCodec,
        projections: Projections | None,
        *,
        lmbda: float,
        loss: LossWeights,
        lr: float,
        key: tuple[int, ...],
        processes: Processes = ALONE,
    ) -> None:
        self._student, self._key, self._processes = student, key, processes
        taught = _Taught(student, projections, lmbda, loss)
        named = sorted(taught.named_parameters())
        aux = [p for name, p in named if name.endswith("quantiles")]
        main = [p for name, p in named if p.requires_grad and not name.endswith("quantiles")]
        self.optimizer = torch.optim.Adam(main, lr, fused=True)
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

    def set_rate(self, lr: float) -> None:
        """The rate of the next steps."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr

    def step(self, number: int, parts: Iterable[Part], *, bf16: bool) -> dict[str, float]:
        """Step `number` on this process's share of a batch; the loss and its terms, those that are on, over all of it.

        Raises:
            NotFinite: the loss is not; in every process at once.
        """
        terms = self.gradients(number, parts, bf16=bf16)
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, GRADIENT_NORM)
        self.optimizer.step()
        if number % AUX_EVERY == 0:
            self._step_quantiles()
        return terms

    def gradients(self, number: int, parts: Iterable[Part], *, bf16: bool) -> dict[str, float]:
        """As `step`, without moving a weight: the gradients of the whole batch are left in the parameters."""
        self.optimizer.zero_grad(set_to_none=True)
        found: list[dict[str, float]] = []
        for part in parts:
            is_last = part.of == len(found) + 1
            noise = RowNoise(self._key, number, part.rows)
            with nullcontext() if is_last else self._without_exchange():
                terms = cast(LossTerms, self._taught(part.x, part.targets, noise, bf16))
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

        The students' medians are whole numbers from the start (hwkd/quantize/brevitas_qat.py `round_medians`): an
        integer h_s reads the symbols themselves.
        """
        self.aux_optimizer.zero_grad(set_to_none=True)
        self._student.aux_loss().backward()
        quantiles = self._student.entropy_bottleneck.quantiles
        assert quantiles.grad is not None
        quantiles.grad[:, :, 1] = 0
        self.aux_optimizer.step()
