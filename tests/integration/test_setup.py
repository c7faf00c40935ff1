"""`pagesight setup`: what is missing is made, what is there stays, and what is of another schema is refused."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from elasticsearch import Elasticsearch

from pipeline.search import PAGES, Layout
from pipeline.search.index import Index
from support.pagesight_runs import MakePagesight, Pagesight


@pytest.fixture
def client(elasticsearch_url: str) -> Iterator[Elasticsearch]:
    with Elasticsearch(elasticsearch_url) as client:
        yield client


@pytest.fixture
def home(elasticsearch_url: str, bare_index: Index, make_pagesight: MakePagesight) -> Pagesight:
    return make_pagesight(elasticsearch_url)


def test_it_says_what_it_changed_and_the_second_time_nothing_is_left(home: Pagesight) -> None:
    checked = home.run("setup", "--check", "--json")
    assert checked.code == 1
    first = home.run("setup", "--json")
    assert first.code == 0, first.stderr
    assert first.json["changed"] == checked.json["differences"]
    assert "index pages-v1" in first.json["changed"]
    assert first.json["roles_left_alone"] == "the server has no security"
    second = home.run("setup")
    assert "Nothing was changed" in second.stdout
    assert home.run("setup", "--check").code == 0


def test_a_check_changes_nothing(home: Pagesight, client: Elasticsearch) -> None:
    assert home.run("setup", "--check").code == 1
    assert not client.indices.exists_alias(name=PAGES)


def test_a_template_that_somebody_changed_differs_until_it_is_set_up_again(
    home: Pagesight, client: Elasticsearch
) -> None:
    home.run("setup")
    client.cluster.put_component_template(name="pagesight-error", template={"mappings": {}})
    client.indices.delete_alias(index="pages-v1", name=PAGES)
    assert home.run("setup", "--check", "--json").json["differences"] == [
        "component template pagesight-error",
        "alias pages",
    ]
    assert home.run("setup").code == 0
    assert home.run("setup", "--check").code == 0


@pytest.mark.parametrize("schema", [1, 999])
def test_an_older_schema_and_a_newer_one_are_refused_with_the_remedy(
    home: Pagesight, client: Elasticsearch, schema: int
) -> None:
    home.run("setup")
    client.indices.put_mapping(index="pages-v1", meta={"schema_version": schema})
    for words in (["setup"], ["setup", "--check"]):
        ended = home.run(*words)
        assert ended.code == 3
        assert f"the schema version {schema}" in ended.stderr
        assert "pagesight reindex" in ended.stderr


def test_a_prefix_keeps_installations_apart_and_shards_are_as_they_are_set(
    home: Pagesight, bare_index: Index, elasticsearch_url: str, client: Elasticsearch
) -> None:
    bare_index.install()
    home.set(elasticsearch_prefix="museum-", elasticsearch_shards=2)
    with Index(elasticsearch_url, layout=Layout("museum-")) as museum:
        try:
            changed = home.run("setup", "--json").json["changed"]
            ours = [words for words in changed if not words.startswith("language")]
            assert all(words.split()[-1].startswith("museum-") for words in ours)
            assert set(client.indices.get_alias(name="museum-pages-write").body) == {"museum-pages-v1"}
            settings = client.indices.get_settings(index="museum-pages-v1")["museum-pages-v1"]["settings"]["index"]
            assert settings["number_of_shards"] == "2"
            assert home.run("reindex").code == 0
            assert set(client.indices.get_alias(name="museum-pages").body) == {"museum-pages-v2"}
            assert bare_index.install() == ()
            assert set(client.indices.get_alias(name="pages").body) == {"pages-v1"}
        finally:
            museum.drop()
            for name in client.indices.get_index_template(name="museum-pagesight-*")["index_templates"]:
                client.indices.delete_index_template(name=name["name"])


def test_a_bare_query_of_many_words_stays_within_the_servers_limits(index: Index, client: Elasticsearch) -> None:
    words = " ".join(f"word{number}" for number in range(30))
    assert client.search(index=PAGES, query={"query_string": {"query": words}})["hits"]["total"]["value"] == 0
