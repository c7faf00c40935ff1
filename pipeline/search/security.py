"""Roles of least privilege, and API keys that may do no more: `mappings/roles/` made ready for a server.

A cluster without security has neither, and a key that may not manage security can make neither: then roles are left
alone, and `left_alone` says why.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from elasticsearch import ApiError, Elasticsearch

from pipeline.core.errors import ServiceRefused
from pipeline.search.errors import SERVICE, translated
from pipeline.search.templates import Body, load

#: What a process may be, each a file in `mappings/roles/`.
ROLES = ("reader", "writer", "reindexer")
#: An answer of a server that has no such address: it runs with `xpack.security.enabled: false`.
_NO_HANDLER = "no handler found for uri [/_security/"
NO_SECURITY = "the server has no security"
NOT_ALLOWED = (
    "this key or user may not manage security; whoever may, such as `elastic`, runs `pagesight setup` for them"
)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A new API key. The server keeps only a hash of it."""

    id: str
    name: str
    encoded: str = field(repr=False)
    """What `PAGESIGHT_ELASTICSEARCH_API_KEY` is set to."""


def role_name(role: str, prefix: str = "") -> str:
    """Return what a role is called on the server."""
    return f"{prefix}pagesight-{role}"


def role_body(role: str, prefix: str = "") -> Body:
    """Return a role as the server takes it, for indices whose names begin with the prefix."""
    body = load(f"roles/{role}.json")
    for entry in body["indices"]:
        entry["names"] = [prefix + name for name in entry["names"]]
    return body


def kibana_reader(space: str, prefix: str = "") -> tuple[str, Body]:
    """Return name and body of the role for people who search in Kibana, as `PUT /api/security/role/<name>` takes it.

    It is a role of its own: Kibana keeps its privileges within the role, where installing `reader` would remove them.
    """
    features = load("roles/kibana/reader.json")
    reader = role_body("reader", prefix)
    elasticsearch = {name: reader[name] for name in ("cluster", "indices")}
    return role_name("kibana-reader", prefix), {
        "description": features["description"],
        "elasticsearch": elasticsearch,
        "kibana": [{"spaces": [space], "base": [], "feature": features["feature"]}],
    }


def left_alone(client: Elasticsearch) -> str | None:
    """Return why roles are left alone on this server, or None where they can be looked after.

    Raises:
        ServiceRefused: nobody has signed in.
        ServiceUnavailable: the cluster is away.
    """
    with translated():
        try:
            answer = client.security.has_privileges(cluster=["manage_security"])
        except ApiError as error:
            if _NO_HANDLER in str(error.body):
                return NO_SECURITY
            raise
    return None if answer["has_all_requested"] else NOT_ALLOWED


def install_roles(client: Elasticsearch, prefix: str = "") -> Iterator[str]:
    """Make the roles that are missing or differ, and yield what was changed, in words.

    Raises:
        ServiceRefused: the server does not take them.
        ServiceUnavailable: the cluster is away.
    """
    for name, body in _differing(client, prefix):
        with translated():
            client.security.put_role(name=name, **body)
        yield f"role {name}"


def role_differences(client: Elasticsearch, prefix: str = "") -> Iterator[str]:
    """Yield what `install_roles` would change, in words.

    Raises:
        ServiceRefused: nobody has signed in.
        ServiceUnavailable: the cluster is away.
    """
    return (f"role {name}" for name, _ in _differing(client, prefix))


def create_key(client: Elasticsearch, role: str, name: str, prefix: str = "", expires: str | None = None) -> ApiKey:
    """Make an API key that may do what a role allows, whether the role itself is installed or not.

    Args:
        client: signed in as a user: a key that makes keys can give them nothing.
        role: one of `ROLES`.
        name: what the key is called in lists and logs.
        prefix: what the names of the indices begin with.
        expires: after what time, as the server writes it (`90d`); never when None.

    Raises:
        ServiceRefused: the server has no security, or does not allow it.
        ServiceUnavailable: the cluster is away.
    """
    why = left_alone(client)
    if why == NO_SECURITY:
        raise ServiceRefused(
            SERVICE, "the cluster has no security: it needs no keys", remedy="Set xpack.security.enabled: true in it."
        )
    body = role_body(role, prefix)
    limits = {part: body[part] for part in ("cluster", "indices")}
    with translated():
        answer = client.security.create_api_key(
            name=name,
            expiration=expires,
            role_descriptors={role_name(role, prefix): limits},
            metadata={"application": "pagesight", "role": role},
        )
    return ApiKey(answer["id"], answer["name"], answer["encoded"])


def _differing(client: Elasticsearch, prefix: str) -> Iterator[tuple[str, Body]]:
    if left_alone(client) is not None:
        return
    wanted = {role_name(role, prefix): role_body(role, prefix) for role in ROLES}
    with translated():
        found = client.options(ignore_status=404).security.get_role(name=",".join(wanted)).body
    for name, body in wanted.items():
        if _granted(found.get(name, {})) != _granted(body):
            yield name, body


def _granted(role: Mapping[str, Any]) -> Body:
    """Return all that a role allows, whatever the order in which it is written."""
    return {
        "cluster": sorted(role.get("cluster", ())),
        "run_as": sorted(role.get("run_as", ())),
        "applications": list(role.get("applications", ())),
        "indices": sorted((_plain(entry) for entry in role.get("indices", ())), key=str),
    }


def _plain(entry: Mapping[str, Any]) -> Body:
    """Return an entry without what it does not use: the server adds `allow_restricted_indices: false`."""
    return {key: sorted(value) if isinstance(value, Sequence) else value for key, value in entry.items() if value}
