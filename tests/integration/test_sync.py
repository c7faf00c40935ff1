"""`pagesight sync` over real folders, archive, Elasticsearch and Redis: what goes, what is enqueued, what stays."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from pipeline.batches.messages import folder_id
from pipeline.core.models import Tombstone
from pipeline.sources import FoundFile, walk
from support import in_process
from support.pagesight_runs import Ended, Pagesight, make_pdf
from support.redis_server import RedisServer

USAGE, REFUSED = 2, 3


@pytest.fixture
def indexed(pagesight: Pagesight, redis_server: RedisServer) -> Pagesight:
    """Four documents that were read, one of them at two places."""
    for name, seed in (("a.pdf", 1), ("b.pdf", 2), ("c.pdf", 3), ("copy.pdf", 3), ("d.pdf", 4)):
        make_pdf(pagesight.files / name, 2, seed)
    assert pagesight.index().code == 0
    pagesight.set(redis_url=redis_server.url)
    return pagesight


def sync(pagesight: Pagesight, *words: str, code: int = 0) -> Ended:
    ended = pagesight.run("sync", "--json", pagesight.files, *words)
    assert ended.code == code, ended.stderr
    return ended


def enqueued(pagesight: Pagesight, batch: str) -> list[str]:
    """Names of the files that a batch names, which lie in the archive before any message does."""
    chunk = pagesight.archive.journal(batch).chunk(folder_id("", "", "") + ".0")
    assert chunk is not None
    return sorted(entry.url.rsplit("/", 1)[-1] for entry in chunk.entries)


def queued(server: RedisServer) -> list[str]:
    """Tasks in the normal lane."""
    with Redis.from_url(server.url, decode_responses=True) as client:
        messages = client.lrange("pagesight:normal", 0, -1)
    return [json.loads(message)["headers"]["task"] for message in messages]  # type: ignore[union-attr]


def names(paths: list[str]) -> list[str]:
    return sorted(Path(path).name for path in paths)


def found_at(pagesight: Pagesight) -> set[str]:
    return {name for record in pagesight.records().values() for name in names(record["document"].get("path", []))}


def test_an_unchanged_folder_needs_nothing(indexed: Pagesight, redis_server: RedisServer) -> None:
    told = sync(indexed).json

    assert (told["known"], told["unchanged"], told["batch"]) == (5, 5, None)
    assert queued(redis_server) == []


def test_new_changed_and_moved_files_are_enqueued_and_the_old_place_is_left(
    indexed: Pagesight, redis_server: RedisServer
) -> None:
    files = indexed.files
    make_pdf(files / "new.pdf", 1, 9)
    make_pdf(files / "b.pdf", 3, 8)
    (files / "deep").mkdir()
    (files / "a.pdf").rename(files / "deep" / "moved.pdf")
    told = sync(indexed, "--profile", "visual").json

    assert (names(told["new"]), names(told["changed"]), told["vanished"]) == (["new.pdf"], ["b.pdf"], [])
    assert [(Path(move["from"]).name, Path(move["to"]).name) for move in told["moved"]] == [("a.pdf", "moved.pdf")]
    assert enqueued(indexed, told["batch"]) == ["b.pdf", "moved.pdf", "new.pdf"]
    assert queued(redis_server) == ["pagesight.walk"]
    batch = indexed.archive.batches[told["batch"]].newest()
    assert batch is not None
    assert batch.profile == "visual"
    assert found_at(indexed) == {"b.pdf", "c.pdf", "copy.pdf", "d.pdf"}
    indexed.assert_archive_and_index_agree()
    assert not any(isinstance(reading, Tombstone) for reading in indexed.newest())


def test_a_dry_run_changes_nothing_and_needs_no_redis(indexed: Pagesight) -> None:
    indexed.set(redis_url="redis://127.0.0.1:1/0")
    (indexed.files / "a.pdf").rename(indexed.files / "moved.pdf")
    (indexed.files / "d.pdf").unlink()
    before = indexed.records()
    told = sync(indexed, "--dry-run", "--delete").json

    assert (len(told["moved"]), names(told["vanished"]), told["batch"]) == (1, ["d.pdf"], None)
    assert indexed.records() == before


def test_a_file_that_is_swapped_for_a_link_after_the_walk_is_not_read_through_it(
    indexed: Pagesight, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The link leads to the bytes of a vanished file: a `sync` that followed it would report the file as moved."""
    outside, swapped = tmp_path / "outside.pdf", indexed.files / "swapped.pdf"
    (indexed.files / "a.pdf").rename(outside)
    swapped.write_bytes(outside.read_bytes())

    def walked(*words: Any, **options: Any) -> Iterator[FoundFile]:
        found = list(walk(*words, **options))
        swapped.unlink()
        swapped.symlink_to(outside)
        yield from found

    monkeypatch.setattr("pipeline.cli.sync.walk", walked)
    words = ["sync", "--json", "--dry-run", str(indexed.files)]
    told = in_process.run(words, indexed.environment, indexed.home)

    assert told.code == 0, told.stderr
    assert "Traceback" not in told.stderr
    assert swapped.is_symlink()
    assert (names(told.json["new"]), told.json["moved"]) == (["swapped.pdf"], [])
    assert names(told.json["vanished"]) == ["a.pdf"]


