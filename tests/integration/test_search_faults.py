"""The bulk writer while the cluster is under pressure, behind a narrow proxy, cut off, or away."""

from __future__ import annotations

import threading

import pytest

from pipeline.core.errors import ServiceRefused, ServiceUnavailable, Stopped
from pipeline.core.retry import CancelToken
from pipeline.search import PAGES, Written
from pipeline.search.index import Index
from support.faulty_elasticsearch import (
    answers,
    answers_for_half_of_the_items,
    faulty,
    hangs_up_after_writing,
    hangs_up_in_the_middle_of_the_answer,
    hangs_up_unread,
    takes_at_most,
)
from support.page_records import page, page_id, page_write

INDICES = frozenset({"pages-v1"})
RECORDS = [page(number, text=f"page {number}") for number in range(1, 41)]


def write_through(server, records=RECORDS):
    with Index(server.url) as index:
        return index.write(map(page_write, records), CancelToken())


def stored(index, records=RECORDS):
    return index.versions(PAGES, list(map(page_id, records)))


@pytest.mark.parametrize(
    "fault", [answers(429), answers(429, **{"Retry-After": "1"}), answers(503), answers(502), hangs_up_unread]
)
def test_a_request_that_fails_as_a_whole_is_sent_again(index, elasticsearch_url, fault):
    with faulty(elasticsearch_url, fault) as server:
        assert write_through(server) == Written(written=40, indices=INDICES)
        assert server.bulk_actions == [40, 40]


@pytest.mark.parametrize("status", [429, 503, 404])
def test_only_the_rejected_items_are_sent_again_and_none_is_lost(index, elasticsearch_url, status):
    fault = answers_for_half_of_the_items(status)
    with faulty(elasticsearch_url, fault, fault) as server:
        assert write_through(server) == Written(written=40, indices=INDICES)
        assert server.bulk_actions == [40, 20, 10]
    assert len(stored(index)) == 40


@pytest.mark.parametrize("fault", [hangs_up_after_writing, hangs_up_in_the_middle_of_the_answer])
def test_a_lost_answer_costs_a_repetition_and_changes_nothing(index, elasticsearch_url, fault):
    with faulty(elasticsearch_url, fault) as server:
        assert write_through(server) == Written(stale=40)
    assert len(stored(index)) == 40


def test_a_request_that_is_too_large_is_halved_until_it_passes(index, elasticsearch_url):
    with faulty(elasticsearch_url, takes_at_most(12)) as server:
        assert write_through(server) == Written(written=40, indices=INDICES)
        assert server.bulk_actions == [40, 20, 10, 10, 10, 10]


def test_a_record_that_is_too_large_alone_is_refused(index, elasticsearch_url):
    with faulty(elasticsearch_url, takes_at_most(0)) as server:
        written = write_through(server, RECORDS[:3])
    assert set(written.refused) == set(map(page_id, RECORDS[:3]))
    assert "413" in written.refused[page_id(RECORDS[0])]


@pytest.mark.parametrize(
    ("status", "words"), [(401, "refuses to sign in"), (403, "does not allow"), (400, "answers 400")]
)
def test_a_refusal_of_everything_stops_the_run(index, elasticsearch_url, status, words):
    with faulty(elasticsearch_url, answers(status)) as server, pytest.raises(ServiceRefused, match=words) as caught:
        write_through(server)
    assert caught.value.remedy


def test_a_server_that_is_no_elasticsearch_is_refused(elasticsearch_url):
    def poses_as_one(request):
        request.reply(200, {"Content-Type": "application/json"}, b"{}")

    with faulty(elasticsearch_url, poses_as_one) as server, pytest.raises(ServiceRefused, match="like Elasticsearch"):
        write_through(server)


def test_who_waits_says_for_what_and_can_be_stopped(elasticsearch_url):
    cancel = CancelToken()
    with faulty(elasticsearch_url, *[answers(503)] * 50) as server, Index(server.url) as index:
        seen = []

        def look_and_stop():
            while cancel.waiting is None:
                pass
            seen.append(cancel.waiting)
            cancel.stop()

        watcher = threading.Thread(target=look_and_stop)
        watcher.start()
        with pytest.raises(Stopped):
            index.write(map(page_write, RECORDS), cancel)
        watcher.join()
    assert seen[0].service == "elasticsearch"
    assert "503" in seen[0].cause


def test_a_cluster_that_is_away_is_unavailable_not_broken():
    with Index("http://127.0.0.1:9") as index:
        for ask in (
            index.health,
            index.install,
            lambda: index.queries.search("x"),
            lambda: index.versions(PAGES, ["1"]),
        ):
            with pytest.raises(ServiceUnavailable, match="cannot be reached"):
                ask()


@pytest.mark.slow
def test_a_node_that_is_stopped_in_the_middle_is_waited_for_and_nothing_is_lost(make_node):
    node = make_node()
    url = node.start()
    cancel = CancelToken()
    half_way = threading.Event()
    records = [page(number, text="word " * 50) for number in range(1, 3001)]

    def writes():
        for number, record in enumerate(records, start=1):
            if number == 1500:
                half_way.set()
            yield page_write(record)

    def restart():
        half_way.wait()
        node.stop()
        while cancel.waiting is None:
            half_way.wait(0.01)
        node.start()

    with Index(url) as index:
        index.install()
        other = threading.Thread(target=restart)
        other.start()
        written = index.write(writes(), cancel)
        other.join()
        assert not written.refused
        assert written.written + written.stale == 3000
        assert stored(index, records) == {page_id(record): 1 for record in records}
