"""Processes find each other although an earlier attempt has left its traces in the store."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import torch.distributed as dist

from hwkd.distill import meeting
from hwkd.distill.meeting import meet
from hwkd.errors import HwkdError

PATIENCE = timedelta(days=1)
"""No machine is so busy that a process takes longer."""


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch):
    """The store that torchrun keeps for all attempts."""
    store = dist.HashStore()
    monkeypatch.setattr(meeting, "rendezvous", lambda *_args, **_kwargs: iter([(store, 0, 3)]))
    return store


def _attempt(order: list[int]) -> list[int]:
    """The number that each of three processes, coming in `order`, is told."""
    with ThreadPoolExecutor(3) as pool:
        told = {rank: pool.submit(meet, rank, 3, PATIENCE) for rank in order}
        return [told[rank].result()[1] for rank in range(3)]


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0]])
def test_all_are_told_the_number_of_their_attempt(store, order: list[int]) -> None:
    assert _attempt(order) == [1, 1, 1]
    assert _attempt(order) == [2, 2, 2]
    assert _attempt(order) == [3, 3, 3]


def test_a_dead_process_that_has_called_is_not_taken_for_its_successor(store) -> None:
    store.set("hwkd/caller/1", "a-dead-one")
    store.set("hwkd/caller/2", "another")
    assert _attempt([0, 1, 2]) == [1, 1, 1]


def test_what_an_attempt_writes_is_not_seen_by_the_next(store) -> None:
    for number in (1, 2):
        (own, attempt) = meet(0, 1, PATIENCE)
        assert attempt == number and not own.check(["address"])
        own.set("address", "127.0.0.1")


def test_a_process_that_never_comes_is_not_waited_for_forever(store) -> None:
    with pytest.raises(HwkdError, match="not all processes of the run have come"):
        meet(0, 2, timedelta(seconds=0.1))
