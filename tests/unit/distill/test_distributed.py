"""Several processes train as one: rows, errors, and gradients that are equal."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch.distributed as dist

from hwkd.distill import distributed
from hwkd.distill.data import Crops
from hwkd.distill.distributed import ALONE, Processes, meet, started_processes
from hwkd.errors import HwkdError, InputError

CHILD = Path(__file__).with_name("gradients_child.py")
TORCHRUN = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}


def test_without_torchrun_a_process_is_alone() -> None:
    assert started_processes({}) == ALONE
    assert ALONE.is_first and ALONE.rows(5) == range(5)


def test_torchrun_says_who_a_process_is() -> None:
    found = started_processes(
        {**TORCHRUN, "TORCHELASTIC_RESTART_COUNT": "2", "TORCHELASTIC_RUN_ID": "mine"}
    )
    assert found == Processes(1, 4, 1, 2, "torchrun mine")
    assert not found.is_first


def test_a_torchrun_without_an_id_is_known_by_its_process() -> None:
    # Restarted workers have the same parent; those of another torchrun on this machine have not.
    found = started_processes({**TORCHRUN, "TORCHELASTIC_RUN_ID": "none"})
    assert found.launcher.split()[-1] == str(os.getppid())


@pytest.mark.parametrize("missing", ["LOCAL_RANK", "RANK"])
def test_half_of_torchruns_variables_are_refused(missing: str) -> None:
    environment = {name: value for name, value in TORCHRUN.items() if name != missing}
    with pytest.raises(InputError, match="start the processes with torchrun"):
        started_processes(environment)


def test_processes_share_a_batch_without_repeats() -> None:
    rows = [row for rank in range(4) for row in Processes(rank, 4).rows(12)]
    assert rows == list(range(12))


@pytest.mark.parametrize(
    ("count", "batch", "accumulate", "said"),
    [
        (3, 8, 1, "3 processes: give --batch 6 or 9"),
        (2, 8, 3, "2 processes and --accumulate 3: give --batch 6 or 12"),
        (1, 4, 8, "--accumulate 8: give --batch 8"),
    ],
)
def test_a_batch_that_cannot_be_shared_is_refused(
    count: int, batch: int, accumulate: int, said: str
) -> None:
    with pytest.raises(InputError) as error:
        Processes(0, count).check_batch(batch, accumulate)
    assert str(error.value) == (
        f"--batch {batch} is the batch of all processes together and cannot be shared equally by {said}"
    )


def test_the_crops_of_all_processes_are_those_of_one(photo) -> None:
    images = tuple((f"{i}.png", photo(96, 128, i)) for i in range(3))
    whole, parts = Crops(images, 64, 3), [Crops(images, 64, 3) for _ in range(2)]
    for _ in range(3):
        x, names = whole.batch(6), whole.last_names
        halves = [part.batch(6, Processes(k, 2).rows(6)) for k, part in enumerate(parts)]
        assert all(np.array_equal(x[3 * k : 3 * k + 3], half) for k, half in enumerate(halves))
        assert names == parts[0].last_names + parts[1].last_names
    # So that a run may go on with another number of them.
    assert whole.state() == parts[0].state() == parts[1].state()


def _run(child: Path, processes: int, *words: str) -> str:
    """What `child` prints, in so many processes; a failure fails the test."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    done = subprocess.run(
        [sys.executable, *(torchrun if processes > 1 else []), str(child), *words],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_the_first_process_does_all_learn() -> None:
    """Its answer, its errors too, so that none waits for it."""
    assert sorted(_run(CHILD.with_name("agreement_child.py"), 2).splitlines()) == [
        "0 5",
        "0 InputError: wrong",
        "0 OSError: full",
        "0 [0.5, 3.0] True",
        "1 5",
        "1 HwkdError: full",
        "1 InputError: wrong",
        "1 [0.5, 3.0] True",
    ]


def _gradients(path: Path, processes: int, family: str, accumulate: int, bits: str):
    _run(CHILD, processes, str(path), family, str(accumulate), bits)
    with np.load(path) as held:
        return dict(held)


def assert_equal_gradients(one, other) -> None:
    assert one.keys() == other.keys() and len(one) > 10
    assert all(np.abs(value).max() > 0 for value in one.values())
    for name, value in one.items():
        # A gradient sums over 8 images of at most 64x64 places, in another order in each. float32 may lose 2^-24 of the
        # sum so far with each. Half of the images, or a sum in place of the mean, would be off by half and more.
        lost = 8 * 64 * 64 * 2**-24 * np.abs(value).max()
        np.testing.assert_allclose(other[name], value, rtol=0, atol=lost, err_msg=name)


@pytest.mark.parametrize(
    ("family", "bits"),
    [("gdn", "float"), pytest.param("patch", "bits", marks=pytest.mark.slow)],
)
def test_two_processes_give_the_gradients_of_one(tmp_path: Path, family: str, bits: str) -> None:
    """Batch 8 in one process, 4 + 4 in two, and in two that pass their 4 in two parts."""
    one = _gradients(tmp_path / "one.npz", 1, family, 1, bits)
    for accumulate in (1, 2):
        two = _gradients(tmp_path / f"{accumulate}.npz", 2, family, accumulate, bits)
        assert_equal_gradients(one, two)


# Processes find each other although an earlier attempt has left its traces in the store.

PATIENCE = timedelta(days=1)
"""No machine is so busy that a process takes longer."""


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch):
    """The store that torchrun keeps for all attempts."""
    store = dist.HashStore()
    monkeypatch.setattr(distributed, "rendezvous", lambda *_args, **_kwargs: iter([(store, 0, 3)]))
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
