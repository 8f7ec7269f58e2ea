import dataclasses
import itertools
import json
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from hwkd.errors import HwkdError
from hwkd.measure.record import PLAN, Setting
from hwkd.quantity import Quantity, not_known
from hwkd.report.page.page import (
    NO,
    NOT_CERTAIN,
    REAL_TIME_FPS,
    YES,
    page_html,
    real_time,
    resource_table,
    target_card,
)
from hwkd.report.page.sources import Gathered
from hwkd.report.plots.plot import Bar, Bars, Panel, Point, Scatter, Series
from hwkd.report.table import Table
from hwkd.target import load_target

pytest.importorskip("jinja2")
pytest.importorskip("plotly")


TABLE = Table("t", ("model", "x"), (("a", "1"),), ("A note of the table.",))
HOSTILE = "</script><b>bold</b>"


def plot(key="psnr-latency", name="a", **choices):
    series = (Series(name, (Point(1.0, 30.0, name, 0.5, 2.0),)),)
    caption = f"Caption of {key}."
    return Scatter(key, f"Title {key}", "x", "y", series, caption, TABLE, ("A note.",), choices)


def layers(**choices):
    panels = (Panel("encoder", (Bar("conv", 1.0, "g_a"),)),)
    return Bars("layer-macs", "Layers", "GMAC", panels, "Caption.", TABLE, (), choices)


def gathered(*records, targets=(), sources=("shipped",)):
    return Gathered(tuple(records), None, (), tuple(targets), sources)


class _Elements(HTMLParser):
    """All that opens, with its attributes; the texts inside <script> and outside."""

    def __init__(self, html):
        super().__init__()
        self.opened = []
        self.texts = {}
        self._path = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.opened.append((tag, dict(attrs)))
        self._path.append(tag)

    def handle_endtag(self, tag):
        if tag in self._path:
            while self._path.pop() != tag:
                pass

    def handle_data(self, data):
        where = self._path[-1] if self._path else ""
        self.texts.setdefault(where, []).append(data)

    def of(self, tag):
        return [attrs for name, attrs in self.opened if name == tag]


@pytest.fixture
def made(make_record):
    targets = [load_target("raspberry-pi-4")]
    plots = [plot(target="board"), plot(target="pi"), layers()]
    return page_html(gathered(make_record(), targets=targets), plots, "hwkd report x")


def test_same_input_gives_the_same_bytes(make_record):
    one, other = (page_html(gathered(make_record()), [plot()], "hwkd report") for _ in range(2))
    assert one == other


def test_nothing_in_the_page_points_to_the_network(made):
    page = _Elements(made)
    links = [
        value
        for _, attrs in page.opened
        for name, value in attrs.items()
        if name in ("src", "href", "action", "srcset", "poster")
    ]
    assert all(link.startswith(("#", "data:")) for link in links)
    policy = next(a["content"] for a in page.of("meta") if "http-equiv" in a)
    assert policy.startswith("default-src 'none';")
    css = " ".join(page.texts["style"])
    assert "url(" not in css
    assert "@import" not in css


def test_hostile_names_stay_text(make_record):
    record = make_record(HOSTILE)
    html = page_html(gathered(record, sources=(HOSTILE,)), [plot(name=HOSTILE)], HOSTILE)
    page = _Elements(html)
    assert page.of("b") == []
    assert len(page.of("script")) == html.count("</script>")
    assert f"To make this page again: <code>{HOSTILE}" not in html
    assert HOSTILE in page.texts["code"]


def test_drawings_are_json_with_the_points(made):
    text = re.search(r'id="drawings">(.*?)</script>', made, re.DOTALL).group(1)
    drawings = json.loads(text)
    assert list(drawings) == ["plot-1", "plot-2", "plot-3"]
    assert drawings["plot-1"]["data"][0]["x"] == [1.0]


