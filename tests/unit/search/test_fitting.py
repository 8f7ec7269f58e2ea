import pytest

from hwkd.errors import InputError
from hwkd.search.cost import Budget
from hwkd.search.fitting import (
    fits_budget,
    shrunk,
    uniform_students,
    widest_uniform,
    within,
)
from hwkd.search.predicted import Predicted
from hwkd.search.space import FamilySpace, Range, Space
from hwkd.target import load_target
from tests.unit.search.conftest import cost_by_channels, small_space

GDN = small_space().of("gdn")
WIDE = {"N1": 32, "N2": 32, "N3": 32, "M": 32, "H": 8, "Z": 8}


def channels(most):
    return fits_budget(Budget(most, None, None), cost_by_channels)


def test_what_fits_is_left_as_it_is():
    assert shrunk(GDN, WIDE, channels(128)) == WIDE


def test_what_does_not_fit_is_shrunk_as_far_as_it_must():
    # The cheapest takes 3 x 8 + 16 = 40. On the way, rounded down: 24 channels and M=16 take 88, 32 and 32 take 128.
    assert shrunk(GDN, WIDE, channels(127)) == {**WIDE, "N1": 24, "N2": 24, "N3": 24, "M": 16}
    assert shrunk(GDN, WIDE, channels(88)) == {**WIDE, "N1": 24, "N2": 24, "N3": 24, "M": 16}
    assert shrunk(GDN, WIDE, channels(87)) == {**WIDE, "N1": 16, "N2": 16, "N3": 16, "M": 16}
    assert shrunk(GDN, WIDE, channels(40)) == GDN.cheapest()


def test_shrinking_keeps_the_proportions():
    uneven = {**WIDE, "N1": 8, "N2": 16}
    # 8 + 16 + 32 + 32 = 88; half way back N2 stays above the cheapest by 4, which rounds down.
    assert shrunk(GDN, uneven, channels(60)) == {**WIDE, "N1": 8, "N2": 8, "N3": 24, "M": 16}


def test_the_widest_student_of_equal_widths_is_found():
    # M stays at 32: 3 x 24 + 32 = 104, 3 x 32 + 32 = 128.
    assert widest_uniform(GDN, channels(110)) == {**WIDE, "N1": 24, "N2": 24, "N3": 24}
    assert widest_uniform(GDN, channels(128)) == WIDE
    assert widest_uniform(GDN, channels(55)) is None


def test_a_student_of_equal_widths_keeps_the_kernels_bits_where_one_can():
    # In full a channel takes 1 / 500 MiB, at the fewest bits half of that; gdn from 56, patch from 80 channels.
    def widths(max_mib):
        budget = Budget(None, None, max_mib)
        return {p.family: v for p, v in uniform_students(small_space(), budget, cost_by_channels)}

    assert widths(0.21)["gdn"] == {**WIDE, "N1": 24, "N2": 24, "N3": 24}
    assert widths(0.21)["patch"]["w1"] == 24
    assert widths(0.1)["gdn"] == {**WIDE, "N1": 16, "N2": 16, "N3": 16}
    assert list(widths(0.06)) == ["gdn"]


def test_families_without_a_student_in_the_budget_are_left_out():
    # The cheapest of gdn takes 40 ms, of patch 3 x 16 + 16 = 64.
    kept = within(small_space(), Budget(50, None, None), cost_by_channels, "a board")
    assert [part.family for part in kept.families] == ["gdn"]


def test_a_budget_that_nothing_keeps_names_the_nearest():
    with pytest.raises(InputError) as error:
        within(small_space(), Budget(30, 300, None), cost_by_channels, "a board")
    assert str(error.value) == (
        "no student of the search keeps the budget of 30 ms, 300 mJ on a board: the nearest that can be had is "
        "gdn N=8 M=16 H=8 Z=8, with 40 ms, 400 mJ; give --max-ms 40 or more and --max-mj 400 or more, or another target"
    )


def test_what_is_advised_is_enough():
    part = FamilySpace("gdn", tuple(Range(r.name, r.low, r.low, r.step) for r in GDN.ranges))
    costs = Predicted(load_target("raspberry-pi-4"))
    with pytest.raises(InputError) as error:
        within(Space((part,)), Budget(1, None, None), costs, "raspberry-pi-4")
    advised = float(str(error.value).partition("--max-ms ")[2].partition(" ")[0])
    assert within(Space((part,)), Budget(advised, None, None), costs, "x").families == (part,)
