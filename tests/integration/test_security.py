"""Least privilege and TLS on a node with security: its users have the very roles of `mappings/roles`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from elasticsearch import AuthorizationException, Elasticsearch

from pipeline.core.errors import ServiceRefused
from pipeline.core.models import AnswerKind
from pipeline.search import PAGES, PAGES_WRITE, ROLES
from pipeline.search.index import Index
from support.pagesight_runs import Ended, Pagesight, make_pdf
from support.secured_node import ADMIN, INSTALLER, SecuredNode

pytestmark = pytest.mark.slow

Request = Callable[[Elasticsearch], Any]

#: What only the re-indexer may do to our indices.
MANAGING: dict[str, Request] = {
    "make an index": lambda client: client.indices.create(index="pages-v99"),
    "delete an index": lambda client: client.indices.delete(index="pages-v1"),
    "change a mapping": lambda client: client.indices.put_mapping(
        index=PAGES_WRITE, properties={"x": {"type": "long"}}
    ),
    "change settings": lambda client: client.indices.put_settings(
        index="pages-v1", settings={"refresh_interval": "1h"}
    ),
    "move an alias": lambda client: client.indices.put_alias(index="sources-v1", name=PAGES),
}
WRITING: dict[str, Request] = {
    "write a record": lambda client: client.index(index=PAGES_WRITE, id="1", document={"revision": 1}),
    "delete a record": lambda client: client.delete(index=PAGES_WRITE, id="1"),
    "write in bulk": lambda client: client.bulk(index=PAGES_WRITE, operations=[{"index": {}}, {"revision": 1}]),
}
#: Ways to somebody else's data, direct and indirect. None of our roles may go any of them.
FOREIGN: dict[str, Request] = {
    "read another index": lambda client: client.search(index="secret"),
    "read an index that looks like ours": lambda client: client.search(index="pages-vault"),
    "read both": lambda client: client.search(index=f"{PAGES},secret"),
    "count": lambda client: client.count(index="secret"),
    "explain": lambda client: client.explain(index="secret", id="1", query={"match_all": {}}),
    "read term vectors": lambda client: client.termvectors(index="secret", id="1"),
    "look terms up": lambda client: client.search(
        index=PAGES, query={"terms": {"collection": {"index": "secret", "id": "1", "path": "salary"}}}
    ),
    "open a point in time": lambda client: client.open_point_in_time(index="secret", keep_alive="1m"),
    "open a point in time over both": lambda client: client.open_point_in_time(
        index=f"{PAGES},secret", keep_alive="1m"
    ),
    "analyse": lambda client: client.indices.analyze(index="secret", text="a"),
    "read a mapping": lambda client: client.indices.get_mapping(index="secret"),
    "write": lambda client: client.index(index="secret", id="2", document={"salary": 2}),
    "delete by its record": lambda client: client.delete(index="secret", id="1"),
    "make another index": lambda client: client.indices.create(index="other"),
    "make one that looks like ours": lambda client: client.indices.create(index="pages-vault-2"),
    "delete another index": lambda client: client.indices.delete(index="secret"),
    "block another index": lambda client: client.indices.add_block(index="secret", block="write"),
    "change its settings": lambda client: client.indices.put_settings(
        index="secret", settings={"refresh_interval": "1s"}
    ),
    "alias ours under their name": lambda client: client.indices.put_alias(index="pages-v1", name="theirs"),
    "alias theirs under our name": lambda client: client.indices.put_alias(index="secret", name=PAGES),
    "make ours with their alias": lambda client: client.indices.create(index="pages-v88", aliases={"theirs": {}}),
    "swap theirs away": lambda client: client.indices.update_aliases(
        actions=[{"add": {"index": "pages-v1", "alias": "secret"}}, {"remove_index": {"index": "secret"}}]
    ),
    "clone theirs": lambda client: client.indices.clone(index="secret", target="pages-v77"),
    "clone ours to another name": lambda client: client.indices.clone(index="pages-v1", target="other"),
    "roll ours over to another name": lambda client: client.indices.rollover(alias=PAGES_WRITE, new_index="other-1"),
    "put a template on their pattern": lambda client: client.indices.put_index_template(
        name="x", index_patterns=["secret*"], template={}
    ),
    "put a template on ours": lambda client: client.indices.put_index_template(
        name="x", index_patterns=["pages-v*"], template={}
    ),
    "put a component": lambda client: client.cluster.put_component_template(name="pagesight-pages", template={}),
    "read templates": lambda client: client.indices.get_index_template(),
    "simulate a template": lambda client: client.indices.simulate_index_template(name="secret-1"),
}
#: The cluster as a whole.
CLUSTER: dict[str, Request] = {
    "read the cluster state": lambda client: client.cluster.state(),
    "list indices": lambda client: client.cat.indices(),
    "list shards": lambda client: client.cat.shards(),
    "read nodes": lambda client: client.nodes.info(),
    "read pending tasks": lambda client: client.cluster.pending_tasks(),
    "read cluster settings": lambda client: client.cluster.get_settings(),
    "change cluster settings": lambda client: client.cluster.put_settings(
        persistent={"cluster.routing.rebalance.enable": "all"}
    ),
    "put a pipeline": lambda client: client.ingest.put_pipeline(id="x", processors=[]),
    "read pipelines": lambda client: client.ingest.get_pipeline(),
    "store a script": lambda client: client.put_script(id="x", script={"lang": "painless", "source": "1"}),
    "make a key": lambda client: client.security.create_api_key(name="more"),
    "grant a key": lambda client: client.security.grant_api_key(
        grant_type="password", username=ADMIN, password="x", api_key={"name": "more"}
    ),
    "read keys of its own": lambda client: client.security.get_api_key(owner=True),
    "change a role": lambda client: client.security.put_role(name="pagesight-reader", cluster=["all"]),
    "make a repository": lambda client: client.snapshot.create_repository(
        name="mine", repository={"type": "fs", "settings": {"location": "mine"}}
    ),
    "read repositories": lambda client: client.snapshot.get_repository(name="*"),
    "read snapshots": lambda client: client.snapshot.get(repository="theirs", snapshot="*"),
    "snapshot theirs": lambda client: client.snapshot.create(repository="theirs", snapshot="two", indices="secret"),
    "restore theirs under our name": lambda client: client.snapshot.restore(
        repository="theirs", snapshot="one", rename_pattern="secret", rename_replacement="pages-v66"
    ),
}
HEALTH: dict[str, Request] = {"read the health": lambda client: client.cluster.health()}
#: Modules that the node lacks. Their requests cannot be made here, their privileges can be asked for.
ABSENT = (
    "cluster:admin/slm/put",
    "cluster:admin/xpack/ml/*",
    "manage_ingest_pipelines",
    "manage_own_api_key",
    "monitor",
)


def cases(*kinds: dict[str, Request]) -> Any:
    requests = {name: request for kind in kinds for name, request in kind.items()}
    return pytest.mark.parametrize("request_it", requests.values(), ids=[name.replace(" ", "-") for name in requests])


@pytest.fixture(scope="module")
def home(secured_node: SecuredNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pagesight]:
    """`pagesight` with two documents to work, which trusts the node's CA and signs in as nobody yet."""
    pagesight = Pagesight(
        tmp_path_factory.mktemp("secured") / "home",
        secured_node.url(),
        elasticsearch_ca_certs=secured_node.ca,
    )
    make_pdf(pagesight.files / "book.pdf", 3, seed=1)
    make_pdf(pagesight.files / "letter.pdf", 2, seed=2)
    yield pagesight
    pagesight.close()


