"""New indices from the archive beside live traffic, the way back, and what dies or races on the way."""

from __future__ import annotations

import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from elasticsearch import Elasticsearch
from elasticsearch.helpers import bulk

from pipeline.archive import Archive, Store
from pipeline.core.errors import Overtaken, ServiceRefused, SettingsError
from pipeline.core.models import Reading
from pipeline.core.retry import CancelToken
from pipeline.core.url_signing import Signer
from pipeline.pages.deletion import carry_out, request_deletion
from pipeline.projection import rebuild as reindexing
from pipeline.projection.projector import Projector
from pipeline.projection.rebuild import prune, reindex, rollback
from pipeline.search import DOCUMENTS, PAGES, SOURCES, State
from pipeline.search.index import Index
from pipeline.search.query_builder import Filters
from support.page_archives import (
    COLLECTION,
    archive_document,
    begin,
    bury_document,
    document_name,
    fill,
    write_document,
)
from support.pagesight_runs import MakePagesight, Pagesight
from support.reindexed import assert_holds_the_archive

DOCUMENTS_AT_FIRST = 100
SEED = 20261130


@pytest.fixture(scope="module")
def large_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2,000 pages."""
    folder = tmp_path_factory.mktemp("large") / "archive"
    fill(begin(folder), DOCUMENTS_AT_FIRST)
    return folder


@pytest.fixture
def client(elasticsearch_url: str) -> Iterator[Elasticsearch]:
    with Elasticsearch(elasticsearch_url) as client:
        yield client


@pytest.fixture
def large(large_archive: Path, tmp_path: Path, index: Index) -> Projector:
    """The 2,000 pages, and indices that hold them."""
    shutil.copytree(large_archive, tmp_path / "archive")
    projector = Projector(Archive(Store(str(tmp_path / "archive"))), index, CancelToken(), Signer())
    reindex(projector, [COLLECTION])
    return projector


@pytest.fixture
def small(tmp_path: Path, index: Index) -> Projector:
    """60 pages, and indices that hold them."""
    archive = begin(tmp_path / "archive")
    fill(archive, 3)
    projector = Projector(archive, index, CancelToken(), Signer())
    reindex(projector, [COLLECTION])
    return projector


@pytest.fixture
def short_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reindexing, "BEAT_SECONDS", 0.2)
    monkeypatch.setattr(reindexing, "SILENCE_SECONDS", 2.0)


def delete(projector: Projector, number: int) -> None:
    carry_out(request_deletion(projector.archive, COLLECTION, document_name(number), purge=False), projector)


class Searches:
    """Searches through the alias, every 50 ms, and what they found."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self.found: list[int] = []
        self.failed: list[Exception] = []

    def _search(self, ended: threading.Event) -> None:
        while not ended.wait(0.05):
            try:
                self.found.append(self._index.queries.search("sheet", Filters(collection=COLLECTION)).total)
            except Exception as error:
                self.failed.append(error)

    @contextmanager
    def going_on(self) -> Iterator[None]:
        ended = threading.Event()
        thread = threading.Thread(target=self._search, args=(ended,))
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def work_a_tenth_more(projector: Projector) -> None:
    """200 pages come, 200 go, and some that went late are asked for again."""
    for number in range(10):
        write_document(projector, DOCUMENTS_AT_FIRST + number)
        delete(projector, number)
        time.sleep(0.1)


def test_new_indices_lose_nothing_that_is_written_or_deleted_meanwhile(large: Projector) -> None:
    large.refresh()
    searches = Searches(large.index)
    with ThreadPoolExecutor(1) as pool, searches.going_on():
        work = pool.submit(work_a_tenth_more, large)
        done = reindex(large)
        work.result()
        large.refresh()
    assert done.former
    assert not set(done.former) & set(done.indices)
    assert searches.failed == []
    assert min(searches.found) >= 1800
    assert max(searches.found) <= 2200
    assert_holds_the_archive(large)
    # Some is written before the way back, and some goes.
    write_document(large, 200)
    delete(large, 50)
    with searches.going_on():
        back = rollback(large)
    assert back.indices == done.former
    assert searches.failed == []
    assert min(searches.found) >= 1780
    assert_holds_the_archive(large)


def test_a_late_writer_brings_nothing_back_neither_after_new_indices_nor_after_the_way_back(small: Projector) -> None:
    late = list(small.archive.readings(COLLECTION, document_name(1)).newest())
    for change in (reindex, rollback):
        delete(small, 1)
        change(small)
        small.pages(late)
        assert_holds_the_archive(small)
        assert small.index.versions(PAGES, [f"{COLLECTION}:{document_name(1)}:00001"]) == {}


