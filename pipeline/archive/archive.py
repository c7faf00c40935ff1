"""What the archive holds, and where.

    collections/<collection>/<revision>.json
    batches/<batch>/<revision>.json
    deletions/<collection>/<revision>.json
    sources/<collection>/<SHA-256 of the URL>/<revision>.json
    readings/<collection>/<document>/<page>.<revision>.json
    images/<2 digits>/<document>/<page>.<render revision>.<SHA-256 of the pixels>.jpg and .webp
    answers/<2 digits>/<SHA-256 of the pixels>/<hash of what was asked>.json
    conversions/<2 digits>/<document>/<conversion revision>.pdf and .json
    fleet/<revision>.json
    runs/<schedule>/<revision>.json                 all runs of a schedule, one after the other
    heard/<schedule>                                when the process of its last run was last heard of
    open/<batch>                                    queued batches that have not ended
    drawn/<batch>/<revision>.json                   what was drawn of their budgets
    walks/<batch>/…                                 what they have come to: `pipeline.archive.batch_journal`

Everything that changes is numbered: a revision is created exclusively and never overwritten, so that no clock and no
lock is needed, and a listing of names alone tells which revision is the newest.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Container, Iterator, Mapping
from datetime import datetime
from functools import lru_cache, partial
from itertools import groupby
from typing import Annotated, BinaryIO, TypeVar

from pydantic import Field, TypeAdapter

from pipeline.archive.batch_journal import BatchJournal
from pipeline.archive.store import Fetch, Store
from pipeline.core.errors import RevisionTaken
from pipeline.core.models import (
    Answer,
    Archived,
    Batch,
    BudgetReservation,
    Collection,
    Conversion,
    Deletion,
    FleetState,
    Numbered,
    Reading,
    Run,
    Source,
    Tombstone,
)

T = TypeVar("T", bound=Numbered)
PageReading = Annotated[Reading | Tombstone, Field(discriminator="kind")]
_PAGE_READING: TypeAdapter[Reading | Tombstone] = TypeAdapter(PageReading)
_IMAGE_KEY = re.compile(r"images/([0-9a-f]{2})/\1[0-9a-f]{62}/[1-9][0-9]{0,6}\.[0-9]{1,6}\.[0-9a-f]{64}\.(?:jpg|webp)")
#: A bucket answers so many at once; more would only cost memory.
_READINGS_AT_ONCE = 32
#: Queued batches of which something is kept as read.
_WALKS_KEPT = 4


def source_id(url: str) -> str:
    """Return the id of a source: SHA-256 of its URL."""
    return hashlib.sha256(url.encode()).hexdigest()


class Archive:
    """Typed access to the archive. Threads and processes share one location without locks."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._walks = lru_cache(_WALKS_KEPT)(partial(BatchJournal, store))

    @property
    def url(self) -> str:
        """Where the archive lies."""
        return self._store.url

    def check(self) -> None:
        """Write something and remove it again.

        Raises:
            ServiceRefused: the location cannot be written.
        """
        self._store.check()

    # -- collections, batches, deletions, sources: one folder a thing, `<revision>.json` in it

    def collections(self) -> list[str]:
        """Return the names of all collections."""
        return self._store.names("collections")

    def collection(self, name: str) -> Collection | None:
        """Return the newest revision of a collection."""
        return self._newest(f"collections/{name}", Collection)

    def append_collection(self, name: str, build: Callable[[Collection | None], Collection | None]) -> Collection:
        """Archive the next revision of a collection; see `_append`."""
        return self._append(f"collections/{name}", Collection, build)

    def batches(self) -> list[str]:
        """Return the ids of all batches, oldest first: an id begins with its time."""
        return self._store.names("batches")

    def batch(self, batch_id: str) -> Batch | None:
        """Return the newest revision of a batch."""
        return self._newest(f"batches/{batch_id}", Batch)

    def append_batch(self, batch: Batch) -> None:
        """Archive a revision of a batch.

        Raises:
            RevisionTaken: it exists.
        """
        self._store.create(f"batches/{batch.id}/{batch.revision}.json", _encode(batch))

    def drawn(self, batch_id: str) -> BudgetReservation | None:
        """Return how much of a queued batch's budgets is drawn; None where nothing ever was."""
        return self._newest(f"drawn/{batch_id}", BudgetReservation)

    def append_drawn(
        self, batch_id: str, build: Callable[[BudgetReservation | None], BudgetReservation | None]
    ) -> BudgetReservation:
        """Archive what is drawn from now on; see `_append`."""
        return self._append(f"drawn/{batch_id}", BudgetReservation, build)

    # -- the fleet

    def fleet(self) -> FleetState | None:
        """Return whether the workers may work; None where nobody has ever said otherwise."""
        return self._newest("fleet", FleetState)

    def append_fleet(self, build: Callable[[FleetState | None], FleetState | None]) -> FleetState:
        """Archive the next state of the fleet; see `_append`."""
        return self._append("fleet", FleetState, build)

    def runs(self) -> Iterator[Run]:
        """Yield the newest revision of each run of every schedule, newest first within a schedule."""
        for schedule in self.schedules():
            yield from self.runs_of(schedule)

    def schedules(self) -> list[str]:
        """Return the names of all schedules that ever ran."""
        return self._store.names("runs")

    def runs_of(self, schedule: str) -> Iterator[Run]:
        """Yield the newest revision of each run of a schedule, newest first. What is not asked for is not read."""
        folder = f"runs/{schedule}"
        revisions = sorted(self._revisions(folder), reverse=True)
        states = (self._read(f"{folder}/{revision}.json", Run) for revision in revisions)
        for _, states_of_run in groupby(states, key=lambda run: run.due_at):
            yield next(states_of_run)

    def newest_run(self, schedule: str) -> Run | None:
        """Return the newest revision of a schedule's last run."""
        return self._newest(f"runs/{schedule}", Run)

    def append_run(self, run: Run) -> None:
        """Archive a revision of a run.

        Raises:
            RevisionTaken: it exists; of several who claim a run of a schedule one has it.
        """
        self._store.create(f"runs/{run.schedule}/{run.revision}.json", _encode(run))

    def heard_of(self, schedule: str) -> datetime | None:
        """Return when the process of a schedule's run was last heard of."""
        told = self._store.get(f"heard/{schedule}")
        return None if told is None else datetime.fromisoformat(told.decode())

    def tell_of(self, schedule: str, now: datetime) -> None:
        """Note that a schedule's run goes on."""
        self._store.put(f"heard/{schedule}", now.isoformat().encode())

    def walk(self, batch_id: str) -> BatchJournal:
        """Return what a queued batch has come to."""
        return self._walks(batch_id)

    def open_batches(self) -> list[str]:
        """Return the ids of the queued batches that have not ended, oldest first; some that have may be among them."""
        return self._store.names("open")

    def open_batch(self, batch_id: str) -> None:
        """Note a queued batch as one that has not ended, before its first revision is archived."""
        self._store.put(f"open/{batch_id}", b"")

    def close_batch(self, batch_id: str) -> None:
        """Note that a queued batch has ended, after its last revision was archived."""
        self._store.delete(f"open/{batch_id}")

    # -- deletions

    def newest_deletion(self, collection: str) -> int:
        """Return the number of the newest deletion in a collection, 0 where there was none."""
        return max(self._revisions(f"deletions/{collection}"), default=0)

    def deletions(self, collection: str, after: int) -> list[Deletion]:
        """Return the deletions of a collection that are newer than number `after`, oldest first."""
        folder = f"deletions/{collection}"
        newer = sorted(number for number in self._revisions(folder) if number > after)
        return [self._read(f"{folder}/{number}.json", Deletion) for number in newer]

    def append_deletion(self, collection: str, build: Callable[[Deletion | None], Deletion]) -> Deletion:
        """Archive a request to delete under the next number."""
        return self._append(f"deletions/{collection}", Deletion, build)

    def source_ids(self, collection: str) -> list[str]:
        """Return the ids of all sources of a collection."""
        return self._store.names(f"sources/{collection}")

    def source(self, collection: str, identifier: str) -> Source | None:
        """Return the newest revision of a source."""
        return self._newest(f"sources/{collection}/{identifier}", Source)

    def append_source(self, collection: str, url: str, build: Callable[[Source | None], Source | None]) -> Source:
        """Archive the next revision of a source; see `_append`."""
        return self._append(f"sources/{collection}/{source_id(url)}", Source, build)

    # -- readings

    def documents(self, collection: str) -> list[str]:
        """Return the ids of all documents of which a page was read in a collection."""
        return self._store.names(f"readings/{collection}")

    def revisions(self, collection: str, document: str) -> dict[int, int]:
        """Return the newest revision of each page of a document, by page number. Only names are read."""
        newest: dict[int, int] = {}
        for page, revision in self._reading_names(collection, document):
            newest[page] = max(revision, newest.get(page, 0))
        return newest

    def reading(self, collection: str, document: str, page: int, revision: int) -> Reading | Tombstone:
        """Return one revision of a page's reading; the newest one where that was purged meanwhile.

        Raises:
            KeyError: there is none.
        """
        while True:
            name = reading_name(collection, document, page, revision)
            data = self._store.get(name)
            if data is not None:
                return _PAGE_READING.validate_json(data)
            newest = self.revisions(collection, document).get(page, 0)
            if newest <= revision:
                raise KeyError(name)
            revision = newest

    def readings(
        self, collection: str, document: str, pages: Container[int] | None = None
    ) -> Iterator[Reading | Tombstone]:
        """Yield the newest reading of each page of a document, or of some of its pages, by page number."""
        newest = sorted(self.revisions(collection, document).items())
        wanted = [(page, revision) for page, revision in newest if pages is None or page in pages]
        for start in range(0, len(wanted), _READINGS_AT_ONCE):
            some = wanted[start : start + _READINGS_AT_ONCE]
            found = self._store.get_many([reading_name(collection, document, *reading) for reading in some])
            for (page, revision), data in zip(some, found, strict=True):
                if data is None:  # purged meanwhile
                    yield self.reading(collection, document, page, revision)
                else:
                    yield _PAGE_READING.validate_json(data)

    def append_reading(
        self,
        collection: str,
        document: str,
        page: int,
        known: Reading | Tombstone | None,
        build: Callable[[Reading | Tombstone | None], Reading | Tombstone | None],
    ) -> Reading | Tombstone | None:
        """Archive the next revision of a page's reading and return the newest one.

        `known` is the newest one as the caller saw it; a writer who was faster is noticed by the taken name. `build`
        gets the newest reading and returns its successor, with the next revision, or None where nothing is to be
        added.
        """
        previous = known
        while True:
            value = build(previous)
            if value is None:
                return previous
            try:
                self._store.create(reading_name(collection, document, page, value.revision), _encode(value))
            except RevisionTaken:
                newest = self.revisions(collection, document)[page]
                previous = self.reading(collection, document, page, newest)
            else:
                return value

    def purge_readings(self, collection: str, document: str, tombstones: Mapping[int, int]) -> None:
        """Remove every revision that is older than its page's tombstone, given as page number to revision."""
        for page, revision in self._reading_names(collection, document):
            if revision < tombstones.get(page, 0):
                self._store.delete(reading_name(collection, document, page, revision))

    def purge_content(self, document: str, pixels_sha256: str | None = None) -> None:
        """Remove the page images of a document, its PDF, and every answer about the images' pixels.

        Images are archived before anything is asked about them: so their names lead to all answers, those included
        that no reading names because their writer was killed. Whoever has pages of the same pixels has to ask again.
        A writer whose image another purge has removed before the answer came names the pixels itself.
        """
        folder = _image_folder(document)
        names = self._store.names(folder)
        for pixels in {name.split(".")[2] for name in names} | ({pixels_sha256} if pixels_sha256 else set()):
            for answer in self._store.names(_answer_folder(pixels)):
                self._store.delete(f"{_answer_folder(pixels)}/{answer}")
        for name in names:
            self._store.delete(f"{folder}/{name}")
        for name in self._store.names(_conversion_folder(document)):  # `1.json` before `1.pdf`
            self._store.delete(f"{_conversion_folder(document)}/{name}")

    # -- answers

    def answer(self, key: str) -> Answer | None:
        """Return the answer of this key, or None."""
        data = self._store.get(answer_name(key))
        return None if data is None else Answer.model_validate_json(data)

    def save_answer(self, answer: Answer) -> None:
        """Keep an answer; one that is there already stays."""
        try:
            self._store.create(answer_name(answer.key), _encode(answer))
        except RevisionTaken:
            return

    def answer_keys(self, pixels_sha256: str) -> set[str]:
        """Return the keys of all answers about these pixels. Only names are read."""
        names = self._store.names(_answer_folder(pixels_sha256))
        return {f"{pixels_sha256}-{name.removesuffix('.json')}" for name in names}

    # -- documents made into PDFs

    def conversion(self, document: str, revision: int) -> Conversion | None:
        """Return what making a document into a PDF told, None where it was not done."""
        data = self._store.get(f"{_conversion_folder(document)}/{revision}.json")
        return None if data is None else Conversion.model_validate_json(data)

    def save_conversion(self, document: str, revision: int, pdf: BinaryIO, conversion: Conversion) -> None:
        """Keep a document's PDF, then what was told of it: where that is, the PDF is complete."""
        name = f"{_conversion_folder(document)}/{revision}"
        self._store.put_file(f"{name}.pdf", pdf)
        self._store.put(f"{name}.json", _encode(conversion))

    def open_conversion(self, document: str, revision: int, fetch: Fetch) -> BinaryIO | None:
        """Open a document's PDF, None where it is not there; see `Store.open`."""
        return self._store.open(f"{_conversion_folder(document)}/{revision}.pdf", fetch)

    # -- page images

    def save_image(self, document: str, stem: str, jpeg: bytes, thumbnail: bytes) -> tuple[str, str]:
        """Keep a page image and its thumbnail; return their keys. The stem is made by `image_stem`."""
        name = f"{_image_folder(document)}/{stem}"
        self._store.put(f"{name}.jpg", jpeg)
        self._store.put(f"{name}.webp", thumbnail)
        return f"{name}.jpg", f"{name}.webp"

    def image(self, key: str) -> bytes | None:
        """Return a page image or a thumbnail by its key."""
        return self._store.get(key)

    def image_keys(self, document: str) -> set[str]:
        """Return the keys of all page images and thumbnails of a document. Only names are read."""
        folder = _image_folder(document)
        return {f"{folder}/{name}" for name in self._store.names(folder)}

    def image_location(self, key: str) -> str:
        """Return where a page image lies, as a path or a URL."""
        return self._store.location(key)

    # -- the one mechanism beneath

    def _revisions(self, folder: str) -> list[int]:
        return [int(name.removesuffix(".json")) for name in self._store.names(folder)]

    def _newest(self, folder: str, model: type[T]) -> T | None:
        revision = max(self._revisions(folder), default=0)
        return self._read(f"{folder}/{revision}.json", model) if revision else None

    def _read(self, name: str, model: type[T]) -> T:
        data = self._store.get(name)
        if data is None:
            raise KeyError(name)
        return model.model_validate_json(data)

    def _append(self, folder: str, model: type[T], build: Callable[[T | None], T | None]) -> T:
        """Read the newest revision, let `build` make its successor, create it; begin again where another was faster.

        `build` returns None where nothing is to be added; it may do so only where there is a newest revision.
        """
        while True:
            previous = self._newest(folder, model)
            value = build(previous)
            if value is None:
                assert previous is not None
                return previous
            try:
                self._store.create(f"{folder}/{value.revision}.json", _encode(value))
            except RevisionTaken:
                continue
            return value

    def _reading_names(self, collection: str, document: str) -> Iterator[tuple[int, int]]:
        for name in self._store.names(f"readings/{collection}/{document}"):
            page, revision, _ = name.split(".")
            yield int(page), int(revision)


