"""Least privilege and TLS on a node with security: its users have the very roles of `mappings/roles`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from elasticsearch import AuthorizationException, Elasticsearch

from pipeline.core.errors import ServiceRefused
from pipeline.core.models import AnswerKind
from pipeline.search import PAGES, PAGES_WRITE, ROLES
from pipeline.search.index import Index
from support.pagesight_runs import Ended, Pagesight, make_pdf
from support.secured_node import ADMIN, SecuredNode

pytestmark = pytest.mark.slow

Request = Callable[[Elasticsearch], Any]

#: What only the re-indexer may do to our indices.
MANAGING: dict[str, Request] = {
    "make an index": lambda client: client.indices.create(index="pages-v99"),
    "delete an index": lambda client: client.indices.delete(index="pages-v1"),
    "close an index": lambda client: client.indices.close(index="pages-v1"),
    "change a mapping": lambda client: client.indices.put_mapping(
        index=PAGES_WRITE, properties={"x": {"type": "long"}}
    ),
    "change settings": lambda client: client.indices.put_settings(
        index="pages-v1", settings={"refresh_interval": "1h"}
    ),
    "move an alias": lambda client: client.indices.put_alias(index="sources-v1", name=PAGES),
    "change a template": lambda client: client.cluster.put_component_template(name="pagesight-pages", template={}),
}
WRITING: dict[str, Request] = {
    "write a record": lambda client: client.index(index=PAGES_WRITE, id="1", document={"revision": 1}),
    "delete a record": lambda client: client.delete(index=PAGES_WRITE, id="1"),
    "write in bulk": lambda client: client.bulk(index=PAGES_WRITE, operations=[{"index": {}}, {"revision": 1}]),
}
#: What none of our roles may do.
NEVER: dict[str, Request] = {
    "read another index": lambda client: client.search(index="secret"),
    "make another index": lambda client: client.indices.create(index="other"),
    "make a key": lambda client: client.security.create_api_key(name="more"),
    "change a role": lambda client: client.security.put_role(name="pagesight-reader", cluster=["all"]),
    "change cluster settings": lambda client: client.cluster.put_settings(
        persistent={"cluster.routing.rebalance.enable": "all"}
    ),
}
SNAPSHOTS: dict[str, Request] = {
    "make a repository": lambda client: client.snapshot.create_repository(
        name="mine", repository={"type": "fs", "settings": {"location": "mine"}}
    ),
    "read snapshots": lambda client: client.snapshot.get_repository(name="*"),
}


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
        client.index(index="secret", id="1", document={"salary": 1}, refresh=True)
    made = run_as("reindexer", "setup")
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


@cases(MANAGING, WRITING, SNAPSHOTS, NEVER)
def test_a_reader_changes_nothing(clients: dict[str, Elasticsearch], request_it: Request) -> None:
    with pytest.raises(AuthorizationException):
        request_it(clients["reader"])


@cases(MANAGING, SNAPSHOTS, NEVER)
def test_a_writer_only_writes(clients: dict[str, Elasticsearch], request_it: Request) -> None:
    with pytest.raises(AuthorizationException):
        request_it(clients["writer"])


@cases(SNAPSHOTS, NEVER)
def test_the_reindexer_manages_our_indices_alone(clients: dict[str, Elasticsearch], request_it: Request) -> None:
    with pytest.raises(AuthorizationException):
        request_it(clients["reindexer"])


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
