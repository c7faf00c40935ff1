"""The walk of a queued batch: each directory is listed once, and what was found is archived before it is queued.

    Walk message ──▶ list ──▶ chunks archived ──▶ listing archived ──▶ messages for chunks and subfolders

Killed anywhere, the same message goes on: chunks that are there stay, and the listing continues after their last name.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from urllib.parse import unquote_to_bytes

from pipeline.archive import Archive, BatchJournal
from pipeline.batches.messages import Message, Part, Walk, chunk_id, folder_id, members_id, parts_of
from pipeline.core.iterables import batched
from pipeline.core.models import Batch, BatchEntry, Chunk, Failure, Folder, MemberListing
from pipeline.sources import FoundFile, Listing

#: Sources in one archived chunk.
CHUNK_SOURCES = 500

Lister = Callable[[Walk], Listing]
"""Lists what a message names."""


def is_live(batch: Batch | None) -> bool:
    """Whether messages of this batch are to be worked; those of one that is paused or ended are dropped."""
    return batch is not None and batch.state == "working"


def walk_folder(message: Walk, archive: Archive, lister: Lister) -> Iterator[Message]:
    """List what a message names, archive it, and yield what is to be done about it.

    Raises:
        ServiceUnavailable: the place cannot be listed now.
    """
    records = archive.journal(message.batch)
    identifier = folder_id(message.root, message.url, message.cursor)
    folder = records.folders.get(identifier)
    if folder is None:
        listing, sources = _archive_sources(message, identifier, records, lister)
        folder = Folder(
            root=message.root,
            url=message.url,
            cursor=message.cursor,
            sources=tuple(sources),
            folders=listing.folders,
            next_cursor=listing.cursor,
        )
        folder = records.folders.add(identifier, folder)
    yield from due_messages(message.batch, identifier, folder, records)


def add_members(part: Part, found: Iterable[FoundFile], archive: Archive) -> list[Message]:
    """Archive what lies within the sources of a part, if anything does; return what is to be done about it.

    It is archived before the part can end. So whoever sees that every chunk has ended has seen all of them.
    """
    records = archive.journal(part.batch)
    whole, identifier = members_id(replace(part, entry=None)), members_id(part)
    for known in dict.fromkeys((whole, identifier)):
        listing = records.members.get(known)
        if listing is not None:
            return list(_due_parts(part.batch, known, listing.sources, records))
    sizes, _ = _archive_chunks(records, identifier, sorted(map(_entry, found), key=_place))
    if not sizes:
        return []
    listing = records.members.add(identifier, MemberListing(sources=tuple(sizes)))
    return list(_due_parts(part.batch, identifier, listing.sources, records))


def name_sources(archive: Archive, batch: str, entries: Iterable[BatchEntry]) -> None:
    """Archive the sources that a batch names itself; its first message has them worked. Memory stays flat."""
    records = archive.journal(batch)
    identifier = folder_id("", "", "")
    sources = []
    for number, chunk in enumerate(batched(entries, CHUNK_SOURCES)):
        records.chunks.add(chunk_id(identifier, number), Chunk(entries=tuple(chunk)))
        sources.append(len(chunk))
    records.folders.add(
        identifier, Folder(root="", url="", cursor="", sources=tuple(sources), folders=(), next_cursor="")
    )


def due_messages(batch: str, identifier: str, folder: Folder, records: BatchJournal) -> Iterator[Message]:
    """Yield the messages that a listing leads to: its subfolders and the parts that have not ended."""
    for url in following(folder):
        yield Walk(batch, folder.root, *url)
    yield from _due_parts(batch, identifier, folder.sources, records)


def following(folder: Folder) -> Iterator[tuple[str, str]]:
    """Yield URL and cursor of the listings that a listing leads to."""
    if folder.next_cursor:
        yield folder.url, folder.next_cursor
    for url in folder.folders:
        yield url, ""


def all_due_messages(batch: Batch, archive: Archive) -> Iterator[Message]:
    """Yield every message that a queued batch still needs: for when the queue has lost them, or never had them."""
    records = archive.journal(batch.id)
    for place in _roots(batch):
        waiting = [place]
        while waiting:
            root, url, cursor = waiting.pop()
            identifier = folder_id(root, url, cursor)
            folder = records.folders.get(identifier)
            if folder is None:
                yield Walk(batch.id, root, url, cursor)
                continue
            yield from _due_parts(batch.id, identifier, folder.sources, records)
            waiting += [(root, *next_place) for next_place in following(folder)]
    for identifier in records.members.names():
        listing = records.members.get(identifier)
        assert listing is not None
        yield from _due_parts(batch.id, identifier, listing.sources, records)


def _due_parts(batch: str, identifier: str, sources: Iterable[int], records: BatchJournal) -> Iterator[Part]:
    """Yield those parts of a listing's chunks that have not ended."""
    for number, entries in enumerate(sources):
        chunk = chunk_id(identifier, number)
        if records.closed.get(chunk) is None:
            ended = records.ended_parts(chunk)
            yield from (Part(batch, chunk, part) for part in parts_of(entries) if part not in ended)


def first_messages(batch: Batch) -> Iterator[Walk]:
    """Yield the messages that a batch begins with."""
    for place in _roots(batch):
        yield Walk(batch.id, *place)


def _roots(batch: Batch) -> list[tuple[str, str, str]]:
    return [(root, root, "") for root in batch.roots] or [("", "", "")]


def _archive_sources(message: Walk, folder: str, records: BatchJournal, lister: Lister) -> tuple[Listing, list[int]]:
    """List what a message names and archive its sources in chunks; return the listing and the size of each chunk.

    Where files came since an earlier listing that was killed, a page of a bucket ends before the last source of the
    chunks that are there: it is listed on, since the next page would bring what lies in between again.
    """
    listing = lister(message)
    while True:
        entries = sorted(map(_entry, listing.found), key=_place)
        sizes, last = _archive_chunks(records, folder, entries)
        if not listing.cursor or not entries or last <= _place(entries[-1]):
            return listing, sizes
        more = lister(replace(message, cursor=listing.cursor))
        listing = Listing(listing.found + more.found, listing.folders + more.folders, more.cursor)


def _archive_chunks(records: BatchJournal, folder: str, entries: list[BatchEntry]) -> tuple[list[int], bytes]:
    """Archive sorted entries in chunks; return the size of each chunk, and the place of the last entry in them.

    A chunk that an earlier listing archived is kept, and the next one goes on behind its last name: so a file that came
    or went in between moves none out of sight.
    """
    sizes: list[int] = []
    last = b""
    start = 0
    while start < len(entries):
        chunk = Chunk(entries=tuple(entries[start : start + CHUNK_SOURCES]))
        kept = records.chunks.add(chunk_id(folder, len(sizes)), chunk)
        sizes.append(len(kept.entries))
        last = _place(kept.entries[-1])
        start = bisect_right(entries, last, lo=start, key=_place)
    return sizes, last


def _place(entry: BatchEntry) -> bytes:
    """Return what entries are sorted by: their names, as buckets do, and not as these are written in URLs."""
    return unquote_to_bytes(entry.url)


def _entry(found: FoundFile) -> BatchEntry:
    return BatchEntry(url=found.url, error=Failure.of(found.error) if found.error else None)