def reading_name(collection: str, document: str, page: int, revision: int) -> str:
    """Return where a revision of a page's reading lies."""
    return f"readings/{collection}/{document}/{page}.{revision}.json"


def image_stem(page_number: int, render_revision: int, pixels_sha256: str) -> str:
    """Return what a page image is called within its document."""
    return f"{page_number}.{render_revision}.{pixels_sha256}"


def is_image_key(key: str) -> bool:
    """Tell whether a key is one that `Archive.save_image` gives: of a page image or thumbnail, and of nothing else."""
    return _IMAGE_KEY.fullmatch(key) is not None


def render_revision_of(image_key: str) -> int:
    """Return the render revision that the name of an archived page image tells."""
    return int(image_key.rpartition("/")[2].split(".")[1])


def _image_folder(document: str) -> str:
    return f"images/{document[:2]}/{document}"


def _conversion_folder(document: str) -> str:
    return f"conversions/{document[:2]}/{document}"


def _answer_folder(pixels_sha256: str) -> str:
    return f"answers/{pixels_sha256[:2]}/{pixels_sha256}"


def answer_name(key: str) -> str:
    """Return where the answer of a key lies, which is `<SHA-256 of the pixels>-<hash of what was asked>`."""
    pixels_sha256, _, asked = key.partition("-")
    return f"{_answer_folder(pixels_sha256)}/{asked}.json"


def _encode(value: Archived) -> bytes:
    return value.model_dump_json().encode()
