"""A batch worked by a plain loop: real archive, real sandbox, a list for a queue, every message delivered twice."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.archive import Archive, Store, source_id
from pipeline.batches.budget import BatchBudget, is_out_of_budget
from pipeline.batches.ending import end_if_done
from pipeline.batches.handlers import BatchContext, MessageReport, handle_pages, handle_part, quarantine
from pipeline.batches.lifecycle import begin_batch
from pipeline.batches.listing import all_due_messages, first_messages, is_live, name_sources, walk_folder
from pipeline.batches.local_runner import RunTally, run_batch
from pipeline.batches.messages import Message, Part, Walk, split
from pipeline.batches.progress import BatchLedger, resume
from pipeline.core.models import (
    Allowance,
    Batch,
    BatchEntry,
    DocumentStatus,
    Lane,
    PageStatus,
    Reading,
    RenderedPage,
    Source,
    TextSource,
    Tombstone,
)
from pipeline.core.retry import CancelToken
from pipeline.core.threads import ContextThreads, PrioritySemaphore
from pipeline.documents.opening import Opener
from pipeline.documents.passwords import Passwords
from pipeline.maintenance.audit import Audit, Batches
from pipeline.pages.contents import ContentsLimits
from pipeline.pages.deletion import carry_out, request_deletion
from pipeline.pages.document_budget import DocumentLimits
from pipeline.pages.page_services import PageServices
from pipeline.pages.recipe import Request
from pipeline.projection.records import document_record_id, page_id
from pipeline.rendering.host.pool import SandboxPool
from pipeline.search import DOCUMENTS, PAGES, SOURCES
from pipeline.sources import Containers, SourceCache, SourceFiles, list_folder, named_root, source_url
from pipeline.vision.reader import PageAnswers, Rerenderer, Usage
from support.containers import carrying, mail, page, zipped
from support.conversions import CONVERTER
from support.memory_index import MemoryIndex, Refreshed
from support.pagesight_runs import make_pdf, make_picture
from support.rendering import LIMITS, slow_pages_pdf

#: Of 15 sources: a document whose pages go into messages of their own, small ones that share ranges, and two that fail.
PAGES_OF = {"book.pdf": 37, "letter-0.pdf": 5, "letter-1.pdf": 5, "letter-2.pdf": 9} | {
    f"below/plate-{number}.png": 1 for number in range(8)
}


class InstantReader:
    """Answers at once; each page is to be read once."""

    name, revision, profile, prompt_revision = "instant", "1", "standard", "1"
    describes, wants_pixels = True, False

    def __init__(self) -> None:
        self.usage = Usage()
        self.read_pages: Counter[str] = Counter()
        self.before_read: Callable[[], None] = lambda: None
        self._lock = threading.Lock()

    def read(
        self, page: RenderedPage, language: str, cancel: CancelToken, rerenderer: Rerenderer | None = None
    ) -> PageAnswers:
        with self._lock:
            self.before_read()
            self.read_pages[page.pixels_sha256] += 1
        return PageAnswers(f"what {page.phash} shows", page.layer_text, TextSource.LAYER)

    def close(self) -> None:
        pass


class Bench:
    """An archive, an index and the tools of one process."""

    def __init__(self, folder: Path, files: Path, sandboxes: SandboxPool, threads: ContextThreads) -> None:
        self.files = files
        self.folder = folder
        self.archive = Archive(Store(str(folder)))
        self.index = MemoryIndex()
        self.reader = InstantReader()
        cancel = CancelToken()
        opener = Opener(sandboxes, Passwords(), CONVERTER)
        cache = SourceCache(folder / "cache", 1 << 20)
        self.services = PageServices(
            archive=self.archive,
            projector=self.index.projector(self.archive),
            opener=opener,
            cropper=opener,
            files=SourceFiles(cache, 1 << 30, cancel, Containers(opener, cache, 3)),
            reader=self.reader,
            cancel=cancel,
            pages=threads,
            in_hand=PrioritySemaphore(4),
            limits="limits",
            max_file_bytes=1 << 30,
            document_limits=DocumentLimits(3600, 10),
            contents_limits=ContentsLimits(1_000, 100, 100),
        )

    def begin(self, lane: Lane | None = Lane.NORMAL, **more: Any) -> Batch:
        roots = [source_url(self.files)]
        return begin_batch(self.archive, "default", None, "en", ["files"], lane=lane, roots=roots, **more)

    def index_here(self) -> RunTally:
        """What the runner in one process comes to."""
        batch = self.begin(lane=None)
        request = Request("default", batch.id, 0, self.services.recipe("en"))
        tally = RunTally()
        run_batch([source_url(self.files)], [], request, self.services, 2, tally, lambda: None)
        return tally

    def document(self, name: str) -> str:
        """The id of the document of this name."""
        (identifier,) = {reading.document.id for reading in self._live() if reading.document.name == name}
        return identifier

    def is_read(self, name: str, pages: int) -> bool:
        """Whether so many pages of a document are read."""
        return pages <= sum(reading.document.name == name for reading in self._live())

    def entries(self, part: Part) -> tuple[BatchEntry, ...]:
        """The sources of a part."""
        chunk = self.archive.journal(part.batch).chunk(part.chunk)
        assert chunk is not None
        return chunk.entries[16 * part.part : 16 * part.part + 16]

    def _live(self) -> Iterator[Reading]:
        for document in self.archive.documents("default"):
            for reading in self.archive.readings("default", document).newest():
                if isinstance(reading, Reading):
                    yield reading

    def readings(self) -> dict[tuple[str, int], dict[str, Any]]:
        """Every newest reading, without what a batch or a moment decides."""
        return {
            (reading.document.id, reading.page_number): reading.model_dump(exclude={"batch", "archived_at"})
            for reading in self._live()
        }


class Loop:
    """Delivers messages: each twice, in any order, to somebody who may be stopped after any page."""

    def __init__(self, bench: Bench, batch: Batch, chance: random.Random, *, most_pages: int | None = 12) -> None:
        self.bench = bench
        self.batch = batch
        self.budget = BatchBudget(bench.archive, batch)
        self.queue: list[Message] = []
        self.report = MessageReport()
        self.deliveries = 0
        self.handed_back = 0
        self._chance = chance
        self._most_pages = most_pages
        self.publish(list(first_messages(batch)))

    def publish(self, messages: list[Message]) -> None:
        self.queue += messages * 2

    def step(self) -> None:
        """Work one message."""
        self.deliveries += 1
        assert self.deliveries < 1000, "it does not come to an end"
        message = self.queue.pop(self._chance.randrange(len(self.queue)))
        follow = self._work(message)
        self.handed_back += message in follow
        self.publish(follow)

    def run(self, until: Callable[[], bool] = lambda: False) -> None:
        """Work until nothing is queued, or until something has come true."""
        while self.queue and not until():
            self.step()

    def _work(self, message: Message) -> list[Message]:
        if not is_live(self.bench.archive.batches[self.batch.id].newest()):
            return []
        if isinstance(message, Walk):
            return list(
                walk_folder(message, self.bench.archive, lambda walk: list_folder(walk.url, named_root(walk.root)))
            )
        work = handle_part if isinstance(message, Part) else handle_pages
        pages = 10_000 if self._most_pages is None else self._chance.randint(1, self._most_pages)
        return work(message, self.job(pages))  # type: ignore[arg-type]

    def parts_of(self, name: str) -> list[Part]:
        """The messages in the queue that register a source of this name."""
        parts = [message for message in self.queue if isinstance(message, Part)]
        return [part for part in parts if any(entry.url.endswith(name) for entry in self.bench.entries(part))]

    def job(self, pages: int) -> BatchContext:
        """Work for somebody whose patience ends after so many pages."""
        end = self.bench.reader.read_pages.total() + pages
        cancel = CancelToken().within(60, cancelled=lambda: self.bench.reader.read_pages.total() >= end)
        return BatchContext(self.batch, self.bench.services.with_cancel(cancel), self.report, self.budget)

    def end(self) -> Batch:
        ended = end_if_done(BatchLedger(self.bench.archive, self.batch), self.bench.services)
        assert ended is not None, "something has not ended"
        return ended


@pytest.fixture(scope="module")
def sandboxes() -> Iterator[SandboxPool]:
    pool = SandboxPool(2, LIMITS)
    yield pool
    pool.close()


@pytest.fixture(scope="module")
def threads() -> Iterator[ContextThreads]:
    with ContextThreads(4) as pool:
        yield pool


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    (folder / "below").mkdir()
    for seed, (name, pages) in enumerate(PAGES_OF.items()):
        make = make_picture(folder / name, seed) if name.endswith("png") else make_pdf(folder / name, pages, seed)
        assert make.exists()
    (folder / "empty.pdf").touch()
    (folder / "below" / "torn.pdf").write_bytes(b"%PDF-1.7 and nothing more")
    return folder


@pytest.fixture
def bench(tmp_path: Path, files: Path, sandboxes: SandboxPool, threads: ContextThreads) -> Bench:
    return Bench(tmp_path / "queued", files, sandboxes, threads)


@pytest.fixture(scope="module")
def in_one_process(
    tmp_path_factory: pytest.TempPathFactory, files: Path, sandboxes: SandboxPool, threads: ContextThreads
) -> Bench:
    bench = Bench(tmp_path_factory.mktemp("archive"), files, sandboxes, threads)
    tally = bench.index_here()
    assert +tally.pages == {PageStatus.DESCRIBED: sum(PAGES_OF.values())}
    return bench


def assert_complete(bench: Bench, ended: Batch) -> None:
    pages = sum(PAGES_OF.values())
    assert (ended.state, ended.pages) == ("done", {"described": pages})
    assert ended.documents == {"complete": len(PAGES_OF), "failed": 2}
    assert_index_agrees(bench)


def assert_index_agrees(bench: Bench) -> None:
    archive, index = bench.archive, bench.index
    revisions = {
        document: archive.readings("default", document).newest_revisions() for document in archive.documents("default")
    }
    assert {key: record["_version"] for key, record in index.records(PAGES).items()} == {
        page_id("default", document, page): revision
        for document, pages in revisions.items()
        for page, revision in pages.items()
    }
    assert {key: record["_version"] for key, record in index.records(DOCUMENTS).items()} == {
        document_record_id("default", document): sum(pages.values()) for document, pages in revisions.items()
    }
    assert len(index.records(SOURCES)) == len(archive.sources("default").names())


@pytest.mark.parametrize("seed", range(6))
def test_every_message_twice_in_any_order_comes_to_what_one_process_comes_to(
    bench: Bench, in_one_process: Bench, seed: int
) -> None:
    loop = Loop(bench, bench.begin(), random.Random(seed))
    loop.run()
    assert loop.handed_back
    assert_complete(bench, loop.end())
    assert set(bench.reader.read_pages.values()) == {1}
    assert loop.report.pages == {PageStatus.DESCRIBED: sum(PAGES_OF.values())}
    assert bench.readings() == in_one_process.readings()


class Hurried(Loop):
    """Delivers to somebody whose time is over before it begins."""

    def job(self, pages: int) -> BatchContext:
        cancel = CancelToken().within(0.0, first_seconds=60.0)
        return BatchContext(self.batch, self.bench.services.with_cancel(cancel), self.report, self.budget)


def test_a_message_makes_a_page_of_progress_however_little_time_it_has(bench: Bench) -> None:
    loop = Hurried(bench, bench.begin(), random.Random(3))
    loop.run()
    assert loop.handed_back
    assert_complete(bench, loop.end())
    assert set(bench.reader.read_pages.values()) == {1}


def test_messages_that_are_lost_are_found_in_the_archive(bench: Bench) -> None:
    loop = Loop(bench, bench.begin(), random.Random(7))
    for steps in (1, 3, 5, 8, 2, 13):
        for _ in range(min(steps, len(loop.queue))):
            loop.step()
        loop.queue = list(all_due_messages(loop.batch, bench.archive))
    loop.run()
    assert_complete(bench, loop.end())
    assert set(bench.reader.read_pages.values()) == {1}


def test_a_damaged_list_of_files_is_one_failure_of_its_folder_until_the_folder_is_listed_again(bench: Bench) -> None:
    loop = Loop(bench, bench.begin(), random.Random(3), most_pages=None)
    loop.run(until=lambda: bool(loop.parts_of("plate-0.png")))
    (part, *_) = loop.parts_of("plate-0.png")
    name = bench.archive.journal(loop.batch.id).chunk_name(part.chunk)
    path = bench.folder / name
    path.write_bytes(b"")
    bench.archive._journals.cache_clear()  # as a process that has not read the chunk yet
    bench.index.queries = Refreshed(bench.index)
    loop.run()
    ended = loop.end()

    folder = source_url(bench.files / "below")
    listed = 9  # eight pictures, and a torn PDF
    assert ended.documents == {"complete": len(PAGES_OF) - 8, "failed": 1 + listed}
    failed = bench.archive.sources("default")[source_id(folder)].newest()
    assert failed is not None
    assert failed.error is not None
    assert (failed.error.type, failed.error.transient) == ("list_damaged", True)
    assert name in failed.error.message
    assert f"{listed} of its files" in failed.error.message
    assert name in bench.archive.damaged
    records = {record["path"]: record["state"] for record in bench.index.records(SOURCES).values()}
    assert records[str(bench.files / "below")] == "failed"
    assert str(bench.files / "book.pdf") in records

    again = Loop(bench, bench.begin(), random.Random(3), most_pages=None)
    again.run()
    assert again.end().documents == {"complete": len(PAGES_OF), "failed": 2}
    paths = {record["path"] for record in bench.index.records(SOURCES).values()}
    assert str(bench.files / "below") not in paths
    assert len(paths) == len(PAGES_OF) + 2
    assert set(bench.reader.read_pages.values()) == {1}


@pytest.mark.parametrize("seed", range(3))
def test_two_batches_over_the_same_files_read_each_page_once_and_both_end(bench: Bench, seed: int) -> None:
    chance = random.Random(seed)
    loops = [Loop(bench, bench.begin(), chance) for _ in range(2)]
    while waiting := [loop for loop in loops if loop.queue]:
        chance.choice(waiting).step()
    for loop in loops:
        assert_complete(bench, loop.end())
    assert set(bench.reader.read_pages.values()) == {1}


@pytest.mark.parametrize("seed", range(3))
def test_exactly_as_many_pages_are_worked_as_the_budget_has_and_then_the_others(bench: Bench, seed: int) -> None:
    chance, pages = random.Random(seed), sum(PAGES_OF.values()) // 2
    loop = Loop(bench, bench.begin(budget=Allowance(pages=pages)), chance)
    loop.run()
    assert bench.reader.read_pages.total() == pages
    assert end_if_done(BatchLedger(bench.archive, loop.batch), bench.services) is None
    assert is_out_of_budget(bench.archive.batches[loop.batch.id].newest())  # type: ignore[arg-type]

    raised = resume(bench.archive, loop.batch.id, Allowance(pages=2 * pages + 1))
    on = Loop(bench, raised, chance)
    on.queue = list(all_due_messages(raised, bench.archive))
    on.run()
    assert_complete(bench, on.end())
    assert set(bench.reader.read_pages.values()) == {1}


@pytest.mark.parametrize("everything", [True, False], ids=["collection", "document"])
@pytest.mark.parametrize(("seed", "purge"), [(0, True), (1, False), (2, True)])
def test_what_is_deleted_meanwhile_stays_away_and_the_batch_ends(
    bench: Bench, seed: int, purge: bool, everything: bool
) -> None:
    loop = Loop(bench, bench.begin(), random.Random(seed), most_pages=4)
    loop.run(until=lambda: bench.is_read("book.pdf", 5 + 5 * seed))
    book = bench.document("book.pdf")
    read = len(bench.archive.readings("default", book).newest_revisions())
    carry_out(request_deletion(bench.archive, "default", None if everything else book, purge), bench.services.projector)
    asked = bench.reader.read_pages.total()
    loop.run()
    ended = loop.end()
    newest = list(bench.archive.readings("default", book).newest())
    assert len(newest) == read
    assert all(isinstance(reading, Tombstone) for reading in newest)
    assert bool(list(bench.folder.glob(f"images/{book[:2]}/{book}/*"))) is not purge
    assert book not in {record["document"]["id"] for record in bench.index.records(PAGES).values()}
    if everything:
        assert bench.reader.read_pages.total() == asked
        assert bench.index.records(PAGES) == bench.index.records(DOCUMENTS) == {}
    else:
        assert ended.documents == {"complete": len(PAGES_OF) - 1, "failed": 2, "deleted": 1}
        assert ended.pages == {"described": sum(PAGES_OF.values()) - 37, "deleted": 37}


def test_a_file_that_is_replaced_meanwhile_is_read_as_it_is_then(
    tmp_path: Path, sandboxes: SandboxPool, threads: ContextThreads
) -> None:
    files = tmp_path / "files"
    files.mkdir()
    make_pdf(files / "book.pdf", 40, 1)
    bench = Bench(tmp_path / "archive", files, sandboxes, threads)
    loop = Loop(bench, bench.begin(), random.Random(3), most_pages=4)
    loop.run(until=lambda: bench.is_read("book.pdf", 15))
    old = bench.document("book.pdf")
    make_pdf(tmp_path / "other.pdf", 30, 2).replace(files / "book.pdf")
    loop.run()
    ended = loop.end()
    assert (ended.documents, ended.pages) == ({"complete": 1}, {"described": 30})
    assert {
        path for reading in bench.archive.readings("default", old).newest() for path in reading.document.path
    } == set()


@pytest.mark.parametrize("pages", [40, 9], ids=["large", "small"])
@pytest.mark.parametrize("in_queue", [False, True], ids=["index", "enqueue"])
def test_a_file_that_is_replaced_again_and_again_fails_as_changed(
    tmp_path: Path, sandboxes: SandboxPool, threads: ContextThreads, in_queue: bool, pages: int
) -> None:
    files = tmp_path / "files"
    files.mkdir()
    make_pdf(files / "book.pdf", pages, 1)
    bench = Bench(tmp_path / "archive", files, sandboxes, threads)
    versions = iter(range(2, 1000))

    def replace() -> None:  # in its place, so that a process that has it open notices
        (files / "book.pdf").write_bytes(make_pdf(tmp_path / "other.pdf", pages, next(versions)).read_bytes())

    bench.reader.before_read = replace
    if in_queue:
        loop = Loop(bench, bench.begin(), random.Random(3), most_pages=None)
        loop.run()
        ended = loop.end()
        assert (ended.documents, ended.pages) == ({"failed": 1}, {})
    else:
        tally = bench.index_here()
        assert (+tally.documents, +tally.pages) == ({DocumentStatus.FAILED: 1}, {})
    assert outcomes(bench) == {"book.pdf": "changed"}
    assert {path for reading in bench._live() for path in reading.document.path} == set()


def test_suspects_are_worked_alone_and_the_guilty_one_is_given_up(bench: Bench) -> None:
    """What a worker does with parts and pages that kill: cut, worked one by one, and ended where that kills too."""
    loop = Loop(bench, bench.begin(), random.Random(5), most_pages=100)
    loop.run(until=lambda: bool(loop.parts_of("/plate-3.png")))
    (below, *_) = loop.parts_of("/plate-3.png")
    loop.queue = [message for message in loop.queue if message != below]
    suspects = split(below, 9)
    guilty = next(part for part in suspects if bench.entries(below)[part.entry].url.endswith("plate-3.png"))
    assert quarantine(guilty, "it died three times", loop.job(1)) == []
    loop.publish([suspect for suspect in suspects if suspect != guilty])
    loop.run()
    ended = loop.end()
    assert ended.documents == {"complete": len(PAGES_OF) - 1, "failed": 3}
    assert ended.pages == {"described": sum(PAGES_OF.values()) - 1}
    assert set(bench.reader.read_pages.values()) == {1}
    assert_index_agrees(bench)


def test_what_was_quarantined_is_not_opened_by_the_next_batch(bench: Bench) -> None:
    first = Loop(bench, bench.begin(), random.Random(5))
    first.run(until=lambda: bool(first.parts_of("/empty.pdf")))
    (part, *_) = first.parts_of("/empty.pdf")
    guilty = next(
        suspect for suspect in split(part, 5) if bench.entries(part)[suspect.entry or 0].url.endswith("/book.pdf")
    )
    quarantine(guilty, "it died three times", first.job(1))
    for again, pages in ((False, 0), (True, 37)):
        loop = Loop(bench, bench.begin(again=again), random.Random(5))
        loop.run()
        assert loop.end().documents["failed"] == (2 if again else 3)
        assert bench.is_read("book.pdf", pages)
        assert not bench.is_read("book.pdf", pages + 1)


#: An archive in a mail in an archive, more archives than one part has sources, and a PDF that carries another.
LETTERS = 17
BOXED = {
    "box.zip/a.pdf",
    "box.zip/post.eml/inner.zip/b.pdf",
    "carrier.pdf",
    "carrier.pdf/carried.pdf",
    *(f"letter-{number:02}.zip/plate.pdf" for number in range(LETTERS)),
}
#: What a mail says: a page where something makes pages of HTML here.
SAID = "box.zip/post.eml/message.html"


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("boxes")
    post = mail("boxes", "", {"inner.zip": zipped({"b.pdf": page("b")})})
    box = {"a.pdf": page("a"), "post.eml": post, "note.txt": b"words"}
    (folder / "box.zip").write_bytes(zipped(box))
    (folder / "carrier.pdf").write_bytes(carrying(page("carrier"), {"carried.pdf": page("carried")}))
    for number in range(LETTERS):
        (folder / f"letter-{number:02}.zip").write_bytes(zipped({"plate.pdf": page(f"plate {number}")}))
    return folder


@pytest.fixture(scope="module")
def unboxed_in_one_process(
    tmp_path_factory: pytest.TempPathFactory, boxes: Path, sandboxes: SandboxPool, threads: ContextThreads
) -> Bench:
    bench = Bench(tmp_path_factory.mktemp("archive"), boxes, sandboxes, threads)
    tally = bench.index_here()
    assert found_in(bench).keys() - {SAID} == BOXED
    again = bench.index_here()
    assert again.pages == tally.pages
    assert set(bench.reader.read_pages.values()) == {1}
    return bench


def found_in(bench: Bench) -> dict[str, tuple[str, ...]]:
    """The places of the pages that were read, each with the container it lies in."""
    return {
        path.removeprefix(f"{bench.files}/"): reading.document.container
        for reading in bench._live()
        for path in reading.document.path
        if reading.status is not PageStatus.FAILED
    }


@pytest.mark.parametrize("lost", [False, True], ids=["delivered-twice", "lost"])
def test_what_lies_in_containers_is_worked_like_files(
    tmp_path: Path,
    boxes: Path,
    unboxed_in_one_process: Bench,
    sandboxes: SandboxPool,
    threads: ContextThreads,
    lost: bool,
) -> None:
    bench = Bench(tmp_path / "queued", boxes, sandboxes, threads)
    loop = Loop(bench, bench.begin(), random.Random(11), most_pages=6)
    for steps in (1, 2, 3, 5, 8, 2) if lost else ():
        for _ in range(min(steps, len(loop.queue))):
            loop.step()
        assert end_if_done(BatchLedger(bench.archive, loop.batch), bench.services) is None
        loop.queue = list(all_due_messages(loop.batch, bench.archive))
    loop.run()
    ended = loop.end()
    places = found_in(bench)
    assert places.keys() - {SAID} == BOXED
    assert ended.pages["described"] == len(places)
    assert sum(ended.documents.values()) == len(outcomes(bench))
    assert set(bench.reader.read_pages.values()) == {1}
    assert places["box.zip/post.eml/inner.zip/b.pdf"] == (str(boxes / "box.zip/post.eml/inner.zip"),)
    assert (places["carrier.pdf"], places["carrier.pdf/carried.pdf"]) == ((), (str(boxes / "carrier.pdf"),))
    assert bench.readings() == unboxed_in_one_process.readings()
    assert outcomes(bench) == outcomes(unboxed_in_one_process)
    assert outcomes(bench)["box.zip/note.txt"] == "unsupported"
    assert_index_agrees(bench)
    comparing = Audit(bench.services.projector, Batches(bench.archive))
    assert [*comparing.sources("default"), *comparing.documents("default")] == []


def outcomes(bench: Bench) -> dict[str, str | None]:
    """Each source by its path, with the code of its error."""
    sources = (
        bench.archive.sources("default")[identifier].newest() for identifier in bench.archive.sources("default").names()
    )
    return {
        source.path.removeprefix(f"{bench.files}/"): source.error.type if source.error else None
        for source in sources
        if source is not None
    }


def test_a_container_is_worked_alone_and_given_up_like_a_file(
    tmp_path: Path, boxes: Path, sandboxes: SandboxPool, threads: ContextThreads
) -> None:
    bench = Bench(tmp_path / "queued", boxes, sandboxes, threads)
    loop = Loop(bench, bench.begin(), random.Random(5), most_pages=100)
    loop.run(until=lambda: bool(loop.parts_of("/box.zip")))
    (part, *_) = loop.parts_of("/box.zip")
    loop.queue = [message for message in loop.queue if message != part and not isinstance(message, Walk)]
    suspects = split(part, 2 + LETTERS)
    guilty = next(suspect for suspect in suspects if bench.entries(part)[suspect.entry].url.endswith("letter-03.zip"))
    for suspect in suspects:
        if suspect != guilty:
            loop.publish(loop._work(suspect))
    loop.run()
    assert end_if_done(BatchLedger(bench.archive, loop.batch), bench.services) is None
    assert quarantine(guilty, "it killed its worker", loop.job(100)) == []
    assert loop.end().state == "done"
    assert outcomes(bench)["letter-03.zip"] == "quarantined"
    assert found_in(bench).keys() - {SAID} == BOXED - {"letter-03.zip/plate.pdf"}


# -- limits of a document, and of everything within an outermost file

Runner = Callable[[Bench], Batch | RunTally]


def by_messages(bench: Bench) -> Batch:
    loop = Loop(bench, bench.begin(), random.Random(3), most_pages=None)
    loop.run()
    return loop.end()


BOTH = pytest.mark.parametrize("run", [by_messages, Bench.index_here], ids=["fleet", "index"])


def limited(bench: Bench, recipe: str = "limits", **limits: Any) -> None:
    """Lower limits of a bench; another `recipe` is what a changed setting makes of it."""
    bench.services = replace(bench.services, limits=recipe, **limits)


@pytest.fixture
def hostile(tmp_path: Path, threads: ContextThreads) -> Iterator[Bench]:
    folder = tmp_path / "hostile"
    folder.mkdir()
    (folder / "slow.pdf").write_bytes(slow_pages_pdf(40))
    make_pdf(folder / "honest.pdf", 3, 1)
    pool = SandboxPool(2, replace(LIMITS, page_seconds=0.3))
    yield Bench(tmp_path / "archive", folder, pool, threads)
    pool.close()


def source_of(bench: Bench, name: str) -> Source:
    source = bench.archive.sources("default")[source_id(source_url(bench.files / name))].newest()
    assert source is not None
    return source


def pages_of(bench: Bench, name: str) -> dict[int, int]:
    """Revisions of the pages of a document."""
    document = source_of(bench, name).document
    assert document is not None
    return bench.archive.readings("default", document.id).newest_revisions()


@BOTH
@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (DocumentLimits(3600, 2), "of its pages took longer than a page may"),
        (DocumentLimits(1, 1000), "more than 1 seconds of CPU time together"),
    ],
    ids=["pages over their limit", "CPU time"],
)
def test_a_document_that_costs_too_much_ends_as_one_outcome(
    hostile: Bench, run: Runner, limits: DocumentLimits, words: str
) -> None:
    limited(hostile, document_limits=limits)
    run(hostile)
    source = source_of(hostile, "slow.pdf")
    tried = pages_of(hostile, "slow.pdf")
    assert source.document is not None
    assert source.error is not None
    assert (source.error.type, source.error.transient) == ("document_limit", False)
    assert words in source.error.message
    assert f"{40 - len(tried)} of 40 pages" in source.error.message
    assert "PAGESIGHT_DOCUMENT_" in source.error.remedy
    assert 0 < len(tried) <= 2 * 6  # what two slices at once can spend
    assert len(pages_of(hostile, "honest.pdf")) == 3
    records = {record["path"]: record["state"] for record in hostile.index.records(SOURCES).values()}
    assert records == {str(hostile.files / "slow.pdf"): "failed", str(hostile.files / "honest.pdf"): "ok"}
    key = document_record_id("default", source.document.id)
    record = hostile.index.records(DOCUMENTS)[key]
    assert (record["status"], record["pages"]["failed"]) == ("failed", 40)
    assert_index_agrees(hostile)
    comparing = Audit(hostile.services.projector, Batches(hostile.archive))
    assert [*comparing.sources("default"), *comparing.documents("default")] == []


@BOTH
def test_the_rest_of_a_document_is_tried_again_after_the_limit_was_raised(
    tmp_path: Path, sandboxes: SandboxPool, threads: ContextThreads, run: Runner
) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    make_pdf(folder / "book.pdf", 48, 1)
    bench = Bench(tmp_path / "archive", folder, sandboxes, threads)
    limited(bench, document_limits=DocumentLimits(0.05, 1000))
    run(bench)
    read = pages_of(bench, "book.pdf")
    assert 0 < len(read) < 48
    run(bench)  # nothing has changed
    assert pages_of(bench, "book.pdf") == read
    assert source_of(bench, "book.pdf").error is not None
    limited(bench, "other limits", document_limits=DocumentLimits(3600, 1000))
    run(bench)
    assert source_of(bench, "book.pdf").error is None
    assert len(pages_of(bench, "book.pdf")) == 48
    assert set(bench.reader.read_pages.values()) == {1}
    assert_index_agrees(bench)


def test_a_retry_after_the_limit_was_raised_reads_the_rest(
    tmp_path: Path, sandboxes: SandboxPool, threads: ContextThreads
) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    make_pdf(folder / "book.pdf", 48, 1)
    bench = Bench(tmp_path / "archive", folder, sandboxes, threads)
    limited(bench, document_limits=DocumentLimits(0.05, 1000))
    by_messages(bench)
    assert 0 < len(pages_of(bench, "book.pdf")) < 48
    assert source_of(bench, "book.pdf").error is not None

    limited(bench, "other limits", document_limits=DocumentLimits(3600, 1000))
    ended = retried(bench, "book.pdf")

    assert (ended.documents, ended.pages) == ({"complete": 1}, {"described": 48})
    assert source_of(bench, "book.pdf").error is None
    (record,) = bench.index.records(DOCUMENTS).values()
    assert (record["status"], record["pages"].get("failed", 0)) == ("complete", 0)
    assert set(bench.reader.read_pages.values()) == {1}
    assert_index_agrees(bench)


def retried(bench: Bench, name: str) -> Batch:
    """What `pagesight retry` begins for a failed file, at its end."""
    batch = begin_batch(
        bench.archive,
        "default",
        None,
        "en",
        ["failures"],
        lane=Lane.NORMAL,
        again=True,
        name=lambda begun: name_sources(bench.archive, begun.id, [BatchEntry(url=source_url(bench.files / name))]),
    )
    loop = Loop(bench, batch, random.Random(3), most_pages=None)
    loop.run()
    return loop.end()


@BOTH
def test_the_pages_of_a_document_that_ended_early_count_as_failed(hostile: Bench, run: Runner) -> None:
    limited(hostile, document_limits=DocumentLimits(3600, 2))
    for _ in range(2):
        ended = run(hostile)
        assert +Counter(ended.pages) == {PageStatus.DESCRIBED: 3, PageStatus.FAILED: 40}
        assert +Counter(ended.documents) == {DocumentStatus.COMPLETE: 1, DocumentStatus.FAILED: 1}


@pytest.fixture
def nested(tmp_path: Path, sandboxes: SandboxPool, threads: ContextThreads) -> Bench:
    """A ZIP of twelve ZIPs of ten texts each: each within its limits, together 132 files."""
    folder = tmp_path / "nested"
    folder.mkdir()
    inner = {f"{n}.txt": b"words" for n in range(10)}
    boxes = {f"inner-{n:02d}.zip": zipped({**inner, f"own-{n}.txt": b"of its own"}) for n in range(12)}
    (folder / "outer.zip").write_bytes(zipped(boxes))
    return Bench(tmp_path / "archive", folder, sandboxes, threads)


def errors(bench: Bench) -> list[tuple[str, str | None]]:
    """Path and error of each source. The outcome of what is left out in a container has the container's path."""
    chains = bench.archive.sources("default")
    newest = [source for name in chains.names() if (source := chains[name].newest())]
    return [(source.path, source.error.type if source.error else None) for source in newest]


