"""The report of all that ships, in a browser: it asks nothing of the network, and every plot shows."""

import re
from pathlib import Path

import pytest

pytest.importorskip("jinja2")
pytest.importorskip("plotly")

from hwkd.report.page.page import page_html
from hwkd.report.page.sources import gather, plots_of

KEYS = (
    *("rd", "psnr-macs", "psnr-latency", "psnr-energy"),
    *("layer-macs", "layer-latency", "training"),
)
TARGETS = ("raspberry-pi-4", "jetson-nano")
"""Two boards, beside the machine that was measured."""

DESK = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}

SHOWN_MARKS = """figure => {
    const area = figure.querySelector(".drawing");
    return area.querySelectorAll(".scatterlayer .point, .scatterlayer .js-line, .barlayer .point").length;
}"""
"""How many points, lines and bars are drawn."""

CHOOSE_ALL = """async group => {
    const marksOf = (MARKS);
    const drawn = async figure => {
        figure.querySelector(".drawing").scrollIntoView();
        while (!figure.querySelector(".main-svg")) await new Promise(requestAnimationFrame);
    };
    const found = [];
    for (const select of group.querySelectorAll("select")) {
        for (const option of [...select.options].map(each => each.value)) {
            select.value = option;
            select.dispatchEvent(new Event("change", { bubbles: true }));
            const figures = [...group.querySelectorAll(".plot:not([hidden])")];
            for (const figure of figures) {
                await drawn(figure);
                found.push({
                    name: select.dataset.choice,
                    option,
                    shown: JSON.parse(figure.dataset.choices),
                    marks: marksOf(figure),
                });
            }
        }
    }
    return found;
}""".replace("MARKS", SHOWN_MARKS)
"""Chooses every option of a group's selects; what is shown then."""

ROWS_OF_COLUMN = """column => [...document.querySelectorAll("#resource-table tbody tr")].map(row => {
    const cell = row.cells[column];
    return "none" in cell.dataset ? null : Number(cell.dataset.value);
})"""


@pytest.fixture(scope="module")
def loaded(shared_page, report):
    shared_page.goto(report)
    return shared_page


@pytest.fixture
def page(loaded):
    """The loaded page: wide, light, theme "auto", no row filtered out."""
    loaded.locator("#only-target").select_option("")
    loaded.locator("#only-text").fill("")
    loaded.set_viewport_size(DESK)
    loaded.emulate_media(color_scheme="light")
    button = loaded.locator("#theme")
    while button.text_content() != "Theme: auto":
        button.click()
    return loaded


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> str:
    """The address of the page's file."""
    gathered = gather([], TARGETS)
    path: Path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(page_html(gathered, plots_of(gathered), "hwkd report"), encoding="utf-8")
    return path.as_uri()


def wait_until_drawn(page, group):
    """Wait for the shown figure of `group`."""
    figure = group.locator(".plot:not([hidden])")
    figure.locator(".drawing").scroll_into_view_if_needed()
    figure.locator(".main-svg").first.wait_for(state="attached")
    assert figure.evaluate(SHOWN_MARKS) > 0, figure.get_attribute("data-choices")


def test_every_plot_shows_after_each_choice(page):
    for key in KEYS:
        group = page.locator(f'.group[data-key="{key}"]')
        wait_until_drawn(page, group)
        choices = group.evaluate(CHOOSE_ALL)
        for choice in choices:
            assert choice["marks"] > 0, choice
            assert choice["shown"][choice["name"]] == choice["option"]
        options = group.locator("select option").all_text_contents()
        assert [choice["option"] for choice in choices] == options
    assert page.locator(".group").count() == len(KEYS)


def test_unchecked_series_is_not_drawn(page):
    group = page.locator('.group[data-key="rd"]')
    wait_until_drawn(page, group)
    figure = group.locator(".plot")
    before = figure.evaluate(SHOWN_MARKS)
    box = figure.locator(".legend input").first
    box.focus()
    page.keyboard.press("Space")
    assert figure.evaluate(SHOWN_MARKS) < before
    page.keyboard.press("Space")
    assert figure.evaluate(SHOWN_MARKS) == before


