"""The sensors of energy that there are, and the one that works here."""

from dataclasses import dataclass
from pathlib import Path

from hwkd.errors import InputError, unknown
from hwkd.measure.energy.meter import SYSFS, Meter

KINDS = ("auto", "rapl", "nvml", "ina3221", "codecarbon")
"""What `open_meter` takes."""

AUTO = ("ina3221", "rapl", "codecarbon")
"""The order in which "auto" tries: the whole board, then the processor, then an estimate. NVML is never among them: the
work runs on the CPU, which it does not see."""


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
        from hwkd.measure.energy.rapl import RaplMeter

        return RaplMeter(sysfs=sysfs)
    if kind == "nvml":
        from hwkd.measure.energy.nvml import NvmlMeter

        return NvmlMeter()
    if kind == "ina3221":
        from hwkd.measure.energy.ina3221 import Ina3221Meter

        return Ina3221Meter(sysfs=sysfs)
    from hwkd.measure.energy.codecarbon import CodecarbonMeter

    return CodecarbonMeter()
