"""One step of training: a batch, in one part or several, in one process or several, to one move of the weights."""

import math
import warnings
from collections.abc import Iterable
from contextlib import nullcontext
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from hwkd.distill.batches import Part
from hwkd.distill.distributed import ALONE, Processes
from hwkd.distill.losses import LossTerms, LossWeights, Projections, Targets, loss_terms
from hwkd.distill.optimizers import optimizers
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
    order of float sums: each row has its own noise (hwkd/models/noise.py), and parts are of equal size.

    lmbda: None where each crop has its own. lr: Adam's peak rate. key: of the noise, the run's seed and the phase.
    optimizer: of hwkd.distill.optimizers.OPTIMIZERS; bf16: its matrix products.
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

        The students' medians are whole numbers from the start (hwkd/quantize/brevitas_qat.py `round_medians`): an
        integer h_s reads the symbols themselves.
        """
        self.aux_optimizer.zero_grad(set_to_none=True)
        self._student.aux_loss().backward()
        quantiles = self._student.entropy_bottleneck.quantiles
        assert quantiles.grad is not None
        quantiles.grad[:, :, 1] = 0
        self.aux_optimizer.step()
