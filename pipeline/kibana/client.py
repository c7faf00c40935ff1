"""Kibana's HTTP API, as far as Pagesight uses it."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any

from pydantic import SecretStr

from pipeline.kibana.bundle import DEFAULT_SPACE
from pipeline.kibana.connection import Connection
from pipeline.kibana.errors import from_import

Object = dict[str, Any]


class KibanaClient:
    """One space of one Kibana.

    Every method raises `ServiceUnavailable` if Kibana is away and `ServiceRefused` if it refuses.
    """

    def __init__(self, url: str, *, space: str, api_key: SecretStr | None = None, ca_certs: Path | None = None) -> None:
        """Create the client. No request is made yet.

        Args:
            url, api_key, ca_certs: see `Connection`.
            space: id of the space; it need not exist.

        Raises:
            SettingsError: the URL or the bundle cannot be used.
        """
        self._http = Connection(url, api_key=api_key, ca_certs=ca_certs)
        self._space = space
        self._prefix = "" if space == DEFAULT_SPACE else f"/s/{space}"

    def __enter__(self) -> KibanaClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._http.close()

    def has_space(self) -> bool:
        """Return whether the space exists."""
        return self._http.found(f"/api/spaces/space/{self._space}") is not None

    def make_space(self) -> None:
        """Create the space, with every feature of Kibana visible in it."""
        space = {"id": self._space, "name": self._space, "description": "Pages that Pagesight made searchable."}
        self._http.json("POST", "/api/spaces/space", json=space)

    def import_objects(self, ndjson: str) -> None:
        """Create objects, and replace existing ones with the same ids.

        Raises:
            ServiceRefused: Kibana did not accept all of them; the message names the others.
        """
        # Kibana requires the file extension.
        file = {"file": ("pagesight.ndjson", ndjson.encode(), "application/ndjson")}
        path = self._prefix + "/api/saved_objects/_import"
        answer = self._http.json("POST", path, params={"overwrite": "true"}, files=file)
        if not answer.get("success"):
            raise from_import(answer.get("errors") or [])

    def stored(self, wanted: list[dict[str, str]]) -> list[Object]:
        """Return the existing objects among `wanted`, in Kibana's own form.

        Args:
            wanted: type and id of each object.
        """
        found = self._export(wanted)
        if isinstance(found, list):
            return found
        # If one object is missing, Kibana refuses the whole request and names the missing ones.
        missing = {(entry["type"], entry["id"]) for entry in found}
        rest = [named for named in wanted if (named["type"], named["id"]) not in missing]
        again = self._export(rest) if rest else []
        if isinstance(again, tuple):
            raise self._http.not_kibana()
        return again

    def _export(self, wanted: list[dict[str, str]]) -> list[Object] | tuple[Object, ...]:
        """Return the objects, or a tuple of the missing ones."""
        body = {"objects": wanted, "excludeExportDetails": True}
        answer = self._http.send("POST", self._prefix + "/api/saved_objects/_export", json=body)
        if answer.status_code == 400:
            missing = self._http.body(answer).get("attributes", {}).get("objects", [])
            if missing:
                return tuple(missing)
        self._http.require_success(answer)
        try:
            return [json.loads(line) for line in answer.text.splitlines()]
        except ValueError:
            raise self._http.not_kibana() from None

    def default_view(self) -> str | None:
        """Return the id of the data view that Discover opens with, or None."""
        return self._http.json("GET", self._prefix + "/api/data_views/default").get("data_view_id") or None

    def set_default_view(self, id: str) -> None:
        """Make Discover open with this data view."""
        body = {"data_view_id": id, "force": True}
        self._http.json("POST", self._prefix + "/api/data_views/default", json=body)

    def roles(self) -> dict[str, Object] | None:
        """Return every role by name; None without security, or if the key may not manage roles."""
        answer = self._http.send("GET", "/api/security/role")
        if answer.status_code in (403, 404):
            return None
        self._http.require_success(answer)
        try:
            return {role["name"]: role for role in json.loads(answer.content)}
        except (ValueError, TypeError, KeyError):
            raise self._http.not_kibana() from None

    def put_role(self, name: str, role: Object) -> None:
        """Create a role, or replace the one of this name."""
        self._http.checked("PUT", f"/api/security/role/{name}", json=role)

    def keeps_keys(self) -> bool:
        """Return whether Kibana keeps the API keys of alert rules over a restart."""
        health = self._http.json("GET", self._prefix + "/api/alerting/_health")
        return bool(health.get("has_permanent_encryption_key"))

    def rule(self, id: str) -> Object | None:
        """Return an alert rule, or None."""
        return self._http.found(f"{self._prefix}/api/alerting/rule/{id}")

    def make_rule(self, id: str, rule: Object) -> None:
        """Create an alert rule."""
        self._http.json("POST", f"{self._prefix}/api/alerting/rule/{id}", json=rule)

    def change_rule(self, id: str, rule: Object) -> None:
        """Change an alert rule."""
        self._http.json("PUT", f"{self._prefix}/api/alerting/rule/{id}", json=rule)