@BOTH
def test_the_files_in_an_outermost_file_are_limited_over_all_levels(nested: Bench, run: Runner) -> None:
    limited(nested, contents_limits=ContentsLimits(60, 100, 100))
    run(nested)
    found = errors(nested)
    refused = [path for path, error in found if error == "limit"]
    assert refused == [str(nested.files / "outer.zip")]  # the rest of the outermost file is one outcome
    assert len(found) == 1 + 12 + 4 * 11 + 1  # 12 and four times 11 files are admitted
    assert_index_agrees(nested)


@BOTH
def test_the_bytes_in_an_outermost_file_are_limited_over_all_levels(
    tmp_path: Path, sandboxes: SandboxPool, threads: ContextThreads, run: Runner
) -> None:
    folder = tmp_path / "nested"
    folder.mkdir()
    # Each level alone expands less than a hundredfold: 40 MB in 1 % of it, three times.
    inner = zipped({"zeros.bin": bytes(40 << 20)})
    (folder / "outer.zip").write_bytes(zipped([(f"{n}.zip", inner + bytes(n)) for n in range(3)]))
    bench = Bench(tmp_path / "archive", folder, sandboxes, threads)
    limited(bench, contents_limits=ContentsLimits(1000, 100, 100))
    run(bench)
    assert [path for path, error in errors(bench) if error == "limit"] == [str(folder / "outer.zip")]


@BOTH
def test_conversions_in_an_outermost_file_are_limited(
    tmp_path: Path, sandboxes: SandboxPool, threads: ContextThreads, run: Runner
) -> None:
    folder = tmp_path / "letters"
    folder.mkdir()
    html = {f"{n}.html": b"<!DOCTYPE html><html><body>words %d</body></html>" % n for n in range(5)}
    (folder / "outer.zip").write_bytes(zipped({**html, "plate.pdf": page("words")}))
    bench = Bench(tmp_path / "archive", folder, sandboxes, threads)
    limited(bench, contents_limits=ContentsLimits(1000, 100, 0))
    run(bench)
    found = outcomes(bench)
    assert Counter(found.values()) == {"limit": 5, None: 2}
    assert found["outer.zip/plate.pdf"] is None
