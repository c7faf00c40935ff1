"""The page of a page in a real browser: by keyboard, by mouse, on a phone, in the dark."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.archive import Archive, Store
from pipeline.core.models import PageStatus
from pipeline.core.url_signing import UrlPrefix, page_path
from support.readings import FAILURE
from support.serving import DOCUMENT, SECRET, SIGNER, Served, served, shelve

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Locator, Page

HOSTILE = "</div><script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\">"
PHONE = {"width": 390, "height": 844}
PAGES = 40
RTL_PAGE, FAILED_PAGE, HOSTILE_PAGE = 20, 21, 22


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A document of forty pages, all of which are shown by key."""
    archive = Archive(Store(str(tmp_path_factory.mktemp("viewer") / "archive")))
    nothing = dict.fromkeys(("image", "text", "description", "caption", "translation", "layer_text", "model"))
    special: dict[int, dict[str, object]] = {
        RTL_PAGE: {"text": "ما فائدته ؟", "text_language": "ar", "translation": None, "layer_text": None},
        FAILED_PAGE: {"status": PageStatus.FAILED, "error": FAILURE, **nothing},
        HOSTILE_PAGE: {"text": HOSTILE, "caption": HOSTILE, "name": HOSTILE},
    }
    for page in range(1, PAGES + 1):
        shelve(archive, page, PAGES, **special.get(page, {}))
    with served(archive, secret=SECRET) as running:
        yield running


Visit = Callable[..., "Page"]


@pytest.fixture
def visit(browser: Browser, server: Served) -> Iterator[Visit]:
    """Opens a page of the document; whatever the browser complains of fails the test."""
    complaints: list[str] = []
    contexts = []

    def note(message: ConsoleMessage) -> None:
        if not message.location["url"].endswith("/favicon.ico"):  # wanted where an image is opened alone
            complaints.append(message.text)

    def go(number: int, **options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}} | options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", note)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"{server.url}{url_of(number)}")
        return page

    yield go
    for context in contexts:
        context.close()
    assert complaints == []


def url_of(number: int) -> str:
    return f"/view/{SIGNER.signed(UrlPrefix.PAGES, page_path('works', DOCUMENT, number))}"


def shown(page: Page) -> int:
    """The number of the page that is shown."""
    return int(page.get_by_label("Page", exact=True).input_value())


def width_of(picture: Locator) -> float:
    box = picture.bounding_box()
    assert box is not None
    return box["width"]


def test_arrow_keys_and_links_turn_pages(visit: Visit) -> None:
    page = visit(2)
    with page.expect_navigation():
        page.keyboard.press("ArrowRight")
    assert shown(page) == 3
    with page.expect_navigation():
        page.keyboard.press("ArrowLeft")
    assert shown(page) == 2
    with page.expect_navigation():
        page.get_by_role("link", name="Previous page").click()
    assert shown(page) == 1
    page.keyboard.press("ArrowLeft")
    assert shown(page) == 1


def test_a_page_is_reached_by_its_number(visit: Visit) -> None:
    page = visit(2)
    number = page.get_by_label("Page", exact=True)
    number.fill("37")
    with page.expect_navigation():
        number.press("Enter")
    assert shown(page) == 37
    number.press("ArrowLeft")  # moves the cursor, turns no page
    assert shown(page) == 37


def test_the_image_is_rotated_by_keys_and_by_its_address(visit: Visit) -> None:
    page = visit(2)
    picture, sheet = page.get_by_role("img", name="Bars of three colours."), page.locator("[data-zoom]")
    upright = picture.bounding_box()
    page.keyboard.press("r")
    rotated, stage = picture.bounding_box(), sheet.bounding_box()
    assert upright is not None
    assert rotated is not None
    assert stage is not None
    assert rotated["width"] / rotated["height"] == pytest.approx(upright["height"] / upright["width"], rel=0.02)
    assert rotated["y"] >= stage["y"]
    assert rotated["y"] + rotated["height"] <= stage["y"] + stage["height"] + 1, "it fits after a quarter turn"
    page.keyboard.press("+")
    assert width_of(picture) == pytest.approx(1.5 * rotated["width"], rel=0.01)
    page.keyboard.press("0")
    page.reload()
    assert page.url.endswith("#rotate=90")
    assert width_of(picture) == pytest.approx(rotated["width"], rel=0.01), "the address keeps the angle"
    page.keyboard.press("Shift+R")
    assert picture.bounding_box() == upright
    assert "#" not in page.url
    page.get_by_role("button", name="Rotate").click()
    assert page.url.endswith("#rotate=90")


def test_the_image_is_enlarged_and_fitted_by_keys(visit: Visit) -> None:
    page = visit(2)
    picture = page.get_by_role("img", name="Bars of three colours.")
    fitted = width_of(picture)
    page.keyboard.press("+")
    page.keyboard.press("+")
    assert width_of(picture) == pytest.approx(2 * fitted, rel=0.01)
    assert page.get_by_label("Size of the image").inner_text() == "200 %"
    page.locator("[data-zoom]").focus()
    page.keyboard.press("ArrowRight")
    assert shown(page) == 2, "arrows move about an image that is enlarged"
    page.keyboard.press("-")
    assert width_of(picture) == pytest.approx(1.5 * fitted, rel=0.01)
    page.keyboard.press("0")
    assert width_of(picture) == pytest.approx(fitted, rel=0.01)