def test_table_sorts_by_value_with_the_unknown_last(page):
    for heading in ("kmac_per_pixel", "psnr_db"):
        check_sorting(page, heading)


def check_sorting(page, heading):
    """By the keyboard alone."""
    head = page.locator("#resource-table th", has_text=heading).first
    column = head.evaluate("head => head.cellIndex")
    button = head.locator("button")
    button.focus()
    for direction, is_descending in (("ascending", False), ("descending", True)):
        page.keyboard.press("Enter")
        assert head.get_attribute("aria-sort") == direction
        values = page.evaluate(ROWS_OF_COLUMN, column)
        known = [value for value in values if value is not None]
        assert len(set(known)) > 1
        assert known == sorted(known, reverse=is_descending)
        assert values[len(known) :] == [None] * (len(values) - len(known))
    assert page.locator("#resource-table th[aria-sort]").count() == 1


def test_table_filters_by_target_and_by_text(page):
    status = page.locator("#rows-shown")
    total = page.locator("#resource-table tbody tr").count()
    assert status.text_content() == f"{total} of {total} rows"
    page.locator("#only-target").select_option("jetson-nano")
    shown = page.locator("#resource-table tbody tr:visible")
    assert 0 < shown.count() < total
    assert all("jetson-nano" in text for text in shown.all_text_contents())
    page.locator("#only-text").fill("no such text")
    assert status.text_content() == f"0 of {total} rows"


def test_phone_does_not_scroll_sideways(page):
    page.set_viewport_size(PHONE)
    for group in page.locator(".group").all():
        wait_until_drawn(page, group)
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= PHONE["width"]
    first = page.locator("#resource-table tbody th").first
    before = first.bounding_box()["x"]
    page.locator(".scroll.tall").evaluate("box => { box.scrollLeft = 300; }")
    assert first.bounding_box()["x"] == before  # it sticks


def test_dark_page_has_dark_plots_with_light_text(page):
    page.emulate_media(color_scheme="dark")
    group = page.locator('.group[data-key="rd"]')
    wait_until_drawn(page, group)
    paper = luminance(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert paper < 0.05
    assert contrast(paper, luminance(text_fill(group))) >= 4.5


def test_theme_button_overrules_and_plots_follow(page):
    page.emulate_media(color_scheme="light")
    group = page.locator('.group[data-key="rd"]')
    wait_until_drawn(page, group)
    light = text_fill(group)
    button = page.get_by_role("button", name="Theme")
    button.focus()
    page.keyboard.press("Enter")
    assert button.text_content() == "Theme: light"
    assert text_fill(group) == light
    page.keyboard.press("Enter")
    assert button.text_content() == "Theme: dark"
    assert luminance(text_fill(group)) > 0.5


def test_prints_on_several_pages_with_plots_on_white(page):
    page.emulate_media(color_scheme="dark")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    shown = page.locator(".plot:not([hidden])")
    assert all(figure.evaluate(SHOWN_MARKS) > 0 for figure in shown.all())
    assert luminance(text_fill(page.locator('.group[data-key="rd"]'))) < 0.05
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    pdf = page.pdf(format="A4")
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) > 1


def test_tables_and_captions_are_there_without_scripts(browser, report):
    context = browser.new_context(java_script_enabled=False)
    context.set_default_timeout(0)
    page = context.new_page()
    page.goto(report)
    assert page.locator("#resource-table tbody tr").first.is_visible()
    figures = page.locator(".plot")
    assert figures.count() == page.locator("figcaption:visible").count() > 1
    assert page.locator(".controls:visible").count() == 0
    context.close()


def text_fill(group):
    """The colour of the first tick's label."""
    return group.locator(".plot:not([hidden]) .xtick text").first.evaluate(
        "text => getComputedStyle(text).fill"
    )


def luminance(colour):
    """Relative luminance of "rgb(r, g, b)": WCAG 2.2's definition."""
    channels = [int(text) / 255 for text in re.findall(r"\d+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(a, b):
    """WCAG's contrast ratio of two luminances."""
    return (max(a, b) + 0.05) / (min(a, b) + 0.05)