def test_headings_go_down_one_level_at_a_time(made):
    levels = [int(tag[1]) for tag, _ in _Elements(made).opened if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_every_id_is_there_once_and_every_reference_leads_to_one(made):
    opened = _Elements(made).opened
    ids = [attrs["id"] for _, attrs in opened if "id" in attrs]
    assert len(set(ids)) == len(ids)
    named = [
        name
        for _, attrs in opened
        for key in ("aria-labelledby", "aria-describedby")
        for name in attrs.get(key, "").split()
    ]
    anchors = [a["href"][1:] for t, a in opened if t == "a" and a["href"].startswith("#")]
    assert set(named + anchors) <= set(ids)


def test_plots_have_their_caption_their_notes_and_their_table_as_text(made):
    page = _Elements(made)
    drawn = [a for a in page.of("div") if a.get("role") == "img"]
    assert len(drawn) == 3
    assert page.texts["figcaption"] == ["Caption of psnr-latency."] * 2 + ["Caption."]
    assert page.texts["summary"].count("The same as a table") == 3
    assert page.texts["p"].count("A note.") == 2
    assert page.texts["p"].count("A note of the table.") == 3


def test_alternatives_are_hidden_behind_a_select(made):
    page = _Elements(made)
    assert ["hidden" in a for a in page.of("figure")] == [False, True, False]
    assert [a["data-choice"] for a in page.of("select") if "data-choice" in a] == ["target"]
    assert json.loads(page.of("figure")[1]["data-choices"]) == {"target": "pi"}


def test_ways_of_finding_are_explained_in_words_beside_their_marks(made):
    words = [text.strip() for text in _Elements(made).texts["dt"] if text.strip()]
    assert words == ["measured", "estimated", "predicted", "counted", "computed", "published"]


def test_page_says_how_to_make_it_again(made):
    assert "hwkd report x" in _Elements(made).texts["code"]


def test_page_without_records_plots_and_targets_still_stands():
    page = _Elements(page_html(gathered(), [], "hwkd report"))
    assert page.of("table") == []
    assert [a["id"] for a in page.of("section")] == ["how-to-read", "sources"]


@pytest.mark.parametrize("missing", ["jinja2", "plotly.offline"])
def test_missing_package_says_what_to_install(monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(HwkdError, match=r"^Jinja2 and Plotly are not installed: pip install"):
        page_html(gathered(), [plot()], "hwkd report")


PI = Setting("cpu", "ncnn", "int8", 4)


def predicted(make_record, figure, name="student", **fields):
    def one(kind, side, value):
        return figure(
            kind, side, value, setting=PI, found="predicted", low=value / 2, high=value * 2
        )

    entries = (
        one("latency_ms", "encode", 12.0),
        one("latency_ms", "decode", 15.0),
        one("energy_mj", "encode", 80.0),
        one("energy_mj", "decode", 90.0),
    )
    return make_record(name, target="pi", is_host=False, entries=entries, **fields)


def column(table, name, found):
    place = [(head.name, head.found) for head in table.heads].index((name, found))
    return [row.cells[place] for row in table.rows]


def test_measured_and_predicted_never_share_a_column(make_record, figure):
    table = resource_table([make_record(), predicted(make_record, figure)])
    measured = column(table, "encode_ms, networks", "measured")
    guessed = column(table, "encode_ms, networks", "predicted")
    assert [cell.number for cell in measured] == [40.0, None]
    assert [cell.number for cell in guessed] == [None, 12.0]
    assert guessed[1].small == "6.00 to 24.0"


def test_the_networks_alone_and_the_whole_way_have_columns_of_their_own(make_record, figure):
    whole = make_record(
        "whole",
        entries=tuple(
            dataclasses.replace(figure("energy_mj", side, 50.0), part="end_to_end")
            for side in ("encode", "decode")
        ),
    )
    networks = make_record(
        "networks", entries=tuple(figure("energy_mj", side, 30.0) for side in ("encode", "decode"))
    )
    table = resource_table([whole, networks])
    assert [c.number for c in column(table, "encode_mj, networks", "measured")] == [None, 30.0]
    assert [c.number for c in column(table, "encode_mj, end to end", "measured")] == [50.0, None]


def test_figure_that_is_not_there_has_a_numbered_reason(make_record, figure):
    table = resource_table([make_record(), predicted(make_record, figure)])
    cell = column(table, "encode_ms, networks", "measured")[1]
    assert cell.text == "n/a"
    assert table.reasons[cell.note - 1] == cell.title
    assert "predicted, not measured" in cell.title


def test_column_that_nobody_has_is_left_out_and_a_note_says_why(make_record, figure):
    unknown = dataclasses.replace(
        figure("energy_mj", "encode", 1.0), quantity=not_known("no sensor")
    )
    entries = (
        figure("latency_ms", "encode", 1.0),
        figure("latency_ms", "decode", 2.0),
        unknown,
        dataclasses.replace(unknown, side="decode"),
    )
    table = resource_table([make_record(entries=entries)])
    assert not any(head.name.startswith("encode_mj") for head in table.heads)
    assert "encode_mj: n/a in every row: no sensor." in table.notes
    assert ("encode_ms, networks", "predicted") not in [(h.name, h.found) for h in table.heads]


def test_rows_carry_the_setting_and_the_target(make_record, figure):
    table = resource_table([make_record(), predicted(make_record, figure)])
    assert table.targets == ("board", "pi")
    assert [cell.text for cell in table.rows[1].cells[:6]] == [
        *("student", "pi", "cpu", "ncnn", "int8", "4")
    ]


def test_counted_and_computed_figures_say_so(make_record):
    table = resource_table([make_record()])
    assert column(table, "parameters_m", "counted")[0].text == "2.000"
    assert column(table, "weight_mib", "computed")[0].text == "2.000"
    # 40 GMAC over 1 megapixel.
    assert column(table, "kmac_per_pixel", "counted")[0].number == 40.0


def test_different_image_sizes_are_compared_per_megapixel(make_record):
    small = make_record("small", width=500)
    table = resource_table([make_record(), small])
    assert [c.number for c in column(table, "encode_ms_per_mpx, networks", "measured")] == [
        40.0,
        80.0,
    ]
    assert any("1000x1000, 500x1000" in note for note in table.notes)


def test_quality_on_different_images_says_which(make_record):
    other = make_record("other")
    other = dataclasses.replace(other, quality=dataclasses.replace(other.quality, on="CLIC"))
    cells = column(resource_table([make_record(), other]), "psnr_db", "measured")
    assert [cell.small for cell in cells] == ["on Kodak", "on CLIC"]


def test_record_without_latency_and_energy_has_a_row(make_record):
    table = resource_table([make_record(), make_record("bare", entries=())])
    assert [cell.text for cell in table.rows[1].cells[:6]] == ["bare", "board", *["n/a"] * 4]


NANO = "jetson-nano"
GPU = Setting("gpu", "ncnn", "fp16")
BUDGET_MS = 40.0
"""1000 ms / 25."""


def on_nano(make_record, figure, name="student", notes=(), **ends):
    low, high = ends.get("low", 8.0), ends.get("high", 32.0)
    entries = tuple(
        figure("latency_ms", side, 16.0, ends.get("part", "networks"), GPU, "predicted", low, high)
        for side in ("encode", "decode")
    )
    return make_record(name, target=NANO, is_host=False, entries=entries, notes=notes)


def latency(value, low=None, high=None):
    level = None if low is None else 0.9
    return Quantity(value, "predicted", "x", low, high, level)


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
    assert real_time(not_known("no timing")) == "n/a"


def test_card_holds_records_of_its_target_only(make_record, figure):
    card = target_card(load_target(NANO), [make_record("other"), on_nano(make_record, figure)])
    (row,) = card.rows
    assert row.model == "student"
    # Networks alone are no codec: what a user waits for is not known.
    assert (row.encodes, row.decodes) == ("n/a", "n/a")
    assert row.image == "1000x1000"
    assert card.is_networks


def test_real_time_is_said_end_to_end_and_of_trained_models(make_record, figure):
    whole = on_nano(make_record, figure, part="end_to_end")
    bare = replace(whole, model=replace(whole.model, name="bare", is_trained=False))
    card = target_card(load_target(NANO), [whole, bare])
    assert [(row.model, row.encodes, row.decodes) for row in card.rows] == [
        ("student", YES, YES),
        ("bare", "n/a", "n/a"),
    ]
    assert not card.is_networks


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


def test_power_that_was_measured_of_one_unit_stands_beside_what_nobody_measured():
    power = target_card(load_target("jetson-xavier-nx"), []).power
    assert power[1].startswith("under load n/a (no figure for all units at work")
    assert power[2] == "while its gpu runs networks 9.9 to 14.9 W"


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
