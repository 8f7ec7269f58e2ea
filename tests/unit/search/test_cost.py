import pytest

from hwkd.errors import InputError
from hwkd.quantity import Quantity, not_known
from hwkd.search.cost import Budget, Cost, cost_from_dict

COST = Cost(
    7.5,
    Quantity(120.0, "predicted", "pi.toml", 80.0, 170.0, 0.9),
    Quantity(900.0, "predicted", "pi.toml"),
    0.5,
    1.0,
)
WITHOUT_ENERGY = Cost(7.5, COST.latency_ms, not_known("no sensor"), 0.5, 1.0)


def test_a_cost_comes_back_from_plain_values():
    assert cost_from_dict(COST.to_dict()) == COST
    assert cost_from_dict(WITHOUT_ENERGY.to_dict()) == WITHOUT_ENERGY


@pytest.mark.parametrize(
    ("budget", "excess"),
    [
        (Budget(150, None, None), 0.8),
        (Budget(60, None, None), 2.0),
        (Budget(150, 600, None), 1.5),
        (Budget(150, 1000, 0.25), 2.0),
    ],
)
def test_the_excess_is_the_largest_share_of_a_limit(budget, excess):
    assert budget.excess(COST) == pytest.approx(excess)
    assert budget.fits(COST) == (excess <= 1)


def test_a_limit_is_kept_by_what_just_reaches_it():
    assert Budget(120, 900, 0.5).fits(COST)


def test_in_full_the_weights_keep_the_kernels_bits():
    assert Budget(150, None, 1.0).fits_in_full(COST)
    assert Budget(150, None, 0.9).fits(COST) and not Budget(150, None, 0.9).fits_in_full(COST)
    assert not Budget(110, None, None).fits_in_full(COST)


def test_no_limit_at_all_is_no_search():
    with pytest.raises(InputError, match="give --max-ms, --max-mj or --max-mib"):
        Budget(None, None, None)


def test_a_limit_on_unknown_energy_is_refused_with_the_reason():
    with pytest.raises(InputError, match="--max-mj 800 cannot be held: no sensor"):
        Budget(150, 800, None).fits(WITHOUT_ENERGY)
    assert Budget(150, None, None).fits(WITHOUT_ENERGY)


def test_a_budget_is_told_with_its_units():
    assert str(Budget(150, 800, 4)) == "150 ms, 800 mJ, 4 MiB"
    assert str(Budget(None, None, 0.5)) == "0.5 MiB"
