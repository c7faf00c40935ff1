"""Archives of very many pages, made without a file: what a fleet leaves behind after it has read them."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import patch

from pipeline.archive import Archive, Store, source_id
from pipeline.batches.lifecycle import begin_batch
from pipeline.core.formats import MediaType
from pipeline.core.models import Deletion, Document, FileState, Reading, Source, Tombstone
from pipeline.pages.deletion import request_deletion
from pipeline.pages.revisions import bury, save_reading
from pipeline.projection.projector import Projector
from support.readings import full_reading

COLLECTION = "works"
PAGES = 20
"""Of each document."""
WORDS = "harbour ledger winter timber rope lantern granite copper orchard signal paper window bridge quay barge".split()


def document_name(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def begin(folder: Path) -> Archive:
    """An archive with a collection and a batch, and nothing in it."""
    archive = Archive(Store(str(folder)))
    begin_batch(archive, COLLECTION, None, "en", [])
    return archive


def readings(number: int, deletions_seen: int = 0, words: int = 60) -> Iterator[Reading]:
    """The readings of a document's pages; each has a text of its own, of so many words."""
    model = full_reading()
    document = model.document.model_copy(
        update={"id": document_name(number), "name": f"{number}.pdf", "path": (f"/in/{number}.pdf",), "pages": PAGES}
    )
    for page in range(1, PAGES + 1):
        chance = random.Random(number * PAGES + page)
        yield model.model_copy(
            update={
                "collection": COLLECTION,
                "document": document,
                "page_number": page,
                "deletions_seen": deletions_seen,
                "text": f"sheet {number} {page} " + " ".join(chance.choices(WORDS, k=words)),
                "description": "A page about " + " and ".join(chance.sample(WORDS, 3)),
                "error": None,
            }
        )


def archive_document(
    archive: Archive, number: int, deletions_seen: int = 0, words: int = 60
) -> list[Reading | Tombstone]:
    """Archive a document, its source and its pages; return what is the newest of each page then."""

    def source(newest: Source | None) -> Source | None:
        return Source(
            collection=COLLECTION,
            url=f"file:///in/{number}.pdf",
            path=f"/in/{number}.pdf",
            state=FileState(bytes=1000, mtime_ns=1, inode=number),
            document=Document(
                id=document_name(number), bytes=1000, media_type=MediaType.PDF, pages=PAGES, title=None, members=0
            ),
            batch=archive.batches.names()[0],
            revision=newest.revision + 1 if newest else 1,
            observed_at=datetime.now(UTC),
        )

    archive.sources(COLLECTION)[source_id(f"file:///in/{number}.pdf")].append(source)
    saved = (save_reading(archive, reading, None) for reading in readings(number, deletions_seen, words))
    return [reading for reading in saved if reading is not None]


def write_document(projector: Projector, number: int) -> None:
    """What a worker does with a document: its pages, its source and itself get their records."""
    archive = projector.archive
    projector.pages(archive_document(archive, number, archive.deletions[COLLECTION].newest_revision()))
    source = archive.sources(COLLECTION)[source_id(f"file:///in/{number}.pdf")].newest()
    assert source is not None
    projector.sources([source])
    projector.documents(COLLECTION, [document_name(number)])


def fill(archive: Archive, documents: int, words: int = 60) -> None:
    """Archive so many documents. Nothing of it has to outlive a power cut."""
    with patch("os.fsync"):
        for number in range(documents):
            archive_document(archive, number, words=words)


def bury_document(archive: Archive, number: int) -> Deletion:
    """Archive a deletion and its tombstones, as far as the archive goes: the records are left to others."""
    document = document_name(number)
    deletion = request_deletion(archive, COLLECTION, document, purge=False)
    for reading in list(archive.readings(COLLECTION, document).newest()):
        bury(archive, COLLECTION, document, reading.page_number, reading, deletion)
    return deletion
