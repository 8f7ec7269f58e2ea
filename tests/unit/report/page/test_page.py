import itertools
import json
import re
import sys
from html.parser import HTMLParser

import pytest

pytest.importorskip("jinja2")
pytest.importorskip("plotly")

from hwkd.errors import HwkdError
from hwkd.report.gathered import Gathered
from hwkd.report.page.page import page_html
from hwkd.report.plots.plot import Bar, Bars, Panel, Point, Scatter, Series
from hwkd.report.table import Table
from hwkd.target import load_target

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
