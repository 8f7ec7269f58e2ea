"""Successive halving: at each rung a trial goes on only if it is among the better half of those that came so far, or on
their front of loss and cost.

Optuna's own pruner takes the last step that a trial ever reported for the one that it stands at, which is wrong for a
trial that starts over after its worker died, and compares with references, which are never stopped. It knows the loss
alone, and would stop every student that is cheaper than the best and a little worse.
"""

from collections.abc import Sequence
from dataclasses import dataclass

SHARE = 2
"""One of so many goes on (eta of Li et al. 2020, arXiv 1810.05934)."""
RUNGS = 4
ALIKE = 1.1
"""Costs within this factor are one: near the budget nearly all are, and every other would be on a front."""


@dataclass(frozen=True)
class AtRung:
    """A trial at a rung. cost: the share of the budget that it takes."""

    loss: float
    cost: float


def rungs(steps: int) -> tuple[int, ...]:
    """At how many steps trials are compared, the last at all of them: 32, 64, 128, 256 of 256."""
    return tuple(sorted({max(1, round(steps / SHARE**k)) for k in range(RUNGS)}))


def goes_on(one: AtRung, others: Sequence[AtRung]) -> bool:
    """Whether `one` is within the better 1 / SHARE of itself and `others`, rounded down but one at least, or all others
    of a smaller loss cost more, by more than ALIKE.

    others: all trials that have reached the same rung, whatever became of them (asynchronous).
    """
    better = [other for other in others if other.loss < one.loss]
    kept = max(1, (len(others) + 1) // SHARE)
    return len(better) < kept or all(other.cost > ALIKE * one.cost for other in better)
