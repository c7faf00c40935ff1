"""Who is to read pages that were never read: decided from the batches in the archive alone."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.archive import Archive, Store
from pipeline.batches.listing import name_sources
from pipeline.core.models import Batch, BatchEntry, Deletion, Lane, Source
from pipeline.maintenance.audit import Batches
from support.readings import full_source

URL = "file:///in/a.pdf"


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(Store(str(tmp_path)))


def begun(archive: Archive, name: str, state: str, **given: object) -> Batch:
    batch = Batch(
        id=name,
        collection="works",
        language="en",
        sources=(),
        deletions_seen=0,
        state=state,
        started_at=datetime.now(UTC),
        revision=1,
        **given,  # type: ignore[arg-type]
    )
    archive.batches[batch.id].create(batch)
    return batch


def source(batch: str) -> Source:
    """A file with three pages that was registered by this batch."""
    return full_source(failed=False).model_copy(update={"batch": batch, "url": URL, "path": "/in/a.pdf"})


@pytest.mark.parametrize(
    ("state", "lane", "left_out"),
    [
        ("working", Lane.NORMAL, True),
        ("paused", Lane.NORMAL, True),
        ("cancelled", Lane.NORMAL, True),
        ("done", Lane.NORMAL, False),
        ("working", None, True),
        ("interrupted", None, True),
        ("exhausted", None, True),
        ("halted", None, False),
        ("killed", None, False),
        ("done", None, False),
    ],
)
def test_the_state_of_its_batch_decides(archive: Archive, state: str, lane: Lane | None, left_out: bool) -> None:
    begun(archive, "1", state, lane=lane, roots=("file:///in",))
    assert Batches(archive).leaves_out(source("1")) is left_out


@pytest.mark.parametrize(
    ("root", "covered"),
    [
        ("file:///in", True),
        ("file:///in/a.pdf", True),
        ("file:///", True),
        ("file:///i", False),
        ("file:///in/a", False),
        ("file:///out", False),
    ],
)
def test_a_later_batch_that_walks_over_a_file_decides(archive: Archive, root: str, covered: bool) -> None:
    """Registering what has not changed leaves its source with the batch that it had."""
    begun(archive, "1", "killed")
    begun(archive, "2", "cancelled", lane=Lane.NORMAL, roots=(root,))
    assert Batches(archive).leaves_out(source("1")) is covered
    assert Batches(archive).is_claimed(source("1")) is False  # it has ended
    begun(archive, "3", "working", lane=Lane.NORMAL, roots=(root,))
    assert Batches(archive).is_claimed(source("1")) is covered
    begun(archive, "4", "done", lane=Lane.NORMAL, roots=(root,))
    assert Batches(archive).leaves_out(source("1")) is False  # the last word


def test_a_batch_that_names_its_sources_itself_is_for_these_alone(archive: Archive) -> None:
    begun(archive, "1", "killed")
    begun(archive, "2", "working", lane=Lane.BACKFILL)
    name_sources(archive, "2", (BatchEntry(url=f"file:///in/{number}.pdf") for number in range(1100)))
    named = source("1").model_copy(update={"url": "file:///in/1099.pdf"})
    assert Batches(archive).leaves_out(named)
    assert Batches(archive).is_claimed(named)
    assert not Batches(archive).leaves_out(source("1"))
    assert not Batches(archive).is_claimed(source("1"))


def test_another_collection_s_batch_is_for_its_own(archive: Archive) -> None:
    begun(archive, "1", "done")
    other = begun(archive, "2", "working", lane=Lane.NORMAL, roots=("file:///in",))
    archive.batches[other.id].create(other.model_copy(update={"revision": 2, "collection": "others"}))
    assert not Batches(archive).leaves_out(source("1"))
    assert not Batches(archive).is_claimed(source("1"))


def test_a_running_process_is_at_the_files_that_it_was_given(archive: Archive) -> None:
    begun(archive, "1", "killed")
    working = begun(archive, "2", "working")
    assert not Batches(archive).leaves_out(source("1"))
    archive.batches[working.id].create(working.model_copy(update={"revision": 2, "sources": ("/in",)}))
    assert Batches(archive).leaves_out(source("1"))


@pytest.mark.parametrize(("document", "left_out"), [("d" * 64, True), (None, True), ("e" * 64, False)])
def test_what_was_deleted_since_stays_unread(archive: Archive, document: str | None, left_out: bool) -> None:
    begun(archive, "1", "killed")
    deletion = Deletion(
        collection="works", revision=1, document_id=document, purge=False, requested_at=datetime.now(UTC)
    )
    archive.deletions["works"].append(lambda _: deletion)
    assert Batches(archive).leaves_out(source("1")) is left_out
