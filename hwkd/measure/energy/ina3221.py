"""Energy of a Jetson board by its INA3221 power monitor: power is sampled and integrated.

The sensor has up to three rails a chip, and rails lie within each other, so their sum is not the board's power. Which
of them make it up (NVIDIA, Jetson Linux Developer Guide, "Software-Based Power Consumption Modeling", releases 32.7
and 35.6) is listed in TOTAL; a board with other rails is refused.
"""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hwkd.errors import HwkdError, InputError
from hwkd.measure.energy.meter import SYSFS, Window

TOTAL = (
    ("VDD_IN",),  # TX1, TX2, Xavier NX, Orin Nano, Orin NX
    ("POM_5V_IN",),  # Nano
    ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),  # AGX Orin; VDDQ_VDD2_1V8AO is within the last
    ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),  # AGX Xavier
)
"""Rails that together are the input of the module and do not lie within each other, by board."""

PERIOD_S = 0.01
MIN_SAMPLES = 5
MIN_SHARE = 0.2
"""Least share of the samples that PERIOD_S should give. With fewer, the sampling was delayed, and the integral is not the
energy."""

DRIVERS = "bus/i2c/drivers"


@dataclass(frozen=True)
class Rail:
    """One rail of the sensor.

    Attributes:
        files: the product of their numbers, times `to_watts`, is the rail's power.
        to_watts: factor from that product to watts.
    """

    name: str
    files: tuple[Path, ...]
    to_watts: float

    def power_w(self) -> float:
        """The power now, in watts. Raises OSError or ValueError where the sensor does not answer."""
        power = self.to_watts
        for file in self.files:
            power *= float(file.read_text())
        return power


@dataclass
class _Samples:
    """Readings in the order of time: times_s, and for each rail its powers_w."""

    times_s: list[float] = field(default_factory=list)
    powers_w: dict[str, list[float]] = field(default_factory=dict)


class Ina3221Meter:
    """The input of a Jetson module. A window's `by_domain` has the other rails too."""

    name = "ina3221"
    found = "measured"

    def __init__(self, *, sysfs: Path = SYSFS, period_s: float = PERIOD_S) -> None:
        """Find the rails and read each once.

        Raises:
            InputError: no such sensor, one that may not be read, or rails with an unknown total.
        """
        try:
            rails = find_rails(sysfs)
            _check_permitted(rails)
            for rail in rails:
                rail.power_w()
        except (OSError, ValueError) as error:
            raise InputError(f"the INA3221 does not answer ({error}); use --energy auto") from error
        if not rails:
            raise InputError(
                f"no INA3221 under {sysfs / DRIVERS}/ina3221 or ina3221x: not a Jetson, or its kernel lacks the "
                "driver; use --energy auto"
            )
        names = [rail.name for rail in rails]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InputError(
                f"the INA3221s have two rails called {twice[0]}, and which of them is the board's is not known; use a "
                "meter at the plug, or --energy auto"
            )
        total = next((t for t in TOTAL if set(t) <= set(names)), None)
        if total is None:
            raise InputError(
                f"the INA3221 has the rails {', '.join(names)}, and which of them make up the board's input is not "
                "known (rails lie within each other); use a meter at the plug"
            )
        self._rails, self._total, self._period_s = rails, total, period_s
        self.covers = f"the module's input ({' + '.join(total)}), sampled every {1000 * period_s:g} ms, of all processes"
        self._samples = _Samples()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._failure: Exception | None = None

    def begin_window(self) -> None:
        """Take the first sample and go on in the background. Raises HwkdError where the sensor does not answer."""
        if self._thread is not None:
            raise HwkdError("begin_window needs end_window after the one before it")
        self._samples, self._failure = _Samples(), None
        self._stop = threading.Event()
        self._sample_or_raise()
        self._thread = threading.Thread(target=self._go_on, name="ina3221", daemon=True)
        self._thread.start()

    def end_window(self) -> Window:
        """Stop sampling, take the last sample, integrate.

        Raises:
            HwkdError: the sensor did not answer, gave no power, or too few samples were taken.
        """
        if self._thread is None:
            raise HwkdError("end_window needs begin_window before it")
        self._stop.set()
        self._thread.join()
        self._thread = None
        if self._failure is not None:
            raise HwkdError(
                f"the INA3221 did not answer: {self._failure}; measure again"
            ) from self._failure
        self._sample_or_raise()
        times_s, powers_w = self._samples.times_s, self._samples.powers_w
        seconds = times_s[-1] - times_s[0]
        needed = max(MIN_SAMPLES, MIN_SHARE * seconds / self._period_s)
        if len(times_s) < needed:
            raise HwkdError(
                f"{len(times_s)} samples in {seconds:.3f} s are too few to integrate (needed: {needed:.0f}); use a "
                "longer window, or leave the machine a free core"
            )
        joules = {name: integral_j(times_s, powers) for name, powers in powers_w.items()}
        total_j = sum(joules[name] for name in self._total)
        if total_j <= 0:
            raise HwkdError(
                f"the INA3221 tells {total_j / seconds:.3g} W for the whole module, which cannot be: its shunt is wired "
                "or described the wrong way round; use a meter at the plug"
            )
        return Window(total_j, seconds, joules)

    def _go_on(self) -> None:
        try:
            while not self._stop.wait(self._period_s):
                self._sample()
        except (OSError, ValueError) as error:
            self._failure = error

    def _sample(self) -> None:
        now = time.perf_counter()
        powers = {rail.name: rail.power_w() for rail in self._rails}
        self._samples.times_s.append(now)
        for name, power in powers.items():
            self._samples.powers_w.setdefault(name, []).append(power)

    def _sample_or_raise(self) -> None:
        try:
            self._sample()
        except (OSError, ValueError) as error:
            raise HwkdError(f"the INA3221 did not answer: {error}; measure again") from error


