import json
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.archive import Archive, Store
from pipeline.core.errors import RevisionTaken, ServiceRefused
from pipeline.core.models import Answer, Collection, Deletion
from support.readings import full_reading

LOCATIONS = ["local", "memory"]


@pytest.fixture(params=LOCATIONS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store(str(tmp_path / "archive") if request.param == "local" else f"memory://{tmp_path.name}")


def test_what_was_put_is_got(store: Store) -> None:
    store.put("a/b.bin", b"one")
    store.put("a/b.bin", b"two")

    assert store.get("a/b.bin") == b"two"
    assert store.names("a") == ["b.bin"]


def test_what_is_absent_is_none_and_an_absent_folder_is_empty(store: Store) -> None:
    assert store.get("a/b.bin") is None
    assert store.names("a") == []
    store.delete("a/b.bin")


def test_a_name_is_created_once(store: Store) -> None:
    store.create("a/1.json", b"first")

    with pytest.raises(RevisionTaken):
        store.create("a/1.json", b"second")
    assert store.get("a/1.json") == b"first"


def test_of_many_writers_of_one_name_exactly_one_succeeds(tmp_path: Path) -> None:
    store = Store(str(tmp_path))

    def create(number: int) -> bool:
        try:
            store.create("a/1.json", str(number).encode() * 1000)
        except RevisionTaken:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(create, range(64)))

    assert won.count(True) == 1
    assert store.get("a/1.json") == str(won.index(True)).encode() * 1000


def test_no_temporary_file_is_left_behind(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.create("a/1.json", b"x")
    with pytest.raises(RevisionTaken):
        store.create("a/1.json", b"x")
    store.put("a/2.json", b"x")

    assert list((tmp_path / "tmp").iterdir()) == []


def test_what_a_killed_writer_left_is_swept_a_day_later(tmp_path: Path) -> None:
    Store(str(tmp_path))
    old, fresh = tmp_path / "tmp" / "old", tmp_path / "tmp" / "fresh"
    old.write_bytes(b"half")
    fresh.write_bytes(b"half")
    os.utime(old, (0, 0))

    Store(str(tmp_path))

    assert not old.exists()
    assert fresh.exists()


def test_a_location_that_is_no_folder_is_refused_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(ServiceRefused) as caught:
        Store(str(tmp_path / "file"))
    assert "PAGESIGHT_ARCHIVE" in caught.value.remedy


def test_revisions_of_a_collection_are_numbered_and_the_newest_is_read(store: Store) -> None:
    archive = Archive(store)

    def german(newest: Collection | None) -> Collection:
        assert newest is not None
        return newest.model_copy(update={"language": "de", "revision": newest.revision + 1})

    archive.collections["works"].append(lambda _: Collection(name="works", language="en", profile="p", revision=1))
    archive.collections["works"].append(german)

    assert archive.collections["works"].newest() == Collection(name="works", language="de", profile="p", revision=2)
    assert archive.collections.names() == ["works"]


def test_a_writer_who_was_overtaken_begins_again_from_the_newest(tmp_path: Path) -> None:
    archive = Archive(Store(str(tmp_path)))

    def append(document: str) -> None:
        archive.deletions["works"].append(
            lambda newest: Deletion(
                collection="works",
                revision=newest.revision + 1 if newest else 1,
                document_id=document,
                purge=False,
                requested_at=datetime.now(UTC),
            )
        )

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(append, [str(number) for number in range(40)]))

    deletions = archive.deletions["works"].after(0)
    assert [deletion.revision for deletion in deletions] == list(range(1, 41))
    assert {deletion.document_id for deletion in deletions} == {str(number) for number in range(40)}
    assert archive.deletions["works"].newest_revision() == 40


def test_an_answer_that_is_there_stays(store: Store) -> None:
    archive = Archive(store)
    first = Answer(key="ab12-0f", question="text", model="m", content="one", asked_at=datetime.now(UTC))

    archive.answers.add(first)
    archive.answers.add(first.model_copy(update={"content": "two"}))

    assert archive.answers.get("ab12-0f") == first
    assert archive.answers.get("ffff-0f") is None


def test_a_reading_of_an_earlier_version_is_read_without_the_field_that_is_gone(store: Store) -> None:
    reading = full_reading()
    assert reading.model is not None
    archived = reading.model_dump(mode="json")
    archived["model"]["twin"] = "works:d:00001"
    store.put(f"readings/works/{'d' * 64}/2.1.json", json.dumps(archived).encode())

    assert Archive(store).readings("works", "d" * 64).page(2).revision(1) == reading
