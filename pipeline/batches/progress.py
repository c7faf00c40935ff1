"""The progress of a queued batch, read from the archive: exact for ended parts, by file names for parts in progress."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from typing import Any

from pipeline.archive import Archive, BatchJournal
from pipeline.batches.budget import raised_budget
from pipeline.batches.completion import total, total_of_parts
from pipeline.batches.listing import following
from pipeline.batches.messages import folder_id
from pipeline.core.errors import RevisionTaken, SettingsError
from pipeline.core.models import UNBOUNDED, Allowance, Batch, Folder, Outcome, PartState, PendingDocument

#: States of a queued batch that has not ended.
UNENDED = ("working", "paused")


@dataclass(frozen=True, slots=True)
class BatchProgress:
    """The progress of a batch."""

    sources_found: int
    walked: bool
    """True once every directory was listed. Files within containers are found as the containers are opened."""
    documents: dict[str, int]
    """Sources that ended, by `DocumentStatus`, or `deleted`."""
    pages: dict[str, int]
    """Pages of sources that ended, by status."""
    descriptions_kept: int
    """How many of these stay as a model described them, because no model is configured now."""
    sources_under_way: int
    """Sources that have not ended and whose pages have messages of their own."""
    pages_under_way: int
    """Pages of these sources."""
    pages_read: int
    """The number of these pages that are read."""
    ended: bool

    @property
    def sources_done(self) -> int:
        """Sources that ended."""
        return sum(self.documents.values())

    @property
    def pages_done(self) -> int:
        """Pages that have ended, including pages of unfinished documents."""
        return sum(self.pages.values()) + self.pages_read


@dataclass(slots=True)
class BatchLedger:
    """The records of one batch that were read so far; for one thread.

    A record never changes, so each is read once. Only the few records of suspects are read at each call.
    """

    archive: Archive
    batch: Batch
    _records: BatchJournal = field(init=False)
    _folders: dict[str, Folder] = field(default_factory=dict)
    _members: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Number of sources and of chunks in each listing of the files within sources: a million mails have 60,000."""
    _closed: set[str] = field(default_factory=set)
    _closed_sum: Outcome = field(default_factory=lambda: Outcome(documents={}, pages={}))
    _parts: dict[tuple[str, int], Outcome] = field(default_factory=dict)
    _begun: dict[tuple[str, int], PartState] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._records = self.archive.journal(self.batch.id)

    def progress(self) -> BatchProgress:
        """Read the new records, and return the progress of the batch."""
        # Ended chunks first: the files within their sources were listed before they ended, so no listing is missed.
        self._read_closed()
        self._read_folders()
        walked = self._is_walked()
        sources = under_way = read = 0
        sums = [self._closed_sum]
        for chunk in self._records.chunks_with_ended_parts():
            if chunk not in self._closed:
                sums += [self._parts[chunk, part] for part in self._read_parts(chunk)]
        for chunk, part in self.open_parts():
            documents_found, found, done = self._under_way(chunk, part)
            sources += documents_found
            under_way += found
            read += done
        ended = total(sums)
        chunks = sum(len(folder.sources) for folder in self._folders.values())
        chunks += sum(count for _, count in self._members.values())
        return BatchProgress(
            sources_found=sum(sum(folder.sources) for folder in self._folders.values())
            + sum(count for count, _ in self._members.values()),
            walked=walked,
            documents=ended.documents,
            pages=ended.pages,
            descriptions_kept=ended.descriptions_kept,
            sources_under_way=sources,
            pages_under_way=under_way,
            pages_read=read,
            # A damaged listing may be listed again with fewer chunks than have ended.
            ended=walked and len(self._closed) >= chunks,
        )

    def open_parts(self) -> list[tuple[str, int]]:
        """Return chunk and number of the parts that are registered and had not ended at the last call of `progress`."""
        return [
            (chunk, part)
            for chunk in self._records.begun_chunks()
            if chunk not in self._closed
            for part in self._records.begun_parts(chunk)
            if (chunk, part) not in self._parts
        ]

    def _read_folders(self) -> None:
        for identifier in self._records.folders.names():
            if identifier not in self._folders:
                folder = self._records.folders.get(identifier)
                if folder is not None:  # a damaged listing counts as missing: it is listed again
                    self._folders[identifier] = folder
        for identifier in self._records.members.names():
            if identifier not in self._members:
                sizes = self._records.member_sizes(identifier)
                self._members[identifier] = (sum(sizes), sum(size > 0 for size in sizes))

    def _is_walked(self) -> bool:
        roots = [folder_id(root, root, "") for root in self.batch.roots] or [folder_id("", "", "")]
        if any(root not in self._folders for root in roots):
            return False
        return all(
            folder_id(folder.root, *listing) in self._folders
            for folder in self._folders.values()
            for listing in following(folder)
        )

    def _read_closed(self) -> None:
        for chunk in self._records.closed.names():
            if chunk not in self._closed:
                outcome = self._records.closed.get(chunk) or total_of_parts(self._records, chunk)
                self._closed.add(chunk)
                self._closed_sum = total((self._closed_sum, outcome))
                self._forget_parts(chunk)

    def _forget_parts(self, chunk: str) -> None:
        """Drop the parts that the outcome of a chunk sums up: a million documents have 60,000 parts."""
        for read in (self._parts, self._begun):
            for key in [key for key in read if key[0] == chunk]:
                del read[key]

    def _read_parts(self, chunk: str) -> list[int]:
        ended = self._records.ended_parts(chunk)
        for part in ended:
            if (chunk, part) not in self._parts:
                self._parts[chunk, part] = self._records.part(chunk, part) or total(())
        return ended

    def _under_way(self, chunk: str, part: int) -> tuple[int, int, int]:
        """Return the number of documents of an unfinished part, of their pages, and of the pages that are read."""
        documents = found = done = 0
        for document in self._documents(chunk, part):
            documents += 1
            newest = self.archive.readings(self.batch.collection, document.document).newest_revisions()
            left = sum(newest.get(page, 0) <= document.known.get(page, 0) for page in document.due)
            found += document.pages
            done += document.pages - left
        return documents, found, done

    def _documents(self, chunk: str, part: int) -> Iterable[PendingDocument]:
        if (chunk, part) not in self._begun:
            whole = self._records.begun(chunk, part)
            if whole is None:
                return [
                    document
                    for entry in self._records.begun_entries(chunk, part).values()
                    for document in entry.documents
                ]
            self._begun[chunk, part] = whole
        return self._begun[chunk, part].documents


