"""The bulk writer against a real node: what each answer leads to."""

from __future__ import annotations

import pytest
from elasticsearch import Elasticsearch

from pipeline.core.errors import ServiceRefused
from pipeline.core.retry import CancelToken
from pipeline.search import PAGES, PAGES_WRITE, Write, Written
from pipeline.search.index import Index
from support.page_records import page, page_id, page_write

INDICES = frozenset({"pages-v1"})


def write(index: Index, *writes: Write) -> Written:
    return index.write(writes, CancelToken())


def test_records_are_stored_as_they_are(index):
    record = page(text='Ünïcode \u2028 \x00 and "quotes"', exif={"Make": "Canon"}, i18n={"text": {"de": "Häuser"}})
    assert write(index, page_write(record)) == Written(written=1, indices=INDICES)
    assert index.queries.record(page_id(record)) == record


def test_fields_named_like_bulk_parameters_stay_in_the_record(index):
    written = write(index, Write(PAGES_WRITE, "1", 1, {"version": 2}))
    assert "version" in written.refused["1"]


def test_an_older_or_equal_version_is_stale_and_changes_nothing(index):
    record = page(text="new")
    write(index, page_write(record, 5))
    assert write(index, page_write(page(text="old"), 4), page_write(page(text="same"), 5)) == Written(stale=2)
    assert index.queries.record(page_id(record)) == record
    assert write(index, page_write(page(text="newer"), 6)) == Written(written=1, indices=INDICES)


def test_a_deletion_is_a_version_too(index):
    record = page()
    gone = Write(PAGES_WRITE, page_id(record), 2, None)
    write(index, page_write(record, 1))
    assert write(index, gone) == Written(deleted=1, indices=INDICES)
    assert index.queries.record(page_id(record)) is None
    assert write(index, gone, page_write(record, 1)) == Written(stale=2)


def test_deleting_what_is_not_there_is_noted(index):
    assert write(index, Write(PAGES_WRITE, "absent", 3, None)) == Written(deleted=1, indices=INDICES)
    assert write(index, Write(PAGES_WRITE, "absent", 2, {"text": "late"})) == Written(stale=1)


def test_a_record_that_the_mapping_refuses_is_named_with_the_servers_words_and_the_rest_is_written(index):
    records = [page(number) for number in range(1, 6)]
    records[2]["image"] = {"width": "wide"}
    written = write(index, *map(page_write, records))
    assert written.written == 4
    assert list(written.refused) == [page_id(records[2])]
    assert "image.width" in written.refused[page_id(records[2])]


@pytest.mark.parametrize("source", [page(), None])
def test_a_missing_alias_stops_everything_and_no_index_is_made_in_its_stead(bare_index, elasticsearch_url, source):
    with pytest.raises(ServiceRefused, match="nothing is installed yet") as caught:
        write(bare_index, Write(PAGES_WRITE, "1", 1, source))
    assert "pagesight setup" in caught.value.remedy
    with Elasticsearch(elasticsearch_url) as client:
        assert not client.indices.exists(index=PAGES_WRITE)


def test_writes_are_taken_from_an_iterator_as_they_are_sent(index):
    taken = 0

    def writes():
        nonlocal taken
        for number in range(1, 1201):
            taken += 1
            yield page_write(page(number))
            if number == 600:
                assert index.versions(PAGES, [page_id(page(1))])

    assert index.write(writes(), CancelToken()) == Written(written=1200, indices=INDICES)
    assert taken == 1200


def test_nothing_to_write_is_fine(index):
    assert index.write((), CancelToken()) == Written()


def test_versions_are_told_without_a_refresh_for_any_number_of_ids(index):
    records = [page(number) for number in range(1, 702)]
    index.write((page_write(record, record["page"]["number"]) for record in records), CancelToken())
    versions = index.versions(PAGES, [*map(page_id, records), "absent"])
    assert versions == {page_id(record): record["page"]["number"] for record in records}


def test_versions_of_nothing_are_nothing(index):
    assert index.versions(PAGES, []) == {}


def test_versions_need_an_installation(bare_index):
    with pytest.raises(ServiceRefused, match="nothing is installed yet"):
        bare_index.versions(PAGES, ["1"])
