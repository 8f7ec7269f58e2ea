"""The sensors of energy that there are, and the one that works here."""

import time
from dataclasses import dataclass
from pathlib import Path

from hwkd.errors import HwkdError, InputError, unknown
from hwkd.measure.energy.meter import SYSFS, Meter

KINDS = ("auto", "rapl", "nvml", "ina3221", "codecarbon")
"""The kinds that `open_meter` takes."""

AUTO = ("ina3221", "rapl", "codecarbon")
"""The order in which "auto" tries: the whole board, then the processor, then an estimate. NVML is not in it: the work runs
on the CPU, and NVML does not measure that."""

TRIED_S = {"rapl": 0.25, "nvml": 1.1, "ina3221": 0.15, "codecarbon": 0.0}
"""Seconds for which a meter is tried before it is used: a counter may be there and stand still. The times follow from how
often each counter moves. codecarbon only estimates, and is tried where it starts."""


@dataclass(frozen=True)
class OpenedMeter:
    """A meter, and why "auto" passed over each one before it ("rapl: no /sys/.. ")."""

    meter: Meter
    passed_over: tuple[str, ...] = ()


def open_meter(kind: str, *, sysfs: Path = SYSFS) -> OpenedMeter:
    """Open the meter `kind`, or with "auto" the first of AUTO that works here.

    Args:
        kind: one of KINDS.
        sysfs: where the kernel's /sys is. codecarbon and NVML look in their own places.

    Raises:
        InputError: no such kind; a sensor that is absent, not permitted or does not work, with the cause and the cure;
            with "auto", nothing that works.
    """
    if kind not in KINDS:
        raise unknown("energy meter", kind, KINDS)
    if kind != "auto":
        return OpenedMeter(_tried(kind, sysfs))
    passed_over: list[str] = []
    for name in AUTO:
        try:
            # By here RAPL does not work; codecarbon would read its counters all the same.
            return OpenedMeter(_tried(name, sysfs, without_rapl=True), tuple(passed_over))
        except InputError as error:
            passed_over.append(f"{name}: {error}")
    raise InputError(f"no energy meter works here: {' | '.join(passed_over)}")


def _tried(kind: str, sysfs: Path, *, without_rapl: bool = False) -> Meter:
    """The meter, after a trial: it must give figures for a short window of rest.

    Raises:
        InputError: as `open_meter`; whatever else the sensor or its library fails with.
    """
    try:
        meter = _open(kind, sysfs, without_rapl=without_rapl)
        if TRIED_S[kind]:
            meter.begin_window()
            time.sleep(TRIED_S[kind])
            meter.end_window()
        return meter
    except (InputError, MemoryError):
        raise
    except HwkdError as error:
        raise InputError(str(error)) from error
    # Each sensor has a library of its own, and each of those errors of its own.
    except Exception as error:
        cause = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"it fails with {type(error).__name__}: {cause}") from error


def _open(kind: str, sysfs: Path, *, without_rapl: bool) -> Meter:
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

    return CodecarbonMeter(without_rapl=without_rapl)
