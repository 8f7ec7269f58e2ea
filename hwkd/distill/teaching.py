"""What the teachers say about a batch: computed without gradients, once per batch, or once for a pool of crops."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from hwkd.distill.data import Crops
from hwkd.distill.losses import Targets
from hwkd.models.base import HyperpriorCodec


class Teaching:
    """One teacher, or two: in the paper's hybrid the second one gives z_hat."""

    def __init__(self, teacher: HyperpriorCodec, second: HyperpriorCodec | None) -> None:
        self.teacher, self.second = teacher, second

    @torch.no_grad()
    def targets(self, x: Tensor, *, bf16: bool) -> Targets:
        """y_hat and x_hat of the teacher, z_hat of the second one if there is one, for x [B, 3, H, W]."""
        output = self.teacher(x, bf16=bf16)
        z_hat = output.z_hat if self.second is None else self.second(x, bf16=bf16).z_hat
        return Targets(output.y_hat, z_hat, output.x_hat)


class LiveBatches:
    """New crops at every step, with the teachers' word on each."""

    def __init__(
        self, crops: Crops, teaching: Teaching | None, batch: int, device: str, *, bf16: bool
    ) -> None:
        self._crops, self._teaching, self._batch = crops, teaching, batch
        self._device, self._bf16 = device, bf16

    def next(self) -> tuple[Tensor, Targets | None]:
        """The next batch and its targets."""
        x = self._crops.batch(self._batch).to(self._device)
        return x, None if self._teaching is None else self._teaching.targets(x, bf16=self._bf16)

    @property
    def names(self) -> tuple[str, ...]:
        """The files of the last batch."""
        return self._crops.last_names

    def state(self) -> dict[str, Any]:
        """Where the crops stand."""
        return self._crops.state()

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        self._crops.restore(state)


class PooledBatches:
    """A fixed pool of crops whose targets were computed once: no teacher runs while the student trains."""

    def __init__(self, live: LiveBatches, pool: int, batch: int, seed: int) -> None:
        names: list[str] = []
        self._x = torch.empty(0)
        self._targets: Targets | None = None
        while (at := len(names)) < pool:
            x, of_x = live.next()
            if not names:
                self._x = _room(x, pool)
                self._targets = of_x and Targets(
                    _room(of_x.y_hat, pool), _room(of_x.z_hat, pool), _room(of_x.x_hat, pool)
                )
            names += live.names[: pool - at]
            _fill(self._x, x, at)
            if self._targets is not None and of_x is not None:
                _fill(self._targets.y_hat, of_x.y_hat, at)
                _fill(self._targets.z_hat, of_x.z_hat, at)
                _fill(self._targets.x_hat, of_x.x_hat, at)
        self._names, self._batch = names, batch
        self._rng = np.random.default_rng(seed)
        self.names: tuple[str, ...] = ()

    def next(self) -> tuple[Tensor, Targets | None]:
        """A batch drawn from the pool without repeats, and its targets."""
        places = self._rng.choice(len(self._names), self._batch, replace=False)
        self.names = tuple(self._names[i] for i in places)
        of = torch.from_numpy(places)
        t = self._targets
        if t is None:
            return self._x[of], None
        return self._x[of], Targets(t.y_hat[of], t.z_hat[of], t.x_hat[of])

    def state(self) -> dict[str, Any]:
        """Where the draws stand; the pool itself is made anew from the seed."""
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
