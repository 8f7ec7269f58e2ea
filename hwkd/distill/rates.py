"""The learning rate of a step: a linear warm-up, then constant and a linear fall, half a cosine, or the paper's plateau."""

import math

WARM_UP_STEPS = 200
LAST_RATE = 0.01
DECAY_SHARE = 0.35
"""Of a phase of the schedule wsd, the end over which the rate falls."""
TIMED_STEPS = 25
"""Steps that are timed, after as many untimed ones, before `--minutes` is turned into a number of steps."""


def warm_up(step: int) -> float:
    """The share of the peak rate in the linear warm-up; 1 after it."""
    return min(1.0, (step + 1) / WARM_UP_STEPS)


def wsd(step: int, steps: int | None) -> float:
    """The share of the peak rate at `step` of `steps`: linear warm-up, constant, a linear fall to LAST_RATE at the end.

    Until the fall nothing depends on how many steps there will be, so that a run can be made longer (warm-up, stable,
    decay: S. Hu et al., arXiv 2404.06395, section 4).

    steps: None while the length is not known.
    """
    left = 1.0 if steps is None else (steps - step) / (DECAY_SHARE * steps)
    return warm_up(step) * max(LAST_RATE, min(1.0, left))


def cosine(step: int, steps: int | None) -> float:
    """The share of the peak rate at `step` of `steps`: linear warm-up, and half a cosine down to LAST_RATE.

    The cosine starts when a run by minutes knows its length, in a run by steps too: the one repeats the other.
    steps: None while the length is not known.
    """
    done = step / steps if steps is not None and step >= 2 * TIMED_STEPS else 0.0
    fall = LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    return warm_up(step) * fall
