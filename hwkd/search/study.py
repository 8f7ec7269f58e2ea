"""A study of Optuna's: where it is stored, which student comes next, what is read back."""

import errno
import json
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import URL
from sqlalchemy.exc import SQLAlchemyError

from hwkd.errors import HwkdError, InputError
from hwkd.search import trial as kinds
from hwkd.search.cost import Budget, Costing, Fits, fits_budget, shrunk, uniform_students
from hwkd.search.settings import Settings, differences, settings_from_json
from hwkd.search.space import FamilySpace, Space
from hwkd.search.trial import AtRung, Trial, trial_from_dict

# Where a study lies: an SQLite file, a journal, or any database that Optuna takes by its URL.

LOCK_WAIT_S = 20.0
"""How long an operation waits for another program that holds an SQLite file."""

DATABASES, JOURNALS = (".db", ".sqlite", ".sqlite3"), (".journal", ".log")


def open_storage(text: str, *, must_exist: bool) -> BaseStorage:
    """The storage that `text` names: FILE.db, FILE.journal, or a URL.

    Args:
        must_exist: refuse a file that is not there, instead of making it.
    Raises:
        InputError: another name; a file that is missing, locked or of another kind; no driver for the URL.
    """
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    if "://" in text:
        with storage_errors(text):
            return optuna.storages.get_storage(text)
    path = Path(text)
    if path.suffix not in (*DATABASES, *JOURNALS):
        raise InputError(
            f"--study {text} is no place for a study: give FILE{DATABASES[0]} for SQLite, FILE{JOURNALS[0]} for a journal "
            "that machines share over a network file system, or a URL that Optuna takes"
        )
    if must_exist and not path.is_file():
        raise InputError(
            f"there is no study in {text}: start it with `hwkd fit --target T --max-ms MS --study {text}`, and then its "
            "workers"
        )
    with storage_errors(text):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in JOURNALS:
            return _journal(path)
        return RDBStorage(_url(path), engine_kwargs={"connect_args": {"timeout": LOCK_WAIT_S}})


def _url(path: Path) -> str:
    """The URL of an SQLite file. The file's name may hold any character that means something in a URL."""
    try:
        return URL.create("sqlite", database=str(path)).render_as_string()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{path} holds bytes that are no text, and SQLite takes none in a name: give another place with --study"
        ) from error


def _journal(path: Path) -> BaseStorage:
    # The lock is a link to the name that it is given: one to a relative name leads nowhere, and Optuna would wait for
    # a dead process's for ever.
    path = path.absolute()
    lock = JournalFileSymlinkLock(str(path))
    try:
        backend = JournalFileBackend(str(path), lock_obj=lock)
        lock.acquire()
        try:
            _end_last_line(path)
        finally:
            lock.release()
        return JournalStorage(backend)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is not a journal of a study ({error!r}): give another --study, or move it away"
        ) from error


def _end_last_line(path: Path) -> None:
    """Remove half a line that a killed worker left: Optuna would append to it, and read no further than there ever after."""
    content = path.read_bytes()
    if content and not content.endswith(b"\n"):
        os.truncate(path, content.rfind(b"\n") + 1)


