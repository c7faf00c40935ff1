"""The drills of docs/operations.md, "Backing up": a lost cluster, a lost archive, a copy that is checked."""

from __future__ import annotations

import secrets
import shutil
from typing import Any

import pytest
from elasticsearch import Elasticsearch

from pipeline.search import PAGES, PAGES_WRITE
from pipeline.search.index import Index
from support.pagesight_runs import MakePagesight, Pagesight, make_pdf

ALIASES = "pages", "sources", "documents", "batches", "runs"
#: What the snapshots of docs/operations.md are taken and restored with.
OURS_ALONE: dict[str, Any] = {"include_global_state": False, "feature_states": ["none"], "wait_for_completion": True}


@pytest.fixture
def pagesight(make_pagesight: MakePagesight, bare_index: Index, elasticsearch_url: str) -> Pagesight:
    """`pagesight` with a book and a letter indexed by the local reader."""
    pagesight = make_pagesight(elasticsearch_url)
    make_pdf(pagesight.files / "book.pdf", 4, seed=1)
    make_pdf(pagesight.files / "letter.pdf", 2, seed=2)
    assert pagesight.index().code == 0
    return pagesight


@pytest.fixture
def repository(pagesight: Pagesight) -> str:
    """A repository that has one snapshot of the live indices, `taken`."""
    name = f"test-{secrets.token_hex(4)}"
    with pagesight.client() as client:
        client.snapshot.create_repository(name=name, repository={"type": "fs", "settings": {"location": name}})
        taken = client.snapshot.create(repository=name, snapshot="taken", indices=ALIASES, **OURS_ALONE)
    assert taken["snapshot"]["state"] == "SUCCESS"
    return name


@pytest.fixture
def changed_since(repository: str, pagesight: Pagesight) -> None:
    """A new document and a deleted one, which the snapshot does not know."""
    make_pdf(pagesight.files / "late.pdf", 3, seed=3)
    assert pagesight.index().code == 0
    assert pagesight.run("delete", "letter.pdf", "--yes").code == 0


def total(pagesight: Pagesight) -> int:
    found = pagesight.run("search", "sheet", "--json")
    assert found.code == 0, found.stderr
    return int(found.json["total"])


def take_the_place_of_live(client: Elasticsearch, number: int, restored: int) -> None:
    """Move every alias from the live indices to the restored ones, in one request."""
    actions: list[dict[str, Any]] = []
    for alias in (*ALIASES, PAGES_WRITE):
        family = alias.removesuffix("-write")
        actions.append({"remove": {"index": f"{family}-v{number}", "alias": alias, "must_exist": True}})
        write = {"is_write_index": True} if alias == PAGES_WRITE else {}
        actions.append({"add": {"index": f"{family}-v{restored}", "alias": alias, **write}})
    client.indices.update_aliases(actions=actions)


@pytest.mark.usefixtures("changed_since")
def test_a_lost_cluster_comes_back_from_a_snapshot_and_what_was_archived_since(
    pagesight: Pagesight, bare_index: Index, repository: str
) -> None:
    bare_index.drop()
    with pagesight.client() as client:
        client.snapshot.restore(repository=repository, snapshot="taken", indices="*", **OURS_ALONE)
    assert total(pagesight) == 6
    assert pagesight.run("setup").code == 0
    assert pagesight.run("reindex", "--collection", "default").code == 0
    pagesight.assert_archive_and_index_agree()
    assert total(pagesight) == 7
    assert pagesight.index().code == 0
    pagesight.assert_archive_and_index_agree()


@pytest.mark.usefixtures("changed_since")
def test_a_snapshot_restored_under_other_names_takes_the_place_of_live_indices(
    pagesight: Pagesight, bare_index: Index, repository: str
) -> None:
    live = bare_index.generations.live()
    number = int(live[PAGES].rpartition("-v")[2])
    with pagesight.client() as client:
        client.snapshot.restore(
            repository=repository,
            snapshot="taken",
            indices="*",
            include_aliases=False,
            rename_pattern=r"-v(\d+)$",
            rename_replacement="-v9$1",
            **OURS_ALONE,
        )
        assert bare_index.generations.live() == live
        pagesight.assert_archive_and_index_agree()

        take_the_place_of_live(client, number, int(f"9{number}"))
    assert total(pagesight) == 6
    assert pagesight.run("reindex", "--collection", "default").code == 0
    pagesight.assert_archive_and_index_agree()
    assert total(pagesight) == 7
    assert pagesight.run("reindex").code == 0
    pagesight.assert_archive_and_index_agree()


def test_a_lost_cluster_comes_back_from_the_archive_alone(pagesight: Pagesight, bare_index: Index) -> None:
    bare_index.drop()
    assert pagesight.run("reindex").code == 0
    pagesight.assert_archive_and_index_agree()
    assert total(pagesight) == 6


def test_a_lost_archive_leaves_pages_to_be_searched_and_shown(
    pagesight: Pagesight, bare_index: Index, repository: str
) -> None:
    shutil.rmtree(pagesight.archive_folder)

    assert total(pagesight) == 6
    shown = pagesight.run("show", "book.pdf:2", "--json")
    assert shown.code == 0, shown.stderr
    assert "sheet 2" in shown.json["pages"][0]["text"]

    refused = pagesight.run("reindex")  # it would delete every record
    assert refused.code == 3
    assert "PAGESIGHT_ARCHIVE" in refused.stderr
    assert total(pagesight) == 6

    bare_index.drop()
    with pagesight.client() as client:
        client.snapshot.restore(repository=repository, snapshot="taken", indices="*", **OURS_ALONE)
    assert total(pagesight) == 6


def test_what_an_archive_or_its_copy_lacks_is_named_and_counted(pagesight: Pagesight) -> None:
    image = next(pagesight.archive_folder.glob("images/*/*/*.jpg"))
    image.unlink()
    checked = pagesight.run("archive", "check", "--json")
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
        "mended": 0,
    }

    copy = pagesight.home / "copy"
    shutil.copytree(pagesight.archive_folder, copy)
    reading = next(copy.glob("readings/*/*/1.1.json"))
    reading.write_text("{")
    pagesight.set(elasticsearch_url="http://127.0.0.1:9")  # no cluster is needed
    shown = pagesight.run("archive", "check", "--copy", copy)
    assert shown.code == 1
    assert str(reading.relative_to(copy)) in shown.stdout


def test_an_archive_that_lacks_nothing_is_complete_and_one_that_is_not_there_is_empty(pagesight: Pagesight) -> None:
    complete = pagesight.run("archive", "check")
    assert (complete.code, "the archive is complete" in complete.stdout) == (0, True), complete.stderr
    empty = pagesight.run("archive", "check", "--copy", pagesight.home / "nowhere")
    assert (empty.code, "the archive is empty" in empty.stdout) == (0, True), empty.stderr
