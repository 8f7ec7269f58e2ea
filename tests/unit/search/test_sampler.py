"""Proposals: within the budget, on the steps of the space, from the seed and the trial's number alone."""

import optuna
import pytest

from hwkd.search.cost import Budget
from hwkd.search.fitting import fits_budget
from hwkd.search.sampler import FAMILY, Proposals, distributions, family_distribution, parameter
from tests.unit.search.conftest import cost_by_channels, small_space

SPACE = small_space()
FITS = fits_budget(Budget(90, None, None), cost_by_channels)


def ask(study):
    """A trial's family and channels, as a worker asks for them."""
    trial = study.ask()
    family = trial.suggest_categorical(FAMILY, family_distribution(SPACE).choices)
    part = SPACE.of(family)
    values = {
        r.name: trial.suggest_int(parameter(part, r.name), r.low, r.high, step=r.step)
        for r in part.ranges
    }
    return trial, part, values


@pytest.fixture
def study():
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    return lambda seed=0: optuna.create_study(sampler=Proposals(SPACE, FITS, seed))


def proposed(study, count):
    found = []
    for _ in range(count):
        trial, part, values = ask(study)
        found.append((part.family, values))
        study.tell(trial, float(values["M"] + sum(values.values())))
    return found


def test_proposals_keep_the_budget_and_the_steps_of_the_space(study):
    for family, values in proposed(study(), 25):
        part = SPACE.of(family)
        assert FITS(part.spec(values))
        assert all((values[r.name] - r.low) % r.step == 0 for r in part.ranges)


def test_every_family_is_tried(study):
    assert {family for family, _ in proposed(study(), 12)} == {"gdn", "patch"}


def test_one_seed_proposes_the_same_another_something_else(study):
    assert proposed(study(1), 15) == proposed(study(1), 15)
    assert proposed(study(1), 15) != proposed(study(2), 15)


def test_a_new_process_goes_on_as_the_old_one_would_have(study):
    whole = study()
    expected = proposed(whole, 15)
    halves = study()
    first = proposed(halves, 9)
    halves.sampler = Proposals(SPACE, FITS, 0)
    assert first + proposed(halves, 6) == expected


def test_running_trials_of_others_are_kept_apart_from(study):
    made = study()
    proposed(made, 12)
    asked = [ask(made)[2] for _ in range(4)]
    assert len({tuple(values.items()) for values in asked}) > 1


def test_parameters_carry_the_familys_name():
    assert list(distributions(SPACE.of("patch")))[:3] == ["patch.w1", "patch.w2", "patch.w3"]
