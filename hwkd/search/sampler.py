"""Which student comes next: TPE over the trials so far, with chance that depends on the seed and the trial's number.

Optuna's own sampler goes on with one stream of random numbers in one process. Here every trial has a stream of its own,
so that a study that was interrupted proposes after it what it would have proposed without: the sampler has no memory.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from hwkd.search.fitting import Fits, shrunk
from hwkd.search.space import FamilySpace, Space

FAMILY = "family"
STARTUP_TRIALS = 8
"""So many trials (of all families, and of each) come by chance before TPE models them."""

Distributions = dict[str, BaseDistribution]


def family_distribution(space: Space) -> CategoricalDistribution:
    """Of the parameter FAMILY."""
    return CategoricalDistribution([part.family for part in space.families])


def distributions(part: FamilySpace) -> Distributions:
    """Of the parameters of a family's trials, by name: "patch.w1", in the order of the ranges."""
    return {
        parameter(part, r.name): IntDistribution(r.low, r.high, step=r.step) for r in part.ranges
    }


def parameter(part: FamilySpace, name: str) -> str:
    """What the channels `name` of a family are called in a study."""
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
        """The parameter's value in the proposal for this trial, which is made when its first one is asked for."""
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
    """What TPE would try next after `trials`, in a study of its own in memory."""
    sampler = TPESampler(
        seed=seed, n_startup_trials=STARTUP_TRIALS, multivariate=True, constant_liar=True
    )
    study = optuna.create_study(sampler=sampler)
    study.add_trials(trials)
    params: dict[str, Any] = study.ask(wanted).params
    return params
