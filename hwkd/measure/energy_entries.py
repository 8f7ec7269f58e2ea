"""Energy of encode and of decode on this host as entries of a record."""

from collections.abc import Callable, Mapping

from hwkd.measure.emissions import emissions_g_per_1000
from hwkd.measure.energy.measure import ImageEnergy, measure_energy
from hwkd.measure.energy.meter import Meter
from hwkd.measure.record import Entry, Setting


def energy_entries(
    runs: Mapping[str, Callable[[], object]],
    meter: Meter,
    part: str,
    setting: Setting,
    *,
    pixels: int,
    seconds: float,
    country: str | None,
) -> list[Entry]:
    """energy_mj and power_w of encode and decode, and emissions where a country is given.

    Args:
        runs: by side; each handles one image of `pixels`. part: of hwkd.measure.record.PARTS, what they do.
        seconds: for each side. country: ISO code for the emissions of its electricity.

    Raises:
        InputError, HwkdError: as `hwkd.measure.energy.measure.measure_energy`.
    """
    entries: list[Entry] = []
    for side, run in runs.items():
        energy = measure_energy(run, meter, pixels=pixels, seconds=seconds)
        entries += _energies(energy, side, part, setting, country)
    return entries


def _energies(
    energy: ImageEnergy, side: str, part: str, setting: Setting, country: str | None
) -> list[Entry]:
    entries = [
        Entry("energy_mj", side, part, setting, energy.energy_mj),
        Entry("power_w", side, part, setting, energy.power_w),
    ]
    joules = energy.energy_mj.value
    if country is not None and joules is not None:
        grams = emissions_g_per_1000(joules / 1e3, country)
        entries.append(Entry("emissions_g_per_1000", side, part, setting, grams))
    return entries
