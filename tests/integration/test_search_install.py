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


@pytest.fixture
def index(bare_index):
    """Indices of an installation of this test's own."""
    bare_index.install()
    return bare_index


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
    assert settings["auto_expand_replicas"] == "0-1"
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


def test_a_language_that_the_server_has_learnt_since_is_named(bare_index, client):
    assert bare_index.search_languages.live() is None
    bare_index.install()
    client.indices.delete(index="pages-v1")
    client.cluster.put_component_template(name="pagesight-pages-language-de", template={"mappings": {}})
    client.indices.create(index="pages-v1", aliases={PAGES: {}, PAGES_WRITE: {"is_write_index": True}})
    bare_index.install()
    live = bare_index.search_languages.live()
    assert ("de" in live.exact, "en" in live.analysed) == (True, True)
    assert bare_index.search_languages.learnt(live) == ("de",)


def test_every_language_that_needs_no_plugin_is_analysed_on_the_local_node(index, client):
    live = index.search_languages.live()
    assert live.exact == ("pl", "uk")
    mapping = client.indices.get_mapping(index=PAGES)["pages-v1"]["mappings"]["properties"]["i18n"]["properties"]
    assert {name: field["properties"]["de"]["analyzer"] for name, field in mapping.items()} == dict.fromkeys(
        ("text", "description", "caption", "translation", "title"), "pagesight_german"
    )


def test_an_older_live_index_leaves_new_templates_for_its_reindex(index, client):
    client.cluster.put_component_template(name="pagesight-error", template={"mappings": {}})
    client.indices.put_mapping(index="pages-v1", meta={"schema_version": 1})
    with pytest.raises(ServiceRefused, match="pages-v1 has the schema version 1"):
        index.install()
    (stored,) = client.cluster.get_component_template(name="pagesight-error")["component_templates"]
    assert stored["component_template"]["_meta"]["managed_by"] == "pagesight"


def test_a_closed_live_index_is_not_taken_for_a_missing_one(index, client):
    client.indices.close(index="pages-v1")
    assert index.ensure() == ()
    assert index.differences() == ()
    assert set(client.indices.get(index="pages*", expand_wildcards=["open", "closed"]).body) == {"pages-v1"}


CUSTOM = {"pagesight@custom": "30s", "pagesight-pages@custom": "45s"}


@pytest.fixture
def customised(bare_index, client):
    """Component templates of an operator: one for all indices, one for those of pages."""
    for name, seconds in CUSTOM.items():
        settings = {"index": {"refresh_interval": seconds, "number_of_replicas": 2, "auto_expand_replicas": "false"}}
        client.cluster.put_component_template(name=name, template={"settings": settings})
    bare_index.install()
    yield bare_index
    for template in client.indices.get_index_template(name="pagesight-*")["index_templates"]:
        client.indices.delete_index_template(name=template["name"])
    client.cluster.delete_component_template(name=",".join(CUSTOM))


def test_an_operator_s_own_templates_win_and_stay(customised, client):
    def shaped(name):
        index = client.indices.get_settings(index=name)[name]["settings"]["index"]
        return index["refresh_interval"], index["number_of_replicas"], index["auto_expand_replicas"]

    assert shaped("pages-v1") == ("45s", "2", "false")
    assert shaped("runs-v1") == ("30s", "2", "false")
    assert customised.install() == ()

    made = customised.generations.create("here:1")
    assert shaped("pages-v2") == ("-1", "0", "false")
    assert customised.generations.finish(made)
    assert shaped("pages-v2") == ("45s", "2", "false")
    assert shaped("runs-v2") == ("30s", "2", "false")


@pytest.fixture
def foreign(bare_index, client):
    """Another application's template over our indices of documents."""

    def make(priority):
        mappings = {"properties": {"invoice": {"type": "keyword"}}}
        client.indices.put_index_template(
            name="their-documents", index_patterns=["documents-*"], priority=priority, template={"mappings": mappings}
        )

    yield make
    client.options(ignore_status=404).indices.delete_index_template(name="their-documents")


def test_a_foreign_template_that_wins_is_named_before_anything_is_made(bare_index, client, foreign):
    foreign(500)
    for call in (bare_index.install, bare_index.differences, bare_index.prepare, bare_index.ensure):
        with pytest.raises(ServiceRefused, match=r"template their-documents \(priority 500\)") as caught:
            call()
        assert "PAGESIGHT_ELASTICSEARCH_PREFIX" in caught.value.remedy
    assert not client.indices.exists_alias(name=PAGES)


def test_a_foreign_template_is_named_before_the_next_reindex_and_one_below_ours_is_not(index, foreign):
    foreign(100)
    assert index.install() == ()
    foreign(201)
    with pytest.raises(ServiceRefused, match="their-documents"):
        index.differences()


def test_doctor_names_a_foreign_template_that_wins(pagesight, index, foreign):
    def templates():
        (check,) = (check for check in pagesight.run("doctor", "--json").json["checks"] if "templates" in check["name"])
        return check

    foreign(100)
    assert templates()["fine"]
    foreign(500)
    found = templates()
    assert not found["fine"]
    assert "template their-documents (priority 500)" in found["found"]
    assert "PAGESIGHT_ELASTICSEARCH_PREFIX" in found["remedy"]


def test_a_live_index_that_a_foreign_template_shaped_is_named(index, client, foreign):
    client.indices.delete(index="documents-v1")
    foreign(500)
    client.indices.create(index="documents-v1", aliases={DOCUMENTS: {}})
    with pytest.raises(ServiceRefused, match="documents-v1 was made without Pagesight's mapping"):
        index.ensure()
    with pytest.raises(ServiceRefused, match="their-documents"):
        index.differences()


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