@pytest.fixture(scope="module")
def run_as(home: Pagesight, secured_node: SecuredNode) -> Callable[..., Ended]:
    def run(user: str, *words: Any) -> Ended:
        home.set(elasticsearch_url=secured_node.url(user), elasticsearch_ca_certs=secured_node.ca)
        return home.run(*words)

    return run


@pytest.fixture(scope="module")
def refused_early(run_as: Callable[..., Ended], home: Pagesight) -> Ended:
    """What a writer is told while there are no indices."""
    return run_as("writer", "index", "--json", home.files)


@pytest.fixture(scope="module")
def indexed(refused_early: Ended, run_as: Callable[..., Ended], home: Pagesight, secured_node: SecuredNode) -> Ended:
    """What the writer's batch came to, in indices that the re-indexer has made."""
    with secured_node.client(ADMIN) as client:
        for name in ("secret", "pages-vault"):
            client.index(index=name, id="1", document={"salary": ["1"]}, refresh=True)
        location = str(secured_node.ca.parents[1] / "snapshots" / "theirs")
        client.snapshot.create_repository(name="theirs", repository={"type": "fs", "settings": {"location": location}})
        client.snapshot.create(repository="theirs", snapshot="one", indices="secret", wait_for_completion=True)
    made = run_as(INSTALLER, "setup")
    assert made.code == 0, made.stderr
    return run_as("writer", "index", "--json", home.files)


