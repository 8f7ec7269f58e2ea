"""What is to be decoded for the rows of batches, in the order in which they ask for it."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import count

from hwkd.distill.stream_decoding import Task
from hwkd.distill.stream_entries import Entry
from hwkd.distill.stream_order import Lanes, Order
from hwkd.errors import InputError


class Tasks:
    """The decoding of `entries`, in the order that the seed gives.

    damaged: why images cannot be read, by their place in `entries`; may grow meanwhile.
    """

    def __init__(
        self, entries: Sequence[Entry], crop: int, seed: int, damaged: Mapping[int, str]
    ) -> None:
        self._entries, self._damaged = entries, damaged
        self._crop, self._seed = crop, seed
        self._order = Order(len(entries), seed)

    def of_rows(self, lanes: Lanes, rows: range, first: int) -> Iterator[Task]:
        """From step `first` on, without end: the images that `rows` are in the middle of, then each new one."""
        for step in count(first):
            for row in rows:
                place, visit = lanes.at(step, row)
                if visit == 0 or step == first:
                    yield self.at(place, range(visit, lanes.visits))

    def at(self, place: int, visits: range) -> Task:
        """The image at `place`, or the next one of its epoch that is not known to be damaged.

        Raises:
            InputError: all are.
        """
        for shift in range(self._order.count):
            index = self._order.index(place, shift)
            if index not in self._damaged:
                entry = self._entries[index]
                return Task(index, entry, self._crop, self._seed, place, visits)
        raise InputError(
            f"none of the {self._order.count} training images can be read: "
            f"{next(iter(self._damaged.values()))}"
        )
