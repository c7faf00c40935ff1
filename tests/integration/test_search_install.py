"""Installation on a real node."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from elasticsearch import BadRequestError, Elasticsearch

from pipeline.core.errors import ServiceRefused
from pipeline.core.retry import CancelToken
from pipeline.search import BATCHES, DOCUMENTS, PAGES, PAGES_WRITE, RUNS, SOURCES, Layout, Write
from pipeline.search.index import Index
from support.page_records import page, page_write


@pytest.fixture
def client(elasticsearch_url):
    with Elasticsearch(elasticsearch_url, max_retries=0) as client:
        yield client


def test_the_first_installation_makes_everything_and_says_so(bare_index, client):
    changes = bare_index.install()
    assert {"index pages-v1", "index sources-v1", "index documents-v1", "index batches-v1"} <= set(changes)
    for alias in (PAGES, PAGES_WRITE, SOURCES, DOCUMENTS, BATCHES, RUNS):
        assert client.indices.exists_alias(name=alias)
    assert {"en", "de", "fr", "ar", "ja", "zh", "ko"} <= bare_index.languages


def test_the_second_installation_changes_nothing(index):
    assert index.install() == ()


def test_installations_at_the_same_time_do_no_harm(bare_index, elasticsearch_url):
    def install(_: int) -> tuple[str, ...]:
        with Index(elasticsearch_url) as mine:
            return mine.install()

    with ThreadPoolExecutor(4) as pool:
        changes = [change for changes in pool.map(install, range(4)) for change in changes]
    assert changes.count("index pages-v1") == 1
    assert bare_index.install() == ()


def test_a_missing_alias_is_put_back(index, client):
    client.indices.delete_alias(index="pages-v1", name=PAGES)
    assert index.install() == ("alias pages",)


def test_an_alias_that_has_moved_to_another_index_stays_there(index, client):
    client.indices.create(index="pages-v2")
    client.indices.update_aliases(
        actions=[
            {"remove_index": {"index": "pages-v1"}},
            {"add": {"index": "pages-v2", "alias": PAGES}},
            {"add": {"index": "pages-v2", "alias": PAGES_WRITE, "is_write_index": True}},
        ]
    )
    assert index.install() == ()
    assert set(client.indices.get_alias(name=PAGES).body) == {"pages-v2"}


def test_another_number_of_replicas_is_for_indices_to_come(index, client, elasticsearch_url):
    with Index(elasticsearch_url, layout=Layout(replicas=1)) as other:
        assert other.install() == ("component template pagesight-settings",)
    settings = client.indices.get_settings(index="pages-v1")["pages-v1"]["settings"]["index"]
    assert settings["number_of_replicas"] == "0"
    assert index.install() == ("component template pagesight-settings",)


def test_an_index_of_another_schema_version_is_refused(index, client):
    client.indices.put_mapping(index="documents-v1", meta={"schema_version": 999})
    with pytest.raises(ServiceRefused, match=r"documents-v1 has the schema version 999") as caught:
        index.install()
    assert "pagesight reindex" in caught.value.remedy
    with pytest.raises(ServiceRefused, match="schema version 999"):
        index.ensure()


def test_an_index_that_took_the_name_of_an_alias_is_refused(bare_index, client):
    client.indices.create(index="sources")
    try:
        with pytest.raises(ServiceRefused, match="there is an index named sources"):
            bare_index.install()
    finally:
        client.indices.delete(index="sources")


def test_languages_that_the_server_has_learnt_since_are_added_to_the_live_index(bare_index, client):
    bare_index.install()
    client.indices.delete(index="pages-v1")
    client.cluster.put_component_template(name="pagesight-pages-language-de", template={"mappings": {}})
    client.indices.create(index="pages-v1", aliases={PAGES: {}, PAGES_WRITE: {"is_write_index": True}})
    changes = bare_index.install()
    assert "language de (german)" in changes
    assert "de" in bare_index.languages
    mapping = client.indices.get_mapping(index=PAGES)["pages-v1"]["mappings"]["properties"]["i18n"]["properties"]
    assert {name: field["properties"]["de"]["analyzer"] for name, field in mapping.items()} == {
        "text": "german",
        "description": "german",
        "caption": "german",
        "translation": "german",
        "title": "german",
    }


@pytest.mark.parametrize("alias", [PAGES_WRITE, SOURCES, DOCUMENTS, BATCHES, RUNS])
def test_unknown_fields_are_refused_everywhere(index, alias):
    written = index.write([Write(alias, "1", 1, {"revision": 1, "colour": "blue"})], CancelToken())
    assert "colour" in written.refused["1"]


def test_unknown_fields_are_refused_deep_within_a_record(index):
    record = page(image={"width": 3, "colour": "blue"})
    (reason,) = index.write([page_write(record)], CancelToken()).refused.values()
    assert "colour" in reason


@pytest.mark.parametrize(
    "record",
    [
        page(text="zebra"),
        page(caption="zebra"),
        page(translation="zebra"),
        page(layer_text="zebra"),
        page(description="zebra"),
        page(document={"title": "zebra"}),
        page(name="zebra"),
        page(i18n={"text": {"en": "zebras"}}),
        page(i18n={"title": {"en": "zebras"}}),
        page(i18n={"caption": {"en": "zebras"}}),
        page(i18n={"translation": {"en": "zebras"}}),
    ],
)
def test_a_bare_word_as_kibana_sends_it_finds_every_kind_of_text(index, client, record):
    index.write([page_write(record)], CancelToken())
    index.refresh(PAGES)
    assert client.search(index=PAGES, query={"query_string": {"query": "zebra"}})["hits"]["total"]["value"] == 1


def test_our_mapping_is_not_opened_by_dates_or_numbers_in_strings(index, client):
    record = page(exif={"DateTime": "2024:01:02 03:04:05", "Make": "2024-01-02"})
    index.write([page_write(record)], CancelToken())
    index.refresh(PAGES)
    assert client.search(index=PAGES, query={"term": {"exif.Make": "2024-01-02"}})["hits"]["total"]["value"] == 1
    with pytest.raises(BadRequestError):
        client.index(index=PAGES, document={"exif.Make": "x", "other": 1})


def test_health_is_asked_of_the_cluster(index):
    assert index.health() in {"green", "yellow"}
