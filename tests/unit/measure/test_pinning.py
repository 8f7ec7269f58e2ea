import os
import sys
import threading

import pytest
import torch

from hwkd.errors import InputError
from hwkd.measure.pinning import Pinning, pinned

needs_affinity = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="this system cannot pin a process to cores"
)


@needs_affinity
def test_threads_and_cores_are_set_and_restored():
    cores, threads = os.sched_getaffinity(0), torch.get_num_threads()
    with pinned(1) as pinning:
        assert torch.get_num_threads() == 1
        assert os.sched_getaffinity(0) == {min(cores)}
        assert pinning == Pinning(1, (min(cores),))
    assert (os.sched_getaffinity(0), torch.get_num_threads()) == (cores, threads)


@needs_affinity
def test_where_nothing_loaded_torch_it_stays_so(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch")
    cores = os.sched_getaffinity(0)
    with pinned(1) as pinning:
        assert pinning == Pinning(1, (min(cores),))
        assert "torch" not in sys.modules
    assert os.sched_getaffinity(0) == cores


@needs_affinity
def test_threads_that_exist_move_and_threads_started_inside_are_let_go():
    cores = os.sched_getaffinity(0)
    done = threading.Event()

    def start():
        ready, thread = threading.Event(), None
        thread = threading.Thread(target=lambda: (ready.set(), done.wait()))
        thread.start()
        ready.wait()
        return thread

    older = start()
    with pinned(1):
        younger = start()
        assert os.sched_getaffinity(older.native_id) == {min(cores)}
        assert os.sched_getaffinity(younger.native_id) == {min(cores)}
    assert os.sched_getaffinity(older.native_id) == cores
    assert os.sched_getaffinity(younger.native_id) == cores
    done.set()
    older.join()
    younger.join()


@needs_affinity
def test_an_error_inside_restores_too():
    cores = os.sched_getaffinity(0)
    with pytest.raises(KeyError), pinned(1):
        raise KeyError
    assert os.sched_getaffinity(0) == cores


def test_without_affinity_it_says_so(monkeypatch):
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    with pinned(1) as pinning:
        assert torch.get_num_threads() == 1
    assert str(pinning) == "1 thread, not pinned to cores (this system has no call for it)"


def test_the_cores_are_named():
    assert str(Pinning(2, (0, 3))) == "2 threads pinned to cores 0, 3"
    assert str(Pinning(1, (2,))) == "1 thread pinned to core 2"


@pytest.mark.parametrize("threads", [0, 100_000])
def test_refuses_threads_that_there_are_no_cores_for(threads):
    with pytest.raises(InputError, match=f"cores usable here, got {threads}"), pinned(threads):
        pass