def test_what_is_deleted_while_new_indices_are_filled_is_not_in_them(small: Projector) -> None:
    deleted: list[int] = []

    def advance(step: str, pages: int) -> None:
        if pages and not deleted:  # its pages are in the new indices by now
            deleted.append(pages)
            bury_document(small.archive, 2)

    reindex(small, advance=advance)
    assert_holds_the_archive(small)


def test_what_is_deleted_goes_from_the_indices_that_are_kept_as_well(small: Projector) -> None:
    reindex(small)
    delete(small, 0)
    (kept,) = small.kept()
    for place in (kept, small):
        place.refresh()
    assert kept.index.count(PAGES) == small.index.count(PAGES) == 40
    assert kept.index.count(DOCUMENTS) == 2


def test_a_cluster_that_lost_its_indices_is_filled_from_the_archive(small: Projector) -> None:
    small.index.drop()
    done = reindex(small)
    assert done.former == ()
    assert done.pages == 60
    assert_holds_the_archive(small)


def test_one_collection_is_brought_up_to_date_in_the_live_indices(small: Projector) -> None:
    archive_document(small.archive, 7)
    bury_document(small.archive, 0)
    live = small.index.generations.live()
    done = reindex(small, [COLLECTION])
    assert done.written == 40
    assert small.index.generations.live() == live
    assert reindex(small, [COLLECTION]).written == 0
    assert_holds_the_archive(small)


@pytest.mark.parametrize("schema", [1, 999], ids=["older", "newer"])
def test_indices_of_another_schema_are_replaced_and_not_gone_back_to(
    small: Projector, client: Elasticsearch, schema: int
) -> None:
    name = small.index.generations.live()[PAGES]
    client.indices.put_mapping(index=name, meta={"schema_version": schema})
    with pytest.raises(ServiceRefused, match=f"schema version {schema}") as caught:
        small.index.ensure()
    assert "pagesight reindex" in caught.value.remedy
    reindex(small)
    assert small.index.ensure() == ()
    assert_holds_the_archive(small)
    with pytest.raises(ServiceRefused, match=f"schema version {schema}"):
        rollback(small)


def test_languages_that_the_server_has_learnt_reach_writers_that_were_there_before(
    bare_index: Index, client: Elasticsearch, tmp_path: Path
) -> None:
    bare_index.install()
    client.indices.delete(index="pages-v1")
    client.cluster.put_component_template(name="pagesight-pages-language-de", template={"mappings": {}})
    client.indices.create(index="pages-v1", aliases={"pages": {}, "pages-write": {"is_write_index": True}})
    bare_index.look_again()
    assert "de" not in bare_index.languages
    projector = Projector(begin(tmp_path / "archive"), bare_index, CancelToken(), Signer())
    with Index(str(client.transport.node_pool.get().base_url)) as other:
        reindex(projector.of(other))
    write_document(projector, 1)  # with what it knew of the former index
    ((_, record),) = bare_index.records(PAGES, [f"{COLLECTION}:{document_name(1)}:00001"]).values()
    assert record["i18n"]["text"] == {"de": record["text"]}


def blocked_until(condition: threading.Event, reached: threading.Event) -> Callable[[str, int], None]:
    """Hold up whoever calls it in its first step, until something has happened."""

    def advance(step: str, pages: int) -> None:
        reached.set()
        assert condition.wait(60)

    return advance


def test_of_two_at_once_one_wins_and_the_other_deletes_what_it_made(small: Projector, short_silence: None) -> None:
    won, begun = threading.Event(), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        loser = pool.submit(reindex, small, None, blocked_until(won, begun))
        try:
            assert begun.wait(60)
            winner = reindex(small)
        finally:
            won.set()
        with pytest.raises(Overtaken):
            loser.result()
    generations = small.index.generations.all()
    assert [set(generation.indices.values()) for generation in generations] == [{State.KEPT}, {State.LIVE}]
    assert set(generations[1].indices) == set(winner.indices)
    assert_holds_the_archive(small)


def test_one_that_was_taken_for_dead_loses_and_says_so(
    small: Projector, short_silence: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reindexing, "BEAT_SECONDS", 60.0)
    cleared, begun = threading.Event(), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        silent = pool.submit(reindex, small, None, blocked_until(cleared, begun))
        try:
            assert begun.wait(60)
            pruned = prune(small, keep=1)
        finally:
            cleared.set()
        assert len(pruned) == 5
        with pytest.raises(Overtaken, match="received no heartbeat from this one"):
            silent.result()
    assert_holds_the_archive(small)


