import subprocess
import sys

import pytest

from hwkd.errors import InputError
from hwkd.facts import CONFIDENCES, Fact
from hwkd.measure.links import LINKS, Link, parse_link


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        # mW per Mbit/s is nJ/bit; the base power is spread over the rate in Mbit/s.
        ("wifi", 283.17e-9, (283.17 + 132.86 / 1) * 1e-9),
        ("lte", 438.39e-9, (438.39 + 1288.04 / 6) * 1e-9),
        ("lora", 0.0331 * 3.3 / 5470, 0.0331 * 3.3 / 250),
    ],
)
def test_costs_follow_from_the_published_powers_and_rates(name, low, high):
    assert LINKS[name].low == pytest.approx(low, rel=2e-3)
    assert LINKS[name].high == pytest.approx(high, rel=2e-3)


def test_every_link_says_where_its_figure_comes_from_and_what_it_leaves_out():
    for link in LINKS.values():
        assert link.joule_per_bit.confidence in CONFIDENCES
        assert link.joule_per_bit.source
        assert "not counted" in link.note


def test_figures_from_memory_are_marked():
    assert LINKS["wifi"].joule_per_bit.confidence == "M"
    assert LINKS["lte"].joule_per_bit.confidence == "M"
    assert LINKS["lora"].joule_per_bit.confidence == "D"


@pytest.mark.parametrize("text", ["lte", "LTE"])
def test_a_link_is_found_by_its_name(text):
    assert parse_link(text) is LINKS["lte"]


def test_a_number_is_joule_per_bit():
    link = parse_link("2e-7")
    assert (link.name, link.label) == ("2e-7", "2e-7 J/bit")
    assert (link.low, link.high) == (2e-7, 2e-7)
    assert link.joule_per_bit.source == "given by the user"


def test_an_unknown_link_suggests_the_near_one_and_the_unit():
    with pytest.raises(InputError) as error:
        parse_link("wfi")
    assert str(error.value) == (
        "unknown link 'wfi': did you mean wifi? Known: lora, lte, wifi; "
        "or give what a bit costs in joule (J/bit), as 2e-7"
    )


@pytest.mark.parametrize("text", ["0", "-1e-7", "inf", "nan"])
def test_a_cost_must_be_a_finite_number_above_0(text):
    with pytest.raises(InputError) as error:
        parse_link(text)
    assert str(error.value) == (
        f"a bit costs a finite number of joule above 0, got '{text}'; "
        "give J/bit as 2e-7, or one of lora, lte, wifi"
    )


def test_a_link_without_a_cost_is_refused():
    with pytest.raises(InputError, match="link x needs a cost"):
        Link("x", "X", Fact(unknown="never measured"))


def test_links_need_no_torch():
    code = "import sys, hwkd.measure.links; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