@contextmanager
def storage_errors(text: str) -> Iterator[None]:
    """Turn errors of the storage `text` within the block into an InputError or HwkdError of one line. Hide Optuna's warnings."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is experimental, or reported twice
            yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        raise _explained(text, error) from error
    except ModuleNotFoundError as error:
        raise InputError(
            f"--study {text} needs a package that is not installed: {error}"
        ) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _explained(text, error) from error
        raise InputError(
            f"cannot use the study {text}: {error.strerror or error}; give another place with --study"
        ) from error


def _explained(text: str, error: Exception) -> HwkdError:
    causes = " ".join(str(e) for e in (error, error.__cause__, error.__context__) if e is not None)
    if "locked" in causes:
        return InputError(
            f"the study {text} is locked: another program has held it for {LOCK_WAIT_S:g} s; close that program "
            "(`fuser FILE` names it), or give another --study, and run the same command again"
        )
    if "disk is full" in causes or "No space left" in causes:
        return HwkdError(
            f"the disk is full: the study {text} keeps what it held; free some space and run the same command again"
        )
    if "not a database" in causes or "malformed" in causes:
        return InputError(
            f"{text} is not an SQLite database: give another --study, or move it away"
        )
    return InputError(f"cannot use the study {text} ({_first_line(causes)}): give another --study")


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0][:160]


# Which student comes next: TPE over the trials so far, with chance that depends on the seed and the trial's number.
#
# Optuna's own sampler goes on with one stream of random numbers in one process. Here every trial has a stream of its own,
# so that a study that was interrupted proposes after it what it would have proposed without: the sampler has no memory.

FAMILY = "family"
STARTUP_TRIALS = 8
"""So many trials (of all families, and of each) come by chance before TPE models them."""

Distributions = dict[str, BaseDistribution]


def family_distribution(space: Space) -> CategoricalDistribution:
    """The distribution of the parameter FAMILY."""
    return CategoricalDistribution([part.family for part in space.families])


def distributions(part: FamilySpace) -> Distributions:
    """The distributions of the parameters of a family's trials, by name: "patch.w1", in the order of the ranges."""
    return {
        parameter(part, r.name): IntDistribution(r.low, r.high, step=r.step) for r in part.ranges
    }


def parameter(part: FamilySpace, name: str) -> str:
    """The parameter's name in a study for the channels `name` of a family."""
    return f"{part.family}.{name}"


class Proposals(BaseSampler):  # type: ignore[misc]
    """First the family, then its channels together (multivariate TPE), shrunk into the budget.

    Trials that were pruned count with their last value, as TPE has it; running ones are kept apart from
    (constant liar), so that several workers do not try the same.
    """

    def __init__(self, space: Space, fits: Fits, seed: int) -> None:
        self._space, self._fits, self._seed = space, fits, seed
        self._proposed: tuple[int, dict[str, Any]] | None = None

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Nothing: `sample_independent` has the whole proposal."""
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Nothing, as above."""
        return {}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """The parameter's value in the proposal for this trial. The trial's first parameter makes the proposal."""
        if self._proposed is None or self._proposed[0] != trial.number:
            self._proposed = (trial.number, self._propose(study, trial.number))
        return self._proposed[1][param_name]

    def _propose(self, study: optuna.Study, number: int) -> dict[str, Any]:
        trials = [
            t
            for t in study.get_trials(
                deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
            )
            if FAMILY in t.params and t.number != number
        ]
        seeds = np.random.SeedSequence((self._seed, number)).generate_state(2).tolist()
        family = self._family(trials, seeds[0])
        part = self._space.of(family)
        asked = _ask(_of_family(trials, part), distributions(part), seeds[1])
        values = shrunk(
            part, {r.name: asked[parameter(part, r.name)] for r in part.ranges}, self._fits
        )
        return {FAMILY: family} | {parameter(part, name): n for name, n in values.items()}

    def _family(self, trials: Sequence[FrozenTrial], seed: int) -> str:
        families = [part.family for part in self._space.families]
        if len(families) == 1:
            return families[0]
        known = [
            _reduced(t, {FAMILY: family_distribution(self._space)})
            for t in trials
            if t.params[FAMILY] in families
        ]
        return str(_ask(known, {FAMILY: family_distribution(self._space)}, seed)[FAMILY])


def _of_family(trials: Sequence[FrozenTrial], part: FamilySpace) -> list[FrozenTrial]:
    wanted = distributions(part)
    return [_reduced(t, wanted) for t in trials if wanted.keys() <= t.params.keys()]


def _reduced(trial: FrozenTrial, wanted: Distributions) -> FrozenTrial:
    """The trial with these of its parameters only."""
    return optuna.trial.create_trial(
        state=trial.state,
        value=trial.value if trial.state == TrialState.COMPLETE else None,
        params={name: trial.params[name] for name in wanted},
        distributions=wanted,
        intermediate_values=trial.intermediate_values,
    )


