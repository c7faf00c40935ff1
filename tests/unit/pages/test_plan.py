"""Which pages of a document are due, where no model is configured any more."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.archive import Archive, Store
from pipeline.core.models import Document, PageStatus, Trust
from pipeline.core.stale_filter import Reason
from pipeline.documents.passwords import Passwords
from pipeline.maintenance.staleness import reasons_of
from pipeline.pages.plan import plan
from pipeline.pages.recipe import Recipe, Request
from support.readings import full_reading

MODEL = Recipe("en", "jina-vlm", "1", "standard", "1", 1, "", Passwords(), describes=True)
WITHOUT = replace(MODEL, reader="local-reader", describes=False)
DOCUMENT = "d" * 64


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """An archive with a document of four pages: described, described by an older profile, text only, and not read."""
    archive = Archive(Store(str(tmp_path)))
    older = replace(MODEL, prompt_revision="0")
    for page, recipe, status in (
        (1, MODEL, PageStatus.DESCRIBED),
        (2, older, PageStatus.DESCRIBED),
        (3, MODEL, PageStatus.TEXT_ONLY),
    ):
        whole = full_reading()
        read = whole.model_copy(
            update={
                "collection": "works",
                "document": whole.document.model_copy(update={"id": DOCUMENT, "pages": 4}),
                "page_number": page,
                "revision": 1,
                "status": status,
                "error": None,
                "fingerprint": recipe.fingerprint(DOCUMENT, page),
            }
        )
        archive.readings("works", DOCUMENT).page(page).create(read)
    return archive


@pytest.mark.parametrize(
    ("recipe", "downgrade", "due", "kept"),
    [
        (MODEL, False, (2, 4), 0),
        (WITHOUT, False, (3, 4), 2),
        (WITHOUT, True, (1, 2, 3, 4), 0),
    ],
)
def test_without_a_model_described_pages_are_due_only_if_that_is_meant(
    archive: Archive, recipe: Recipe, downgrade: bool, due: tuple[int, ...], kept: int
) -> None:
    read = full_reading().document
    document = Document(id=DOCUMENT, bytes=1, media_type=read.media_type, pages=4)
    planned = plan(document, Request("works", "now", 0, recipe, downgrade=downgrade), archive)
    assert (planned.due, planned.descriptions_kept) == (due, kept)


def test_a_kept_page_keeps_its_description_although_the_document_has_more_pages_now(archive: Archive) -> None:
    read = full_reading().document
    document = Document(id=DOCUMENT, bytes=1, media_type=read.media_type, pages=5)
    planned = plan(document, Request("works", "now", 0, WITHOUT), archive)
    assert planned.due == (3, 4, 5)
    assert [reading.page_number for reading in planned.settled] == [1, 2]


@pytest.mark.parametrize(("again", "batch", "due"), [(True, "now", (1,)), (False, "now", ()), (True, "batch-1", ())])
def test_a_page_whose_further_attempts_were_left_out_is_due_where_pages_are_read_again(
    tmp_path: Path, again: bool, batch: str, due: tuple[int, ...]
) -> None:
    archive, whole = Archive(Store(str(tmp_path))), full_reading()
    read = whole.model_copy(
        update={
            "collection": "works",
            "document": whole.document.model_copy(update={"id": DOCUMENT, "pages": 1}),
            "page_number": 1,
            "revision": 1,
            "batch": "batch-1",
            "status": PageStatus.DESCRIBED,
            "error": None,
            "fingerprint": MODEL.fingerprint(DOCUMENT, 1),
            "trust": Trust(suspect=True, reasons=("tail_repetition:text", "not_climbed:text")),
        }
    )
    archive.readings("works", DOCUMENT).page(1).create(read)
    document = Document(id=DOCUMENT, bytes=1, media_type=whole.document.media_type, pages=1)
    assert plan(document, Request("works", batch, 0, MODEL, again), archive).due == due
    assert reasons_of(read, MODEL) == (Reason.LADDER, Reason.SUSPECT)
