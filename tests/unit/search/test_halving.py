import pytest

from hwkd.search.halving import AtRung, goes_on, rungs


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
