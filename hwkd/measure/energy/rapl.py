"""Energy of the processor and its memory by RAPL, read through pyJoules.

The counters (Documentation/ABI/testing/sysfs-class-powercap of the Linux kernel) are 32 bits of the processor's energy
unit, given in microjoules; after max_energy_range_uj they start again at 0. pyJoules reads them and leaves the wrap
to its caller. One wrap in a window is put right as end - begin + max_energy_range_uj, which is short by one unit (15
to 61 uJ), as the range is that of the last value and not of the first one after it. Two wraps look
like one, so a window is refused in which PLAUSIBLE_W could have gone round twice.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwkd.errors import HwkdError, InputError
from hwkd.measure.energy.meter import SYSFS, Window

PLAUSIBLE_W = 1000.0
"""More than any package or its memory draws: twice the 500 W of the largest server processors of 2025."""

STILL_S = 0.1
"""RAPL counts about every millisecond; a counter that has not moved in this many seconds is out of order."""

INSTEAD = "use --energy codecarbon for an estimate, or a meter at the plug"


@dataclass(frozen=True)
class Counter:
    """One domain of RAPL.

    Attributes:
        name: pyJoules's name (package_0, dram_0).
        file: the domain's energy_uj file.
        range_uj: the value after which it starts again at 0; None where the kernel gives none.
    """

    name: str
    file: Path
    range_uj: float | None

    def energy_uj(self, begin_uj: float, end_uj: float, seconds: float) -> float:
        """Microjoules between two readings that lie `seconds` apart.

        Raises:
            HwkdError: the counter stood still, went back further than one wrap explains, or may have wrapped twice.
        """
        read = f"{self.file} went from {begin_uj:.0f} to {end_uj:.0f} uJ in {seconds:.3f} s"
        if end_uj == begin_uj and seconds > STILL_S:
            raise HwkdError(f"{read}: the counter stands still; {INSTEAD}")
        if self.range_uj is not None and seconds * PLAUSIBLE_W * 1e6 > self.range_uj:
            raise HwkdError(
                f"a window of {seconds:.1f} s is too long for {self.file}, which at {PLAUSIBLE_W:.0f} W starts again "
                f"at 0 every {self.range_uj / 1e6 / PLAUSIBLE_W:.1f} s; measure a smaller image"
            )
        if end_uj >= begin_uj:
            return end_uj - begin_uj
        if self.range_uj is None:
            raise HwkdError(
                f"{read}: it went back, and no max_energy_range_uj beside it says where it wraps; {INSTEAD}"
            )
        energy_uj = end_uj - begin_uj + self.range_uj
        if not 0 <= energy_uj <= seconds * PLAUSIBLE_W * 1e6:
            raise HwkdError(
                f"{read}: one wrap at {self.range_uj:.0f} uJ does not explain it, the counter was reset or is "
                f"defective; {INSTEAD}"
            )
        return energy_uj


class RaplMeter:
    """Package and DRAM domains of every socket, summed."""

    name = "rapl"
    found = "measured"

    def __init__(self, *, sysfs: Path = SYSFS) -> None:
        """Find the counters and try to read each.

        Raises:
            InputError: no RAPL here, counters that only root may read, packages that pyJoules does not see, or no
                pyJoules.
        """
        root = sysfs / "class/powercap/intel-rapl"
        if not (root / "intel-rapl:0").is_dir():
            raise InputError(
                f"no {root / 'intel-rapl:0'}: a virtual machine, or a processor or kernel without RAPL; {INSTEAD}"
            )
        self._device = _pyjoules_device(root)
        files = [Path(name) for name in self._device._api_file_names]
        names = [repr(domain) for domain in self._device.get_configured_domains()]
        _check_packages(root, names)
        _check_readable(files)
        self._counters = tuple(
            Counter(name, file, _range_uj(file)) for name, file in zip(names, files, strict=True)
        )
        self._begin: tuple[float, list[float]] | None = None

    @property
    def covers(self) -> str:
        """The domains that are summed, and what they leave out."""
        names = ", ".join(counter.name for counter in self._counters)
        has_dram = any(counter.name.startswith("dram") for counter in self._counters)
        memory = "" if has_dram else "the memory (no DRAM counter here), "
        return f"processor domains {names}, of all processes; not {memory}the board, disks, fans and power supply"

    def begin_window(self) -> None:
        """Read the counters. Raises HwkdError where one cannot be read."""
        self._begin = (time.perf_counter(), self._read_uj())

    def end_window(self) -> Window:
        """Read the counters again. Raises HwkdError as `Counter.energy_uj`, or where one cannot be read."""
        if self._begin is None:
            raise HwkdError("end_window needs begin_window before it")
        (begin_s, begins), self._begin = self._begin, None
        seconds, ends = time.perf_counter() - begin_s, self._read_uj()
        joules = {
            counter.name: counter.energy_uj(begin, end, seconds) / 1e6
            for counter, begin, end in zip(self._counters, begins, ends, strict=True)
        }
        return Window(sum(joules.values()), seconds, joules)

    def _read_uj(self) -> list[float]:
        try:
            return [float(value) for value in self._device.get_energy()]
        except (OSError, ValueError) as error:
            raise HwkdError(f"a RAPL counter could not be read: {error}; {INSTEAD}") from error


def _pyjoules_device(root: Path) -> Any:
    """pyJoules's RaplDevice over the package and DRAM domains found under `root`."""
    try:
        from pyJoules.device import rapl_device  # type: ignore[import-untyped]
    except ImportError as error:
        raise InputError(
            f"RAPL is read through pyJoules, which cannot be imported ({error}): `pip install 'hwkd[energy]'`"
        ) from error
    # The folder is a constant of pyJoules's module that its static methods read. It is set only while pyJoules looks
    # for the counters: the device keeps their full paths.
    usual = rapl_device.RAPL_API_DIR
    rapl_device.RAPL_API_DIR = str(root)
    try:
        device = rapl_device.RaplDevice()
        device.configure(device.available_package_domains() + device.available_dram_domains())
    finally:
        rapl_device.RAPL_API_DIR = usual
    return device


def _check_packages(root: Path, seen: list[str]) -> None:
    """pyJoules knows packages by the name package-<number of the zone> alone; any other would be left out silently."""
    zones = [(path / "name").read_text().strip() for path in sorted(root.glob("intel-rapl:*"))]
    packages = [name for name in zones if name.startswith("package")]
    found = sum(name.startswith("package") for name in seen)
    if not packages or found != len(packages):
        raise InputError(
            f"{root} has the zones {', '.join(zones)}, of which pyJoules sees {found} of {len(packages)} packages, so "
            f"energy would be missing; {INSTEAD}"
        )


def _check_readable(files: list[Path]) -> None:
    denied = []
    for file in files:
        try:
            file.read_text()
        except PermissionError:
            denied.append(str(file))
        except OSError as error:
            raise InputError(f"{file} cannot be read ({error.strerror}); {INSTEAD}") from error
    if denied:
        raise InputError(
            f"RAPL's counters are readable by root only; allow it until the next boot with `sudo chmod a+r "
            f"{' '.join(denied)}`, or {INSTEAD}"
        )


def _range_uj(file: Path) -> float | None:
    try:
        range_uj = float(file.with_name("max_energy_range_uj").read_text())
    except (OSError, ValueError):
        return None
    return range_uj if range_uj > 0 else None  # 0 says nothing
