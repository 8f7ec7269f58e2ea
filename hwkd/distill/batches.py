"""The teachers' outputs on a batch: computed without gradients, once per batch, or once for a pool of crops."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hwkd.distill.data import CropSource
from hwkd.distill.distributed import ALONE, Processes
from hwkd.distill.losses import Targets, drawn
from hwkd.models.base import HyperpriorCodec


class Teaching:
    """One teacher, or two: in the paper's hybrid the second one gives z_hat."""

    def __init__(self, teacher: HyperpriorCodec, second: HyperpriorCodec | None) -> None:
        self.teacher, self.second = teacher, second

    @torch.no_grad()
    def targets(self, x: Tensor, lmbda: Tensor | None, *, bf16: bool) -> Targets:
        """y_hat and x_hat of the teacher, z_hat of the second one if there is one, for x [B, 3, H, W].

        Args:
            lmbda: [B], one for each image. A teacher of one rate ignores it.
        """
        output = self.teacher(x, bf16=bf16, lmbda=lmbda)
        z_hat = (
            output.z_hat if self.second is None else self.second(x, bf16=bf16, lmbda=lmbda).z_hat
        )
        return Targets(output.y_hat, z_hat, output.x_hat)


@dataclass(frozen=True)
class Part:
    """A part of a batch that passes through the networks at once: `of` equal parts make this process's share.

    Attributes:
        x: [B, 3, H, W] in [0, 1].
        targets: None where no term of the loss needs them.
        rows: places in the whole batch.
        lmbda: [B], one for each crop; None for a student of one rate.
    """

    x: Tensor
    targets: Targets | None
    rows: range
    of: int
    lmbda: Tensor | None = None


class LiveBatches:
    """New crops at every step, with the teachers' outputs on each.

    Attributes:
        batch: the batch of all processes together.
        lmbda_key: random key of each crop's lambda (hwkd/distill/losses.py); None for a student of one rate.
        wait_s: seconds spent waiting for crops so far.
    """

    def __init__(
        self,
        crops: CropSource,
        teaching: Teaching | None,
        batch: int,
        device: str,
        *,
        bf16: bool,
        processes: Processes = ALONE,
        accumulate: int = 1,
        lmbda_key: tuple[int, ...] | None = None,
    ) -> None:
        self._crops, self._teaching, self._batch = crops, teaching, batch
        self._device, self._bf16 = device, bf16
        self._rows, self._accumulate = processes.rows(batch), accumulate
        self._lmbda_key, self._drawn = lmbda_key, 0
        self.wait_s = 0.0

    def next(self) -> Iterator[Part]:
        """This process's share of the next batch, part by part."""
        began = time.perf_counter()
        x = self._crops.batch(self._batch, self._rows)
        self.wait_s += time.perf_counter() - began
        self._drawn += 1
        return self._parts(x, self._drawn)

    def _parts(self, crops: Tensor, number: int) -> Iterator[Part]:
        for places in _equal_parts(len(self._rows), self._accumulate):
            x = crops[places.start : places.stop].to(self._device)
            rows = self._rows[places.start : places.stop]
            lmbda = None
            if self._lmbda_key is not None:
                lmbda = drawn(self._lmbda_key, number, rows).to(self._device)
            targets = None
            if self._teaching is not None:
                targets = self._teaching.targets(x, lmbda, bf16=self._bf16)
            yield Part(x, targets, rows, self._accumulate, lmbda)

    @property
    def names(self) -> tuple[str, ...]:
        """The files of this process's share of the last batch."""
        return self._crops.last_names

    def state(self) -> dict[str, Any]:
        """The state of the crops, and the number of batches so far."""
        return {"crops": self._crops.state(), "drawn": self._drawn}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        self._crops.restore(state["crops"])
        self._drawn = state["drawn"]