def _ask(trials: Sequence[FrozenTrial], wanted: Distributions, seed: int) -> dict[str, Any]:
    """The parameters that TPE would try next after `trials`, in a separate study in memory."""
    sampler = TPESampler(
        seed=seed, n_startup_trials=STARTUP_TRIALS, multivariate=True, constant_liar=True
    )
    study = optuna.create_study(sampler=sampler)
    study.add_trials(trials)
    params: dict[str, Any] = study.ask(wanted).params
    return params


# A study in its storage: made once, joined by workers, read back. What of Optuna's it uses is public, but for one call.

NAME = "hwkd-fit"
SETTINGS, FAMILIES, FOLDER, LIMIT = "settings", "families", "data_folder", "limit"
"""User attributes of the study; SETTINGS is written last, when all else stands."""
FOUND, KIND, PAPER_N, SURPLUS = "found", "kind", "paper_n", "surplus"
"""User attributes of its trials."""
PATIENCE_S = 10.0
"""How long a worker waits for a study that is being made at this moment."""


@dataclass(frozen=True)
class SearchLimit:
    """How long a search goes on: until there are so many trials, or until this time (seconds since the epoch); None: not
    limited so."""

    trials: int | None = None
    until: float | None = None


_STATES = {
    TrialState.COMPLETE: kinds.COMPLETE,
    TrialState.PRUNED: kinds.STOPPED,
    TrialState.FAIL: kinds.FAILED,
    TrialState.RUNNING: kinds.RUNNING,
    TrialState.WAITING: kinds.RUNNING,
}


def create_or_join(
    storage: BaseStorage,
    settings: Settings,
    folder: str,
    narrowed: Callable[[], Space],
    costing: Costing,
    paper_n: Sequence[int],
    limit: SearchLimit,
) -> optuna.Study:
    """The study of `settings` in `storage`: the one that is there, or a new one with its first trials in the queue.

    Args:
        folder: folder of the images, for workers; "" for the embedded photographs.
        narrowed: returns the space of `settings` without the families that have no student within the budget. Called for a
            new study only, because measured costs may differ from one time to the next.
        costing: what candidates cost.
        paper_n: widths of the paper's students, the references.
        limit: limit of this search from now on.
    Raises:
        InputError: the storage holds a search with other settings; the message names the difference. As `narrowed`.
    """
    if NAME in optuna.get_all_study_names(storage):
        stored, study = join(storage, costing)
        changed = differences(stored, settings)
        if changed:
            raise InputError(
                f"the study holds another search: {'; '.join(changed)}. Give the old values, or another --study for a "
                "new search"
            )
        set_limit(study, limit)
        return study
    space = narrowed()
    try:
        study = optuna.create_study(storage=storage, study_name=NAME)
    except optuna.exceptions.DuplicatedStudyError:  # another process was faster
        return create_or_join(storage, settings, folder, narrowed, costing, paper_n, limit)
    for n in paper_n:
        study.enqueue_trial({}, user_attrs={KIND: kinds.REFERENCE, PAPER_N: n})
    for part, values in uniform_students(space, settings.budget, costing):
        named = {parameter(part, name): channels for name, channels in values.items()}
        study.enqueue_trial({FAMILY: part.family, **named}, user_attrs={KIND: kinds.UNIFORM})
    study.set_user_attr(FOLDER, folder)
    study.set_user_attr(FAMILIES, [part.family for part in space.families])
    set_limit(study, limit)
    study.set_user_attr(SETTINGS, settings.to_json())
    study.sampler = _proposals(space, settings, costing)
    return study


