"""Roles that are installed and keys that are made: over HTTP, from a stand-in for the security API."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.core.errors import ServiceRefused
from pipeline.search import ROLES, Layout, Names, State
from pipeline.search.index import Index
from pipeline.search.names import own_alias
from pipeline.search.roles import kibana_reader, role_body
from pipeline.search.templates import FAMILIES, aliases
from support.pagesight_runs import MakePagesight
from support.security_standin import SecurityStandin, security_standin

NAMES = {f"pagesight-{role}" for role in ROLES}


@pytest.fixture
def server() -> Iterator[SecurityStandin]:
    with security_standin() as server:
        yield server


@pytest.fixture
def index(server: SecurityStandin) -> Iterator[Index]:
    with Index(server.signed_in) as index:
        yield index


def test_roles_are_installed_once(index: Index, server: SecurityStandin) -> None:
    assert index.security.roles_left_alone() is None
    assert set(index.security.role_differences()) == {f"role {name}" for name in NAMES}
    assert server.roles == {}
    assert set(index.security.install_roles()) == {f"role {name}" for name in NAMES}
    assert server.roles.keys() == NAMES
    assert index.security.install_roles() == index.security.role_differences() == ()


def test_a_role_that_somebody_has_widened_is_put_back(index: Index, server: SecurityStandin) -> None:
    index.security.install_roles()
    writer = server.roles["pagesight-writer"]
    writer["indices"][0]["privileges"] += ["manage"]
    server.roles["pagesight-reader"]["cluster"] = ["all"]
    assert set(index.security.role_differences()) == {"role pagesight-writer", "role pagesight-reader"}
    index.security.install_roles()
    assert "manage" not in server.roles["pagesight-writer"]["indices"][0]["privileges"]
    assert server.roles["pagesight-reader"]["cluster"] == []


def test_the_order_in_which_a_server_lists_rights_is_no_difference(index: Index, server: SecurityStandin) -> None:
    index.security.install_roles()
    for role in server.roles.values():
        role["cluster"].reverse()
        for entry in role["indices"]:
            entry["names"].reverse()
    assert index.security.role_differences() == ()


def test_two_installations_in_one_cluster_have_roles_of_their_own(server: SecurityStandin) -> None:
    with Index(server.signed_in, layout=Layout(prefix="test-")) as other:
        other.security.install_roles()
    assert server.roles.keys() == {f"test-{name}" for name in NAMES}
    names = server.roles["test-pagesight-writer"]["indices"][0]["names"]
    assert "test-pages-write" in names
    assert all(name.lstrip("/").startswith("test-") for name in names)


def test_who_may_not_manage_security_leaves_roles_alone() -> None:
    with security_standin(may_manage=False) as server, Index(server.signed_in) as index:
        assert "may not manage security" in (index.security.roles_left_alone() or "")
        assert index.security.install_roles() == index.security.role_differences() == ()
        assert {path for _, path in server.requests} == {"/_security/user/_has_privileges"}


def test_a_server_without_security_has_no_roles_and_makes_no_keys(elasticsearch_url: str) -> None:
    with Index(elasticsearch_url) as index:
        assert index.security.roles_left_alone() == "the server has no security"
        assert index.security.install_roles() == index.security.role_differences() == ()
        with pytest.raises(ServiceRefused, match="has no security"):
            index.security.create_key("writer", "mine")


def test_a_key_is_printed_once_and_opens_what_its_role_does(
    make_pagesight: MakePagesight, server: SecurityStandin
) -> None:
    pagesight = make_pagesight(server.signed_in)
    made = pagesight.run("security", "key", "writer", "--name", "worker 7", "--expires", "90d")
    assert made.code == 0, made.stderr
    ((encoded, request),) = server.keys.items()
    assert made.stdout.strip() == encoded
    assert (request["name"], request["expiration"]) == ("worker 7", "90d")
    writer = role_body("writer")
    assert request["role_descriptors"] == {
        "pagesight-writer": {"cluster": writer["cluster"], "indices": writer["indices"]}
    }

    with Index(server.url, api_key=encoded) as by_key, Index(server.url, api_key="bm90OmtleQ==") as by_none:
        assert by_key.health() == "green"
        with pytest.raises(ServiceRefused, match="unable to authenticate"):
            by_none.health()
    refused = pagesight.run("security", "key", "admin")
    assert refused.code == 2
    assert "writer" in refused.stderr


def names_of(role: str, prefix: str = "") -> tuple[set[str], re.Pattern[str]]:
    """Return the plain names in a role, and its regular expression."""
    (entry,) = role_body(role, prefix)["indices"]
    (expression,) = (name for name in entry["names"] if name.startswith("/"))
    return set(entry["names"]) - {expression}, re.compile(expression.strip("/"))


@pytest.mark.parametrize("role", ["reader", "writer", "reindexer"])
@pytest.mark.parametrize("prefix", ["", "a.b-"])
def test_a_role_names_every_alias_and_every_index_that_it_may_need(role: str, prefix: str) -> None:
    plain, expression = names_of(role, prefix)
    wanted = {prefix + name for family in FAMILIES for name in aliases(family)}
    assert plain == (wanted - {f"{prefix}pages-write"} if role == "reader" else wanted)
    for family in FAMILIES:
        index = Names(prefix).index(family, 12)
        assert expression.fullmatch(index)
        for state in (State.FILLING, State.KEPT, State.DROPPED):
            assert expression.fullmatch(own_alias(index, state, "0a1b2c3d"))


@pytest.mark.parametrize("role", ["reader", "writer", "reindexer"])
@pytest.mark.parametrize("name", ["pages-vault", "documents-v1-invoices", "my-pages-v1", "pages-v1x", "aXb-pages-v1"])
def test_a_role_names_no_index_that_only_looks_like_ours(role: str, name: str) -> None:
    for prefix in ("", "a.b-"):
        assert not names_of(role, prefix)[1].fullmatch(name)


@pytest.mark.parametrize("role", ROLES)
def test_no_role_has_a_name_that_brings_more_with_it(role: str) -> None:
    """`index`, `write` and `create` let their bearer change mappings (tried on 9.5.0), `monitor` read everything's."""
    body = role_body(role)
    given = {privilege for entry in body["indices"] for privilege in entry["privileges"]}
    assert not {"all", "manage", "index", "write", "create", "create_doc", "create_index"} & given
    assert all(name.startswith("cluster:") and "*" not in name for name in body["cluster"])


def test_people_in_kibana_read_what_a_reader_does() -> None:
    name, body = kibana_reader("archive", "test-")
    assert name == "test-pagesight-kibana-reader"
    assert body["elasticsearch"]["indices"] == role_body("reader", "test-")["indices"]
    (kibana,) = body["kibana"]
    assert kibana["spaces"] == ["archive"]
    assert {tuple(rights) for rights in kibana["feature"].values()} == {("read",)}


def test_role_files_are_those_that_are_known() -> None:
    folder = Path(__file__).parents[2] / "mappings" / "roles"
    assert {path.stem for path in folder.glob("*.json")} == set(ROLES)
    assert all(json.loads(path.read_text(encoding="utf-8"))["description"] for path in folder.glob("*.json"))
