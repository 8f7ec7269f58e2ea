import io
import math

import numpy as np
import pytest
from PIL import Image

from hwkd.cli.main import main
from hwkd.images import write_png

BUNDLE = "gdn-16"
"""It ships, and is the smallest."""


@pytest.fixture(scope="module")
def address(tmp_path_factory, photo):
    """Of a page of two images, one of 400x300 and one of 200x260 pixels, by one bundle."""
    folder = tmp_path_factory.mktemp("visual")
    write_png(folder / "photos" / "a.png", photo(300, 400, 1))
    write_png(folder / "photos" / "b.png", photo(260, 200, 2))
    page = folder / "visual.html"
    assert main(["report", "--images", str(folder / "photos"), BUNDLE, "-o", str(page)]) == 0
    return page.as_uri()


@pytest.fixture
def opened(page, address):
    page.goto(address)
    decode_stage(page)
    return page


def decode_stage(page):
    """Wait until every picture of the stage is there to be painted."""
    page.eval_on_selector_all("#stage img", "all => Promise.all(all.map(image => image.decode()))")


def style(page, selector, name):
    return page.eval_on_selector(selector, f"element => getComputedStyle(element).{name}")


def placements(page):
    """[views, 4]: where every picture that is shown lies, from the middle of its frame, and its size; in pixels."""
    found = page.eval_on_selector_all(
        ".side img",
        """all => all.filter(one => one.offsetParent).map(one => {
            const box = one.getBoundingClientRect(), frame = one.closest(".frame").getBoundingClientRect();
            return [box.x - frame.x - frame.width / 2, box.y - frame.y - frame.height / 2, box.width, box.height];
        })""",
    )
    return np.array(found)


def placement(page):
    """The one that all views share: the two sides, and the four below."""
    found = placements(page)
    assert len(found) == 2 + 4
    # Layout knows 64ths of a pixel.
    assert np.ptp(found, axis=0).max() < 0.1
    return found[0]


def pixels(page, selector):
    with Image.open(io.BytesIO(page.locator(selector).screenshot())) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def divider(page):
    return float(page.get_attribute("#divider", "aria-valuenow"))


def test_the_divider_is_dragged_and_the_right_side_is_clipped_there(opened):
    before = style(opened, "#right-side", "clipPath")
    stage, handle = (opened.locator(name).bounding_box() for name in ("#stage", "#divider"))
    middle = handle["y"] + handle["height"] / 2
    opened.mouse.move(handle["x"] + handle["width"] / 2, middle)
    opened.mouse.down()
    opened.mouse.move(stage["x"] + 0.25 * stage["width"], middle, steps=4)
    opened.mouse.up()
    assert divider(opened) == pytest.approx(25, abs=1)
    assert style(opened, "#right-side", "clipPath") != before
    # Let go, it stays.
    opened.mouse.move(stage["x"] + 0.9 * stage["width"], middle)
    assert divider(opened) == pytest.approx(25, abs=1)


def test_the_divider_is_moved_by_keys_from_end_to_end(opened):
    opened.focus("#divider")
    opened.keyboard.press("ArrowRight")
    assert divider(opened) > 50
    opened.keyboard.press("Home")
    assert divider(opened) == 0
    opened.keyboard.press("ArrowLeft")
    assert divider(opened) == 0
    opened.keyboard.press("End")
    assert divider(opened) == 100


def test_what_is_shown_is_what_was_decoded_pixel_for_pixel(opened, photo):
    opened.focus("#divider")
    opened.keyboard.press("End")  # all of it the left side: the original
    opened.keyboard.press("0")
    while opened.inner_text("#zoom") != "1x":
        opened.click("#out")
    stage, shown = (opened.locator(name).bounding_box() for name in ("#stage", "#left-side img"))
    # The browser lays an image on whole pixels of the screen; a picture of the screen begins on one too.
    left, top = (round(shown[side]) - math.floor(stage[side]) for side in ("x", "y"))
    image = pixels(opened, "#stage")
    # A piece that the handle in the middle and the tags in the corners leave free.
    seen = image[top + 100 : top + 200, left + 20 : left + 120]
    assert np.array_equal(seen, photo(300, 400, 1)[100:200, 20:120])