def test_a_writer_makes_no_indices_and_is_told_who_does(refused_early: Ended) -> None:
    assert refused_early.code == 3
    assert "Elasticsearch does not allow it" in refused_early.stderr
    assert "pagesight setup" in refused_early.stderr


def test_a_writer_works_a_batch(indexed: Ended, secured_node: SecuredNode) -> None:
    assert indexed.code == 0, indexed.stderr
    assert indexed.json["pages"] == {"text_only": 5}
    with secured_node.client("reader") as client:
        assert client.count(index=PAGES)["count"] == 5


def test_a_writer_runs_the_commands_that_a_worker_s_machine_needs(
    indexed: Ended, run_as: Callable[..., Ended], home: Pagesight
) -> None:
    assert run_as("writer", "index", "--json", home.files).json["pages"] == {"text_only": 5}
    assert "fine" in run_as("writer", "doctor").stdout


def test_a_reader_searches(indexed: Ended, run_as: Callable[..., Ended]) -> None:
    found = run_as("reader", "search", "sheet", "--json")
    assert found.code == 0, found.stderr
    assert found.json["total"] == 5
    assert run_as("reader", "show", "book.pdf:2").code == 0


@pytest.fixture(scope="module")
def clients(indexed: Ended, secured_node: SecuredNode) -> Iterator[dict[str, Elasticsearch]]:
    """One for each role, once there are indices."""
    clients = {role: secured_node.client(role) for role in ROLES}
    yield clients
    for client in clients.values():
        client.close()


@cases(MANAGING, WRITING, FOREIGN, CLUSTER, HEALTH)
def test_a_reader_changes_nothing(clients: dict[str, Elasticsearch], request_it: Request) -> None:
    with pytest.raises(AuthorizationException):
        request_it(clients["reader"])


@cases(MANAGING, FOREIGN, CLUSTER)
def test_a_writer_only_writes(clients: dict[str, Elasticsearch], request_it: Request) -> None:
    with pytest.raises(AuthorizationException):
        request_it(clients["writer"])


@cases(FOREIGN, CLUSTER)
def test_the_reindexer_manages_our_indices_alone(clients: dict[str, Elasticsearch], request_it: Request) -> None:
    with pytest.raises(AuthorizationException):
        request_it(clients["reindexer"])


@cases(MANAGING, WRITING, FOREIGN, CLUSTER, HEALTH)
def test_a_backup_starts_policies_and_nothing_else(clients: dict[str, Elasticsearch], request_it: Request) -> None:
    with pytest.raises(AuthorizationException):
        request_it(clients["backup"])