def stored_settings(storage: BaseStorage) -> tuple[Settings, str]:
    """(the settings of the study in `storage`, the folder of its images).

    Raises:
        InputError: there is no study, or one that `hwkd fit` did not make.
    """
    waited_from = time.monotonic()
    while True:
        try:
            held = optuna.load_study(storage=storage, study_name=NAME).user_attrs
        except KeyError:
            raise InputError(
                "the storage holds no search yet: start it with `hwkd fit --target T --max-ms MS --study FILE`, and then "
                "its workers"
            ) from None
        if SETTINGS in held:
            return settings_from_json(held[SETTINGS]), str(held[FOLDER])
        if time.monotonic() - waited_from > PATIENCE_S:
            raise InputError(
                "the search in the storage was never begun, its first process was stopped too early: give another --study"
            )
        time.sleep(0.2)


def join(storage: BaseStorage, costing: Costing) -> tuple[Settings, optuna.Study]:
    """The study that is in `storage`, ready to work on, and its settings. Raises as `stored_settings`."""
    settings, _ = stored_settings(storage)
    study = optuna.load_study(storage=storage, study_name=NAME)
    study.sampler = _proposals(space_of(study, settings), settings, costing)
    return settings, study


def _proposals(space: Space, settings: Settings, costing: Costing) -> Proposals:
    return Proposals(space, fits_budget(settings.budget, costing), settings.seed)


def space_of(study: optuna.Study, settings: Settings) -> Space:
    """The space of the study: the families that had a student within the budget when the study was begun."""
    return Space(tuple(settings.space.of(family) for family in study.user_attrs[FAMILIES]))


def set_limit(study: optuna.Study, limit: SearchLimit) -> None:
    """Tell all workers how long they go on."""
    study.set_user_attr(LIMIT, json.dumps(asdict(limit)))


def _limit(study: optuna.Study) -> SearchLimit:
    return SearchLimit(**json.loads(study.user_attrs[LIMIT]))


def is_enough(study: optuna.Study) -> bool:
    """Whether no other trial is to be begun."""
    limit = _limit(study)
    if limit.until is not None and time.time() >= limit.until:
        return True
    trials = study.get_trials(deepcopy=False)
    is_waiting = any(t.state == TrialState.WAITING for t in trials)
    has_all = limit.trials is not None and sum(map(_counts, trials)) >= limit.trials
    return has_all and not is_waiting


def is_surplus(study: optuna.Study, number: int) -> bool:
    """Whether trial `number` is one more than wanted: two workers may ask for the last one at once."""
    most = _limit(study).trials
    trials = study.get_trials(deepcopy=False)
    before = sum(_counts(t) for t in trials if t.number < number)
    return most is not None and _counts(trials[number]) and before >= most


def _counts(trial: FrozenTrial) -> bool:
    """References do not count as trials of the search."""
    attributes: Mapping[str, Any] = trial.user_attrs
    return attributes.get(KIND) != kinds.REFERENCE and SURPLUS not in attributes


def wait_again(storage: BaseStorage, trial: FrozenTrial | optuna.Trial) -> None:
    """Put a running trial back into the queue, under its number, with what was proposed for it.

    Optuna has no public way to do this: its own is a new trial with another number, and chance depends on the number.
    """
    storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)


def found_in(study: optuna.Study) -> tuple[Trial, ...]:
    """Every trial of which the student is known, in their order."""
    return tuple(
        trial_from_dict(json.loads(trial.user_attrs[FOUND]), trial.number, _STATES[trial.state])
        for trial in study.get_trials(deepcopy=False)
        if FOUND in trial.user_attrs and SURPLUS not in trial.user_attrs
    )


def others_at(study: optuna.Study, budget: Budget, rung: int, but: int) -> list[AtRung]:
    """All trials that reached `rung`, but for trial `but`, references, and what failed."""
    states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
    trials = study.get_trials(deepcopy=False, states=states)
    losses = {
        t.number: t.intermediate_values[rung] for t in trials if rung in t.intermediate_values
    }
    return [
        AtRung(losses[one.number], budget.excess(one.cost))
        for one in found_in(study)
        if one.number in losses and one.number != but and one.kind != kinds.REFERENCE
    ]
