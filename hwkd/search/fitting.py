"""Making candidates fit a budget: shrunk until they do, the widest that does, the nearest where none does."""

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping

from hwkd.errors import InputError
from hwkd.models.spec import Spec
from hwkd.search.cost import Budget, Cost, rounded
from hwkd.search.space import FamilySpace, Space, Values

Costing = Callable[[Spec], Cost]
Fits = Callable[[Spec], bool]

SHARES = 16
"""In how many parts the way from a candidate to the cheapest student of its family is taken."""

_UNITS = {"--max-ms": "ms", "--max-mj": "mJ", "--max-mib": "MiB"}


def shrunk(part: FamilySpace, values: Values, fits: Fits) -> dict[str, int]:
    """`values`, or the first student on the way from them to the cheapest of the family that fits.

    Every candidate of a search is so trained, and most lie where the best ones do: just inside the budget. What is
    rejected instead would have to be drawn again and again where little of the space fits.

    fits: True for the cheapest student; where a student fits, so do those on the way from it to the cheapest.
    """
    if fits(part.spec(values)):
        return dict(values)
    low, high = 0, SHARES
    while high - low > 1:
        middle = (low + high) // 2
        if fits(part.spec(part.towards_cheapest(values, middle / SHARES))):
            low = middle
        else:
            high = middle
    return part.towards_cheapest(values, low / SHARES)


def widest_uniform(part: FamilySpace, fits: Fits) -> dict[str, int] | None:
    """The widest student with equal widths that fits; None where not even the narrowest does."""
    students = [part.uniform(width) for width in part.uniform_widths()]
    place = bisect_left(students, True, key=lambda values: not fits(part.spec(values)))
    return students[place - 1] if place else None


def uniform_students(
    space: Space, budget: Budget, costing: Costing
) -> tuple[tuple[FamilySpace, dict[str, int]], ...]:
    """The widest student with equal widths of each family that keeps `budget`, what a user would try without a search: all
    of its layers have the kernels' bits, if one of the family fits so. Families without one are left out."""
    found = []
    for part in space.families:
        values = widest_uniform(part, lambda spec: budget.fits_in_full(costing(spec)))
        values = values or widest_uniform(part, lambda spec: budget.fits(costing(spec)))
        if values is not None:
            found.append((part, values))
    return tuple(found)


def within(space: Space, budget: Budget, costing: Costing, where: str) -> Space:
    """`space` without the families that have no student within `budget`.

    where: the target's name, for the message.
    Raises:
        InputError: no family has one; the nearest student is named. As `Budget.shares`.
    """
    cheapest = {part.family: part.spec(part.cheapest()) for part in space.families}
    costs = {family: costing(spec) for family, spec in cheapest.items()}
    kept = tuple(part for part in space.families if budget.fits(costs[part.family]))
    if kept:
        return Space(kept)
    nearest = min(costs, key=lambda family: budget.excess(costs[family]))
    raise InputError(
        f"no student of the search keeps the budget of {budget} on {where}: the nearest that can be had is "
        f"{cheapest[nearest]}, with {_in_words(budget, costs[nearest])}; give "
        f"{_enough(budget, costs[nearest])}, or another target"
    )


def fits_budget(budget: Budget, costing: Costing) -> Fits:
    """Whether a student keeps `budget`, by `costing`."""
    return lambda spec: budget.fits(costing(spec))


def _in_words(budget: Budget, cost: Cost) -> str:
    return ", ".join(
        f"{rounded(value)} {_UNITS[option]}" for option, value, _ in budget.shares(cost)
    )


def _enough(budget: Budget, cost: Cost) -> str:
    """The options that would let it pass."""
    wanted: Mapping[str, float] = {
        option: value for option, value, share in budget.shares(cost) if share > 1
    }
    return " and ".join(f"{option} {_above(value):g} or more" for option, value in wanted.items())


def _above(value: float) -> float:
    """`value` rounded up to three significant digits."""
    step = 10.0 ** (math.floor(math.log10(value)) - 2)
    return float(f"{math.ceil(value / step) * step:.3g}")
