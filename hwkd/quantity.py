"""A figure that says how it was found: the value, its spread, and by what. Unknown is a reason, never 0."""

import math
from dataclasses import dataclass

from hwkd.errors import InputError

FOUND = ("counted", "computed", "measured", "estimated", "predicted")
"""How a figure can be had: counted (exact: MACs, parameters), computed (bytes from bits), measured (a clock or a
sensor), estimated (a model of this machine, codecarbon say), predicted (a model of a machine that is not here)."""

MARKS = {"counted": "", "computed": "", "measured": "", "estimated": "~", "predicted": "^"}
"""What stands beside a figure in a table that is otherwise measured."""


@dataclass(frozen=True)
class Quantity:
    """One figure. Its unit stands in the name under which it is kept.

    value: None where it is not known; `reason` then says why.
    found: one of FOUND. by: with what: the sensor, the model, the target's file, the counter.
    low, high: the interval that holds the truth with probability `level`; both or neither.
    runs: how many repetitions stand behind a measured value.

    Raises:
        InputError: a number that cannot be (negative, not finite, outside its own interval), a value without saying
            by what, a measured value without runs, no value and no reason.
    """

    value: float | None
    found: str
    by: str = ""
    low: float | None = None
    high: float | None = None
    level: float | None = None
    runs: int | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        if self.found not in FOUND:
            raise InputError(f"found must be one of {', '.join(FOUND)}, got {self.found!r}")
        if (self.value is None) == (not self.reason):
            raise InputError(
                f"needs either a value or the reason why there is none, got {self.value} and {self.reason!r}"
            )
        if self.value is None:
            return
        for name in ("value", "low", "high"):
            number = getattr(self, name)
            if number is not None and not (math.isfinite(number) and number >= 0):
                raise InputError(f"{name} must be a finite number of 0 or more, got {number}")
        if not self.by:
            raise InputError(f"a {self.found} value needs `by`: with what it was found")
        if self.found == "measured" and (self.runs is None or self.runs < 1):
            raise InputError(f"a measured value needs its number of runs, got {self.runs}")
        self._check_interval()

    def _check_interval(self) -> None:
        given = [x is not None for x in (self.low, self.high, self.level)]
        if any(given) != all(given):
            raise InputError(
                f"an interval needs low, high and level, got {self.low}, {self.high}, {self.level}"
            )
        if self.low is None or self.high is None or self.level is None or self.value is None:
            return
        if not self.low <= self.value <= self.high or not 0 < self.level < 1:
            raise InputError(
                f"needs low <= value <= high and 0 < level < 1, got {self.low}, {self.value}, "
                f"{self.high} and {self.level}"
            )

    def scaled(self, factor: float) -> "Quantity":
        """The same figure in another unit: value and interval times `factor`, > 0."""
        if self.value is None:
            return self

        def times(number: float | None) -> float | None:
            return None if number is None else number * factor

        return Quantity(
            self.value * factor,
            self.found,
            self.by,
            times(self.low),
            times(self.high),
            self.level,
            self.runs,
        )


def not_known(reason: str, found: str = "measured") -> Quantity:
    """A figure that could not be had, with the reason."""
    return Quantity(None, found, reason=reason)
