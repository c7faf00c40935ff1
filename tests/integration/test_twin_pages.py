"""A page that looks like one that was read takes its answers, where `PAGESIGHT_TWIN_DISTANCE` says so."""

from __future__ import annotations

from typing import Any

from PIL import Image, ImageChops, ImageDraw, ImageFont

from pipeline.search import Index
from support.pagesight_runs import MakePagesight, Pagesight
from support.standin import Standin

FONT = ImageFont.load_default(16)


def form(words: str) -> Image.Image:
    """A letterhead, lines that every such form has, and words of its own.

    On paper that is lit from one side, as scanners do it: on an even ground grain decides the bits of its hash.
    """
    light = Image.linear_gradient("L").rotate(90).resize((800, 1100)).point([210 + level // 8 for level in range(256)])
    page = light.convert("RGB")
    draw = ImageDraw.Draw(page)
    draw.text((60, 50), "HARBOUR OFFICE, DELIVERY NOTE", "black", ImageFont.load_default(30))
    for row in range(18):
        draw.text((60, 140 + 40 * row), f"{row + 1}. as agreed upon, by ship or by rail", "black", FONT)
    draw.text((60, 900), f"Delivered: {words}", "black", FONT)
    return page


def scanned_again(page: Image.Image) -> Image.Image:
    grain = Image.effect_noise(page.size, 5)
    return ImageChops.add(page, Image.merge("RGB", [grain] * 3), offset=-128)


def write_originals(pagesight: Pagesight) -> None:
    form("forty-two crates of granite").save(pagesight.files / "first.png")


def write_others(pagesight: Pagesight) -> None:
    """The first page once more, pixel by pixel, and scanned anew; a form with other words; one that looks otherwise."""
    form("forty-two crates of granite").save(pagesight.files / "equal.bmp")
    scanned_again(form("forty-two crates of granite")).save(pagesight.files / "again.jpg", quality=92)
    form("forty-two crates of marble").save(pagesight.files / "form.png")
    ImageChops.invert(form("forty-two crates of granite")).save(pagesight.files / "negative.png")


def record(pagesight: Pagesight, name: str) -> dict[str, Any]:
    (found,) = pagesight.page_records(name)
    return found


def takers(pagesight: Pagesight) -> dict[str, str]:
    """Which files took answers, and of which page."""
    return {
        found["document"]["name"]: found["model"]["twin"]
        for found in pagesight.records().values()
        if "twin" in found["model"]
    }


def calls(standin: Standin) -> int:
    return int(standin.counters()["answered"])


def test_a_second_scan_takes_the_answers_and_says_so_and_all_else_is_asked_about(
    pagesight: Pagesight, standin: Standin, make_pagesight: MakePagesight, bare_index: Index
) -> None:
    pagesight.set(twin_distance=3)
    write_originals(pagesight)
    assert pagesight.index().code == 0
    assert calls(standin) == 2
    write_others(pagesight)
    # Another machine has the same archive and nothing else of this one.
    other = make_pagesight(pagesight.url, standin, twin_distance=3, archive=pagesight.archive_folder)
    ended = other.index(pagesight.files)
    assert (ended.code, ended.json["model_calls"]) == (0, 4), ended.stderr

    first, again = record(pagesight, "first.png"), record(pagesight, "again.jpg")
    asked = {f"default:{record(pagesight, name)['document']['id']}:00001" for name in ("first.png", "equal.bmp")}
    assert takers(pagesight).keys() == {"again.jpg"}
    assert takers(pagesight)["again.jpg"] in asked
    assert calls(standin) == 6
    assert (again["description"], again["text"]) == (first["description"], first["text"])
    assert len({found["text"] for found in pagesight.records().values()}) == 3
    pagesight.assert_archive_and_index_agree()

    # All that is settled; a third scan takes the answers of the page that was asked about.
    scanned_again(form("forty-two crates of granite")).save(pagesight.files / "third.jpg", quality=92)
    assert pagesight.index().json["model_calls"] == 0
    assert takers(pagesight).keys() == {"again.jpg", "third.jpg"}
    assert {*takers(pagesight).values()} <= asked

    # Without the setting they are stale, and asked about.
    pagesight.set(twin_distance=None)
    told = pagesight.run("redescribe", "--local", "--json", "--where", "reason=twin")
    assert told.code == 0, told.stderr
    assert told.json["collections"][0]["reasons"] == {"twin": 2}
    assert (takers(pagesight), calls(standin)) == ({}, 10)


def test_without_the_setting_every_page_is_asked_about_and_nothing_is_noted(
    pagesight: Pagesight, standin: Standin
) -> None:
    write_originals(pagesight)
    write_others(pagesight)
    assert pagesight.index().code == 0

    assert calls(standin) == 8
    assert takers(pagesight) == {}
    assert {path.name for path in pagesight.archive_folder.iterdir()}.isdisjoint({"looks", "alike"})


def test_pages_in_doubt_give_no_answers(pagesight: Pagesight, standin: Standin) -> None:
    pagesight.set(twin_distance=3, vlm_again_tokens=0)
    write_originals(pagesight)
    standin.have("refusing", prompt_has="word for word")
    assert pagesight.index().code == 0
    assert record(pagesight, "first.png")["trust"]["suspect"] is True
    standin.be_well()
    write_others(pagesight)
    assert pagesight.index().code == 0

    assert takers(pagesight) == {}