def test_all_views_zoom_and_move_in_step(opened):
    before = placement(opened)
    # All of it at the largest whole zoom that fits 1280x900.
    assert before == pytest.approx([-400, -300, 800, 600], abs=0.1)
    opened.click("#in")
    zoomed = placement(opened)
    assert zoomed == pytest.approx([-800, -600, 1600, 1200], abs=0.1)
    opened.focus("#stage")
    opened.keyboard.press("+")
    opened.keyboard.press("ArrowRight")
    opened.keyboard.press("ArrowDown")
    moved = placement(opened)
    # From the middle, 40 pixels of the page to the left and up.
    assert moved == pytest.approx([-1600 - 40, -1200 - 40, 3200, 2400], abs=0.1)
    assert style(opened, "#left-side img", "imageRendering") == "pixelated"


def test_the_wheel_zooms_about_the_pointer_and_dragging_pans(opened):
    stage = opened.locator("#stage").bounding_box()
    middle = (stage["x"] + stage["width"] / 2, stage["y"] + stage["height"] / 2)
    before = placement(opened)
    opened.mouse.move(middle[0] - 100, middle[1] - 50)
    opened.mouse.wheel(0, -100)
    opened.locator("#zoom", has_text="4x").wait_for()
    zoomed = placement(opened)
    # What lies below the pointer stays there, twice as far from the upper left corner; a wheel tells whole pixels only.
    pointer = np.array([-100, -50])
    assert zoomed[:2] - pointer == pytest.approx(2 * (before[:2] - pointer), abs=1)
    opened.mouse.down()
    opened.mouse.move(middle[0] - 70, middle[1] - 90, steps=3)
    opened.mouse.up()
    assert placement(opened) - zoomed == pytest.approx([30, -40, 0, 0], abs=0.1)


def test_the_original_has_no_difference_to_itself_and_a_codec_has(opened):
    opened.select_option("#right", label="JPEG")
    opened.check("#difference")
    decode_stage(opened)
    image = pixels(opened, "#stage")
    height, width = image.shape[:2]
    rows = slice(height // 4, 3 * height // 4)
    left = image[rows, width // 4 : width // 2 - 30]
    right = image[rows, width // 2 + 30 : 3 * width // 4]
    assert left.max() <= 2
    assert right.mean() > 5


def test_another_image_is_chosen_by_button_list_and_picture(opened):
    def names():
        return (
            opened.inner_text(".image.chosen h2"),
            opened.input_value("#image"),
            opened.inner_text("#images a[aria-current]"),
        )

    assert names() == ("a.png", "0", "a.png")
    opened.click("#next")
    assert names() == ("b.png", "1", "b.png")
    assert opened.get_attribute("#left-side img", "width") == "200"
    opened.click("#next")
    assert names()[0] == "a.png"
    opened.select_option("#image", label="b.png")
    assert names()[0] == "b.png"
    opened.click("#images a >> nth=0")
    assert names()[0] == "a.png"


def test_the_captions_are_those_of_the_chosen_views(opened):
    opened.select_option("#left", label="WebP")
    assert "libwebp" in opened.inner_text("#left-caption")
    assert opened.inner_text("#left-tag") == "WebP"
    assert "WebP" in opened.get_attribute("#left-side img", "alt")


def test_a_phone_needs_no_scrolling_to_the_side(page, address):
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(address)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    stage = page.locator("#stage").bounding_box()
    assert stage["x"] >= 0 and stage["x"] + stage["width"] <= 390


def test_a_dark_page_is_dark(page, address):
    page.emulate_media(color_scheme="dark")
    page.goto(address)
    red, green, blue = map(int, style(page, "body", "backgroundColor")[4:-1].split(","))
    assert max(red, green, blue) < 60


def test_without_scripts_every_image_and_figure_is_there(browser, address):
    context = browser.new_context(java_script_enabled=False)
    context.set_default_timeout(0)
    page = context.new_page()
    page.goto(address)
    assert page.locator("figure:visible").count() == 8
    assert not page.is_visible("#viewer")
    assert page.locator("dd:visible").count() == 18
    context.close()
