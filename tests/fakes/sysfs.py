"""Trees as the kernel's /sys has them, built under a temporary folder: RAPL and INA3221, with counters that move."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

RANGE_UJ = 262_143_328_850
"""max_energy_range_uj of a processor whose energy unit is 61 uJ."""


@dataclass
class FakeRapl:
    """sysfs/class/powercap/intel-rapl with a zone for each socket and, where asked for, a DRAM zone within it."""

    sysfs: Path
    files: dict[str, Path] = field(default_factory=dict)

    def add_package(
        self,
        socket: int,
        energy_uj: int,
        *,
        dram_uj: int | None = None,
        range_uj: int | None = RANGE_UJ,
        name: str | None = None,
    ) -> "FakeRapl":
        folder = self.sysfs / f"class/powercap/intel-rapl/intel-rapl:{socket}"
        self._zone(folder, name or f"package-{socket}", f"package_{socket}", energy_uj, range_uj)
        # A zone that must not be summed: the cores lie within the package.
        self._zone(folder / f"intel-rapl:{socket}:0", "core", f"core_{socket}", 1, range_uj)
        if dram_uj is not None:
            inner = folder / f"intel-rapl:{socket}:1"
            self._zone(inner, "dram", f"dram_{socket}", dram_uj, range_uj)
        return self

    def set(self, **energy_uj: int) -> None:
        for name, value in energy_uj.items():
            self.files[name].write_text(f"{value}\n")

    def _zone(
        self, folder: Path, name: str, domain: str, energy_uj: int, range_uj: int | None
    ) -> None:
        folder.mkdir(parents=True)
        (folder / "name").write_text(f"{name}\n")
        (folder / "energy_uj").write_text(f"{energy_uj}\n")
        if range_uj is not None:
            (folder / "max_energy_range_uj").write_text(f"{range_uj}\n")
        self.files[domain] = folder / "energy_uj"


def hwmon_tree(sysfs: Path, rails: Mapping[str, tuple[int, int]], chip: str = "1-0040") -> Path:
    """An INA3221 as JetPack 5 and later show it; rails: name -> (millivolts, milliamperes), "NC" for unconnected."""
    folder = sysfs / f"bus/i2c/drivers/ina3221/{chip}/hwmon/hwmon3"
    folder.mkdir(parents=True)
    for number, (name, (millivolts, milliamperes)) in enumerate(rails.items(), start=1):
        (folder / f"in{number}_label").write_text(f"{name}\n")
        (folder / f"in{number}_input").write_text(f"{millivolts}\n")
        (folder / f"curr{number}_input").write_text(f"{milliamperes}\n")
    (folder / "in7_label").write_text("sum of shunt voltages\n")
    (folder / "in7_input").write_text("12\n")
    return folder


def iio_tree(sysfs: Path, rails: Mapping[str, int], chip: str = "6-0040") -> Path:
    """An INA3221 as JetPack 4 shows it; rails: name -> milliwatts."""
    folder = sysfs / f"bus/i2c/drivers/ina3221x/{chip}/iio:device0"
    folder.mkdir(parents=True)
    for number, (name, milliwatts) in enumerate(rails.items()):
        (folder / f"rail_name_{number}").write_text(f"{name}\n")
        (folder / f"in_power{number}_input").write_text(f"{milliwatts}\n")
    return folder
