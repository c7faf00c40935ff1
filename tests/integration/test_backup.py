"""The drills of docs/operations.md: a lost cluster, a lost archive, and snapshots that are not to be trusted."""

from __future__ import annotations

import secrets
import shutil

import pytest

from pipeline.core.retry import CancelToken
from pipeline.search import PAGES, Index
from support.pagesight_runs import Ended, MakePagesight, Pagesight, make_pdf


@pytest.fixture
def pagesight(make_pagesight: MakePagesight, bare_index: Index, elasticsearch_url: str) -> Pagesight:
    """`pagesight` with a book and a letter indexed by the local reader, and an empty repository of its own."""
    pagesight = make_pagesight(elasticsearch_url)
    make_pdf(pagesight.files / "book.pdf", 4, seed=1)
    make_pdf(pagesight.files / "letter.pdf", 2, seed=2)
    assert pagesight.index().code == 0
    return pagesight


@pytest.fixture
def repository() -> str:
    """A repository's name, and that of its folder below the node's `path.repo`."""
    return f"test-{secrets.token_hex(4)}"


def take(pagesight: Pagesight, repository: str, *words: str) -> str:
    made = pagesight.run("backup", "--repository", repository, *(words or ("--location", repository)), "--json")
    assert made.code == 0, made.stderr
    return str(made.json["snapshot"]["name"])


def restore(pagesight: Pagesight, repository: str, name: str, *words: str) -> Ended:
    return pagesight.run("restore", name, "--repository", repository, *words, "--json")


def total(pagesight: Pagesight) -> int:
    found = pagesight.run("search", "sheet", "--json")
    assert found.code == 0, found.stderr
    return int(found.json["total"])


def test_a_lost_cluster_comes_back_from_a_snapshot_and_what_was_archived_since(
    pagesight: Pagesight, bare_index: Index, repository: str
) -> None:
    name = take(pagesight, repository)
    listed = pagesight.run("backup", "--list", "--repository", repository, "--json").json["snapshots"]
    assert [(snapshot["name"], snapshot["state"], len(snapshot["indices"])) for snapshot in listed] == [
        (name, "SUCCESS", 5)
    ]
    make_pdf(pagesight.files / "late.pdf", 3, seed=3)
    assert pagesight.index().code == 0
    assert pagesight.run("delete", "letter.pdf", "--yes").code == 0

    bare_index.drop()
    restored = restore(pagesight, repository, name)
    assert restored.code == 0, restored.stderr
    assert restored.json["former"] == []
    assert restored.json["written"] >= 5  # three new pages, and two that were deleted
    pagesight.assert_archive_and_index_agree()
    assert total(pagesight) == 7
    assert pagesight.index().code == 0
    pagesight.assert_archive_and_index_agree()


def test_a_lost_cluster_comes_back_from_the_archive_alone(pagesight: Pagesight, bare_index: Index) -> None:
    bare_index.drop()
    assert pagesight.run("reindex").code == 0
    pagesight.assert_archive_and_index_agree()
    assert total(pagesight) == 6


def test_a_snapshot_takes_the_place_of_live_indices_which_are_kept(
    pagesight: Pagesight, bare_index: Index, repository: str
) -> None:
    name = take(pagesight, repository)
    make_pdf(pagesight.files / "late.pdf", 1, seed=3)
    assert pagesight.index().code == 0
    before = set(bare_index.generations.live().values())

    died_here = bare_index.snapshots(repository, CancelToken()).restore(name, lambda done, total: None)
    assert set(bare_index.generations.live().values()) == before
    pagesight.assert_archive_and_index_agree()
    bare_index.generations.drop(died_here)

    restored = restore(pagesight, repository, name)
    assert restored.code == 0, restored.stderr
    assert set(restored.json["former"]) == before
    assert set(bare_index.generations.live().values()).isdisjoint(before)
    pagesight.assert_archive_and_index_agree()
    assert pagesight.run("reindex", "--rollback").code == 0
    assert set(bare_index.generations.live().values()) == before
    pagesight.assert_archive_and_index_agree()


