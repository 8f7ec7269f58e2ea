"""What measures energy: a window is begun, the work is done, the window is ended and tells its joules. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hwkd.errors import InputError, unknown

KINDS = ("auto", "rapl", "nvml", "ina3221", "codecarbon")
"""What `open_meter` takes."""

AUTO = ("ina3221", "rapl", "codecarbon")
"""The order in which "auto" tries: the whole board, then the processor, then an estimate. NVML is never among them: the
work runs on the CPU, which it does not see."""

SYSFS = Path("/sys")


@dataclass(frozen=True)
class Window:
    """What a meter saw between `begin_window` and `end_window`.

    energy_j: of all that the meter covers. seconds: between the two readings. by_domain: joules of each part that it
    tells apart; where parts lie within each other (rails of a board), they do not add up to energy_j.
    """

    energy_j: float
    seconds: float
    by_domain: Mapping[str, float]


class Meter(Protocol):
    """A source of energy figures: one window at a time."""

    @property
    def name(self) -> str:
        """Of KINDS, without "auto"."""

    @property
    def covers(self) -> str:
        """In words, what of the machine it sees."""

    @property
    def found(self) -> str:
        """How: "measured" or "estimated"."""

    def begin_window(self) -> None:
        """Start to count. Raises HwkdError where the sensor fails."""

    def end_window(self) -> Window:
        """Stop counting. Raises HwkdError where the sensor fails or told something impossible in the window."""


@dataclass(frozen=True)
class OpenedMeter:
    """A meter, and why each one that "auto" tried before it was passed over ("rapl: no /sys/.. ")."""

    meter: Meter
    passed_over: tuple[str, ...] = ()


def open_meter(kind: str, *, sysfs: Path = SYSFS) -> OpenedMeter:
    """Open the meter asked for, or with "auto" the first of AUTO that works here.

    Args:
        kind: one of KINDS.
        sysfs: where the kernel's /sys is. codecarbon and NVML look in their own places.

    Raises:
        InputError: no such kind; a sensor that is absent or not permitted, with the cause and the cure; with "auto",
            nothing that works.
    """
    if kind not in KINDS:
        raise unknown("energy meter", kind, KINDS)
    if kind != "auto":
        return OpenedMeter(_open(kind, sysfs))
    passed_over: list[str] = []
    for name in AUTO:
        try:
            return OpenedMeter(_open(name, sysfs), tuple(passed_over))
        except InputError as error:
            passed_over.append(f"{name}: {error}")
    raise InputError(f"no energy meter works here: {' | '.join(passed_over)}")


def _open(kind: str, sysfs: Path) -> Meter:
    # Each one brings a package of its own, which a machine without the sensor need not have.
    if kind == "rapl":
        from hwkd.measure.rapl import RaplMeter

        return RaplMeter(sysfs=sysfs)
    if kind == "nvml":
        from hwkd.measure.nvml import NvmlMeter

        return NvmlMeter()
    if kind == "ina3221":
        from hwkd.measure.ina3221 import Ina3221Meter

        return Ina3221Meter(sysfs=sysfs)
    from hwkd.measure.codecarbon_meter import CodecarbonMeter

    return CodecarbonMeter()
