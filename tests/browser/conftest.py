"""A browser for tests of pages, and a page that must ask nothing of the network and raise no error."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def _missing(what: str) -> None:
    """Skip; where a browser must be there, fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what}, and CI=true")
    pytest.skip(what)


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _missing("playwright is not installed")
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        _missing(f"no browser on PATH ({', '.join(NAMES)})")
    with sync_playwright() as playwright:
        # A busy machine is no failure: nothing here has a time in which it must be done.
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"], timeout=0)
        yield opened
        opened.close()


@contextmanager
def checked_page(browser: "Browser") -> "Iterator[Page]":
    """A page of 1280x900 pixels, which may load one file; it is checked for errors and other requests at the end."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(0)
    opened = context.new_page()
    problems: list[str] = []

    def on_console(message: Any) -> None:
        if message.type in ("error", "warning"):
            problems.append(f"console {message.type}: {message.text}")

    def on_request(request: Any) -> None:
        is_the_file = request.is_navigation_request() and request.url.startswith("file:")
        if not is_the_file and not request.url.startswith(("data:", "blob:")):
            problems.append(f"request: {request.url}")

    opened.on("console", on_console)
    opened.on("pageerror", lambda error: problems.append(f"error: {error}"))
    opened.on("request", on_request)
    yield opened
    context.close()
    assert problems == []


@pytest.fixture
def page(browser: "Browser") -> "Iterator[Page]":
    """A checked page for one test."""
    with checked_page(browser) as opened:
        yield opened


@pytest.fixture(scope="module")
def shared_page(browser: "Browser") -> "Iterator[Page]":
    """A checked page for all tests of a file, where loading takes long."""
    with checked_page(browser) as opened:
        yield opened
