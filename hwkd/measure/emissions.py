"""Emissions from energy: codecarbon's carbon intensity of a country's electricity, offline."""

import logging
from collections.abc import Mapping
from difflib import get_close_matches
from importlib.metadata import version
from typing import Any

from hwkd.errors import InputError
from hwkd.quantity import Quantity

J_PER_KWH = 3.6e6
IMAGES = 1000


def emissions_g_per_1000(energy_j_per_image: float, country_iso_code: str) -> Quantity:
    """Grams of CO2 equivalent for 1,000 images: energy of 1,000 images x the country's carbon intensity.

    Counts: what the energy given counts, at the yearly mean of the country's electricity. Does not count: making the
    device, the hour of the day, losses of the power supply.

    Args:
        energy_j_per_image: joules, 0 or more.
        country_iso_code: three letters, ISO 3166-1 alpha-3, in capitals or not.

    Raises:
        InputError: a negative energy, a country without data, or no codecarbon.
    """
    if not energy_j_per_image >= 0:
        raise InputError(f"energy must be 0 J or more, got {energy_j_per_image}")
    try:
        from codecarbon.core.emissions import Emissions
        from codecarbon.core.units import Energy
        from codecarbon.external.geography import GeoMetadata
        from codecarbon.input import DataSource
    except ImportError as error:
        raise InputError(
            f"codecarbon cannot be imported ({error}): `pip install 'hwkd[energy]'`"
        ) from error
    # The import sets the level to INFO.
    logging.getLogger("codecarbon").setLevel(logging.ERROR)
    data: Any = DataSource()  # type: ignore[no-untyped-call]
    countries = data.get_global_energy_mix_data()
    code = country_iso_code.upper()
    if code not in countries:
        # codecarbon itself would take the world's average here.
        raise _unknown_country(country_iso_code, countries)
    kg_per_kwh = Emissions(data).get_country_emissions(
        Energy.from_energy(kWh=1.0), GeoMetadata(country_iso_code=code)
    )
    grams = 1e3 * kg_per_kwh * IMAGES * energy_j_per_image / J_PER_KWH
    entry = countries[code]
    return Quantity(
        grams,
        "estimated",
        f"codecarbon {version('codecarbon')}: {entry['country_name']} ({code}), {1e3 * kg_per_kwh:.0f} g CO2e/kWh, mean of "
        f"{entry['year']}",
    )


def _unknown_country(received: str, countries: Mapping[str, Mapping[str, Any]]) -> InputError:
    by_name = {entry["country_name"].lower(): code for code, entry in countries.items()}
    example = "--country takes three letters of ISO 3166: USA, FRA, DEU"
    if received.lower() in by_name:
        return InputError(
            f"unknown country {received!r}: did you mean {by_name[received.lower()]}? {example}"
        )
    near = get_close_matches(received.upper(), countries, n=3, cutoff=0.6)
    hint = f": did you mean {' or '.join(near)}?" if near else ";"
    return InputError(f"unknown country {received!r}{hint} {example}")
