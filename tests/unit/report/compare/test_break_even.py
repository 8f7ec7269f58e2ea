import subprocess
import sys

import pytest

from hwkd.errors import InputError
from hwkd.measure.classic import EqualQuality
from hwkd.measure.energy.measure import LINKS, parse_link
from hwkd.quantity import Quantity, not_known
from hwkd.report.compare.break_even import (
    Sender,
    break_even,
    break_even_table,
    classic_sender,
    sentence,
)

ALL = (LINKS["wifi"], LINKS["lte"], LINKS["lora"])


def sender(name, energy_j, bits, spread=None, found="measured"):
    low, high, level = (None, None, None)
    if spread is not None:
        low, high, level = energy_j - spread, energy_j + spread, 0.95
    energy = Quantity(energy_j, found, "RAPL", low, high, level, 10)
    return Sender(name, energy, Quantity(bits, "computed", "real bytes"))


def test_more_energy_and_fewer_bits_win_from_the_break_even_on():
    # (0.3 - 0.1) J / (500,000 - 100,000) bits; ends (0.29 - 0.11) and (0.31 - 0.09) over the same.
    result = break_even(sender("s", 0.3, 1e5, 0.01), sender("JPEG", 0.1, 5e5, 0.01))
    point = result.joule_per_bit
    assert result.outcome == "from"
    assert point.value == pytest.approx(5e-7)
    assert (point.low, point.high) == (pytest.approx(4.5e-7), pytest.approx(5.5e-7))
    assert (point.level, point.found) == (0.9, "computed")
    assert sentence(result, ALL) == (
        "s beats JPEG from 5.0e-7 J/bit (4.5e-7 to 5.5e-7) on: Wi-Fi no, LTE undecided, LoRa yes."
    )


def test_less_energy_and_more_bits_win_up_to_the_break_even():
    result = break_even(sender("s", 0.1, 5e5, 0.01), sender("WebP", 0.3, 1e5, 0.01))
    point = result.joule_per_bit
    assert result.outcome == "up to"
    assert point.value == pytest.approx(5e-7)
    assert (point.low, point.high) == (pytest.approx(4.5e-7), pytest.approx(5.5e-7))
    assert sentence(result, ALL) == (
        "s beats WebP up to 5.0e-7 J/bit (4.5e-7 to 5.5e-7): Wi-Fi yes, LTE undecided, LoRa no."
    )


@pytest.mark.parametrize(("energy_j", "bits"), [(0.1, 1e5), (0.1, 5e5), (0.3, 1e5)])
def test_no_more_energy_and_no_more_bits_win_over_any_link(energy_j, bits):
    result = break_even(sender("s", energy_j, bits), sender("JPEG", 0.3, 5e5))
    assert result.outcome == "always"
    assert result.joule_per_bit.value is None
    assert sentence(result, ALL) == (
        "s beats JPEG over any link: it takes no more energy to encode "
        f"({1e3 * energy_j:.0f} mJ against 300 mJ) and sends no more bits "
        f"({bits / 1e3:.0f} kbit against 500 kbit)."
    )


@pytest.mark.parametrize(("energy_j", "bits"), [(0.3, 5e5), (0.3, 1e5), (0.1, 5e5)])
def test_no_less_energy_and_no_fewer_bits_never_win(energy_j, bits):
    result = break_even(sender("s", energy_j, bits), sender("JPEG", 0.1, 1e5))
    assert result.outcome == "never"
    assert sentence(result, ALL) == (
        "s never beats JPEG, whatever the link: it takes no less energy to encode "
        f"({1e3 * energy_j:.0f} mJ against 100 mJ) and sends no fewer bits "
        f"({bits / 1e3:.0f} kbit against 100 kbit)."
    )


def test_equal_costs_are_a_draw():
    result = break_even(sender("s", 0.1, 1e5), sender("JPEG", 0.1, 1e5))
    assert sentence(result) == "s and JPEG cost the same over any link."


def test_overlapping_energies_reach_down_to_a_link_that_costs_nothing():
    # 0.12 +- 0.05 against 0.1 +- 0.05: the difference is 0.02, at most 0.12, over 400,000 bits.
    result = break_even(sender("s", 0.12, 1e5, 0.05), sender("JPEG", 0.1, 5e5, 0.05))
    assert (result.joule_per_bit.low, result.joule_per_bit.high) == (0, pytest.approx(3e-7))
    assert sentence(result) == (
        "s beats JPEG from 5.0e-8 J/bit (0 to 3.0e-7) on; which of the two encodes for less energy "
        "is not certain, their intervals overlap."
    )


def test_a_certain_looking_win_says_that_the_energies_overlap():
    result = break_even(sender("s", 0.1, 1e5, 0.05), sender("JPEG", 0.12, 5e5, 0.05))
    assert result.outcome == "always"
    assert sentence(result).endswith(
        "(100 kbit against 500 kbit); which of the two encodes for less energy is not certain, "
        "their intervals overlap."
    )