class PooledBatches:
    """A fixed pool of crops, each at one lambda, with targets that were computed once: no teacher runs while the student
    trains.

    Each process holds the whole pool, so a batch does not depend on the number of processes.
    """

    def __init__(
        self,
        crops: CropSource,
        teaching: Teaching | None,
        batch: int,
        device: str,
        *,
        bf16: bool,
        pool: int,
        seed: int,
        processes: Processes = ALONE,
        accumulate: int = 1,
        lmbda_key: tuple[int, ...] | None = None,
    ) -> None:
        live = LiveBatches(crops, teaching, batch, device, bf16=bf16, lmbda_key=lmbda_key)
        names: list[str] = []
        self._x = torch.empty(0)
        self._lmbda: Tensor | None = None
        self._targets: Targets | None = None
        while (at := len(names)) < pool:
            (part,) = live.next()
            if not names:
                self._x = _room(part.x, pool)
                self._lmbda = None if part.lmbda is None else _room(part.lmbda, pool)
                self._targets = part.targets and Targets(
                    *(_room(of, pool) for of in _latents(part.targets))
                )
            names += live.names[: pool - at]
            _fill(self._x, part.x, at)
            if self._lmbda is not None and part.lmbda is not None:
                _fill(self._lmbda, part.lmbda, at)
            if self._targets is not None and part.targets is not None:
                for of_pool, of_part in zip(
                    _latents(self._targets), _latents(part.targets), strict=True
                ):
                    _fill(of_pool, of_part, at)
        self._names, self._batch, self._accumulate = names, batch, accumulate
        self._rows = processes.rows(batch)
        self._rng = np.random.default_rng(seed)
        self.names: tuple[str, ...] = ()
        self.wait_s = 0.0

    def next(self) -> Iterator[Part]:
        """This process's share of a batch that is drawn from the pool without repeats, part by part."""
        drawn = self._rng.choice(len(self._names), self._batch, replace=False)
        mine = drawn[self._rows.start : self._rows.stop]
        self.names = tuple(self._names[i] for i in mine)
        return self._parts(torch.from_numpy(mine))

    def _parts(self, mine: Tensor) -> Iterator[Part]:
        for places in _equal_parts(len(mine), self._accumulate):
            of = mine[places.start : places.stop]
            t = self._targets
            targets = None if t is None else Targets(t.y_hat[of], t.z_hat[of], t.x_hat[of])
            rows = self._rows[places.start : places.stop]
            lmbda = None if self._lmbda is None else self._lmbda[of]
            yield Part(self._x[of], targets, rows, self._accumulate, lmbda)

    def start_over(self, seed: int) -> None:
        """Draw from the same pool anew, as one made with this seed would."""
        self._rng = np.random.default_rng(seed)

    def state(self) -> dict[str, Any]:
        """The state of the random draws. The pool itself is made anew from the seed."""
        return dict(self._rng.bit_generator.state)

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        self._rng.bit_generator.state = state


Batches = LiveBatches | PooledBatches


def _room(like: Tensor, count: int) -> Tensor:
    """Memory for `count` rows as those of `like`, taken once: gathered in a list first, a pool takes twice as much."""
    form = torch.channels_last if like.ndim == 4 else torch.contiguous_format
    return torch.empty(
        (count, *like.shape[1:]), dtype=like.dtype, device=like.device, memory_format=form
    )


def _fill(pool: Tensor, rows: Tensor, at: int) -> None:
    """Put `rows` into `pool` from row `at` on; those beyond its end are left out."""
    here = pool[at : at + len(rows)]
    here.copy_(rows[: len(here)])


def _latents(targets: Targets) -> tuple[Tensor, Tensor, Tensor]:
    return targets.y_hat, targets.z_hat, targets.x_hat


def _equal_parts(count: int, parts: int) -> Iterator[range]:
    """0 to `count` in `parts` ranges of one size."""
    each = count // parts
    return (range(k * each, (k + 1) * each) for k in range(parts))
