"""A worker's loop and its signs of life: takes trials, trains them, takes over what dead workers left."""

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from hwkd.models.spec import HyperpriorSpec, Spec
from hwkd.quantity import MIB
from hwkd.search.cost import Costing, stored_bytes
from hwkd.search.settings import Settings
from hwkd.search.study import (
    FAMILY,
    FOUND,
    KIND,
    PAPER_N,
    SURPLUS,
    family_distribution,
    found_in,
    is_enough,
    is_surplus,
    others_at,
    parameter,
    space_of,
    wait_again,
)
from hwkd.search.trial import REFERENCE, RUNNING, SEARCHED, AtRung, Trial, best_of, goes_on

if TYPE_CHECKING:
    from hwkd.search.train import Standing, Trainer


# A worker's loop: takes trials from the study, trains them, and takes over what dead workers left.

PAPER_M = 192
"""Channels of y of the paper's students; those of z and inside h_a and h_s are N."""
POLL_S = 1.0


@dataclass(frozen=True)
class SearchProgress:
    """The progress of a worker.

    Attributes:
        trial: the current trial; None while the worker waits for `waits_for` others.
        done, best: number of finished trials and best trial of the whole study so far.
    """

    trial: Trial | None
    done: int
    best: Trial | None
    has_ended: bool = False
    waits_for: int = 0


class Worker:
    """Works on one study until it is enough.

    Attributes:
        costs: what candidates cost.
        show: called at every rung, and while waiting.
    """

    def __init__(
        self,
        storage: BaseStorage,
        study: optuna.Study,
        settings: Settings,
        costs: Costing,
        trainer: Callable[[], "Trainer"],
        show: Callable[[SearchProgress], None],
    ) -> None:
        self._storage, self._study, self._settings = storage, study, settings
        self._costs, self._make_trainer, self._show = costs, trainer, show
        self._space = space_of(study, settings)
        self._trainer: Trainer | None = None
        self._watch = Heartbeats()

    def work(self) -> None:
        """Train trial after trial; at the end wait for those of other workers, to take them over if they die.

        Raises:
            KeyboardInterrupt: passed on; the trial waits again. InputError: as the storage and the trainer.
        """
        while True:
            self._take_back_lost()
            if is_enough(self._study):
                running = self._running()
                if not running:
                    return
                self._tell(None, waits_for=len(running))
                time.sleep(POLL_S)
                continue
            trial = self._study.ask()
            # Where another worker takes this one for dead and is done first, its result stands.
            with suppress(UpdateFinishedTrialError):
                self._run(trial)

    def _running(self) -> list[FrozenTrial]:
        running: list[FrozenTrial] = self._study.get_trials(
            deepcopy=False, states=(TrialState.RUNNING,)
        )
        return running

    def _take_back_lost(self) -> None:
        for trial in self._running():
            if self._watch.is_lost(trial.number, trial.user_attrs.get(ALIVE)):
                with suppress(UpdateFinishedTrialError):
                    wait_again(self._storage, trial)

    def _run(self, trial: optuna.Trial) -> None:
        if is_surplus(self._study, trial.number):
            trial.set_user_attr(SURPLUS, True)
            self._study.tell(trial, state=TrialState.FAIL)
            return
        try:
            with giving_signs(trial.set_user_attr):
                state, found = self._train(trial)
        except UpdateFinishedTrialError:
            raise
        except BaseException:
            # Ctrl-C, a full disk, a bug: the trial is not to blame.
            with suppress(Exception):
                wait_again(self._storage, trial)
            raise
        self._keep(trial, found)
        loss = found.rd_loss if state == TrialState.COMPLETE else None
        self._study.tell(trial, loss, state=state)
        self._tell(found, has_ended=True)

    def _train(self, trial: optuna.Trial) -> tuple[TrialState, Trial]:
        began = time.perf_counter()
        kind = trial.user_attrs.get(KIND, SEARCHED)
        spec, budget = self._spec(trial), self._settings.budget
        cost = self._costs(spec)
        found = Trial(trial.number, kind, spec, cost, budget.fits(cost))
        self._keep(trial, found)
        self._tell(found)
        has_ended_early = False

        def at_rung(standing: "Standing") -> bool:
            nonlocal has_ended_early
            trial.report(standing.rd_loss, standing.steps)
            self._tell(_stands(found, standing, began))
            one = AtRung(standing.rd_loss, budget.excess(cost))
            others = others_at(self._study, budget, standing.steps, trial.number)
            has_ended_early = kind != REFERENCE and not goes_on(one, others)
            return not has_ended_early

        from hwkd.search.train import Diverged

        max_mib = None if kind == REFERENCE else budget.max_mib
        seed = seed_of(self._settings.seed, trial.number)
        try:
            last = self._ready().train(spec, seed, max_mib, at_rung)
        except Diverged as error:
            return TrialState.FAIL, replace(found, reason=str(error))
        found = _stands(found, last, began)
        if kind == REFERENCE and budget.max_mib is not None and found.stored_mib is not None:
            # Its bits were not chosen for the size.
            found = replace(found, is_within=found.is_within and found.stored_mib <= budget.max_mib)
        if has_ended_early:
            return TrialState.PRUNED, found
        trial.report(last.rd_loss, last.steps)
        return TrialState.COMPLETE, found

    def _spec(self, trial: optuna.Trial) -> Spec:
        attributes: Mapping[str, Any] = trial.user_attrs
        if attributes.get(KIND) == REFERENCE:
            return paper_spec(int(attributes[PAPER_N]))
        family = trial.suggest_categorical(FAMILY, family_distribution(self._space).choices)
        part = self._space.of(str(family))
        return part.spec(
            {
                r.name: trial.suggest_int(parameter(part, r.name), r.low, r.high, step=r.step)
                for r in part.ranges
            }
        )

    def _ready(self) -> "Trainer":
        """The trainer, made for the first trial: a finished study needs none."""
        if self._trainer is None:
            self._trainer = self._make_trainer()
        return self._trainer

    def _keep(self, trial: optuna.Trial, found: Trial) -> None:
        trial.set_user_attr(FOUND, json.dumps(found.to_dict()))

    def _tell(self, trial: Trial | None, *, has_ended: bool = False, waits_for: int = 0) -> None:
        found = found_in(self._study)
        done = sum(one.kind != REFERENCE and one.state != RUNNING for one in found)
        self._show(SearchProgress(trial, done, best_of(found), has_ended, waits_for))


