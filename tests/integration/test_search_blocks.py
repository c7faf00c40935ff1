"""What keeps a cluster from taking records: each cause is set on a real node, named, and lifted again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from elasticsearch import Elasticsearch

from pipeline.core.errors import ServiceRefused, ServiceUnavailable
from pipeline.core.retry import CancelToken, Waiting
from pipeline.search import DOCUMENTS, PAGES, PAGES_WRITE, Written
from pipeline.search.index import Index
from support.fleet_runs import Fleet
from support.page_records import page, page_id, page_write
from support.pagesight_runs import Pagesight, make_pdf
from support.standin import Standin

Change = Callable[[Elasticsearch], object]
#: Seconds after which a wait that was expected counts as missing.
SECONDS = 60.0


@dataclass(frozen=True)
class Hindrance:
    """One cause: how to set it, how to lift it, and the words that name it and its remedy."""

    put: Change
    lift: Change
    words: tuple[str, ...]


def _index_block(name: str, *words: str) -> Hindrance:
    def settings(value: bool | None) -> Change:
        return lambda client: client.indices.put_settings(index="pages-v1", settings={f"index.blocks.{name}": value})

    return Hindrance(settings(True), settings(None), words)


def _cluster_block(name: str) -> Hindrance:
    def settings(value: bool | None) -> Change:
        return lambda client: client.cluster.put_settings(persistent={f"cluster.blocks.{name}": value})

    return Hindrance(settings(True), settings(None), (f"cluster.blocks.{name}", "/_cluster/settings"))


HINDRANCES = {
    "full-disk": _index_block("read_only_allow_delete", "disk is full", "Free disk space"),
    "write": _index_block("write", "index.blocks.write", "_settings"),
    "read-only": _index_block("read_only", "index.blocks.read_only", "_settings"),
    "closed": Hindrance(
        lambda client: client.indices.close(index="pages-v1"),
        lambda client: client.indices.open(index="pages-v1"),
        ("index is closed", "_open"),
    ),
    "cluster-read-only": _cluster_block("read_only"),
    "cluster-allow-delete": _cluster_block("read_only_allow_delete"),
}
#: An alias that is gone: it is not waited for, since every write is refused until a person decides.
NO_ALIAS = Hindrance(
    lambda client: client.indices.delete_alias(index="pages-v1", name=PAGES_WRITE),
    lambda client: client.indices.put_alias(index="pages-v1", name=PAGES_WRITE, is_write_index=True),
    ("nothing is installed yet", "pagesight setup"),
)
each_hindrance = pytest.mark.parametrize("hindrance", HINDRANCES.values(), ids=HINDRANCES)


@pytest.fixture
def client(elasticsearch_url: str) -> Iterator[Elasticsearch]:
    with Elasticsearch(elasticsearch_url, max_retries=0) as client:
        # Where the disk has room, the node lifts the block of a full disk at its next look: every 30 s by default.
        client.cluster.put_settings(persistent={"cluster.info.update.interval": "1h"})
        yield client
        client.cluster.put_settings(persistent={"cluster.info.update.interval": None})
        for hindrance in HINDRANCES.values():
            if client.indices.exists(index="pages-v1"):
                hindrance.lift(client)


def waited_for(cancel: CancelToken) -> Waiting:
    """Return the wait that a thread is in, as soon as it is in one."""
    for _ in range(int(SECONDS * 100)):
        if (waiting := cancel.waiting) is not None:
            return waiting
        time.sleep(0.01)
    raise AssertionError("nothing waits")


@each_hindrance
def test_a_writer_waits_names_the_remedy_and_goes_on_by_itself(
    index: Index, client: Elasticsearch, hindrance: Hindrance
) -> None:
    cancel = CancelToken()
    hindrance.put(client)
    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(index.write, [page_write(page())], cancel)
        try:
            waiting = waited_for(cancel)
        finally:
            hindrance.lift(client)
        assert all(words in waiting.cause for words in hindrance.words), waiting.cause
        assert written.result(SECONDS) == Written(written=1, indices=frozenset({"pages-v1"}))
    assert index.versions(PAGES, [page_id(page())])


@pytest.mark.parametrize("name", ["write", "closed", "cluster-read-only"])
def test_a_run_waits_and_ends_complete_without_a_person(pagesight: Pagesight, client: Elasticsearch, name: str) -> None:
    make_pdf(pagesight.files / "book.pdf", 3, seed=1)
    hindrance = HINDRANCES[name]
    hindrance.put(client)
    run = pagesight.start_index()
    try:
        if name == "cluster-read-only":  # the batch's own record comes first, and already waits
            run.until(lambda: bool(pagesight.archive.batches.names()))
        else:
            run.until(lambda: len(pagesight.newest()) == 3)  # read and archived, whatever the cluster does
        assert run.going_on
    finally:
        hindrance.lift(client)
    ended = run.ended()
    assert ended.code == 0, ended.stderr
    assert len(pagesight.records()) == 3
    pagesight.assert_archive_and_index_agree()


@pytest.mark.parametrize(("name", "words"), [("closed", "index is closed"), ("read", r"index\.blocks\.read")])
def test_a_search_names_the_cause(index: Index, client: Elasticsearch, name: str, words: str) -> None:
    hindrance = HINDRANCES.get(name) or _index_block(name)
    hindrance.put(client)
    try:
        with pytest.raises(ServiceUnavailable, match=words) as caught:
            index.count(PAGES)
        with pytest.raises(ServiceUnavailable, match=words):
            index.records(PAGES, ["1"])
    finally:
        hindrance.lift(client)
    assert "work then goes on by itself" in caught.value.remedy


def test_a_full_limit_of_shards_is_named_before_anything_is_half_made(index: Index, client: Elasticsearch) -> None:
    client.cluster.put_settings(persistent={"cluster.max_shards_per_node": 1})
    try:
        with pytest.raises(ServiceRefused, match="limit of shards") as caught:
            index.generations.create("here:1")
    finally:
        client.cluster.put_settings(persistent={"cluster.max_shards_per_node": None})
    assert "cluster.max_shards_per_node" in caught.value.remedy
    assert [generation.number for generation in index.generations.all()] == [1]


def test_an_alias_that_leads_to_two_indices_stops_writers_with_its_name(index: Index, client: Elasticsearch) -> None:
    client.indices.create(index="documents-v2", aliases={DOCUMENTS: {}})
    with pytest.raises(ServiceRefused, match="alias leads to several indices") as caught:
        index.records(DOCUMENTS, ["1"])
    assert "_cat/aliases" in caught.value.remedy


def test_a_lack_of_memory_in_the_cluster_is_waited_for(index: Index, client: Elasticsearch) -> None:
    breaker = "indices.breaker.request.limit"
    client.cluster.put_settings(persistent={breaker: "0%"})
    try:
        with pytest.raises(ServiceUnavailable, match="circuit breaker") as caught:
            index.queries.search("word")
    finally:
        client.cluster.put_settings(persistent={breaker: None})
    assert "heap" in caught.value.remedy


def test_a_field_that_the_indices_lack_is_named_with_what_compares_them(
    bare_index: Index, client: Elasticsearch
) -> None:
    client.indices.create(index="other-v1", aliases={PAGES: {}, PAGES_WRITE: {}})
    try:
        with pytest.raises(ServiceRefused, match="field is missing in the indices") as caught:
            list(bare_index.queries.document_pages("a", collection="b"))
    finally:
        client.indices.delete(index="other-v1")
    assert "pagesight setup --check" in caught.value.remedy


class Blocked:
    """A worker that reads one page for each hindrance, which is put into effect while the model is asked."""

    def __init__(self, fleet: Fleet, standin: Standin, client: Elasticsearch) -> None:
        self.fleet = fleet
        self._standin = standin
        self._client = client
        self._number = 0

    @contextmanager
    def at(self, hindrance: Hindrance) -> Iterator[str]:
        """Hinder the record of the next page within the block; the batch."""
        self._number += 1
        paper = make_pdf(self.fleet.pagesight.files / f"{self._number}.pdf", 1, seed=self._number)
        with self._standin.holding():
            asked = self._standin.counters()["requests"]
            batch = self.fleet.enqueue(paper)
            self.fleet.until(lambda: self._standin.counters()["requests"] > asked)
            hindrance.put(self._client)
        try:
            yield batch
        finally:
            hindrance.lift(self._client)

    def ended_well(self, batch: str) -> None:
        """Wait for the end of the batch, and hold it against what went into it: one page, asked for once."""
        assert self.fleet.until_ended(batch).pages == {"described": 1}, self.fleet.said()
        assert len(self.fleet.pagesight.records()) == self._number
        assert self._standin.counters()["asked_again"] == 0


def test_a_worker_waits_at_a_block_or_halts_names_it_and_goes_on(
    fleet: Fleet, client: Elasticsearch, standin: Standin
) -> None:
    """One worker meets the kinds of hindrances, one after the other."""
    fleet.pagesight.run("setup")
    worker = fleet.start_worker()
    blocked = Blocked(fleet, standin, client)
    for name in ("full-disk", "closed", "cluster-read-only"):
        hindrance = HINDRANCES[name]
        with blocked.at(hindrance) as batch:
            fleet.until(lambda words=hindrance.words: all(part in _waited_for(fleet) for part in words))
            assert worker.going_on
        blocked.ended_well(batch)

    with blocked.at(NO_ALIAS) as batch:
        fleet.until(lambda: (state := fleet.pagesight.archive.fleet.newest()) is not None and state.state == "halted")
        shown = fleet.pagesight.run("status", "--json").json["fleet"]
        assert all(words in str(shown) for words in NO_ALIAS.words), shown
    assert fleet.pagesight.run("resume").code == 0
    blocked.ended_well(batch)
    fleet.pagesight.assert_archive_and_index_agree()
    fleet.assert_quiet()


def _waited_for(fleet: Fleet) -> str:
    """Return what `pagesight status` says that the worker waits for."""
    return str([worker["waiting"] for worker in fleet.pagesight.run("status", "--json").json["workers"]])


def _no_room_for_shards(client: Elasticsearch) -> None:
    client.cluster.put_settings(persistent={"cluster.max_shards_per_node": 1})


def _shards_again(client: Elasticsearch) -> None:
    client.cluster.put_settings(persistent={"cluster.max_shards_per_node": None})


#: What keeps indices from being made.
REFUSALS = {
    "shards": Hindrance(_no_room_for_shards, _shards_again, ("limit of shards", "cluster.max_shards_per_node")),
    "template": Hindrance(
        lambda client: client.indices.put_index_template(
            name="their-documents", index_patterns=["documents-*"], priority=500, template={"mappings": {}}
        ),
        lambda client: client.options(ignore_status=404).indices.delete_index_template(name="their-documents"),
        ("their-documents", "PAGESIGHT_ELASTICSEARCH_PREFIX"),
    ),
}


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
def test_what_keeps_indices_from_being_made_ends_the_first_run_and_costs_nothing(
    pagesight: Pagesight, bare_index: Index, client: Elasticsearch, standin: Standin, refusal: Hindrance
) -> None:
    make_pdf(pagesight.files / "letter.pdf", 1, seed=1)
    refusal.put(client)
    try:
        ended = pagesight.index()
    finally:
        refusal.lift(client)
    assert ended.code == 3
    assert all(words in ended.stderr for words in refusal.words), ended.stderr
    assert standin.counters()["requests"] == 0

    assert pagesight.index().json["pages"] == {"described": 1}
    pagesight.assert_archive_and_index_agree()
