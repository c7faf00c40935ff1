"""How a queued batch ends, derived from a real archive in a folder: at every stage, in whatever order it came there."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.archive import Archive, Store, source_id
from pipeline.batches.completion import complete_chunk, complete_part, is_quiet, total
from pipeline.batches.ending import end_if_done
from pipeline.batches.lifecycle import begin_batch
from pipeline.batches.listing import all_due_messages, first_messages, name_sources, walk_folder
from pipeline.batches.messages import Message, Part, Walk, chunk_id, folder_id
from pipeline.batches.progress import BatchLedger, cancel, end_batch, pause
from pipeline.core.errors import SettingsError
from pipeline.core.formats import MediaType
from pipeline.core.models import (
    BatchEntry,
    Document,
    DocumentInfo,
    Failure,
    Lane,
    Outcome,
    PageStatus,
    PartState,
    PendingDocument,
    Reading,
    Source,
)
from pipeline.documents.passwords import Passwords
from pipeline.pages.deletion import carry_out, request_deletion
from pipeline.pages.page_services import PageServices
from pipeline.pages.recipe import Recipe, Request
from pipeline.pages.revisions import save_reading
from pipeline.projection.verify import Verification
from pipeline.search import DOCUMENTS, PAGES, SOURCES
from pipeline.sources import FoundFile, Listing
from support.memory_index import MemoryIndex

RECIPE = Recipe("en", "reader", "1", "standard", "1", 1, "limits", Passwords(), describes=True)
OLD_RECIPE = replace(RECIPE, prompt_revision="0")
CORRUPT = Failure(type="corrupt", message="no pages", remedy="Copy it again.")
REFUSED = Failure(type="answer_refused", message="no", remedy="Look.")
ROOT = "file:///in"


class CountingStore(Store):
    """Counts how often each name was read."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.read: Counter[str] = Counter()

    def get_many(self, names: Sequence[str]) -> list[bytes | None]:
        found = super().get_many(names)
        self.read.update(name for name, data in zip(names, found, strict=True) if data is not None)
        return found


def services(archive: Archive) -> PageServices:
    """The services that the end of a batch needs; the index names no vanished file."""
    return cast(PageServices, SimpleNamespace(archive=archive, projector=MemoryIndex().projector(archive), files=None))


class Scene:
    """A batch that names sources itself, all of them in one chunk."""

    def __init__(self, folder: Path, sources: int) -> None:
        self.store = CountingStore(str(folder))
        self.archive = Archive(self.store)
        self.index = MemoryIndex()
        self.urls = [f"{ROOT}/{number:03}.pdf" for number in range(sources)]
        entries = [BatchEntry(url=url) for url in self.urls]
        self.batch = begin_batch(
            self.archive,
            "default",
            None,
            "en",
            ["in"],
            lane=Lane.NORMAL,
            name=lambda batch: name_sources(self.archive, batch.id, entries),
        )
        self.chunk = chunk_id(folder_id("", "", ""), 0)
        self.records = self.archive.journal(self.batch.id)
        self.request = Request("default", self.batch.id, 0, RECIPE)

    def source(self, number: int, pages: int = 0, *, document: str = "", error: Failure | None = None) -> str:
        """What lies at a place: a document of so many pages, or an error. Returns the document's id."""
        identifier = (document or f"{number:x}").rjust(64, "d")
        found = Document(id=identifier, bytes=1, media_type=MediaType.PDF, pages=pages) if pages else None

        def successor(newest: Source | None) -> Source:
            return Source(
                collection="default",
                url=self.urls[number],
                path=self.urls[number],
                state=None,
                document=found,
                error=error,
                batch=self.batch.id,
                revision=newest.revision + 1 if newest else 1,
                observed_at=datetime.now(UTC),
            )

        self.archive.sources("default")[source_id(self.urls[number])].append(successor)
        return identifier

    def read(
        self, number: int, pages: Sequence[int], of: int, error: Failure | None = None, recipe: Recipe = RECIPE
    ) -> None:
        """Read pages of a document that has so many."""
        identifier = f"{number:x}".rjust(64, "d")
        for page in pages:
            reading = Reading(
                collection="default",
                document=DocumentInfo(
                    id=identifier,
                    name="a.pdf",
                    path=(self.urls[number],),
                    title=None,
                    media_type=MediaType.PDF,
                    bytes=1,
                    pages=of,
                    modified=None,
                ),
                page_number=page,
                page_label=None,
                revision=1,
                fingerprint=recipe.fingerprint(identifier, page, error),
                status=PageStatus.FAILED if error else PageStatus.DESCRIBED,
                error=error,
                batch=self.batch.id,
                deletions_seen=0,
                language="en",
                archived_at=datetime.now(UTC),
            )
            known = next(self.archive.readings("default", identifier).newest([page]), None)
            save_reading(self.archive, reading, known)

    def begin(self, *documents: tuple[int, int], part: int = 0, entry: int | None = None) -> None:
        """Note that a part is registered, and that all pages of these documents, given with their number, are due."""
        begun = [
            PendingDocument(
                entry=number - 16 * part,
                document=f"{number:x}".rjust(64, "d"),
                pages=pages,
                due=tuple(range(1, pages + 1)),
                known=self.archive.readings("default", f"{number:x}".rjust(64, "d")).newest_revisions(),
            )
            for number, pages in documents
        ]
        self.records.begin(self.chunk, part, entry, PartState(documents=tuple(begun)))

    def quiet(self, part: int = 0) -> bool:
        return is_quiet(self.records, self.chunk, part, self.request, self.archive)

    def settle(self, part: int = 0, *, registered: bool = False) -> Outcome | None:
        verification = Verification(self.index.projector(self.archive))
        return complete_part(self.chunk, part, self.request, verification, registered=registered)

    def delete(self, document: str | None) -> None:
        carry_out(request_deletion(self.archive, "default", document, False), self.index.projector(self.archive))


