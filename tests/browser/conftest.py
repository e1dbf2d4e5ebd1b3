"""A real browser: Debian's Chromium, driven by Playwright. Where it is not installed, these tests skip and say so."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = os.environ.get("FRUITS_CHROMIUM", "/usr/bin/chromium")

SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
SCHEMES = ("light", "dark")

OpenPage = Callable[..., Page]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if not Path(CHROMIUM).is_file():
        pytest.skip(f"no browser: FRUITS_CHROMIUM={CHROMIUM} is not a file (Debian: apt-get install chromium)")
    camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with sync_playwright() as playwright:
        # The sandbox needs rights that a container has not.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *camera])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Opens an address; behind the test, no page may have logged an error, raised one, or shown a dialog."""
    complaints: list[str] = []
    pages: list[Page] = []

    def open_page(address: str, *, size: str = "desktop", scheme: str = "light", refusals: bool = False) -> Page:
        """`refusals`: answers of the server that are errors are expected; the browser logs them."""
        width, height = SIZES[size]
        page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
        pages.append(page)
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on(
            "console",
            lambda line: (
                line.type in ("error", "warning")
                and not (refusals and "Failed to load resource" in line.text)
                and complaints.append(f"console: {line.text}")
            ),
        )
        page.goto(address)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert complaints == []


def assert_accessible(page: Page) -> None:
    """axe finds nothing serious or critical."""
    found = Axe().run(page).response["violations"]
    grave = [each for each in found if each["impact"] in ("serious", "critical")]
    assert not grave, "\n".join(f"{each['id']}: {each['help']}: {each['nodes'][0]['html']}" for each in grave)


def assert_fits(page: Page) -> None:
    """Nothing is wider than the window."""
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= page.viewport_size["width"]


def wait_until(page: Page, expression: str, seconds: float = 60) -> None:
    """Until the expression is true. (Playwright's own wait evaluates within the page, which a page may forbid.)"""
    end = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < end, f"never true: {expression}"
        page.wait_for_timeout(100)
