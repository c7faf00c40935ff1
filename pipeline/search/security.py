"""Install roles and create API keys on a server.

A server without security has neither roles nor keys. A key that may not manage security cannot create them. In both
cases roles are left as they are, and `roles_left_alone` returns the reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.core.errors import ServiceRefused
from pipeline.search.client import ApiError, Elasticsearch
from pipeline.search.errors import translated
from pipeline.search.names import SERVICE
from pipeline.search.roles import ROLES, ApiKey, role_body, role_name
from pipeline.search.templates import Body

#: Part of the answer of a server that runs with `xpack.security.enabled: false`.
_NO_HANDLER = "no handler found for uri [/_security/"
NO_SECURITY = "the server has no security"
NOT_ALLOWED = (
    "this key or user may not manage security; run `pagesight setup` as a user who may, such as `elastic`, "
    "to install roles"
)


class Security:
    """Roles and API keys of one installation.

    Every method raises `ServiceRefused` if the server refuses and `ServiceUnavailable` if the cluster is away.
    """

    def __init__(self, client: Elasticsearch, prefix: str) -> None:
        """Args: `prefix` is the prefix of every role and every index."""
        self._client = client
        self._prefix = prefix

    def roles_left_alone(self) -> str | None:
        """Return why roles cannot be installed on this server, or None if they can."""
        with translated():
            try:
                answer = self._client.security.has_privileges(cluster=["manage_security"])
            except ApiError as error:
                if _NO_HANDLER in str(error.body):
                    return NO_SECURITY
                raise
        return None if answer["has_all_requested"] else NOT_ALLOWED

    def install_roles(self) -> tuple[str, ...]:
        """Create missing roles and update roles that differ; return a description of each change."""
        changes: list[str] = []
        for name, body in self._differing():
            with translated():
                self._client.security.put_role(name=name, **body)
            changes.append(_described(name))
        return tuple(changes)

    def role_differences(self) -> tuple[str, ...]:
        """Return the changes that `install_roles` would make, in the same words."""
        return tuple(_described(name) for name, _ in self._differing())

    def create_key(self, role: str, name: str, expires: str | None = None) -> ApiKey:
        """Create an API key with the rights of a role. The role need not be installed.

        Args:
            role: one of `ROLES`.
            name: the key's name in lists and logs.
            expires: lifetime in the server's notation (`90d`); unlimited if None.

        Raises:
            ServiceRefused: also if the server has no security, or if the client signs in with an API key: the server
                gives a key created by another key no rights.
        """
        if self.roles_left_alone() == NO_SECURITY:
            raise ServiceRefused(
                SERVICE,
                "the cluster has no security: it needs no keys",
                remedy="Set xpack.security.enabled: true in it.",
            )
        body = role_body(role, self._prefix)
        limits = {part: body[part] for part in ("cluster", "indices")}
        with translated():
            answer = self._client.security.create_api_key(
                name=name,
                expiration=expires,
                role_descriptors={role_name(role, self._prefix): limits},
                metadata={"application": "pagesight", "role": role},
            )
        return ApiKey(answer["id"], answer["name"], answer["encoded"])

    def _differing(self) -> Iterator[tuple[str, Body]]:
        """Yield name and body of each role that is missing or grants something else."""
        if self.roles_left_alone() is not None:
            return
        wanted = {role_name(role, self._prefix): role_body(role, self._prefix) for role in ROLES}
        with translated():
            found = self._client.options(ignore_status=404).security.get_role(name=",".join(wanted)).body
        for name, body in wanted.items():
            if _granted(found.get(name, {})) != _granted(body):
                yield name, body


def _described(name: str) -> str:
    return f"role {name}"


def _granted(role: Mapping[str, Any]) -> Body:
    """Return everything that a role grants, independent of the order in which it is written."""
    return {
        "cluster": sorted(role.get("cluster", ())),
        "run_as": sorted(role.get("run_as", ())),
        "applications": list(role.get("applications", ())),
        "indices": sorted((_without_empty(entry) for entry in role.get("indices", ())), key=str),
    }


def _without_empty(entry: Mapping[str, Any]) -> Body:
    """Return an entry without its empty values: the server adds `allow_restricted_indices: false`."""
    return {key: sorted(value) if isinstance(value, Sequence) else value for key, value in entry.items() if value}
