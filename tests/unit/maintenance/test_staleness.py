"""Why a page is stale, which stale pages are meant, and in which order they come."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline.archive import Archive, Store, image_stem, source_id
from pipeline.core.errors import SettingsError, Stopped
from pipeline.core.models import BatchEntry, PageStatus, Provenance, Reading, Trust
from pipeline.core.retry import CancelToken
from pipeline.core.stale_filter import Reason, parse_conditions
from pipeline.documents.passwords import Passwords
from pipeline.maintenance.staleness import StaleDocument, StaleTally, first_pages, is_there, reasons_of, stale_documents
from pipeline.pages.recipe import Recipe
from pipeline.sources import source_url
from support.readings import NOW, full_reading, full_source

TODAY = Recipe(
    language="en",
    reader="jina-vlm",
    reader_revision="1",
    profile="standard",
    prompt_revision="abc",
    render_revision=1,
    limits="",
    passwords=Passwords(),
    describes=True,
)


def reading(recipe: Recipe = TODAY, page: int = 2, document: str = "d" * 64, **changes: Any) -> Reading:
    """A page that was read, without any doubt, as a recipe would have it."""
    whole = full_reading()
    image = whole.image
    assert image is not None
    stem = image_stem(page, recipe.render_revision, image.sha256)
    given: dict[str, Any] = {
        "document": whole.document.model_copy(update={"id": document}),
        "page_number": page,
        "fingerprint": recipe.fingerprint(document, page),
        "error": None,
        "language": recipe.language,
        "trust": Trust(),
        "image": image.model_copy(update={"key": f"images/dd/{document}/{stem}.jpg"}),
        "model": Provenance(
            name=recipe.reader,
            revision=recipe.reader_revision,
            profile=recipe.profile,
            prompt_revision=recipe.prompt_revision,
        ),
    }
    return whole.model_copy(update=given | changes)


def test_what_is_as_today_would_have_it_is_not_stale() -> None:
    assert reasons_of(reading(), TODAY) == ()


@pytest.mark.parametrize(
    ("then", "reasons"),
    [
        (replace(TODAY, reader="other-vlm"), (Reason.MODEL,)),
        (replace(TODAY, reader_revision="0"), (Reason.REVISION,)),
        (replace(TODAY, profile="visual"), (Reason.PROFILE,)),
        (replace(TODAY, prompt_revision="abb"), (Reason.PROFILE,)),
        (replace(TODAY, language="de"), (Reason.LANGUAGE,)),
        (replace(TODAY, render_revision=0), (Reason.RENDER,)),
        (replace(TODAY, language="de", render_revision=0), (Reason.LANGUAGE, Reason.RENDER)),
    ],
)
def test_what_differs_is_the_reason(then: Recipe, reasons: tuple[Reason, ...]) -> None:
    assert reasons_of(reading(then), TODAY) == reasons


def test_a_page_without_a_model_is_a_fallback_only_where_there_is_one_now() -> None:
    local = replace(TODAY, reader="local-reader", reader_revision="2-engine")
    read = reading(local, status=PageStatus.TEXT_ONLY)
    assert reasons_of(read, TODAY) == (Reason.FALLBACK,)
    assert reasons_of(read, local) == ()


def test_a_failed_page_is_stale_whatever_it_failed_for() -> None:
    assert reasons_of(reading(status=PageStatus.FAILED, model=None), TODAY) == (Reason.FAILED,)


def test_a_blank_page_was_asked_nothing_and_only_its_image_counts() -> None:
    def blank(then: Recipe) -> Reading:
        return reading(then, status=PageStatus.BLANK, model=None)

    assert reasons_of(blank(replace(TODAY, reader_revision="0", language="de")), TODAY) == ()
    assert reasons_of(blank(replace(TODAY, render_revision=0)), TODAY) == (Reason.RENDER,)


def test_what_only_the_fingerprint_tells_has_a_reason_as_well() -> None:
    assert reasons_of(reading(fingerprint="0" * 64), TODAY) == (Reason.OTHER,)


def test_doubts_are_a_reason_beside_others() -> None:
    doubt = Trust(suspect=True, reasons=("truncated",))
    assert reasons_of(reading(trust=doubt), TODAY) == (Reason.SUSPECT,)
    assert reasons_of(reading(replace(TODAY, language="de"), trust=doubt), TODAY) == (Reason.LANGUAGE, Reason.SUSPECT)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """Two documents, the first of which lies in two places; the second was read an hour later."""
    archive = Archive(Store(str(tmp_path)))
    old = replace(TODAY, reader_revision="0")
    doubt = Trust(suspect=True)
    for place, document in (("a", "a" * 64), ("b", "a" * 64), ("c", "c" * 64)):
        source = full_source(failed=False)
        assert source.document is not None
        url, known = f"file:///in/{place}.pdf", source.document.model_copy(update={"id": document})
        source = source.model_copy(update={"url": url, "path": f"/in/{place}.pdf", "document": known})
        archive.sources("works")[source_id(url)].append(lambda _newest, source=source: source)
    for number, document in enumerate(("a" * 64, "c" * 64)):
        pages = [reading(old, 1, document), reading(TODAY, 2, document, trust=doubt), reading(old, 3, document)]
        for page in pages:
            kept = page.model_copy(update={"revision": 1, "archived_at": NOW + timedelta(hours=number)})
            archive.readings("works", document).page(page.page_number).create(kept)
    return archive


def stale(
    archive: Archive, *words: str, describes: bool = True, downgrade: bool = False
) -> tuple[list[StaleDocument], StaleTally]:
    tally = StaleTally()
    conditions = parse_conditions(words)
    recipe = replace(TODAY, describes=describes)
    found = stale_documents(archive, "works", recipe, conditions, CancelToken(), tally, downgrade=downgrade)
    return found, tally


def test_each_document_comes_once_and_the_newest_first(archive: Archive) -> None:
    found, tally = stale(archive)
    assert [document.pages for document in found] == [(1, 3), (1, 3)]
    assert found[0].url == "file:///in/c.pdf"
    assert found[1].url in ("file:///in/a.pdf", "file:///in/b.pdf")
    assert (tally.pages, tally.stale, tally.suspect_left) == (6, 4, 2)
    assert tally.reasons == {Reason.REVISION: 4}


@pytest.mark.parametrize(
    ("words", "pages"),
    [
        (("reason=revision",), 4),
        (("reason=language",), 0),
        (("reason=language", "reason=revision"), 4),
        (("document=/c.pdf",), 2),
        (("document=aaaa",), 2),
        (("document=aaaa", "document=cccc"), 4),
        (("language=de",), 0),
        (("language=en", "collection=works"), 4),
        (("collection=others",), 0),
        (("reason=suspect",), 0),
    ],
)
def test_conditions_narrow(archive: Archive, words: tuple[str, ...], pages: int) -> None:
    found, tally = stale(archive, *words)
    assert sum(len(document.pages) for document in found) == tally.stale == pages


def test_without_a_model_nobody_loses_a_description(archive: Archive) -> None:
    found, tally = stale(archive, describes=False)
    assert (found, tally.stale, tally.described_left) == ([], 0, 4)
    _, tally = stale(archive, describes=False, downgrade=True)
    assert (tally.stale, tally.described_left) == (4, 0)


def test_a_stop_ends_the_search(archive: Archive) -> None:
    cancel = CancelToken()
    cancel.stop()
    with pytest.raises(Stopped):
        stale_documents(archive, "works", TODAY, parse_conditions(()), cancel, StaleTally())


def test_of_several_places_one_that_is_there_is_taken(archive: Archive, tmp_path: Path) -> None:
    places = [document.url for document in stale(archive)[0]]
    assert not any(is_there(document.url) for document in stale(archive)[0])
    file = tmp_path / "there.pdf"
    file.touch()
    source = archive.sources("works")[source_id(places[0])].newest()
    assert source is not None
    moved = source.model_copy(update={"url": source_url(file), "path": str(file), "revision": 1})
    archive.sources("works")[source_id(moved.url)].append(lambda _newest: moved)
    (found,) = [document for document in stale(archive)[0] if is_there(document.url)]
    assert (found.url, found.pages) == (source_url(file), (1, 3))


def test_so_many_pages_and_no_more_are_worked() -> None:
    documents = [StaleDocument("a", (1, 3), 2.0), StaleDocument("b", (2, 5, 6), 1.0)]
    assert list(first_pages(documents, 3)) == [BatchEntry(url="a", pages=(1, 3)), BatchEntry(url="b", pages=(2,))]
    assert list(first_pages(documents, 2)) == [BatchEntry(url="a", pages=(1, 3))]
    assert list(first_pages(documents, 0)) == []
    assert sum(len(entry.pages or ()) for entry in first_pages(documents, None)) == 5


@pytest.mark.parametrize("word", ["suspect", "reason=", "=x", "reason=lazy", "colour=red"])
def test_what_is_no_condition_is_refused(word: str) -> None:
    with pytest.raises(SettingsError):
        parse_conditions([word])