def test_one_energy_without_an_interval_gives_a_break_even_without():
    result = break_even(sender("s", 0.3, 1e5, 0.01), sender("JPEG", 0.1, 5e5))
    assert result.joule_per_bit.low is None
    assert sentence(result, (LINKS["wifi"],)) == "s beats JPEG from 5.0e-7 J/bit on: Wi-Fi no."


@pytest.mark.parametrize(
    ("found", "mark"), [("measured", ""), ("estimated", "~"), ("predicted", "^")]
)
def test_the_weaker_of_the_two_figures_marks_the_break_even(found, mark):
    result = break_even(sender("s", 0.3, 1e5, found=found), sender("JPEG", 0.1, 5e5))
    assert sentence(result) == f"s beats JPEG from {mark}5.0e-7 J/bit on."


def test_an_energy_that_is_not_known_gives_no_verdict():
    unknown = Sender("JPEG", not_known("no sensor"), Quantity(5e5, "computed", "real bytes"))
    result = break_even(sender("s", 0.3, 1e5), unknown)
    assert result.outcome == "unknown"
    assert sentence(result, ALL) == "Whether s beats JPEG is n/a: JPEG: no sensor."


def test_a_number_as_a_link_gets_a_verdict_too():
    result = break_even(sender("s", 0.3, 1e5), sender("JPEG", 0.1, 5e5))
    links = (parse_link("6e-7"), parse_link("4e-7"))
    assert sentence(result, links).endswith(" on: 6e-7 J/bit yes, 4e-7 J/bit no.")


def test_an_image_of_no_bits_is_refused():
    with pytest.raises(InputError, match="more than 0 bits"):
        sender("s", 0.3, 0)


EQUAL = EqualQuality(
    "jpeg",
    32.0,
    Quantity(0.5, "estimated", "interpolated"),
    Quantity(10, "estimated", "a clock"),
    Quantity(5, "estimated", "a clock"),
    1000.0,
    (50, 51),
)


def test_a_classic_codec_is_carried_over_to_the_size_of_the_image():
    # 2,000 pixels at 0.5 bpp.
    energy_mj = Quantity(80, "measured", "RAPL", runs=3)
    jpeg = classic_sender(EQUAL, 2000, energy_mj)
    assert (jpeg.name, jpeg.bits.value) == ("JPEG", 1000)
    assert (jpeg.encode_energy_j.value, jpeg.encode_energy_j.found) == (0.08, "measured")


def test_a_quality_out_of_reach_makes_bits_and_energy_not_available():
    reason = "JPEG reaches 25.00 to 38.00 dB here (quality 5 to 95), not 20.00 dB"
    nothing = not_known(reason, "estimated")
    equal = EqualQuality("jpeg", 20.0, nothing, nothing, nothing, 1000.0, ())
    jpeg = classic_sender(equal, 2000, not_known(reason))
    assert sentence(break_even(sender("s", 0.3, 1e5), jpeg)) == (
        f"Whether s beats JPEG is n/a: JPEG: {reason}."
    )
    row = break_even_table(sender("s", 0.3, 1e5), (jpeg,), ALL, 20.0).rows[1]
    assert row == ("JPEG", "n/a", "n/a", "n/a", "n/a", "n/a")


def test_the_table_adds_what_the_link_costs():
    student = sender("s", 0.3, 1e5, 0.01)
    jpeg = sender("JPEG", 0.1, 5e5, 0.01, found="estimated")
    table = break_even_table(student, (jpeg,), (parse_link("2e-6"), LINKS["lora"]), 32.5)
    assert table.title == "Energy to encode and send one image at 32.50 dB"
    assert table.columns == ("codec", "encode_mj", "kbit", "2e-6_total_mj", "lora_total_mj")
    # 300 mJ + 100,000 x 2e-6 J; LoRa 2.00e-5 to 4.37e-4 J/bit: 2 J to 43.7 J for 100,000 bits.
    assert table.rows == (
        ("s", "300 (290 to 310)", "100", "~500", "~2,300 to 44,000"),
        ("JPEG", "~100 (90.0 to 110)", "500", "~1,100", "~10,100 to 218,600"),
    )
    assert table.notes[0] == (
        "s beats JPEG from ~5.0e-7 J/bit (4.5e-7 to 5.5e-7) on: 2e-6 J/bit yes, LoRa yes."
    )
    assert any(note.startswith("LoRa: 2.0e-5 to 4.4e-4 J/bit, at SF7") for note in table.notes)
    assert any("not counted" in note for note in table.notes)
    assert "JPEG: encode_mj estimated, RAPL; kbit computed, real bytes." in table.notes


def test_break_even_needs_no_torch():
    code = "import sys, hwkd.report.compare.break_even; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