def _check_permitted(rails: Sequence[Rail]) -> None:
    denied = []
    for file in (file for rail in rails for file in rail.files):
        try:
            file.read_text()
        except PermissionError:
            denied.append(str(file))
    if denied:
        raise InputError(
            "the INA3221 may not be read; allow it until the next boot with "
            f"`sudo chmod a+r {' '.join(denied)}`, or use --energy auto"
        )


def integral_j(times_s: Sequence[float], powers_w: Sequence[float]) -> float:
    """Joules under `powers_w` at `times_s`, by the trapezoid rule.

    Raises:
        InputError: not one power for each time, fewer than 2, or times that run back.
    """
    if len(times_s) != len(powers_w) or len(times_s) < 2:
        raise InputError(
            f"an integral needs 2 or more powers at as many times, got {len(powers_w)} powers at {len(times_s)} times"
        )
    energy_j = 0.0
    for i in range(1, len(times_s)):
        step_s = times_s[i] - times_s[i - 1]
        if step_s < 0:
            raise InputError(f"times must not run back, got {times_s[i - 1]} before {times_s[i]}")
        energy_j += step_s * (powers_w[i - 1] + powers_w[i]) / 2
    return energy_j


def find_rails(sysfs: Path) -> tuple[Rail, ...]:
    """The rails of every INA3221, unconnected ones ("NC") left out.

    Read from hwmon (in*_input in mV, curr*_input in mA) or, up to JetPack 4, from iio (in_power*_input in mW).
    """
    drivers = sysfs / DRIVERS
    return (
        *_rails_of(drivers.glob("ina3221/*/hwmon/hwmon*/in[1-3]_label"), _hwmon_files, 1e-6),
        *_rails_of(drivers.glob("ina3221x/*/iio:device*/rail_name_[0-2]"), _iio_files, 1e-3),
    )


def _rails_of(
    labels: Iterable[Path], files_of: Callable[[Path], tuple[Path, ...]], to_watts: float
) -> list[Rail]:
    named = [(label.read_text().strip(), label) for label in sorted(labels)]
    return [Rail(name, files_of(label), to_watts) for name, label in named if name and name != "NC"]


def _hwmon_files(label: Path) -> tuple[Path, ...]:
    number = label.name.removeprefix("in").removesuffix("_label")
    return (label.with_name(f"in{number}_input"), label.with_name(f"curr{number}_input"))


def _iio_files(label: Path) -> tuple[Path, ...]:
    return (label.with_name(f"in_power{label.name.removeprefix('rail_name_')}_input"),)