def test_a_lost_archive_leaves_pages_to_be_searched_and_shown(
    pagesight: Pagesight, bare_index: Index, repository: str
) -> None:
    name = take(pagesight, repository)
    shutil.rmtree(pagesight.archive_folder)

    assert total(pagesight) == 6
    shown = pagesight.run("show", "book.pdf:2", "--json")
    assert shown.code == 0, shown.stderr
    assert "sheet 2" in shown.json["pages"][0]["text"]

    refused = restore(pagesight, repository, name)  # it would delete every record
    assert refused.code == 2
    assert "--as-it-was" in refused.stderr
    refused = pagesight.run("reindex")
    assert refused.code == 3
    assert "PAGESIGHT_ARCHIVE" in refused.stderr
    assert total(pagesight) == 6

    bare_index.drop()
    restored = restore(pagesight, repository, name, "--as-it-was")
    assert restored.code == 0, restored.stderr
    assert total(pagesight) == 6


def test_what_an_archive_or_its_copy_lacks_is_named_and_counted(pagesight: Pagesight) -> None:
    image = next(pagesight.archive_folder.glob("images/*/*/*.jpg"))
    image.unlink()
    checked = pagesight.run("backup", "--check", "--json")
    assert checked.code == 1
    (finding,) = checked.json["findings"]
    assert finding["flaw"] == "image_missing"
    assert pagesight.archive_folder / finding["name"] == image
    assert checked.json["archive"] | {"location": ""} == {
        "location": "",
        "collections": 1,
        "documents": 2,
        "pages": 6,
        "sources": 2,
        "findings": 1,
    }

    copy = pagesight.home / "copy"
    shutil.copytree(pagesight.archive_folder, copy)
    reading = next(copy.glob("readings/*/*/1.1.json"))
    reading.write_text("{")
    pagesight.set(archive=copy, elasticsearch_url="http://127.0.0.1:9")  # no cluster is needed
    shown = pagesight.run("backup", "--check")
    assert shown.code == 1
    assert str(reading.relative_to(copy)) in shown.stdout


def test_a_repository_is_made_once_and_stays_where_it_is(pagesight: Pagesight, repository: str) -> None:
    refused = pagesight.run("backup", "--repository", repository)
    assert refused.code == 3
    assert "--location" in refused.stderr
    outside = pagesight.run("backup", "--repository", repository, "--location", "/nowhere/else")
    assert outside.code == 3
    assert "path.repo" in outside.stderr

    take(pagesight, repository)
    moved = pagesight.run("backup", "--repository", repository, "--location", f"{repository}-2")
    assert moved.code == 2
    assert f"lies at {repository}" in moved.stderr


def test_a_snapshot_that_cannot_be_trusted_is_refused_and_leaves_nothing(
    pagesight: Pagesight, bare_index: Index, repository: str
) -> None:
    live = bare_index.generations.live()
    with pagesight.client() as client:
        meta = client.indices.get_mapping(index=live[PAGES])[live[PAGES]]["mappings"]["_meta"]
        client.indices.put_mapping(index=live[PAGES], meta=meta | {"schema_version": 1})
        old = take(pagesight, repository)
        client.indices.put_mapping(index=live[PAGES], meta=meta)
        snapshot = {"repository": repository, "wait_for_completion": True, "feature_states": ["none"]}
        client.snapshot.create(snapshot="others", indices=PAGES, **snapshot)
        client.indices.create(
            index="pages-v999",
            settings={"index.routing.allocation.require._name": "nobody"},
            wait_for_active_shards="0",
        )
        client.snapshot.create(
            snapshot="cut", indices="pages-v999", partial=True, metadata={"application": "pagesight"}, **snapshot
        )
        client.indices.delete(index="pages-v999")

        for name, code, words in (
            (old, 3, "pagesight reindex"),
            ("others", 2, "there is no snapshot"),
            ("nothing", 2, "there is no snapshot"),
            ("cut", 3, "is not whole (PARTIAL)"),
        ):
            refused = restore(pagesight, repository, name)
            assert (refused.code, words in refused.stderr) == (code, True), refused.stderr
        assert set(client.indices.get(index="pages-v*").body) == {live[PAGES]}
    assert bare_index.generations.live() == live
