"""A batch of 120 pages, a third of which the stand-in answers badly, in each of its ways."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from reportlab.pdfgen.canvas import Canvas

from pipeline.core.formats import MediaType
from pipeline.core.settings import Settings
from pipeline.rendering.host.pool import SandboxPool
from pipeline.search.index import Index
from pipeline.services import render_limits
from support.pagesight_runs import Pagesight
from support.standin import Standin

PAGES = 120
TEXT, DESCRIPTION = "word for word", "Describe this image"
HOTTER, HOTTEST = "text:temperature_0.3", "text:temperature_0.6"
LADDER = (HOTTER, HOTTEST, "text:halves", "text:thirds")


@dataclass(frozen=True)
class Case:
    """What the stand-in has for a page, and what is to come of it."""

    fault: str
    prompt_has: str
    rungs: tuple[str, ...]
    """What is gone through."""
    calls: int
    reasons: tuple[str, ...] = ()
    source: str = "model"
    max_temperature: float | None = None
    in_crops: bool = False
    """Whether crops of the page are answered as badly."""


#: `OF_EACH` pages each, from the second one on; the others are answered well.
CASES = (
    Case("looping", TEXT, (HOTTER,), 3, max_temperature=0.0),
    Case("looping", TEXT, (HOTTER, HOTTEST), 4, max_temperature=0.3),
    Case("looping", TEXT, LADDER[:3], 6),
    Case(
        "looping",
        TEXT,
        (*LADDER, "text:layer"),
        9,
        ("cut_off:text", "too_long_for_ink:text", "tail_repetition:text"),
        "layer",
        in_crops=True,
    ),
    Case("cut_off", TEXT, ("text:halves",), 4),
    Case("empty", TEXT, (HOTTER,), 3, max_temperature=0.0),
    Case("refusing", TEXT, (HOTTER,), 3, max_temperature=0.0),
    Case("echoing", TEXT, (HOTTER, HOTTEST), 4, max_temperature=0.3),
    Case("drifting", DESCRIPTION, ("description:temperature_0.3",), 3, max_temperature=0.0),
    Case(
        "drifting",
        DESCRIPTION,
        ("description:temperature_0.3", "description:temperature_0.6"),
        4,
        ("wrong_language:description",),
    ),
)
#: Pages of each case, and pages of none.
OF_EACH = PAGES // 3 // len(CASES)
CLEAN = PAGES - OF_EACH * len(CASES)


def case_of(page: int) -> Case | None:
    """The case that a page is of: every third one is."""
    return CASES[page // 3 % len(CASES)] if page % 3 == 2 else None


@dataclass(frozen=True)
class Batch:
    """What came of the batch."""

    records: dict[int, dict[str, Any]]
    """By page."""
    calls: Counter[int]
    """By page, crops included."""
    summary: dict[str, Any]


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory, elasticsearch_url: str) -> Iterator[Batch]:
    home = tmp_path_factory.mktemp("ladder") / "home"
    with Index(elasticsearch_url) as index:
        index.drop()
    with Standin() as standin, closing(Pagesight(home, elasticsearch_url, standin)) as pagesight:
        images = images_of(write_book(pagesight.files / "book.pdf"))
        for case in CASES:
            of_case = [shown if case.in_crops else shown[:1] for page, shown in images.items() if case_of(page) is case]
            struck = [image for shown in of_case for image in shown]
            standin.have(case.fault, images=struck, prompt_has=case.prompt_has, max_temperature=case.max_temperature)
        ended = pagesight.index()
        assert ended.code == 0, ended.stderr
        pages = {image: page for page, shown in images.items() for image in shown}
        yield Batch(
            {record["page"]["number"]: record for record in pagesight.records().values()},
            Counter(pages[request["image_sha256"]] for request in standin.requests()),
            ended.json,
        )


def write_book(path: Path) -> Path:
    """Pages of six words each, too few to be held against an answer; no band of one looks like another's."""
    paper = Canvas(str(path), pagesize=(300, 400), invariant=1)
    for page in range(1, PAGES + 1):
        for word, height in (("lighthouse", 350), ("warehouse", 200), ("shipwright", 50)):
            paper.drawString(30, height, f"{word} {page}")
        paper.showPage()
    paper.save()
    return path


def images_of(path: Path) -> dict[int, list[str]]:
    """The hashes of each page's image, and of its halves and thirds where it is of a case."""

    def seen(jpeg: bytes) -> str:
        return hashlib.sha256(jpeg).hexdigest()

    limits = render_limits(Settings())
    images: dict[int, list[str]] = {}
    with closing(SandboxPool(1, limits)) as pool, path.open("rb") as file, pool.open(file, MediaType.PDF) as document:
        for page in range(1, PAGES + 1):
            images[page] = [seen(document.render(page).jpeg)]
            if case_of(page) is not None:
                images[page] += [seen(crop.jpeg) for bands in (2, 3) for crop in document.render_crops(page, bands)]
    return images


def test_pages_that_are_answered_well_are_asked_once(batch: Batch) -> None:
    records, calls = batch.records, batch.calls
    clean = [page for page in records if case_of(page) is None]

    assert len(records) == PAGES
    assert len(clean) == CLEAN
    assert {calls[page] for page in clean} == {2}
    assert not any(records[page]["trust"]["suspect"] or "rungs" in records[page]["model"] for page in clean)


@pytest.mark.parametrize("case", CASES, ids=[f"{case.fault} to {case.rungs[-1]}" for case in CASES])
def test_pages_that_are_answered_badly_are_recovered_or_marked(batch: Batch, case: Case) -> None:
    records, calls = batch.records, batch.calls
    pages = [page for page in records if case_of(page) is case]

    assert len(pages) == OF_EACH
    for record in map(records.get, pages):
        assert tuple(record["model"]["rungs"]) == case.rungs
        assert tuple(record["trust"].get("reasons", ())) == case.reasons
        assert record["trust"]["suspect"] is bool(case.reasons)
        assert record["trust"]["text_source"] == case.source
    assert {calls[page] for page in pages} == {case.calls}


def test_the_summary_counts_the_calls_of_the_ladder(batch: Batch) -> None:
    assert (
        batch.summary["model_calls"] == batch.calls.total() == 2 * CLEAN + OF_EACH * sum(case.calls for case in CASES)
    )
