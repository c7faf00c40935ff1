"""Whether an archive is whole, told by names and newest readings."""

from __future__ import annotations

import io
from collections.abc import Container, Iterator
from pathlib import Path

import pytest
from PIL import Image

from pipeline.archive import Archive, Store, image_stem, source_id
from pipeline.archive.content import PageImages
from pipeline.archive.readings import DocumentReadings
from pipeline.core.models import Answer, Collection, Reading, Tombstone
from pipeline.maintenance.archive_check import ArchiveCounts, Flaw, findings
from support.readings import NOW, full_reading, full_source

DOCUMENT = "d" * 64
PAGES = 40


def answer_key(page: int) -> str:
    return f"{page:064x}-{page:064x}"


def save_page(archive: Archive, page: int, revision: int = 1) -> Reading:
    """Archive what a page needs, then its reading, as a writer does."""
    key, thumbnail = archive.images.save(DOCUMENT, image_stem(page, 1, f"{page:064x}"), b"jpeg", b"webp")
    archive.answers.add(Answer(key=answer_key(page), question="text", model="m", content="words", asked_at=NOW))
    full = full_reading()
    assert full.image is not None
    reading = full.model_copy(
        update={
            "page_number": page,
            "revision": revision,
            "image": full.image.model_copy(update={"key": key, "thumbnail_key": thumbnail}),
            "answers": (answer_key(page),),
        }
    )
    archive.readings("works", DOCUMENT).page(page).advance(None, lambda _: reading)
    return reading


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store(str(tmp_path / "archive") if request.param == "local" else f"memory://{tmp_path.name}")


@pytest.fixture
def archive(store: Store) -> Archive:
    """An archive of one collection, one document of `PAGES` pages and one source."""
    archive = Archive(store)
    archive.collections["works"].append(
        lambda _: Collection(name="works", language="en", profile="standard", revision=1)
    )
    archive.sources("works")[source_id("file:///in/a.pdf")].append(lambda _: full_source(failed=False))
    for page in range(1, PAGES + 1):
        save_page(archive, page)
    return archive


def found(archive: Archive) -> list[tuple[Flaw, int | None]]:
    return [(finding.flaw, finding.page) for finding in findings(archive, ArchiveCounts())]


def test_a_whole_archive_is_counted_and_has_no_findings(archive: Archive) -> None:
    looked, steps = ArchiveCounts(), []
    assert list(findings(archive, looked, lambda: steps.append(1))) == []
    assert looked == ArchiveCounts(collections=1, documents=1, pages=PAGES, sources=1)
    assert len(steps) == 2


def test_an_empty_archive_is_whole(store: Store) -> None:
    assert found(Archive(store)) == []


def test_an_image_that_is_gone_is_named_with_its_page(archive: Archive, store: Store) -> None:
    reading = next(reading for reading in archive.readings("works", DOCUMENT).newest() if reading.page_number == 7)
    assert isinstance(reading, Reading)
    assert reading.image is not None
    store.delete(reading.image.key)

    looked = ArchiveCounts()
    (finding,) = findings(archive, looked)
    assert (finding.flaw, finding.name, finding.page) == (Flaw.IMAGE_MISSING, reading.image.key, 7)
    assert (finding.collection, finding.document) == ("works", DOCUMENT)
    assert looked.findings == 1


def test_a_thumbnail_that_is_gone_is_named(archive: Archive, store: Store) -> None:
    keys = [key for key in archive.images.keys(DOCUMENT) if key.endswith(".webp")]
    for key in keys:
        store.delete(key)
    assert {finding.name for finding in findings(archive, ArchiveCounts())} == set(keys)


def test_an_answer_that_is_gone_is_named_as_the_archive_names_it(archive: Archive, store: Store) -> None:
    name = f"answers/00/{3:064x}/{3:064x}.json"
    assert store.get(name) is not None
    store.delete(name)
    (finding,) = findings(archive, ArchiveCounts())
    assert (finding.flaw, finding.name, finding.page) == (Flaw.ANSWER_MISSING, name, 3)


