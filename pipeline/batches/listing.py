"""The walk of a queued batch: each directory is listed once, and its files are archived before they are queued.

    Walk message ──▶ list ──▶ chunks archived ──▶ listing archived ──▶ messages for chunks and subfolders

If the process is killed, handling the message again continues: archived chunks stay, and the next chunk begins after
their last name.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from urllib.parse import unquote_to_bytes

from pipeline.archive import Archive, BatchJournal
from pipeline.batches.messages import Message, Part, Walk, chunk_id, folder_id, members_id, parts_of
from pipeline.core.iterables import batched
from pipeline.core.models import Batch, BatchEntry, Chunk, Failure, Folder, MemberListing
from pipeline.sources import FoundFile, Listing
from pipeline.sources.urls import is_below, is_local

#: Sources in one archived chunk.
CHUNK_SOURCES = 500

Lister = Callable[[Walk], Listing]
"""Lists the directory of a message."""


def is_live(batch: Batch | None) -> bool:
    """Whether messages of this batch are handled; messages of a paused or ended batch are dropped."""
    return batch is not None and batch.state == "working"


def is_of_batch(message: Walk, roots: Collection[str]) -> bool:
    """Whether a listing is of a folder that the walk of a batch with these roots reaches.

    A batch with roots reaches its roots and what is below them; one that names its sources reaches no folder.
    """
    if not message.root:
        return not roots and not message.url
    if message.root not in roots or not is_below(message.url, message.root):
        return False
    if not is_local(message.url):  # a bucket has no parent folders: `..` is a name there
        return True
    inside = unquote_to_bytes(message.url.removeprefix(message.root.rstrip("/"))).split(b"/")
    return not {b".", b".."} & set(inside)


def walk_folder(message: Walk, archive: Archive, lister: Lister) -> Iterator[Message]:
    """List the directory of a message, archive the listing, and yield the messages that follow.

    Raises:
        ServiceUnavailable: the directory cannot be listed now.
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
            passed_over=listing.passed_over,
        )
        folder = records.folders.add(identifier, folder)
    yield from due_messages(message.batch, identifier, folder, records)


def add_members(part: Part, found: Iterable[FoundFile], archive: Archive, passed_over: int = 0) -> list[Message]:
    """Archive the files within the sources of a part; return the messages about these files.

    They are archived before the part can end. So a process that sees every chunk ended has seen all chunks.
    """
    records = archive.journal(part.batch)
    whole, identifier = members_id(replace(part, entry=None)), members_id(part)
    for known in dict.fromkeys((whole, identifier)):
        listing = records.members.get(known)
        if listing is not None:
            return list(_due_parts(part.batch, known, listing.sources, records))
    sizes, _ = _archive_chunks(records, identifier, sorted(map(_entry, found), key=_sort_key))
    if not sizes and not passed_over:
        return []
    listing = records.members.add(identifier, MemberListing(sources=tuple(sizes), passed_over=passed_over))
    return list(_due_parts(part.batch, identifier, listing.sources, records))


def name_sources(archive: Archive, batch: str, entries: Iterable[BatchEntry]) -> None:
    """Archive the sources that a batch names itself, in chunks. Memory stays flat."""
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
    """Yield the messages that follow a listing: its subfolders, and its parts that have not ended."""
    for url in following(folder):
        yield Walk(batch, folder.root, *url)
    yield from _due_parts(batch, identifier, folder.sources, records)


def following(folder: Folder) -> Iterator[tuple[str, str]]:
    """Yield URL and cursor of the listings that follow a listing."""
    if folder.next_cursor:
        yield folder.url, folder.next_cursor
    for url in folder.folders:
        yield url, ""


def all_due_messages(batch: Batch, archive: Archive) -> Iterator[Message]:
    """Yield every message that a queued batch still needs, for a queue that has lost them or never had them."""
    records = archive.journal(batch.id)
    for first in _roots(batch):
        waiting = [first]
        while waiting:
            root, url, cursor = waiting.pop()
            identifier = folder_id(root, url, cursor)
            folder = records.folders.get(identifier)
            if folder is None:
                yield Walk(batch.id, root, url, cursor)
                continue
            yield from _due_parts(batch.id, identifier, folder.sources, records)
            waiting += [(root, *listing) for listing in following(folder)]
    for identifier in records.members.names():
        yield from _due_parts(batch.id, identifier, records.member_sizes(identifier), records)


def _due_parts(batch: str, identifier: str, sources: Iterable[int], records: BatchJournal) -> Iterator[Part]:
    """Yield the parts of a listing's chunks that have not ended."""
    for number, entries in enumerate(sources):
        chunk = chunk_id(identifier, number)
        if records.closed.get(chunk) is None:
            ended = records.ended_parts(chunk)
            yield from (Part(batch, chunk, part) for part in parts_of(entries) if part not in ended)


def first_messages(batch: Batch) -> Iterator[Walk]:
    """Yield the first messages of a batch."""
    for first in _roots(batch):
        yield Walk(batch.id, *first)


def _roots(batch: Batch) -> list[tuple[str, str, str]]:
    return [(root, root, "") for root in batch.roots] or [("", "", "")]


def _archive_sources(message: Walk, folder: str, records: BatchJournal, lister: Lister) -> tuple[Listing, list[int]]:
    """List the directory of a message and archive its files in chunks; return the listing and the size of each chunk.

    If the chunks of an earlier, killed listing go beyond this page of a bucket, because files were added meanwhile, the
    next page is listed too: it contains files that are in these chunks already.
    """
    listing = lister(message)
    while True:
        entries = sorted(map(_entry, listing.found), key=_sort_key)
        sizes, last = _archive_chunks(records, folder, entries)
        if not listing.cursor or not entries or last <= _sort_key(entries[-1]):
            return listing, sizes
        more = lister(replace(message, cursor=listing.cursor))
        listing = Listing(
            listing.found + more.found,
            listing.folders + more.folders,
            listing.passed_over + more.passed_over,
            more.cursor,
        )


def _archive_chunks(records: BatchJournal, folder: str, entries: list[BatchEntry]) -> tuple[list[int], bytes]:
    """Archive sorted entries in chunks; return the size of each chunk, and the sort key of the last archived entry.

    A chunk that an earlier listing archived stays, and the next chunk begins after its last name. So no file is missed
    when another one was added or removed between the two listings.
    """
    sizes: list[int] = []
    last = b""
    start = 0
    while start < len(entries):
        chunk = Chunk(entries=tuple(entries[start : start + CHUNK_SOURCES]))
        kept = records.chunks.add(chunk_id(folder, len(sizes)), chunk)
        sizes.append(len(kept.entries))
        last = _sort_key(kept.entries[-1])
        start = bisect_right(entries, last, lo=start, key=_sort_key)
    return sizes, last


def _sort_key(entry: BatchEntry) -> bytes:
    """Return the bytes of an entry's name: buckets sort by them, not by the percent-encoded URL."""
    return unquote_to_bytes(entry.url)


def _entry(found: FoundFile) -> BatchEntry:
    return BatchEntry(url=found.url, error=Failure.of(found.error) if found.error else None, root=found.root)
