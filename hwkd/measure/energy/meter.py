"""Meters of energy: begin a window, do the work, end the window; the window then has its joules."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

SYSFS = Path("/sys")


@dataclass(frozen=True)
class Window:
    """What a meter measured between `begin_window` and `end_window`.

    Attributes:
        energy_j: energy of all that the meter covers.
        seconds: time between the two readings.
        by_domain: joules of each part that the meter measures separately. Where parts lie within each other (rails of a
            board), they do not add up to energy_j.
    """

    energy_j: float
    seconds: float
    by_domain: Mapping[str, float]


class Meter(Protocol):
    """A source of energy figures: one window at a time."""

    @property
    def name(self) -> str:
        """One of KINDS, without "auto"."""

    @property
    def covers(self) -> str:
        """The part of the machine that it measures, in words."""

    @property
    def found(self) -> str:
        """How: "measured" or "estimated"."""

    def begin_window(self) -> None:
        """Start to count. Raises HwkdError where the sensor fails."""

    def end_window(self) -> Window:
        """Stop counting. Raises HwkdError where the sensor fails or gave an impossible value in the window."""
