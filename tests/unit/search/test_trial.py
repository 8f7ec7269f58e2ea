from dataclasses import replace

import pytest

from hwkd.bits import BitPlan
from hwkd.models.spec import HyperpriorSpec
from hwkd.quantity import Quantity, not_known
from hwkd.search.cost import Cost
from hwkd.search.trial import (
    AXES,
    COMPLETE,
    REFERENCE,
    SEARCHED,
    STOPPED,
    AtRung,
    Trial,
    best_of,
    front_of,
    goes_on,
    rungs,
    trial_from_dict,
)

SPEC = HyperpriorSpec("gdn", (8, 8, 8), 16, 8, 8)


def one(number, ms, loss, *, state=COMPLETE, kind=SEARCHED, within=True, mj=None):
    energy = not_known("no meter") if mj is None else Quantity(mj, "predicted", "x")
    cost = Cost(ms / 10, Quantity(ms, "predicted", "x"), energy, 0.1, 0.2)
    return Trial(number, kind, SPEC, cost, within, state, stored_mib=0.1, rd_loss=loss)


# By hand: 2 beats 3 (cheaper and better), 4 was stopped early, 5 is the best and the dearest.
TRIALS = (
    one(1, 50, 3.0),
    one(2, 80, 2.0),
    one(3, 90, 2.5),
    one(4, 10, 1.0, state=STOPPED),
    one(5, 100, 1.5),
)


def test_the_front_holds_what_no_other_beats():
    assert [f.number for f in front_of(TRIALS, ("latency_ms",))] == [1, 2, 5]
    assert [f.number for f in front_of(TRIALS, tuple(AXES))] == [1, 2, 5]


def test_one_axis_more_may_keep_a_student():
    cheap_energy = replace(TRIALS[2], cost=one(3, 90, 2.5, mj=10).cost)
    others = [replace(f, cost=one(0, f.cost.latency_ms.value, 0, mj=99).cost) for f in TRIALS]
    trials = (*others[:2], cheap_energy, others[4])
    assert [f.number for f in front_of(trials, ("latency_ms",))] == [1, 2, 5]
    assert [f.number for f in front_of(trials, ("latency_ms", "energy_mj"))] == [1, 3, 2, 5]


def test_equal_students_are_both_on_the_front():
    assert len(front_of((one(1, 50, 2.0), one(2, 50, 2.0)), ("latency_ms",))) == 2


def test_the_best_is_complete_and_within_the_budget():
    over = one(6, 500, 0.5, kind=REFERENCE, within=False)
    assert best_of((*TRIALS, over)).number == 5
    assert best_of((TRIALS[3], over)) is None


def test_a_record_comes_back_from_plain_values():
    found = replace(TRIALS[0], bits=BitPlan(7, 8, (("g_a.*", 5, 8),)), steps=8, bpp=0.5)
    assert trial_from_dict(found.to_dict(), found.number, found.state) == found


@pytest.mark.parametrize(
    ("steps", "found"), [(256, (32, 64, 128, 256)), (8, (1, 2, 4, 8)), (2, (1, 2)), (1, (1,))]
)
def test_rungs_halve_down_from_all_steps(steps, found):
    assert rungs(steps) == found


@pytest.mark.parametrize(
    ("loss", "others", "kept"),
    [
        (2.0, [], True),  # the first always
        (2.0, [1.0], False),  # one of two
        (1.0, [2.0], True),
        (1.5, [1.0, 2.0], False),  # one of three
        (1.5, [1.0, 2.0, 3.0], True),  # two of four
        (2.5, [1.0, 2.0, 3.0], False),
        (1.0, [1.0], True),  # as good as the best
    ],
)
def test_of_students_that_cost_the_same_the_better_half_goes_on(loss, others, kept):
    assert goes_on(AtRung(loss, 0.5), [AtRung(other, 0.5) for other in others]) is kept


def test_a_student_that_none_beats_at_its_cost_goes_on():
    others = [AtRung(1.0, 0.9), AtRung(1.1, 0.8), AtRung(3.0, 0.3)]
    # Two of the four have a smaller loss, and cost more.
    assert goes_on(AtRung(2.0, 0.5), others)
    # One that costs less has a smaller loss.
    assert not goes_on(AtRung(3.5, 0.5), others)
    assert not goes_on(AtRung(2.0, 0.8), others)
    # A tenth more is no other cost.
    assert not goes_on(AtRung(2.0, 0.75), others)
