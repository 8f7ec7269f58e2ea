"""Random crops of images that are read when their turn comes: a source of batches for data larger than memory."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hwkd.distill.stream_decoding import Decoded, decode
from hwkd.distill.stream_entries import Entry
from hwkd.distill.stream_order import VISITS, Lanes
from hwkd.distill.stream_tasks import Tasks
from hwkd.distill.stream_workers import decoded
from hwkd.image_pixels import Pixels
from hwkd.images import BrokenImage


@dataclass(frozen=True)
class _Held:
    """The image that a lane stays with. crops: [visits, crop, crop, 3] uint8, from visit `first` on."""

    name: str
    first: int
    crops: Pixels


class StreamedCrops:
    """A `CropSource`: each image once an epoch, in an order that the seed gives, `visits` crops of each.

    The order depends neither on the number of workers nor on the rows that are asked for. A damaged image is replaced
    by the next one of its epoch that can be read. Held are the crops of one image for each row, in bytes: with 8
    visits twice as much as the batch itself, which is of floats.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        crop: int,
        seed: int,
        damaged: dict[int, str],
        *,
        visits: int = VISITS,
        workers: int = 0,
    ) -> None:
        """Nothing is read before the first batch.

        Args:
            crop: its side in pixels; no entry has a smaller one.
            damaged: what is known of images that cannot be read, by their place in `entries`; added to.
            workers: processes that decode ahead; 0: this one decodes, when a batch is asked for.
        """
        self._tasks = Tasks(entries, crop, seed, damaged)
        self._crop, self._damaged = crop, damaged
        self._visits, self._workers = visits, workers
        self._step = 0
        self._size: int | None = None
        self._rows = range(0)
        self._flow: Generator[Decoded, None, None] | None = None
        self._held: dict[int, _Held] = {}
        self.last_names: tuple[str, ...] = ()

    def batch(self, size: int, rows: range | None = None) -> Tensor:
        """As `CropSource.batch`; `size` stays that of the first call.

        Raises:
            InputError: no image can be read, or a file is gone.
            HwkdError: as `decoded`.
            ValueError: another size.
        """
        if self._size not in (None, size):
            raise ValueError(
                f"the order is that of batches of {self._size}, got {size}: take another source"
            )
        rows = range(size) if rows is None else rows
        lanes = Lanes(size, self._visits)
        if self._flow is None or rows != self._rows:
            self.close()
            self._size, self._rows = size, rows
            ahead = 2 * (self._workers + -(-len(rows) // self._visits))
            tasks = self._tasks.of_rows(lanes, rows, self._step)
            self._flow = decoded(tasks, self._workers, ahead)
        names = []
        x = torch.empty((len(rows), 3, self._crop, self._crop), memory_format=torch.channels_last)
        for row, into in zip(rows, x, strict=True):
            place, visit = lanes.at(self._step, row)
            if visit == 0 or row not in self._held:
                self._held[row] = self._taken(self._flow, place, range(visit, self._visits))
            held = self._held[row]
            into.copy_(torch.from_numpy(held.crops[visit - held.first]).permute(2, 0, 1))
            names.append(held.name)
            if visit == self._visits - 1:
                del self._held[row]
        self.last_names = tuple(names)
        self._step += 1
        return x.div_(255)

    def state(self) -> dict[str, Any]:
        """The number of batches so far: all else follows from it."""
        return {"step": self._step}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        self.close()
        self._step = state["step"]

    def close(self) -> None:
        """End the workers; the next batch starts others."""
        if self._flow is not None:
            self._flow.close()
        self._flow = None
        self._held = {}

    def _taken(self, flow: Iterator[Decoded], place: int, visits: range) -> _Held:
        """The next result of `flow`, which is that of `place`; or, where it is damaged, what stands in."""
        task, crops = next(flow)
        while isinstance(crops, BrokenImage):
            self._damaged[task.index] = str(crops)
            task, crops = decode(self._tasks.at(place, visits))
        return _Held(task.entry.name, visits.start, crops)
