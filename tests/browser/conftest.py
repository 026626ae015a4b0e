"""A real browser: Debian's Chromium, or another that is on the path. Without one these tests are skipped, saying so."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
SCREENSHOTS = os.environ.get("SCREENSHOTS")  # a folder in which pictures of what was tested are kept


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    found = next((path for path in map(shutil.which, NAMES) if path is not None), None)
    if found is None:
        pytest.skip(f"there is no browser here: {', '.join(NAMES)}")
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield launched
        launched.close()


Open = Callable[..., Any]


@pytest.fixture
def open_page(browser: Any) -> Iterator[Open]:
    """Opens an address; what the browser complains of, and what it asks of the network, fails the test."""
    pages, complaints = [], []

    def opened(address: str, *, width: int = 1280, scheme: str = "light", outside: bool = False) -> Any:
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        pages.append(page)
        page.on("console", lambda told: complaints.append(told.text) if told.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        if not outside:
            page.on("request", lambda asked: complaints.append(asked.url) if asked.url.startswith("http") else None)
        page.goto(address)
        return page

    yield opened
    for page in pages:
        page.close()
    assert complaints == []


@pytest.fixture
def keep(request: pytest.FixtureRequest) -> Callable[[Any], None]:
    """Keeps a picture of a page, where that is wanted."""

    def take(page: Any) -> None:
        if SCREENSHOTS:
            name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
            page.screenshot(path=Path(SCREENSHOTS) / f"{name}.png", full_page=True)

    return take