def end_batch(archive: Archive, batch_id: str, state: str, progress: BatchProgress) -> Batch | None:
    """Archive the end of a batch in a state; return None if it had ended before."""
    batch = archive.batches[batch_id].newest()
    if batch is None or batch.state not in UNENDED:
        archive.close_batch(batch_id)
        return None
    now = datetime.now(UTC)
    ended = batch.model_copy(
        update={
            "revision": batch.revision + 1,
            "state": state,
            "cause": None,
            "ended_at": now,
            "documents": progress.documents,
            "pages": progress.pages,
            "passed_over": _passed_over(archive.journal(batch_id)),
            "descriptions_kept": progress.descriptions_kept,
            "seconds": round((now - batch.started_at).total_seconds(), 3),
        }
    )
    try:
        archive.batches[ended.id].create(ended)
    except RevisionTaken:
        return None
    archive.close_batch(batch_id)
    return ended


def _passed_over(records: BatchJournal) -> int:
    """Return the number of files and folders that the listings of a batch passed over."""
    folders = (records.folders.get(name) for name in records.folders.names())
    members = (records.members.get(name) for name in records.members.names())
    return sum(listing.passed_over for listing in chain(folders, members) if listing is not None)


def pause(archive: Archive, batch_id: str) -> Batch:
    """Archive that an unended batch is paused.

    Raises:
        SettingsError: no batch has this id, or it has ended.
    """
    return _change(archive, batch_id, lambda batch: {"state": "paused"})


def resume(archive: Archive, batch_id: str, raised: Allowance = UNBOUNDED) -> Batch:
    """Archive that an unended batch goes on, with a raised budget if one is named.

    Raises:
        SettingsError: no batch has this id, it has ended, or its budget has to be raised or cannot be.
    """
    return _change(
        archive,
        batch_id,
        lambda batch: {"state": "working", "cause": None, "budget": raised_budget(batch, raised)},
    )


def _change(archive: Archive, batch_id: str, changes: Callable[[Batch], dict[str, Any]]) -> Batch:
    while True:
        batch = unended(archive, batch_id)
        changed = batch.model_copy(update=changes(batch))
        if changed == batch:
            return batch
        changed = changed.model_copy(update={"revision": batch.revision + 1})
        try:
            archive.batches[changed.id].create(changed)
        except RevisionTaken:
            continue
        return changed


def cancel(archive: Archive, batch_id: str) -> Batch:
    """Archive that a batch is cancelled; its finished pages stay.

    Raises:
        SettingsError: no batch has this id, or it has ended.
    """
    while True:
        progress = BatchLedger(archive, unended(archive, batch_id)).progress()
        ended = end_batch(archive, batch_id, "cancelled", progress)
        if ended is not None:
            return ended


def unended(archive: Archive, batch_id: str) -> Batch:
    """Return a queued batch that has not ended.

    Raises:
        SettingsError: no batch has this id, or it has ended.
    """
    batch = archive.batches[batch_id].newest()
    if batch is None:
        raise SettingsError(f"there is no batch {batch_id!r}", remedy="`pagesight batches` lists them.")
    if batch.lane is None or batch.state not in UNENDED:
        raise SettingsError(
            f"batch {batch_id} is {batch.state}" + ("" if batch.lane else " and was not queued"),
            remedy="Only a queued batch that has not ended can be paused, resumed or cancelled.",
        )
    return batch