@pytest.fixture
def three(tmp_path: Path) -> Scene:
    return Scene(tmp_path, 3)


# -- parts


def test_a_part_that_nobody_registered_as_a_whole_is_not_quiet(three: Scene) -> None:
    for number in range(3):
        three.source(number, 1)
        three.read(number, [1], 1)
    assert not three.quiet()
    assert three.settle() is None
    three.begin()
    assert three.quiet()
    assert three.settle() == Outcome(documents={"complete": 3}, pages={"described": 3})


def test_a_part_of_suspects_is_registered_once_each_of_them_is(three: Scene) -> None:
    for number in range(3):
        three.source(number, error=CORRUPT)
        assert not three.quiet()
        assert three.settle() is None
        three.begin(entry=number)
    assert three.quiet()
    assert three.settle() == Outcome(documents={"failed": 3}, pages={})


def test_a_part_is_quiet_when_each_due_page_has_a_newer_revision(three: Scene) -> None:
    three.source(0, 2)
    three.read(0, [1], 2, recipe=OLD_RECIPE)
    for number in (1, 2):
        three.source(number, error=CORRUPT)
    three.begin((0, 2))
    assert not three.quiet()
    three.read(0, [2], 2)
    assert not three.quiet()
    three.read(0, [1], 2, error=REFUSED)
    assert three.quiet()


def test_a_document_that_was_replaced_is_waited_for_no_more(three: Scene) -> None:
    three.source(0, 20)
    for number in (1, 2):
        three.source(number, error=CORRUPT)
    three.begin((0, 20))
    assert not three.quiet()
    three.source(0, 1, document="e")
    assert three.quiet()
    assert three.settle() is None  # its one page has not been read
    assert three.records.ended_parts(three.chunk) == []


@pytest.mark.parametrize("everything", [True, False])
def test_pages_that_were_deleted_before_anybody_read_them_have_ended(three: Scene, everything: bool) -> None:
    document = three.source(0, 20)
    three.read(0, range(1, 6), 20)
    for number in (1, 2):
        three.source(number, 1)
        three.read(number, [1], 1)
    three.begin((0, 20))
    assert not three.quiet()
    three.delete(None if everything else document)
    assert three.quiet()
    outcome = three.settle()
    assert outcome is not None
    assert outcome.documents == ({"deleted": 3} if everything else {"deleted": 1, "complete": 2})
    # A collection that was deleted knows no document any more, and so no pages.
    assert outcome.pages == ({} if everything else {"deleted": 20, "described": 2})
    assert len(three.index.records(PAGES)) == (0 if everything else 2)


def test_how_a_part_ended_is_counted_by_source(tmp_path: Path) -> None:
    scene = Scene(tmp_path, 5)
    scene.source(0, 3)
    scene.read(0, [1, 2, 3], 3)
    scene.source(1, 2)
    scene.read(1, [1], 2)
    scene.read(1, [2], 2, error=REFUSED)
    scene.source(2, 1)
    scene.read(2, [1], 1, error=REFUSED)
    scene.source(3, error=CORRUPT)
    assert scene.settle(registered=True) is None  # nobody has looked at the fifth
    scene.source(4)  # its collection was deleted: neither document nor error
    outcome = scene.settle(registered=True)
    assert outcome == Outcome(
        documents={"complete": 1, "partial": 1, "failed": 2, "deleted": 1}, pages={"described": 4, "failed": 2}
    )
    assert scene.records.closed.get(scene.chunk) == outcome


