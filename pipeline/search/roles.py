"""Roles of least privilege: `mappings/roles/` as request bodies for a server."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.search.templates import Body, load

#: Roles of processes, each a file in `mappings/roles/`.
ROLES = ("reader", "writer", "reindexer", "backup")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A new API key. The server keeps only a hash of it."""

    id: str
    name: str
    encoded: str = field(repr=False)
    """The value for `PAGESIGHT_ELASTICSEARCH_API_KEY`."""


def role_name(role: str, prefix: str = "") -> str:
    """Return the name of a role on the server."""
    return f"{prefix}pagesight-{role}"


def role_body(role: str, prefix: str = "") -> Body:
    """Return a role as a request body, for indices whose names begin with the prefix."""
    body = load(f"roles/{role}.json")
    for entry in body["indices"]:
        entry["names"] = [_prefixed(name, prefix) for name in entry["names"]]
    return body


def _prefixed(name: str, prefix: str) -> str:
    """Return a name in a role with the prefix before it. A name between slashes is a regular expression of Lucene."""
    escaped = prefix.replace(".", "\\.")
    return f"/{escaped}{name[1:]}" if name.startswith("/") else prefix + name


def kibana_reader(space: str, prefix: str = "") -> tuple[str, Body]:
    """Return name and body of the role for people who search in Kibana, for `PUT /api/security/role/<name>`.

    Kibana stores its privileges within the role. They need a role of their own: installing `reader` would remove them.
    """
    features = load("roles/kibana/reader.json")
    reader = role_body("reader", prefix)
    elasticsearch = {name: reader[name] for name in ("cluster", "indices")}
    return role_name("kibana-reader", prefix), {
        "description": features["description"],
        "elasticsearch": elasticsearch,
        "kibana": [{"spaces": [space], "base": [], "feature": features["feature"]}],
    }