@pytest.mark.parametrize("page", [1, 33, PAGES])
def test_a_damaged_reading_hides_none_of_the_others(archive: Archive, store: Store, page: int) -> None:
    name = f"readings/works/{DOCUMENT}/{page}.1.json"
    whole = store.get(name)
    assert whole is not None
    store.put(name, whole[: len(whole) // 2])
    looked = ArchiveCounts()
    (finding,) = findings(archive, looked)
    assert (finding.flaw, finding.name, finding.page) == (Flaw.UNREADABLE, name, page)
    assert looked.pages == PAGES


def test_damaged_sources_and_collections_are_named(archive: Archive, store: Store) -> None:
    (source,) = archive.sources("works").names()
    store.put(f"sources/works/{source}/1.json", b"{")
    store.put("collections/works/1.json", b"")
    assert [(finding.flaw, finding.name) for finding in findings(archive, ArchiveCounts())] == [
        (Flaw.UNREADABLE, "collections/works/1.json"),
        (Flaw.UNREADABLE, f"sources/works/{source}/1.json"),
    ]


def test_only_the_newest_reading_counts(archive: Archive, store: Store) -> None:
    old = save_page(archive, PAGES + 1)
    assert old.image is not None
    store.delete(old.image.key)
    assert found(archive) == [(Flaw.IMAGE_MISSING, PAGES + 1)]
    archive.readings("works", DOCUMENT).page(PAGES + 1).advance(
        old,
        lambda _: Tombstone(collection="works", document_id=DOCUMENT, page_number=PAGES + 1, deletion=1, revision=2),
    )
    assert found(archive) == []


class _PurgedBeforeListing(PageImages):
    def keys(self, document: str) -> set[str]:
        archive = Archive(self._store)
        readings = archive.readings("works", document)
        for page, revision in readings.newest_revisions().items():
            if revision == 1:
                buried = Tombstone(collection="works", document_id=document, page_number=page, deletion=1, revision=2)
                readings.page(page).create(buried)
        archive.purge_content(document)
        return super().keys(document)


class PurgedMeanwhile(Archive):
    """The document is purged between the look at its readings and the look at its images."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.images = _PurgedBeforeListing(store)


class _GrowAfterListing(DocumentReadings):
    def newest(self, pages: Container[int] | None = None) -> Iterator[Reading | Tombstone]:
        yield from super().newest(pages)
        yield save_page(Archive(self._store), PAGES + 1)


class GrowsMeanwhile(Archive):
    """The document gets one more page after its images were listed."""

    def readings(self, collection: str, document: str) -> DocumentReadings:
        return _GrowAfterListing(self._store, collection, document)


@pytest.mark.parametrize("kind", [PurgedMeanwhile, GrowsMeanwhile])
def test_what_happens_while_it_is_looked_at_is_no_finding(archive: Archive, store: Store, kind: type[Archive]) -> None:
    assert found(kind(store)) == []


def mended(archive: Archive) -> dict[str, bool]:
    return {finding.name: finding.mended for finding in findings(archive, ArchiveCounts(), mends=True)}


def revisions(archive: Archive, page: int) -> list[int]:
    return archive.readings("works", DOCUMENT).page(page).revisions()


def test_a_damaged_reading_is_mended_by_a_successor_that_is_due(archive: Archive, store: Store) -> None:
    save_page(archive, 5, revision=2)
    name = f"readings/works/{DOCUMENT}/5.2.json"
    store.put(name, b"")

    assert mended(archive) == {name: True}
    assert revisions(archive, 5) == [1, 3]
    assert archive.readings("works", DOCUMENT).damaged_pages() == [5]
    assert mended(archive) == {}


def test_a_page_whose_only_reading_is_damaged_is_due_after_it_is_mended(archive: Archive, store: Store) -> None:
    store.put(f"readings/works/{DOCUMENT}/5.1.json", b"[]")

    assert mended(archive) == {f"readings/works/{DOCUMENT}/5.1.json": True}
    assert revisions(archive, 5) == [2]
    assert archive.readings("works", DOCUMENT).damaged_pages() == [5]


def test_pages_with_a_missing_image_or_a_damaged_answer_are_made_due(archive: Archive, store: Store) -> None:
    reading = archive.readings("works", DOCUMENT).page(7).newest()
    assert isinstance(reading, Reading)
    assert reading.image is not None
    store.delete(reading.image.key)
    damaged = f"answers/00/{3:064x}/{3:064x}.json"
    store.put(damaged, b"\0" * 100)

    assert mended(archive) == {damaged: True, reading.image.key: True}
    assert archive.readings("works", DOCUMENT).damaged_pages() == [3, 7]
    assert archive.answers.get(answer_key(3)) is None
    assert [revisions(archive, page) for page in (3, 7, 8)] == [[1, 2], [1, 2], [1]]


def image(form: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), "white").save(file, form)
    return file.getvalue()


def test_images_are_read_on_request_and_damaged_ones_are_made_due(archive: Archive, store: Store) -> None:
    jpeg, webp = image("JPEG"), image("WEBP")
    readings = (reading for reading in archive.readings("works", DOCUMENT).newest() if isinstance(reading, Reading))
    keys = [reading.image for reading in readings if reading.image is not None]
    for key in keys:
        store.put(key.key, jpeg)
        store.put(key.thumbnail_key, webp)
    assert list(findings(archive, ArchiveCounts(), reads_images=True)) == []
    one, other, third = keys[3], keys[5], keys[7]
    store.put(one.key, jpeg[:-20])
    store.put(other.thumbnail_key, webp[:-20])
    store.put(third.key, b"")

    assert list(findings(archive, ArchiveCounts())) == []
    found = list(findings(archive, ArchiveCounts(), mends=True, reads_images=True))
    assert [(finding.flaw, finding.name, finding.mended) for finding in found] == [
        (Flaw.IMAGE_DAMAGED, name, True) for name in (one.key, other.thumbnail_key, third.key)
    ]
    assert archive.readings("works", DOCUMENT).damaged_pages() == [4, 6, 8]


@pytest.mark.parametrize("folder", ["collections/works", "sources/works/*"])
def test_the_revision_before_a_damaged_one_succeeds_it(archive: Archive, store: Store, folder: str) -> None:
    identifier = source_id("file:///in/a.pdf")
    chain = archive.collections["works"] if folder.startswith("coll") else archive.sources("works")[identifier]
    chain.append(lambda newest: newest.model_copy(update={"revision": 2}) if newest else None)  # type: ignore[attr-defined]
    name = f"{folder.replace('*', identifier)}/2.json"
    store.put(name, b"{")

    assert mended(archive) == {name: True}
    assert chain.revisions() == [1, 3]
    newest = chain.newest()
    assert newest is not None
    assert newest.revision == 3


def test_files_without_a_stand_in_are_named_and_left(archive: Archive, store: Store) -> None:
    names = ["collections/works/1.json", "walks/b/folders/f.json", "deletions/works/1.json"]
    for name in names:
        store.put(name, b"")

    assert mended(archive) == dict.fromkeys(names, False)
    assert all(store.get(name) == b"" for name in names)


def test_a_file_that_a_newer_version_may_have_written_is_left(archive: Archive, store: Store) -> None:
    save_page(archive, 5, revision=2)
    name = f"readings/works/{DOCUMENT}/5.2.json"
    store.put(name, b'{"kind": "moved", "revision": 2}')

    assert mended(archive) == {name: False}
    assert revisions(archive, 5) == [1, 2]
