"""The search page in a real browser: find a page, open it, turn pages of hits; readable by everyone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.core.retry import CancelToken
from pipeline.search import PAGES
from pipeline.search.index import Index
from support.page_records import page as record
from support.page_records import page_write
from support.pagesight_runs import Pagesight, make_pdf
from support.serving import Served, served

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

HOSTILE = "</div><script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\">"
PHONE = {"viewport": {"width": 390, "height": 844}}
Visit = Callable[..., "Page"]


@pytest.fixture
def server(pagesight: Pagesight) -> Iterator[Served]:
    make_pdf(pagesight.files / "harbour dues 1987.pdf", 3, seed=1)
    assert pagesight.index().code == 0
    ledgers = [
        record(
            number, name="ledger.pdf", collection="works", text=f"ledger sheet {number} {HOSTILE}", description=HOSTILE
        )
        for number in range(1, 31)
    ]
    arabic = record(1, name="تقرير.pdf", collection="works", document={"id": "cd" * 32}, text="الكتب القديمة")
    with Index(pagesight.url) as index:
        assert not index.write(map(page_write, [*ledgers, arabic]), CancelToken()).refused
        index.refresh(PAGES)
        with served(pagesight.archive, index=index) as running:
            yield running


@pytest.fixture
def visit(browser: Browser, server: Served) -> Iterator[Visit]:
    """Opens an address; what the browser complains of fails the test."""
    complaints: list[str] = []
    contexts = []

    def go(path: str, **options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, "locale": "en-GB"} | options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"{server.url}{path}")
        return page

    yield go
    for context in contexts:
        context.close()
    assert complaints == []


def violations(page: Page) -> list[str]:
    """What axe-core objects to."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [f"{rule['id']}: {node['html']}" for rule in found for node in rule["nodes"]]


def keep(page: Page, name: str) -> None:
    """Write a screenshot where SCREENSHOTS names a folder, for looking at it."""
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def test_a_page_is_found_and_opened(visit: Visit) -> None:
    page = visit("/")
    assert page.get_by_role("heading", name="default").is_visible()
    keep(page, "start")
    assert violations(page) == []
    page.get_by_role("searchbox").fill("harbour")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert page.get_by_text("3 pages found").is_visible()
    keep(page, "hits")
    assert violations(page) == []
    with page.expect_navigation():
        page.get_by_role("link", name="harbour dues 1987.pdf, page 2").click()
    assert page.get_by_label("Page", exact=True).input_value() == "2"


def test_hits_are_turned_over_and_their_state_is_in_the_address(visit: Visit) -> None:
    page = visit("/?q=ledger&collection=works")
    assert page.get_by_text("Hits 1 to 20").is_visible()
    with page.expect_navigation():
        page.get_by_role("link", name="More hits").click()
    assert page.get_by_text("Hits 21 to 30").is_visible()
    assert "collection=works" in page.url
    with page.expect_navigation():
        page.get_by_role("link", name="Previous hits").click()
    assert page.get_by_text("Hits 1 to 20").is_visible()


def test_text_of_a_page_is_shown_as_text(visit: Visit) -> None:
    page = visit("/?q=ledger")
    assert "taken" not in page.title()
    assert page.get_by_text("<script>", exact=False).first.is_visible()
    assert page.locator("mark").first.inner_text() == "ledger"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_readable_on_a_phone_in_german_and_from_right_to_left(visit: Visit, scheme: str) -> None:
    page = visit("/?q=القديمة", locale="de-DE", color_scheme=scheme, **PHONE)
    assert page.get_by_text("1 Seite gefunden").is_visible()
    assert page.locator(".line").first.evaluate("line => getComputedStyle(line).direction") == "rtl"
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["viewport"]["width"]
    keep(page, f"phone-{scheme}")
    assert violations(page) == []


def test_a_misspelt_word_is_corrected_and_said(visit: Visit) -> None:
    page = visit("/?q=harbuor")
    assert page.get_by_text("No page has “harbuor”").is_visible()
    assert page.get_by_role("link", name="harbour dues 1987.pdf, page 1").is_visible()
    page = visit("/?q=zzzzqqq")
    assert page.get_by_text("Nothing found.").is_visible()
    assert violations(page) == []