def paper_spec(n: int) -> HyperpriorSpec:
    """The paper's student of width `n` (arXiv 2509.10366, section 5)."""
    return HyperpriorSpec("gdn", (n, n, n), PAPER_M, n, n)


def seed_of(seed: int, number: int) -> int:
    """The seed of a trial's random numbers; not the seed of its proposal."""
    return int(np.random.SeedSequence((seed, number, 1)).generate_state(1)[0])


def _stands(found: Trial, standing: "Standing", began: float) -> Trial:
    return replace(
        found,
        steps=standing.steps,
        bits=standing.bits,
        stored_mib=stored_bytes(found.spec, standing.bits) / MIB,
        rd_loss=standing.rd_loss,
        bpp=standing.bpp,
        psnr_db=standing.psnr_db,
        seconds=time.perf_counter() - began,
    )


# Signs of life: how workers know of each other that they still train, and take over what a dead one left.
#
# Optuna has heartbeats for databases only, and gives a lost trial up for a new one. Here the trial itself waits again, in any
# storage, and keeps its number, on which its chance depends: what is trained is the same whoever died.

BEAT_S = 15.0
LOST_AFTER_S = 60.0
"""Seconds without a sign after which a worker on another machine is taken for dead."""

ALIVE = "alive"
"""The user attribute of a running trial that holds its worker's last sign."""


@dataclass(frozen=True)
class Sign:
    """One sign of life.

    Attributes:
        machine: where the worker runs.
        pid, started: number and start time of its process.
        beat: count of the signs.
    """

    machine: str
    pid: int
    started: str
    beat: int


def my_sign(beat: int) -> Sign:
    """A sign of this process."""
    return Sign(_machine(), os.getpid(), _started(os.getpid()), beat)


@contextmanager
def giving_signs(set_attribute: Callable[[str, Any], None]) -> Iterator[None]:
    """Within the block a thread sets ALIVE again and again.

    Args:
        set_attribute: sets a user attribute of the running trial.
    """
    set_attribute(ALIVE, asdict(my_sign(0)))
    ended = threading.Event()

    def beat() -> None:
        count = 0
        while not ended.wait(BEAT_S):
            count += 1
            # The next beat tries a busy storage again. The worker itself meets an error that stays.
            with suppress(Exception):
                set_attribute(ALIVE, asdict(my_sign(count)))

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class Heartbeats:
    """Finds which running trials are lost, by what it has seen of them so far."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._seen: dict[int, tuple[object, float]] = {}

    def is_lost(self, number: int, sign: Mapping[str, Any] | None) -> bool:
        """Whether the worker of trial `number`, with the last sign `sign`, is dead.

        It is dead at once if its process was on this machine and is gone. Else it is dead when its sign has not changed for
        LOST_AFTER_S since this watch first saw it, by this machine's clock alone.
        """
        if sign is not None and sign["machine"] == _machine():
            return bool(_started(sign["pid"]) != sign["started"])
        held = self._seen.get(number)
        if held is None or held[0] != sign:
            self._seen[number] = (sign, self._now())
            return False
        return self._now() - held[1] > LOST_AFTER_S


def _machine() -> str:
    """The host, and its space of process numbers: containers of one host may share its name."""
    space = ""
    with suppress(OSError):
        space = str(Path("/proc/self/ns/pid").readlink())
    return f"{socket.gethostname()} {space}"


def _started(pid: int) -> str:
    """When the process was started, in ticks since boot; "" where there is none, or the system does not report it.

    The system reuses the number of a dead process: the start time distinguishes the two.
    """
    try:
        # The name in parentheses may hold spaces; field 22 of proc(5) is the 20th after it.
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
        fields = stat.rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]
    except (OSError, IndexError):
        return ""
