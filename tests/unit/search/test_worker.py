import subprocess
import sys
import threading
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest

import hwkd.search.worker as life
from hwkd.search.worker import ALIVE, BEAT_S, LOST_AFTER_S, Heartbeats, giving_signs, my_sign


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def ended_process():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_a_process_that_is_gone_from_this_machine_is_lost_at_once():
    sign = replace(my_sign(0), pid=ended_process())
    assert Heartbeats().is_lost(1, asdict(sign))


def test_a_process_that_has_the_number_of_a_dead_one_does_not_stand_for_it():
    sign = replace(my_sign(0), started="1")
    assert Heartbeats().is_lost(1, asdict(sign))


def test_a_process_that_lives_is_not_lost_however_silent():
    clock = Clock()
    watch = Heartbeats(clock)
    assert not watch.is_lost(1, asdict(my_sign(0)))
    clock.now = 10 * LOST_AFTER_S
    assert not watch.is_lost(1, asdict(my_sign(0)))


def test_a_worker_elsewhere_is_lost_when_its_sign_does_not_change():
    clock = Clock()
    watch = Heartbeats(clock)
    there = asdict(replace(my_sign(0), machine="elsewhere"))
    assert not watch.is_lost(1, there)
    clock.now = LOST_AFTER_S - 1
    assert not watch.is_lost(1, there)
    assert not watch.is_lost(1, {**there, "beat": 1})  # it lives: the time begins again
    clock.now += LOST_AFTER_S
    assert not watch.is_lost(1, {**there, "beat": 1})
    clock.now += 1
    assert watch.is_lost(1, {**there, "beat": 1})


class Beats:
    """In place of threading.Event: so many waits end at once, as if their time were over; the next ones wait for `set`."""

    def __init__(self, count, waits):
        self.left, self.waits, self.ended = count, waits, threading.Event()

    def set(self):
        self.ended.set()

    def wait(self, seconds):
        self.waits.append(seconds)
        self.left -= 1
        return self.left < 0 and self.ended.wait()


@pytest.fixture
def waits_of(monkeypatch):
    """waits_of(count): so many beats, and no clock; the list of how long the thread wanted to wait each time."""

    def make(count):
        waits = []
        fake = SimpleNamespace(Event=lambda: Beats(count, waits), Thread=threading.Thread)
        monkeypatch.setattr(life, "threading", fake)
        return waits

    return make


def test_signs_are_given_until_the_work_ends(waits_of):
    waits, given, before = waits_of(2), [], threading.active_count()
    with giving_signs(lambda name, value: given.append((name, value["beat"]))):
        assert given[0] == (ALIVE, 0)
    assert given == [(ALIVE, 0), (ALIVE, 1), (ALIVE, 2)]
    assert waits == [BEAT_S] * 3
    assert threading.active_count() == before


def test_a_storage_that_is_busy_once_does_not_end_the_signs(waits_of):
    waits_of(3)
    given = []

    def once_busy(name, value):
        given.append(value["beat"])
        if value["beat"] == 1:
            raise OSError("database is locked")

    with giving_signs(once_busy):
        pass
    assert given == [0, 1, 2, 3]
