from dataclasses import replace

import pytest

from hwkd.report.bundles import card_tables, hours_in_words
from hwkd.runtime.manifest import Card, SetFigures

KODAK = SetFigures("kodak", 24, "openvino 2026.4.1", 34.25, 0.98765, 0.75, 1.5)
FULL = Card(
    data="788 photographs",
    licence="CC0",
    teacher="patch-q5",
    start="run demo (float)",
    seed=0,
    float_steps=14000,
    quantized_steps=0,
    hours=2.256,
    hardware="2 cores",
    recipe="patch-medium-q5",
    limits=("Photographs only.", "One rate."),
    figures=(KODAK,),
)
BARE = Card(
    data="not recorded",
    licence="not recorded",
    teacher=None,
    start=None,
    seed=None,
    float_steps=None,
    quantized_steps=None,
    hours=None,
    hardware="not recorded",
    recipe=None,
    limits=(),
)


def test_every_fact_has_its_row():
    facts, _ = card_tables(FULL)
    assert facts.title == "Card"
    assert dict(facts.rows) == {
        "data": "788 photographs",
        "licence of the data": "CC0",
        "teacher": "patch-q5",
        "first weights from": "run demo (float)",
        "seed": "0",
        "steps in float": "14,000",
        "steps in bits": "0",
        "hours": "2.26",
        "hardware": "2 cores",
        "recipe": "patch-medium-q5",
        "known limits": "Photographs only. One rate.",
    }


def test_what_is_not_known_is_no_zero():
    (facts,) = card_tables(BARE)
    shown = dict(facts.rows)
    unknown = ("teacher", "first weights from", "seed", "steps in float", "steps in bits", "hours")
    assert {shown[name] for name in unknown} == {"n/a"}
    assert (shown["recipe"], shown["known limits"]) == ("none", "not recorded")


def test_the_figures_are_a_table_of_their_own():
    _, figures = card_tables(FULL)
    assert dict(zip(figures.columns, figures.rows[0], strict=True)) == {
        "set": "kodak",
        "images": "24",
        "psnr_db": "34.250",
        "ms_ssim": "0.98765",
        "bpp": "0.7500",
        "rd_loss": "1.5000",
        "runtime": "openvino 2026.4.1",
    }


def test_a_figure_that_is_missing_is_not_available():
    bare = SetFigures("tiny", 1, "onnxruntime 1", None, None, 0.5, None)
    _, figures = card_tables(Card(**{**vars(FULL), "figures": (bare,)}))
    assert figures.rows == (("tiny", "1", "n/a", "n/a", "0.5000", "n/a", "onnxruntime 1"),)


@pytest.mark.parametrize(
    ("hours", "shown"),
    [(None, "n/a"), (0.00123, "0.00123"), (2.256, "2.26"), (95.04, "95"), (1234.5, "1,234")],
)
def test_hours_of_a_short_run_are_no_zero(hours, shown):
    assert hours_in_words(hours) == shown


def test_figures_of_several_qualities_have_a_column_for_them():
    several = tuple(replace(KODAK, quality=quality) for quality in (10, 90))
    _, figures = card_tables(replace(FULL, figures=several))
    assert figures.columns[:3] == ("set", "quality", "images")
    assert [row[:3] for row in figures.rows] == [("kodak", "10", "24"), ("kodak", "90", "24")]
    assert figures.notes[0].endswith("x in [0, 1], with the lmbda of the quality.")