def test_a_part_ends_only_with_the_index_where_the_archive_is(three: Scene) -> None:
    for number in range(3):
        three.source(number, 2)
        three.read(number, [1, 2], 2)
    three.begin()
    three.settle()
    assert [len(three.index.records(alias)) for alias in (PAGES, SOURCES, DOCUMENTS)] == [6, 3, 3]


def test_what_ended_first_stays_whatever_happens_later(three: Scene) -> None:
    for number in range(3):
        three.source(number, 1)
        three.read(number, [1], 1)
    three.begin()
    first = three.settle()
    three.delete(None)
    assert three.settle() == first
    assert three.records.closed.get(three.chunk) == first


@settings(max_examples=8, deadline=None)
@given(order=st.permutations(range(5)))
def test_a_chunk_ends_with_its_last_part_whatever_the_order(order: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        scene = Scene(Path(folder), 70)
        for number in range(70):
            scene.source(number, error=CORRUPT)
        book = BatchLedger(scene.archive, scene.batch)
        done = 0
        for part in order:
            assert scene.records.closed.get(scene.chunk) is None
            assert end_if_done(book, services(scene.archive)) is None
            assert scene.settle(part, registered=True) is not None
            done += 6 if part == 4 else 16
            assert book.progress().documents == {"failed": done}
        assert scene.records.closed.get(scene.chunk) == Outcome(documents={"failed": 70}, pages={})
        ended = end_if_done(book, services(scene.archive))
        assert ended is not None
        assert (ended.state, ended.documents, ended.pages, ended.revision) == ("done", {"failed": 70}, {}, 2)
        assert scene.archive.open_batches() == []
        assert end_if_done(book, services(scene.archive)) is None


def test_a_chunk_whose_last_part_died_before_it_could_close_it_is_closed_by_anybody(tmp_path: Path) -> None:
    scene = Scene(tmp_path, 20)
    ended = [Outcome(documents={"failed": count}, pages={}) for count in (16, 4)]
    scene.records.close_part(scene.chunk, 1, ended[1])
    assert complete_chunk(scene.records, scene.chunk) is None
    scene.records.close_part(scene.chunk, 0, ended[0])
    assert complete_chunk(scene.records, scene.chunk) == total(ended) == Outcome(documents={"failed": 20}, pages={})


# -- the whole batch


#: Folders by name: files in them, and the folders below.
Tree = dict[str, tuple[int, list[str]]]
TREE: Tree = {
    ROOT: (3, [f"{ROOT}/a", f"{ROOT}/b"]),
    f"{ROOT}/a": (40, [f"{ROOT}/a/c"]),
    f"{ROOT}/b": (0, []),
    f"{ROOT}/a/c": (517, []),
}


def listed(walk: Walk) -> Listing:
    files, folders = TREE[walk.url]
    return Listing(tuple(FoundFile(f"{walk.url}/{number:04}.pdf") for number in range(files)), tuple(folders))


@settings(max_examples=8, deadline=None)
@given(chances=st.lists(st.integers(0, 999), min_size=60, max_size=60))
def test_what_is_due_is_exactly_what_has_not_been_done(chances: list[int]) -> None:
    """The queue may be lost at any moment: the archive tells what was in it."""
    with tempfile.TemporaryDirectory() as folder:
        archive = Archive(Store(folder))
        batch = begin_batch(archive, "default", None, "en", ["in"], lane=Lane.NORMAL, roots=[ROOT])
        records = archive.journal(batch.id)
        book = BatchLedger(archive, batch)
        queue: list[Message] = list(first_messages(batch))
        walks = done = 0
        for chance in chances:
            due = list(all_due_messages(batch, archive))
            assert len(due) == len(set(due))
            assert set(due) == set(queue)
            if not queue:
                break
            message = queue.pop(chance % len(queue))
            if isinstance(message, Walk):
                queue += walk_folder(message, archive, listed)
                walks += 1
            else:
                assert isinstance(message, Part)
                chunk = records.chunk(message.chunk)
                assert chunk is not None
                sources = len(chunk.entries[16 * message.part : 16 * message.part + 16])
                outcome = Outcome(documents={"complete": sources}, pages={"described": sources})
                records.close_part(message.chunk, message.part, outcome)
                complete_chunk(records, message.chunk)
                done += sources
            progress = book.progress()
            assert progress.walked == (walks == len(TREE))
            assert progress.sources_done == progress.pages_done == done
            assert progress.ended == (not queue)
            assert (end_if_done(book, services(archive)) is not None) == (not queue)
        assert done == progress.sources_found == 560


def test_a_batch_of_an_empty_folder_ends_once_that_is_listed(tmp_path: Path) -> None:
    archive = Archive(Store(str(tmp_path)))
    batch = begin_batch(archive, "default", None, "en", ["in"], lane=Lane.NORMAL, roots=[f"{ROOT}/b"])
    assert end_if_done(BatchLedger(archive, batch), services(archive)) is None
    assert list(walk_folder(next(first_messages(batch)), archive, listed)) == []
    ended = end_if_done(BatchLedger(archive, batch), services(archive))
    assert ended is not None
    assert (ended.documents, ended.pages) == ({}, {})


def test_a_book_counts_right_at_each_stage_and_reads_each_record_once(tmp_path: Path) -> None:
    scene = Scene(tmp_path, 20)
    book = BatchLedger(scene.archive, scene.batch)

    def stands() -> tuple[int, ...]:
        progress = book.progress()
        assert progress == book.progress()
        return (
            progress.sources_done,
            progress.sources_under_way,
            progress.pages_under_way,
            progress.pages_read,
            progress.pages_done,
        )

    assert stands() == (0, 0, 0, 0, 0)
    for number in range(20):
        scene.source(number, error=None if number in (2, 17) else CORRUPT, pages={2: 40, 17: 20}.get(number, 0))
    scene.read(2, range(1, 4), 40, recipe=OLD_RECIPE)
    scene.begin((2, 40))
    assert stands() == (0, 1, 40, 0, 0)  # known pages are due again
    scene.read(2, range(10, 21), 40)
    scene.begin((17, 20), part=1)
    assert stands() == (0, 2, 60, 11, 11)
    scene.read(17, range(1, 21), 20)
    assert stands() == (0, 2, 60, 31, 31)
    scene.settle(1)
    assert stands() == (4, 1, 40, 11, 31)
    scene.read(2, range(21, 41), 40)
    scene.read(2, range(1, 10), 40, error=REFUSED)
    assert stands() == (4, 1, 40, 40, 60)
    scene.settle(0)
    assert stands() == (20, 0, 0, 0, 60)

    scene.store.read.clear()
    fresh = BatchLedger(scene.archive, scene.batch)
    for _ in range(3):
        assert fresh.progress().ended
    assert {name: count for name, count in scene.store.read.items() if count > 1} == {}
    assert fresh.progress().documents == {"failed": 18, "partial": 1, "complete": 1}
    assert fresh.progress().pages == {"described": 51, "failed": 9}


def test_no_record_is_read_twice_while_a_batch_is_watched(tmp_path: Path) -> None:
    scene = Scene(tmp_path, 40)
    for number in range(40):
        scene.source(number, 20)
    book = BatchLedger(scene.archive, scene.batch)
    scene.store.read.clear()
    for part in range(3):
        begun = [(number, 20) for number in range(16 * part, min(40, 16 * part + 16))]
        scene.begin(*begun, part=part)
        before = Counter(scene.store.read)
        for _ in range(2):
            book.progress()
        assert scene.store.read - before == dict.fromkeys(scene.store.read - before, 1)
    assert {name: count for name, count in scene.store.read.items() if count > 1} == {}


def test_what_a_person_decided_is_the_last_word(three: Scene) -> None:
    for number in range(3):
        three.source(number, error=CORRUPT)
    assert pause(three.archive, three.batch.id).revision == 2
    assert pause(three.archive, three.batch.id).revision == 2
    three.settle(registered=True)
    cancelled = cancel(three.archive, three.batch.id)
    assert (cancelled.state, cancelled.documents, cancelled.revision) == ("cancelled", {"failed": 3}, 3)
    assert end_if_done(BatchLedger(three.archive, three.batch), services(three.archive)) is None
    progress = BatchLedger(three.archive, three.batch).progress()
    assert end_batch(three.archive, three.batch.id, "done", progress) is None
    newest = three.archive.batches[three.batch.id].newest()
    assert newest is not None
    assert newest.state == "cancelled"
    for decide in (
        lambda: cancel(three.archive, three.batch.id),
        lambda: pause(three.archive, "none"),
    ):
        with pytest.raises(SettingsError):
            decide()