def test_what_vanished_stays_until_its_deletion_is_asked_for(indexed: Pagesight) -> None:
    (indexed.files / "d.pdf").unlink()

    assert names(sync(indexed).json["vanished"]) == ["d.pdf"]
    assert "d.pdf" in found_at(indexed)

    told = sync(indexed, "--delete").json
    assert told["deleted"] == {"documents": 1, "pages": 2}
    assert found_at(indexed) == {"a.pdf", "b.pdf", "c.pdf", "copy.pdf"}
    indexed.assert_archive_and_index_agree(complete=False)
    assert sync(indexed, "--delete").json["known"] == 4


def test_a_document_that_lies_elsewhere_too_only_loses_a_place(indexed: Pagesight) -> None:
    (indexed.files / "copy.pdf").unlink()
    told = sync(indexed, "--delete").json

    assert told["deleted"] == {"documents": 0, "pages": 0}
    assert found_at(indexed) == {"a.pdf", "b.pdf", "c.pdf", "d.pdf"}
    indexed.assert_archive_and_index_agree()


def test_a_document_of_which_every_place_vanished_is_deleted_once(indexed: Pagesight) -> None:
    for name in ("c.pdf", "copy.pdf"):
        (indexed.files / name).unlink()

    assert sync(indexed, "--delete").json["deleted"] == {"documents": 1, "pages": 2}
    assert indexed.archive.deletions["default"].newest_revision() == 1
    indexed.assert_archive_and_index_agree(complete=False)


def test_an_empty_folder_is_refused_unless_forced(indexed: Pagesight) -> None:
    for path in indexed.files.iterdir():
        path.unlink()

    refused = sync(indexed, "--delete", code=USAGE)
    assert "mounted" in refused.stderr
    assert len(found_at(indexed)) == 5

    assert sync(indexed, "--delete", "--force").json["deleted"] == {"documents": 4, "pages": 8}
    assert indexed.records() == {}


def test_much_is_not_deleted_unless_forced(indexed: Pagesight) -> None:
    for number in range(12):
        make_pdf(indexed.files / f"more-{number}.pdf", 1, 100 + number)
    indexed.index()
    for number in range(12):
        (indexed.files / f"more-{number}.pdf").unlink()

    refused = sync(indexed, "--delete", code=USAGE)
    assert "12 of 17" in refused.stderr
    assert "--force" in refused.stderr
    assert sync(indexed).json["deleted"] == {"documents": 0, "pages": 0}
    assert sync(indexed, "--delete", "--force").json["deleted"] == {"documents": 12, "pages": 12}


def test_a_folder_that_is_not_there_is_refused(indexed: Pagesight) -> None:
    assert indexed.run("sync", indexed.files / "nowhere", "--delete", "--force").code == USAGE
    assert len(found_at(indexed)) == 5


def test_without_redis_nothing_is_taken_away(indexed: Pagesight, redis_server: RedisServer) -> None:
    (indexed.files / "a.pdf").rename(indexed.files / "moved.pdf")
    (indexed.files / "d.pdf").unlink()
    redis_server.stop()
    ended = sync(indexed, "--delete", code=REFUSED)

    assert "Redis" in ended.stderr
    assert len(found_at(indexed)) == 5
    redis_server.start()
    assert sync(indexed, "--delete").json["deleted"] == {"documents": 1, "pages": 2}


def test_people_see_a_table_without_control_characters(indexed: Pagesight) -> None:
    make_pdf(indexed.files / "new\x1b[31m.pdf", 1, 9)
    (indexed.files / "d.pdf").unlink()
    ended = indexed.run("sync", indexed.files, "--dry-run")

    assert "\x1b" not in ended.stdout
    assert "4 unchanged, 1 new, 0 changed, 0 moved, 1 vanished; 5 were known." in ended.stdout
