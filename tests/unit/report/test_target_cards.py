import pytest

from hwkd.measure.record import PLAN, Setting
from hwkd.report.cells import Cell, unknown_cell
from hwkd.report.target_cards import NO, NOT_CERTAIN, REAL_TIME_FPS, YES, real_time, target_card
from hwkd.target import load_target

NANO = "jetson-nano"
GPU = Setting("gpu", "ncnn", "fp16")
BUDGET_MS = 40.0
"""1000 ms / 25."""


def on_nano(make_record, figure, name="student", notes=(), **ends):
    low, high = ends.get("low", 8.0), ends.get("high", 32.0)
    entries = tuple(
        figure("latency_ms", side, 16.0, setting=GPU, found="predicted", low=low, high=high)
        for side in ("encode", "decode")
    )
    return make_record(name, target=NANO, is_host=False, entries=entries, notes=notes)


def latency(value, low=None, high=None):
    level = None if low is None else 0.9
    return Cell(value, "predicted", "x", low, high, level)


def test_real_time_is_twenty_five_images_a_second():
    assert 1000 / REAL_TIME_FPS == BUDGET_MS


@pytest.mark.parametrize(
    ("low", "value", "high", "answer"),
    [
        (5.0, 10.0, 39.9, YES),
        (5.0, 10.0, BUDGET_MS, YES),
        (5.0, 10.0, 40.1, NOT_CERTAIN),
        (BUDGET_MS, 80.0, 160.0, NOT_CERTAIN),
        (40.1, 80.0, 160.0, NO),
    ],
)
def test_ends_of_the_interval_decide_on_real_time(low, value, high, answer):
    assert real_time(latency(value, low, high)) == answer


def test_latency_without_an_interval_decides_by_itself():
    assert real_time(latency(39.0)) == YES
    assert real_time(latency(41.0)) == NO


def test_unknown_latency_has_no_answer():
    assert real_time(unknown_cell("no timing")) == "n/a"


def test_card_holds_records_of_its_target_only(make_record, figure):
    card = target_card(load_target(NANO), [make_record("other"), on_nano(make_record, figure)])
    (row,) = card.rows
    assert row.model == "student"
    assert (row.encodes, row.decodes) == (YES, YES)
    assert row.image == "1000x1000"
    assert card.is_networks


def test_interval_stands_below_the_value_and_the_way_in_the_heading(make_record, figure):
    card = target_card(load_target(NANO), [on_nano(make_record, figure)])
    assert [(head.name, head.found) for head in card.heads] == [
        ("encode_ms", "predicted"),
        ("decode_ms", "predicted"),
    ]
    assert [(c.text, c.small) for c in card.rows[0].cells] == [("16.0", "8.00 to 32.0")] * 2


def test_unknown_energy_says_why(make_record, figure):
    card = target_card(load_target(NANO), [on_nano(make_record, figure)])
    assert any(note.startswith("encode_mj: n/a in every row") for note in card.notes)


def test_units_say_which_one_is_preferred():
    card = target_card(load_target(NANO), [])
    assert [(unit.name, unit.kind, unit.is_preferred) for unit in card.units] == [
        ("gpu", "gpu", True),
        ("cpu", "cpu", False),
    ]
    assert card.rows == ()


def test_fact_that_is_not_known_says_why_and_power_modes_are_listed():
    power = target_card(load_target(NANO), []).power
    assert power[0] == "idle n/a (no measured figure in a source)"
    assert any(text.startswith("mode MAXN: 10 W") for text in power)


def test_plan_is_that_of_the_first_quantized_model(make_record, figure):
    records = [
        on_nano(make_record, figure, "in-float"),
        on_nano(make_record, figure, "first", notes=(f"{PLAN}one.", "a note", f"{PLAN}two.")),
        on_nano(make_record, figure, "second", notes=(f"{PLAN}three.",)),
    ]
    card = target_card(load_target(NANO), records)
    assert card.plan == ("one.", "two.")
    assert card.plan_of.startswith("first, family gdn, weights in 8 bits")
    assert "a note" in card.notes
    assert not any(note.startswith(PLAN) for note in card.notes)


def test_without_a_quantized_model_the_plan_is_for_eight_bits_and_says_so(make_record, figure):
    card = target_card(load_target(NANO), [on_nano(make_record, figure)])
    assert "family gdn in 8 bits" in card.plan_of
    assert "no record here is of one" in card.plan_of
    assert any("has no int8 arithmetic" in sentence for sentence in card.plan)
