"""A damaged file in the archive costs itself: it is named, left out or read as the revision before, and replaced."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.archive import Archive, Store, source_id
from pipeline.batches.completion import complete_chunk, end_damaged_part
from pipeline.batches.lifecycle import begin_batch
from pipeline.batches.listing import name_sources
from pipeline.batches.messages import chunk_id, folder_id
from pipeline.batches.progress import BatchLedger
from pipeline.core.errors import ArchiveDamaged
from pipeline.core.models import Answer, Batch, BatchEntry, Deletion, Lane, Outcome, Reading, Run, Tombstone
from support.readings import full_reading, full_source

DOCUMENT = "d" * 64
NOW = datetime(2026, 1, 1, tzinfo=UTC)
#: What a power cut, a full disk and strangers leave behind.
DAMAGE = [b"", b"{", b'{"revision": 2', b"\x00" * 64, b"\xff\xfe{}", b"[]", b"null", b'{"revision": "two"}']


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "archive"))


@pytest.fixture
def archive(store: Store) -> Archive:
    return Archive(store)


@pytest.fixture(params=DAMAGE)
def damage(request: pytest.FixtureRequest) -> bytes:
    found: bytes = request.param
    return found


def save_reading(archive: Archive, revision: int, page: int = 1) -> Reading:
    reading = full_reading().model_copy(update={"page_number": page, "revision": revision})
    archive.readings("works", DOCUMENT).page(page).create(reading)
    return reading


def test_a_damaged_reading_is_read_as_the_one_before_and_is_due_again(store: Store, archive: Archive, damage: bytes):
    first = save_reading(archive, 1)
    store.put(f"readings/works/{DOCUMENT}/1.2.json", damage)

    (newest,) = archive.readings("works", DOCUMENT).newest()

    assert newest == first.model_copy(update={"revision": 2, "fingerprint": ""})
    assert archive.readings("works", DOCUMENT).page(1).newest() == newest
    assert archive.damaged == (f"readings/works/{DOCUMENT}/1.2.json",)


def test_the_successor_of_a_damaged_reading_gets_the_next_number(store: Store, archive: Archive):
    save_reading(archive, 1)
    store.put(f"readings/works/{DOCUMENT}/1.2.json", b"")
    page = archive.readings("works", DOCUMENT).page(1)

    again = page.append(lambda newest: full_reading().model_copy(update={"revision": newest.revision + 1}))

    assert again.revision == 3
    assert page.newest() == again


def test_a_page_without_a_readable_reading_can_be_read_by_every_batch(store: Store, archive: Archive, damage: bytes):
    store.put(f"readings/works/{DOCUMENT}/1.1.json", damage)
    (newest,) = archive.readings("works", DOCUMENT).newest()
    assert isinstance(newest, Tombstone)
    assert (newest.revision, newest.deletion) == (1, 0)


def test_a_deleted_page_does_not_come_back_when_its_tombstone_is_damaged(store: Store, archive: Archive):
    reading = save_reading(archive, 1)
    deletion = Deletion(
        collection="works",
        revision=reading.deletions_seen + 1,
        document_id=DOCUMENT,
        purge=False,
        requested_at=NOW,
    )
    archive.deletions["works"].create(deletion)
    store.put(f"readings/works/{DOCUMENT}/1.2.json", b"")

    (newest,) = archive.readings("works", DOCUMENT).newest()

    assert isinstance(newest, Tombstone)
    assert (newest.revision, newest.deletion) == (2, deletion.revision)


def test_a_damaged_source_is_looked_at_again(store: Store, archive: Archive, damage: bytes):
    source = full_source(failed=False)
    name = source_id(source.url)
    archive.sources("works")[name].create(source.model_copy(update={"revision": 1}))
    store.put(f"sources/works/{name}/2.json", damage)

    newest = archive.sources("works")[name].newest()

    assert newest is not None
    assert (newest.revision, newest.state, newest.document) == (2, None, source.document)


def test_a_source_without_a_readable_revision_is_registered_under_the_next_number(store: Store, archive: Archive):
    source = full_source(failed=False)
    chain = archive.sources("works")[source_id(source.url)]
    store.put(f"sources/works/{source_id(source.url)}/1.json", b"")
    assert chain.newest() is None

    saved = chain.append(lambda newest: source.model_copy(update={"revision": newest.revision + 1 if newest else 1}))

    assert saved.revision == 2
    assert chain.newest() == saved


def test_a_damaged_answer_is_a_miss_and_is_replaced(store: Store, archive: Archive, damage: bytes):
    answer = Answer(key="ab12-0f", question="text", model="m", content="words", asked_at=NOW)
    store.put("answers/ab/ab12/0f.json", damage)
    assert archive.answers.get("ab12-0f") is None

    archive.answers.add(answer)

    assert archive.answers.get("ab12-0f") == answer


def test_a_batch_whose_end_is_damaged_has_ended(store: Store, archive: Archive, damage: bytes):
    batch = begin_batch(archive, "works", None, "en", [], lane=Lane.NORMAL)
    store.put(f"batches/{batch.id}/2.json", damage)
    assert archive.batches[batch.id].newest() == batch.model_copy(update={"revision": 2})

    archive.close_batch(batch.id)

    ended = archive.batches[batch.id].newest()
    assert ended is not None
    assert (ended.state, ended.revision) == ("killed", 2)


def test_a_collection_whose_only_revision_is_damaged_is_named(store: Store, archive: Archive, damage: bytes):
    store.put("collections/works/1.json", damage)
    with pytest.raises(ArchiveDamaged, match=r"collections/works/1\.json") as caught:
        begin_batch(archive, "works", None, "en", [])
    assert "--language" in caught.value.remedy


def test_a_schedule_whose_runs_are_damaged_has_a_failed_run_in_the_past(store: Store, archive: Archive, damage: bytes):
    store.put("runs/nightly/4.json", damage)
    store.put("heard/nightly", damage)
    newest = archive.runs["nightly"].newest()
    assert isinstance(newest, Run)
    assert (newest.revision, newest.outcome, newest.due_at.year) == (4, "failed", 1970)
    assert archive.runs.heartbeat("nightly") is None
    assert list(archive.runs.latest()) == []


def batch_of(archive: Archive, sources: int) -> Batch:
    entries = [BatchEntry(url=f"file:///in/{number:03}.pdf") for number in range(sources)]
    return begin_batch(
        archive, "works", None, "en", [], lane=Lane.NORMAL, name=lambda begun: name_sources(archive, begun.id, entries)
    )


def test_a_damaged_chunk_ends_its_parts_as_failures_and_the_batch_ends(store: Store, archive: Archive, damage: bytes):
    batch = batch_of(archive, 20)
    chunk = chunk_id(folder_id("", "", ""), 0)
    store.put(f"walks/{batch.id}/chunks/{chunk}.json", damage)
    records = archive.journal(batch.id)

    for part in (0, 1):
        end_damaged_part(records, chunk, part)

    progress = BatchLedger(archive, batch).progress()
    assert progress.ended
    assert progress.documents == {"failed": 20}


def test_the_progress_of_a_batch_leaves_out_damaged_outcomes(store: Store, archive: Archive, damage: bytes):
    batch = batch_of(archive, 40)
    chunk = chunk_id(folder_id("", "", ""), 0)
    records = archive.journal(batch.id)
    for part, sources in ((0, 16), (1, 16), (2, 8)):
        records.close_part(chunk, part, Outcome(documents={"complete": sources}, pages={}))
    complete_chunk(records, chunk)
    store.put(f"walks/{batch.id}/parts/{chunk}/1.json", damage)
    store.put(f"walks/{batch.id}/closed/{chunk}.json", damage)

    progress = BatchLedger(archive, batch).progress()

    assert progress.ended
    assert progress.documents == {"complete": 24}


def test_a_damaged_listing_counts_as_missing_and_is_replaced(store: Store, archive: Archive, damage: bytes):
    batch = batch_of(archive, 3)
    listing = folder_id("", "", "")
    records = archive.journal(batch.id)
    whole = records.folders.get(listing)
    assert whole is not None
    store.put(f"walks/{batch.id}/folders/{listing}.json", damage)
    assert records.folders.get(listing) is None
    assert not BatchLedger(archive, batch).progress().walked

    records.folders.add(listing, whole)

    assert BatchLedger(archive, batch).progress().walked


def test_every_damaged_file_is_listed(store: Store, archive: Archive, damage: bytes):
    batch = batch_of(archive, 3)
    save_reading(archive, 1)
    names = sorted(
        [
            "archive.json",
            "answers/ab/ab12/0f.json",
            "collections/works/1.json",
            f"batches/{batch.id}/1.json",
            f"readings/works/{DOCUMENT}/1.1.json",
            f"walks/{batch.id}/folders/{folder_id('', '', '')}.json",
            "sources/works/x/1.json",
            "runs/nightly/1.json",
            "fleet/1.json",
        ]
    )
    for name in names:
        store.put(name, damage)

    assert sorted(archive.damaged_files()) == names


def test_a_collection_whose_only_revision_is_damaged_is_read_from_its_newest_batch(
    store: Store, archive: Archive, damage: bytes
):
    begin_batch(archive, "works", "de", "en", [])
    begin_batch(archive, "others", "fr", "en", [])
    whole = archive.collections["works"].newest()
    store.put("collections/works/1.json", damage)

    assert archive.collections["works"].newest() == whole
    assert begin_batch(archive, "works", None, "en", []).language == "de"


def test_a_folder_in_the_place_of_a_file_is_a_damaged_file_and_is_kept_aside(
    store: Store, archive: Archive, tmp_path: Path
):
    first, answer = save_reading(archive, 1), Answer(key="ab12-0f", question="q", model="m", content="c", asked_at=NOW)
    folders = [f"readings/works/{DOCUMENT}/1.2.json", "answers/ab/ab12/0f.json"]
    for name in folders:
        (tmp_path / "archive" / name / "inside").mkdir(parents=True)

    (newest,) = archive.readings("works", DOCUMENT).newest()
    assert newest == first.model_copy(update={"revision": 2, "fingerprint": ""})
    assert archive.answers.get(answer.key) is None
    assert sorted(archive.damaged_files()) == sorted(folders)

    archive.answers.add(answer)
    assert archive.answers.get(answer.key) == answer
    assert archive.mend(folders[0])
    assert archive.readings("works", DOCUMENT).page(1).revisions() == [1, 3]
    assert len(list((tmp_path / "archive" / "tmp").glob("*/inside"))) == 2


def test_files_of_other_programs_beside_the_folders_are_ignored(store: Store, archive: Archive):
    batch = batch_of(archive, 40)
    save_reading(archive, 1)
    chunk = chunk_id(folder_id("", "", ""), 0)
    records = archive.journal(batch.id)
    records.close_part(chunk, 0, Outcome(documents={"complete": 16}, pages={}))
    before = BatchLedger(archive, batch).progress()
    folders = ["", "readings", "readings/works", f"readings/works/{DOCUMENT}", "batches", f"batches/{batch.id}", "open"]
    folders += [f"walks/{batch.id}/{name}" for name in ("", "folders", "chunks", "parts", f"parts/{chunk}", "closed")]
    for folder in folders:
        for name in (".DS_Store", ".nfs001", "Thumbs.db", "copy of 1"):
            store.put(f"{folder}/{name}", b"?")

    assert BatchLedger(archive, batch).progress() == before
    assert records.ended_parts(chunk) == [0]
    assert complete_chunk(records, "Thumbs.db") is None
    assert [list(archive.readings("works", name).newest()) for name in archive.documents("works")].count([]) == 2
    assert list(archive.damaged_files()) == []


def test_a_damaged_file_with_a_strange_name_is_named_and_left(store: Store, archive: Archive):
    name = f"readings/works/{DOCUMENT}/copy of 1.json"
    store.put(name, b"")
    assert list(archive.damaged_files()) == [name]
    assert not archive.mend(name)


def test_strange_names_beside_the_revisions_are_ignored(store: Store, archive: Archive):
    reading = save_reading(archive, 1)
    for name in ("1.json.orig", ".DS_Store", "x.y.json", "readme.txt"):
        store.put(f"readings/works/{DOCUMENT}/{name}", b"?")
        store.put(f"fleet/{name}", b"?")
    assert list(archive.readings("works", DOCUMENT).newest()) == [reading]
    assert archive.fleet.newest() is None


def test_fields_of_a_newer_version_are_ignored_at_every_depth(store: Store, archive: Archive):
    reading = save_reading(archive, 1)
    newer = json.loads(reading.model_dump_json())
    newer |= {"mood": "calm"}
    newer["document"] |= {"shelf": {"row": 3}}
    newer["image"]["original"] |= {"lens": "f/2"}
    store.put(f"readings/works/{DOCUMENT}/1.1.json", json.dumps(newer).encode())

    assert list(archive.readings("works", DOCUMENT).newest()) == [reading]
    assert archive.damaged == ()


def test_a_reading_of_a_kind_that_only_a_newer_version_knows_is_read_as_the_one_before(store: Store, archive: Archive):
    first = save_reading(archive, 1)
    store.put(f"readings/works/{DOCUMENT}/1.2.json", b'{"kind": "moved", "revision": 2, "to": "elsewhere"}')

    (newest,) = archive.readings("works", DOCUMENT).newest()

    assert newest == first.model_copy(update={"revision": 2, "fingerprint": ""})


def test_writing_stays_closed():
    with pytest.raises(ValueError, match="extra"):
        Outcome.model_validate({"documents": {}, "pages": {}, "more": 1})
