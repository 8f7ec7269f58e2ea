import sys
from importlib.metadata import version

import pytest
from codecarbon.input import DataSource

from hwkd.errors import InputError
from hwkd.measure.emissions import emissions_g_per_1000


def test_a_thousand_images_of_3_6_joules_are_a_thousandth_of_a_kilowatt_hour():
    intensity = DataSource().get_global_energy_mix_data()["FRA"]["carbon_intensity"]
    assert emissions_g_per_1000(3.6, "FRA").value == pytest.approx(intensity / 1000)


def test_countries_differ_as_their_electricity_does():
    # Our World in Data has France under 100 and Poland over 500 g/kWh in every year of the 2020s.
    french, polish = (emissions_g_per_1000(3600.0, code).value for code in ("FRA", "POL"))
    assert french < 100 < 500 < polish


def test_it_says_what_it_was_computed_with():
    quantity = emissions_g_per_1000(1.0, "deu")
    entry = DataSource().get_global_energy_mix_data()["DEU"]
    assert quantity.found == "estimated"
    assert quantity.by == (
        f"codecarbon {version('codecarbon')}: Germany (DEU), {entry['carbon_intensity']:.0f} g CO2e/kWh, mean of "
        f"{entry['year']}"
    )


def test_no_energy_has_no_emissions():
    assert emissions_g_per_1000(0.0, "USA").value == 0.0


@pytest.mark.parametrize(
    ("received", "message"),
    [
        (
            "france",
            "unknown country 'france': did you mean FRA? --country takes three letters of ISO 3166: USA, FRA, DEU",
        ),
        (
            "??",
            "unknown country '??'; --country takes three letters of ISO 3166: USA, FRA, DEU",
        ),
    ],
)
def test_an_unknown_country_is_refused(received, message):
    with pytest.raises(InputError) as error:
        emissions_g_per_1000(1.0, received)
    assert str(error.value) == message


def test_a_mistyped_country_gets_the_near_ones():
    with pytest.raises(InputError, match=r"'FRX': did you mean FR[AO] or FR[AO]"):
        emissions_g_per_1000(1.0, "FRX")


@pytest.mark.parametrize("energy_j", [-1.0, float("nan")])
def test_an_energy_that_cannot_be_is_refused(energy_j):
    with pytest.raises(InputError, match="energy must be 0 J or more, got"):
        emissions_g_per_1000(energy_j, "USA")


def test_without_codecarbon_the_install_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "codecarbon.core.emissions", None)
    with pytest.raises(InputError, match=r"pip install 'hwkd\[energy\]'"):
        emissions_g_per_1000(1.0, "USA")
