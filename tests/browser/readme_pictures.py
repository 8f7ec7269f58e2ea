"""Draws the pictures of profiles/results/README.md anew, from the pages as they are: run this as a program (it needs a Chromium).

profiles/results/report.png: a plot of `hwkd report`. profiles/results/visual.png: `hwkd report --images` on an embedded
photograph (scikit-image's, in the public domain), JPEG beside the shipped student at the same rate.
"""

import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from hwkd.cli.main import main
from hwkd.files import data_folder
from hwkd.images import embedded_images, write_png

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
WIDTH_PX = 1100
PHOTOGRAPH = "chelsea.png"
BOARD = "raspberry-pi-4"
ROOM = ".kept, #viewer { padding: 12px }"
"""Around what is taken."""


def draw() -> None:
    """Make both pages in a temporary folder, and take their pictures."""
    into = data_folder("profiles") / "results"
    executable = next(path for name in BROWSERS if (path := shutil.which(name)))
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        (folder / "photos").mkdir()
        write_png(folder / "photos" / PHOTOGRAPH, embedded_images("eval")[PHOTOGRAPH])
        report, visual = str(folder / "report.html"), str(folder / "visual.html")
        if main(["report", "-o", report]) != 0:
            raise SystemExit("the report failed")
        if main(["report", "--images", str(folder / "photos"), "-o", visual]) != 0:
            raise SystemExit("the comparison of images failed")
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        _report(browser, report, into / "report.png")
        _visual(browser, visual, into / "visual.png")
        browser.close()


def _report(browser: Browser, page_file: str, picture: Path) -> None:
    page = browser.new_page(viewport={"width": WIDTH_PX, "height": 1000}, color_scheme="light")
    page.goto(f"file://{page_file}")
    group = page.locator(".group[data-key=psnr-latency]")
    group.locator("select").select_option(BOARD)
    plot = group.locator(".plot:not([hidden])")
    plot.scroll_into_view_if_needed()
    plot.locator(".drawing svg.main-svg").first.wait_for()
    plot.locator(".kept").screenshot(path=picture, style=ROOM)
    page.close()


def _visual(browser: Browser, page_file: str, picture: Path) -> None:
    page = browser.new_page(viewport={"width": WIDTH_PX, "height": 1000}, color_scheme="light")
    page.goto(f"file://{page_file}")
    page.locator("#left").select_option(label="JPEG")
    page.locator("#viewer").scroll_into_view_if_needed()
    page.locator("#viewer").screenshot(path=picture, style=ROOM)
    page.close()


if __name__ == "__main__":
    draw()