def test_indices_that_are_not_what_the_archive_says_are_not_shown(small: Projector, client: Elasticsearch) -> None:
    live = small.index.generations.live()

    def advance(step: str, pages: int) -> None:
        client.index(index="sources-v2", id="stray", document={"collection": COLLECTION})

    with pytest.raises(ServiceRefused, match="sources: 3 are expected and 4 found"):
        reindex(small, advance=advance)
    assert small.index.generations.live() == live
    assert len(small.index.generations.all()) == 1
    assert_holds_the_archive(small)


def test_records_that_say_something_else_than_their_readings_are_not_shown(
    small: Projector, client: Elasticsearch
) -> None:
    live = small.index.generations.live()
    ids = [f"{COLLECTION}:{document_name(number)}:{page:05d}" for number in range(3) for page in range(1, 21)]

    def advance(step: str, pages: int) -> None:
        if step == "following":
            place = {"_index": "pages-v2", "version": 1, "version_type": "external_gte"}
            bulk(client, [place | {"_id": key, "_source": {"collection": COLLECTION}} for key in ids])

    with pytest.raises(ServiceRefused, match="has another"):
        reindex(small, advance=advance)
    assert small.index.generations.live() == live
    assert_holds_the_archive(small)


def test_going_back_again_and_again_comes_to_the_oldest_that_is_kept(small: Projector) -> None:
    with pytest.raises(SettingsError, match="no former indices"):
        rollback(small)
    reindex(small)
    reindex(small)
    assert rollback(small).indices[1] == "documents-v2"
    assert rollback(small).indices[1] == "documents-v1"
    with pytest.raises(SettingsError, match="no former indices"):
        rollback(small)


def test_pruning_leaves_those_that_can_be_gone_back_to_first(small: Projector) -> None:
    for _ in range(3):
        reindex(small)
    assert len(prune(small, keep=1)) == 10
    assert [generation.number for generation in small.index.generations.all()] == [3, 4]
    assert reindex(small, keep=0).pruned == tuple(f"{name}-v{number}" for number in (3, 4) for name in FAMILIES)
    assert_holds_the_archive(small)


FAMILIES = ("batches", "documents", "pages", "runs", "sources")


@pytest.fixture
def commands(
    large_archive: Path, elasticsearch_url: str, bare_index: Index, make_pagesight: MakePagesight
) -> tuple[Pagesight, Projector]:
    """`pagesight` over the 2,000 pages, and indices that hold them."""
    pagesight = make_pagesight(elasticsearch_url)
    shutil.copytree(large_archive, pagesight.archive_folder)
    assert pagesight.run("reindex").code == 0
    return pagesight, Projector(pagesight.archive, bare_index, CancelToken(), Signer())


def test_killed_at_any_moment_it_leaves_the_live_indices_whole_and_the_next_run_cleans_up(
    commands: tuple[Pagesight, Projector],
) -> None:
    pagesight, projector = commands
    generations = projector.index.generations
    run = pagesight.start("reindex")
    run.until(lambda: len(generations.all()) > 1)
    time.sleep(random.Random(SEED).uniform(0, 2))
    run.kill()
    assert len(generations.live()) == 5
    assert_holds_the_archive(projector)
    write_document(projector, 300)
    ended = pagesight.run("reindex", "--json")
    assert ended.code == 0, ended.stderr
    assert ended.json["pages"] == 2020
    assert not any(generation.has(State.FILLING) for generation in generations.all())
    assert_holds_the_archive(projector)


def test_the_command_says_what_it_would_do_does_it_and_goes_back(commands: tuple[Pagesight, Projector]) -> None:
    pagesight, projector = commands
    would = pagesight.run("reindex", "--dry-run", "--json").json
    assert would["written"] == 2000
    assert "pages-v2" in would["shown"]
    assert len(projector.index.generations.all()) == 1
    done = pagesight.run("reindex", "--json").json
    assert done["former"] == would["live"]
    assert done["indices"] == would["shown"]
    assert pagesight.run("reindex", "--rollback", "--dry-run", "--json").json["shown"] == done["former"]
    assert pagesight.run("reindex", "--rollback").code == 0
    assert pagesight.run("reindex", "--prune", "--keep", "0", "--json").json["deleted"] == done["indices"]
    assert pagesight.run("reindex", "--rollback").code == 2
    assert pagesight.run("reindex", "--rollback", "--prune").code == 2
    assert_holds_the_archive(projector)


def test_a_source_that_is_known_no_more_has_no_record(small: Projector) -> None:
    deletion = request_deletion(small.archive, COLLECTION, None, purge=False)
    carry_out(deletion, small)
    reindex(small)
    assert [small.index.count(alias) for alias in (PAGES, DOCUMENTS, SOURCES)] == [0, 0, 0]
    assert not any(
        isinstance(reading, Reading) for reading in small.archive.readings(COLLECTION, document_name(0)).newest()
    )
