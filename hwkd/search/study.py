"""A study in its storage: made once, joined by workers, read back. What of Optuna's it uses is public, but for one call."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from hwkd.errors import InputError
from hwkd.search import found as kinds
from hwkd.search.cost import Budget
from hwkd.search.fitting import Costing, fits_budget, uniform_students
from hwkd.search.found import Found, found_from_dict
from hwkd.search.halving import AtRung
from hwkd.search.sampler import FAMILY, Proposals, parameter
from hwkd.search.settings import Settings, differences, settings_from_json
from hwkd.search.space import Space

NAME = "hwkd-fit"
SETTINGS, FAMILIES, FOLDER, LIMIT = "settings", "families", "data_folder", "limit"
"""User attributes of the study; SETTINGS is written last, when all else stands."""
FOUND, KIND, PAPER_N, SURPLUS = "found", "kind", "paper_n", "surplus"
"""User attributes of its trials."""
PATIENCE_S = 10.0
"""How long a worker waits for a study that is being made at this moment."""


@dataclass(frozen=True)
class Limit:
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
    limit: Limit,
) -> optuna.Study:
    """The study of `settings` in `storage`: the one that is there, or a new one with its first trials in the queue.

    Args:
        folder: of the images, for workers; "" for the embedded photographs.
        narrowed: gives the space of `settings` without the families that have no student within the budget; asked for a
            new study only, as what was measured may differ from one time to the next.
        costing: what candidates cost.
        paper_n: widths of the paper's students, the references.
        limit: of this search from now on.
    Raises:
        InputError: the storage holds a search with other settings; what differs is named. As `narrowed`.
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
    """What the study chooses from: the families that had a student within the budget when it was begun."""
    return Space(tuple(settings.space.of(family) for family in study.user_attrs[FAMILIES]))


def set_limit(study: optuna.Study, limit: Limit) -> None:
    """Tell all workers how long they go on."""
    study.set_user_attr(LIMIT, json.dumps(asdict(limit)))


def _limit(study: optuna.Study) -> Limit:
    return Limit(**json.loads(study.user_attrs[LIMIT]))


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


def found_in(study: optuna.Study) -> tuple[Found, ...]:
    """Every trial of which the student is known, in their order."""
    return tuple(
        found_from_dict(json.loads(trial.user_attrs[FOUND]), trial.number, _STATES[trial.state])
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
