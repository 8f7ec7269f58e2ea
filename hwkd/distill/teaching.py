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
        xs: list[Tensor] = []
        targets: list[Targets] = []
        names: list[str] = []
        while len(names) < pool:
            x, of_x = live.next()
            xs.append(x)
            names += live.names
            if of_x is not None:
                targets.append(of_x)
        self._x = torch.cat(xs)
        self._targets: Targets | None = None
        if targets:
            self._targets = Targets(
                torch.cat([t.y_hat for t in targets]),
                torch.cat([t.z_hat for t in targets]),
                torch.cat([t.x_hat for t in targets]),
            )
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
