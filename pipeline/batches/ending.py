"""The end of a queued batch: when everything has ended, vanished files are forgotten, then the end is archived.

Any process may do this, and two at once: each step is a function of the archive, and repeating it changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.archive import BatchJournal
from pipeline.batches.messages import chunk_id
from pipeline.batches.progress import BatchLedger, end_batch
from pipeline.core.models import Batch, BatchEntry, VanishedFiles
from pipeline.pages.page_services import PageServices
from pipeline.pages.vanished import FoundUrls, forget_vanished

#: The journal's record that the vanished files below all roots are forgotten.
ALL = "all"


def end_if_done(ledger: BatchLedger, services: PageServices) -> Batch | None:
    """Archive the end of a batch if everything in it has ended, and return the batch; otherwise return None.

    Raises:
        ServiceRefused: a service refuses.
        Stopped: the cancel token ended while a service was away.
    """
    progress = ledger.progress()
    if not progress.ended:
        return None
    forget_vanished_files(ledger.batch, services)
    return end_batch(ledger.archive, ledger.batch.id, "done", progress)


def forget_vanished_files(batch: Batch, services: PageServices) -> None:
    """Forget the vanished files below the roots of a batch whose walk has ended; the journal says when that is done.

    A batch that names its sources itself has no roots, and forgets nothing. Raises as `end_if_done` does.
    """
    records = services.archive.journal(batch.id)
    if not batch.roots or records.vanished.get(ALL) is not None:
        return
    found, roots = _found(records, batch.roots[0])
    number = sum(
        forget_vanished(root, found, batch.collection, services, batch.patterns)
        for root in batch.roots
        if root in roots
    )
    records.vanished.add(ALL, VanishedFiles(sources=number))


def _found(records: BatchJournal, first_root: str) -> tuple[FoundUrls, set[str]]:
    """Return the URLs that a batch's walk found, and the roots with at least one file below them.

    A URL that stands for the files of a damaged chunk counts as found: see `fail_damaged_list`.
    """
    found, roots = FoundUrls(), set()
    for identifier in records.folders.names():
        folder = records.folders.get(identifier)
        if folder is not None:
            for entry in _entries(records, identifier, folder.sources, found, folder.url):
                if entry.error is None:
                    roots.add(folder.root)
    for identifier in records.members.names():
        for _ in _entries(records, identifier, records.member_sizes(identifier), found, first_root):
            continue
    return found, roots


def _entries(
    records: BatchJournal, listing: str, chunks: tuple[int, ...], found: FoundUrls, stand_in: str
) -> Iterator[BatchEntry]:
    """Yield the entries of a listing, each added to `found`; for a damaged chunk `stand_in` is added.

    The file system decides about the URLs of a damaged chunk.
    """
    for number in range(len(chunks)):
        chunk = records.chunk(chunk_id(listing, number))
        if chunk is None:
            found.add(stand_in)
            continue
        for entry in chunk.entries:
            found.add(entry.url)
            yield entry