def test_the_image_is_enlarged_by_the_mouse_where_it_points_and_dragged(visit: Visit) -> None:
    page = visit(2)
    picture, sheet = page.get_by_role("img", name="Bars of three colours."), page.locator("[data-zoom]")
    before = picture.bounding_box()
    assert before is not None
    x, y = before["x"] + before["width"] * 0.25, before["y"] + before["height"] * 0.25
    page.mouse.dblclick(x, y)
    after = picture.bounding_box()
    assert after is not None
    assert after["width"] == pytest.approx(3 * before["width"], rel=0.01)
    assert after["y"] + after["height"] * 0.25 == pytest.approx(y, abs=3)
    top = sheet.evaluate("sheet => sheet.scrollTop")
    page.mouse.down()
    page.mouse.move(x, y - 100, steps=5)
    page.mouse.up()
    assert sheet.evaluate("sheet => sheet.scrollTop") == pytest.approx(top + 100, abs=3)
    page.get_by_role("button", name="Fit").click()
    assert width_of(picture) == pytest.approx(before["width"], rel=0.01)


def test_the_strip_shows_the_page_among_its_neighbours_and_loads_what_is_seen(visit: Visit) -> None:
    page = visit(18)
    page.wait_for_load_state("networkidle")
    current = page.locator(".strip [aria-current]")
    frame, place = page.locator(".strip ol").bounding_box(), current.bounding_box()
    assert frame is not None
    assert place is not None
    assert frame["x"] <= place["x"] <= frame["x"] + frame["width"] - place["width"]
    assert page.evaluate("[...document.querySelectorAll('.strip [aria-current] img')].every(one => one.naturalWidth)")
    with page.expect_navigation():
        page.get_by_role("link", name="later").click()
    assert shown(page) == PAGES


def test_it_is_used_without_a_mouse(visit: Visit) -> None:
    page = visit(2)
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to what the page says")
    assert skip.evaluate("link => link === document.activeElement && link.getBoundingClientRect().top >= 0")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "said"
    for role in ("banner", "main", "article"):
        assert page.get_by_role(role).count() == 1
    assert page.get_by_role("navigation").count() == 2
    page.locator("[data-zoom]").focus()
    page.keyboard.press("Tab")
    focus = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert focus == "solid"
    unnamed = "[...document.querySelectorAll('a, button, input')].filter(one => !one.labels?.length && !one.ariaLabel"
    assert page.evaluate(f"{unnamed} && !one.innerText.trim() && one.type !== 'hidden').length") == 0


def test_it_fits_a_phone(visit: Visit) -> None:
    for number in (2, RTL_PAGE, FAILED_PAGE, HOSTILE_PAGE):
        page = visit(number, viewport=PHONE, has_touch=True, is_mobile=True)
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        for name in ("Previous page", "Next page"):
            box = page.get_by_role("link", name=name).bounding_box()
            assert box is not None
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= PHONE["width"]
            assert min(box["width"], box["height"]) >= 40


def test_it_is_dark_where_the_system_is(visit: Visit) -> None:
    def brightness(scheme: str) -> int:
        page = visit(2, color_scheme=scheme)
        colour = page.locator("article").evaluate("article => getComputedStyle(article).backgroundColor")
        return int(re.findall(r"[0-9]+", colour)[0])

    assert brightness("light") > 200
    assert brightness("dark") < 60


def test_text_from_right_to_left_runs_so(visit: Visit) -> None:
    said = visit(RTL_PAGE).locator(".said", has_text="ما فائدته")
    assert said.evaluate("said => [said.lang, getComputedStyle(said).direction]") == ["ar", "rtl"]


def test_a_failed_page_is_told_in_its_page_and_in_the_strip(visit: Visit) -> None:
    page = visit(FAILED_PAGE)
    assert "no answer" in page.get_by_role("region", name="This page failed").inner_text()
    assert page.get_by_role("link", name=f"Page {FAILED_PAGE}, failed").count() == 1


def test_hostile_words_are_words(visit: Visit) -> None:
    page = visit(HOSTILE_PAGE)
    assert page.title() == f"{HOSTILE}, page {HOSTILE_PAGE}"
    assert page.locator(".said", has_text="</div><script>").count() >= 2
    assert page.locator("img:not([src^='/page-images/'])").count() == 0


def test_without_script_pages_are_turned_and_images_opened(visit: Visit) -> None:
    page = visit(2, java_script_enabled=False)
    assert not page.get_by_role("button", name="Fit").is_visible()
    with page.expect_navigation():
        page.get_by_role("link", name="Next page").click()
    assert page.locator(".strip [aria-current]").inner_text() == "3"
    with page.expect_navigation():
        page.get_by_role("link", name="Image alone").click()
    assert page.url.partition("?")[0].endswith(".jpg")


def test_who_has_no_key_is_told(browser: Browser, server: Served) -> None:
    page = browser.new_page()
    answer = page.goto(f"{server.url}{url_of(2).partition('?')[0]}")
    assert answer is not None
    assert answer.status == 403
    assert page.get_by_role("heading").inner_text() == "You may not see this page"
    page.close()