@pytest.mark.parametrize("role", ROLES)
def test_requests_of_several_parts_and_patterns_give_nothing_of_others(
    clients: dict[str, Elasticsearch], role: str
) -> None:
    client = clients[role]
    if role != "backup":
        listed = set(client.indices.get(index="*").body) | set(client.indices.get_alias(index="*").body)
        found = client.search(index="*", query={"exists": {"field": "salary"}})
        assert not listed & {"secret", "pages-vault"}
        assert found["hits"]["total"]["value"] == 0
        assert not {"secret", "pages-vault"} & set(client.field_caps(index="*", fields="*")["indices"])
        like = [{"_index": "secret", "_id": "1"}]
        query = {"more_like_this": {"fields": ["description"], "like": like, "min_term_freq": 1, "min_doc_freq": 1}}
        assert client.search(index=PAGES, query=query)["hits"]["total"]["value"] == 0
    for call in (
        lambda: client.mget(docs=[{"_index": "secret", "_id": "1"}])["docs"][0]["error"],
        lambda: client.msearch(searches=[{"index": "secret"}, {}])["responses"][0]["error"],
        lambda: client.bulk(operations=[{"index": {"_index": "secret"}}, {"a": 1}])["items"][0]["index"]["error"],
    ):
        with suppress(AuthorizationException):
            assert call()["type"] == "security_exception"


@pytest.mark.parametrize("role", ROLES)
def test_no_privilege_on_foreign_indices_is_hidden_behind_a_module_that_the_node_lacks(
    clients: dict[str, Elasticsearch], role: str
) -> None:
    """`_reindex`, `_async_search`, SQL, ES|QL, transforms and data streams need these on the index that they read."""
    privileges = ["read", "read_cross_cluster", "view_index_metadata", "monitor", "write", "create_index", "manage"]
    foreign = {"names": ["secret", "pages-vault", "theirs", "*"], "privileges": privileges}
    answer = clients[role].security.has_privileges(cluster=list(ABSENT), index=[foreign])
    granted = [name for index in answer["index"].values() for name, has in index.items() if has]
    assert granted == []
    assert not any(answer["cluster"].values())


def test_a_backup_may_start_the_policies_of_an_administrator(clients: dict[str, Elasticsearch]) -> None:
    answer = clients["backup"].security.has_privileges(cluster=["cluster:admin/slm/execute", "cluster:admin/slm/get"])
    assert answer["has_all_requested"]


def test_health_is_all_of_the_cluster_that_a_worker_sees(clients: dict[str, Elasticsearch]) -> None:
    assert clients["writer"].cluster.health()["status"] in {"green", "yellow"}


def test_setup_needs_an_administrator_and_says_so(indexed: Ended, run_as: Callable[..., Ended]) -> None:
    for role in ("reader", "writer", "reindexer"):
        refused = run_as(role, "setup")
        assert refused.code == 3
        assert "administrator" in refused.stderr
    assert run_as(INSTALLER, "setup").code == 0


def test_a_reindex_with_outdated_templates_makes_nothing_live_and_names_who_updates_them(
    indexed: Ended, run_as: Callable[..., Ended], secured_node: SecuredNode
) -> None:
    with secured_node.client(ADMIN) as client:
        body = client.cluster.get_component_template(name="pagesight-runs")["component_templates"][0]
        template = body["component_template"]["template"]
        template["mappings"]["_meta"] = {"schema_version": 1}
        client.cluster.put_component_template(name="pagesight-runs", template=template)
        before = set(client.indices.get(index="*-v*").body)
        refused = run_as("reindexer", "reindex")
        assert refused.code == 3
        assert "schema version 1" in refused.stderr
        assert "manage index templates" in refused.stderr
        assert set(client.indices.get(index="*-v*").body) == before
    assert run_as(INSTALLER, "setup").code == 0
    assert run_as("reindexer", "reindex").code == 0


def test_a_writer_may_ask_for_what_repair_needs_of_the_cluster(indexed: Ended, secured_node: SecuredNode) -> None:
    with Index(secured_node.url("writer"), ca_certs=secured_node.ca) as writer:
        assert writer.health() in {"green", "yellow"}
        assert writer.ensure() == ()


def test_doctor_s_check_of_templates_needs_an_administrator_and_says_so(
    indexed: Ended, secured_node: SecuredNode
) -> None:
    checked = {}
    for user in ("writer", ADMIN):
        with Index(secured_node.url(user), ca_certs=secured_node.ca) as index:
            checked[user] = index.precedence.check()
    assert checked == {"writer": False, ADMIN: True}


def test_a_writer_learns_who_adds_the_fields_of_new_questions(indexed: Ended, secured_node: SecuredNode) -> None:
    kinds = {"document_type": AnswerKind.CHOICE}
    with Index(secured_node.url("writer"), ca_certs=secured_node.ca) as writer:
        with pytest.raises(ServiceRefused, match="indices:admin/mapping/put") as caught:
            writer.require_answers(kinds)
        assert "reindexer" in caught.value.remedy
        with Index(secured_node.url("reindexer"), ca_certs=secured_node.ca) as reindexer:
            reindexer.require_answers(kinds)
        writer.require_answers(kinds)


def test_the_reindexer_makes_the_indices_anew(indexed: Ended, run_as: Callable[..., Ended], home: Pagesight) -> None:
    made = run_as("reindexer", "reindex", "--json")
    assert made.code == 0, made.stderr
    assert run_as("reader", "search", "sheet", "--json").json["total"] == 5


def test_a_reader_s_run_stops_at_the_index_and_loses_nothing(
    indexed: Ended, run_as: Callable[..., Ended], home: Pagesight
) -> None:
    make_pdf(home.files / "late.pdf", 1, seed=3)
    refused = run_as("reader", "index", "--json", home.files)
    assert refused.code == 3
    assert "does not allow" in refused.stderr
    assert run_as("writer", "index", "--json", home.files).json["pages"] == {"text_only": 6}
    deleted = run_as("writer", "delete", "late.pdf", "--yes")
    assert deleted.code == 0, deleted.stderr


# -- who signs in, and to whom


@pytest.mark.parametrize(("user", "words"), [(None, "missing authentication"), ("writer", "unable to authenticate")])
def test_who_cannot_sign_in_is_told_how_to(secured_node: SecuredNode, user: str | None, words: str) -> None:
    with Index(secured_node.url(user, "wrong"), ca_certs=secured_node.ca) as index:
        with pytest.raises(ServiceRefused, match=words) as caught:
            index.health()
        assert "PAGESIGHT_ELASTICSEARCH_API_KEY" in caught.value.remedy
        assert "PAGESIGHT_ELASTICSEARCH_URL" in caught.value.remedy


@pytest.mark.parametrize("trusts", ["another CA", "the system's CAs"])
def test_a_certificate_that_is_not_trusted_names_the_setting(secured_node: SecuredNode, trusts: str) -> None:
    ca = secured_node.other_ca if trusts == "another CA" else None
    with Index(secured_node.url("writer"), ca_certs=ca) as index:
        with pytest.raises(ServiceRefused, match="not trusted") as caught:
            index.health()
        assert "PAGESIGHT_ELASTICSEARCH_CA_CERTS" in caught.value.remedy


def test_no_password_is_shown_where_signing_in_fails(
    indexed: Ended, home: Pagesight, run_as: Callable[..., Ended], secured_node: SecuredNode
) -> None:
    home.set(elasticsearch_url=secured_node.url("writer", "hunter2"), elasticsearch_ca_certs=secured_node.ca)
    refused = home.run("search", "sheet")
    assert refused.code == 3
    assert "hunter2" not in refused.stdout + refused.stderr


def test_a_bundle_that_is_not_there_names_the_setting(secured_node: SecuredNode) -> None:
    with Index(secured_node.url("writer"), ca_certs=Path("/nowhere.pem")) as index:
        with pytest.raises(ServiceRefused, match="No such file") as caught:
            index.health()
        assert "PAGESIGHT_ELASTICSEARCH_CA_CERTS" in caught.value.remedy
