"""Kibana's HTTP API, as far as Pagesight asks for it."""

from __future__ import annotations

import json
import ssl
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
from pydantic import SecretStr

from pipeline.core.errors import SettingsError
from pipeline.kibana.bundle import DEFAULT_SPACE
from pipeline.kibana.errors import URL_REMEDY, from_import, from_status, from_transport, not_kibana

Object = dict[str, Any]

#: An import of all objects takes a few seconds, in a Kibana that has just started some more.
TIMEOUT_SECONDS = 60.0


class KibanaClient:
    """One space of one Kibana. Every method raises `ServiceUnavailable` where Kibana is away and `ServiceRefused` where
    it says no."""

    def __init__(self, url: str, *, space: str, api_key: SecretStr | None = None, ca_certs: Path | None = None) -> None:
        """Connect; no request is made yet.

        Args:
            url: with scheme, host and port, and Kibana's base path; it may hold a user name and a password.
            space: id of the space; it need not exist.
            api_key: an encoded API key.
            ca_certs: the CA bundle (PEM) that signed Kibana's certificate.

        Raises:
            SettingsError: the URL or the bundle cannot be used.
        """
        # Kibana takes no change without the first header: it shows that no foreign web page sends the request.
        headers = {"kbn-xsrf": "true"}
        if api_key is not None:
            headers["Authorization"] = f"ApiKey {api_key.get_secret_value()}"
        try:
            base = httpx.URL(url)
            if base.scheme not in ("http", "https") or not base.host:
                raise ValueError("scheme and host are missing")
            self._host = base.netloc.decode("ascii")
            self._client = httpx.Client(
                base_url=base,
                headers=headers,
                timeout=TIMEOUT_SECONDS,
                verify=ssl.create_default_context(cafile=str(ca_certs) if ca_certs else None),
                # As the client of Elasticsearch, it goes straight to what is named.
                trust_env=False,
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise SettingsError(f"the URL of Kibana cannot be used: {error}", remedy=URL_REMEDY) from None
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(
                f"the CA bundle cannot be read: {error}", remedy="See PAGESIGHT_ELASTICSEARCH_CA_CERTS."
            ) from None
        self._space = space
        self._prefix = "" if space == DEFAULT_SPACE else f"/s/{space}"

    def __enter__(self) -> KibanaClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._client.close()

    def has_space(self) -> bool:
        """Tell whether the space exists."""
        return self._found(f"/api/spaces/space/{self._space}") is not None

    def make_space(self) -> None:
        """Make the space; all features of Kibana are to be seen in it."""
        space = {"id": self._space, "name": self._space, "description": "Pages that Pagesight made searchable."}
        self._json("POST", "/api/spaces/space", json=space)

    def import_objects(self, ndjson: str) -> None:
        """Make objects, or put them in the place of those with their ids.

        Raises:
            ServiceRefused: not all of them were taken; the message names them.
        """
        # Kibana goes by the extension.
        file = {"file": ("pagesight.ndjson", ndjson.encode(), "application/ndjson")}
        path = self._prefix + "/api/saved_objects/_import"
        answer = self._json("POST", path, params={"overwrite": "true"}, files=file)
        if not answer.get("success"):
            raise from_import(answer.get("errors") or [])

    def stored(self, wanted: list[dict[str, str]]) -> list[Object]:
        """Return those of these objects, named by type and id, that are there, as Kibana has them."""
        found = self._export(wanted)
        if isinstance(found, list):
            return found
        # One that is missing makes Kibana refuse them all, and it names those that are.
        missing = {(entry["type"], entry["id"]) for entry in found}
        rest = [named for named in wanted if (named["type"], named["id"]) not in missing]
        again = self._export(rest) if rest else []
        if isinstance(again, tuple):
            raise not_kibana(self._host)
        return again

    def _export(self, wanted: list[dict[str, str]]) -> list[Object] | tuple[Object, ...]:
        """Return objects, or a tuple of those that Kibana cannot fetch."""
        body = {"objects": wanted, "excludeExportDetails": True}
        answer = self._send("POST", self._prefix + "/api/saved_objects/_export", json=body)
        if answer.status_code == 400:
            missing = self._body(answer).get("attributes", {}).get("objects", [])
            if missing:
                return tuple(missing)
        self._check(answer)
        try:
            return [json.loads(line) for line in answer.text.splitlines()]
        except ValueError:
            raise not_kibana(self._host) from None

    def default_view(self) -> str | None:
        """Return the id of the data view that Discover opens with, where there is one."""
        return self._json("GET", self._prefix + "/api/data_views/default").get("data_view_id") or None

    def set_default_view(self, id: str) -> None:
        """Have Discover open with this data view."""
        body = {"data_view_id": id, "force": True}
        self._json("POST", self._prefix + "/api/data_views/default", json=body)

    def roles(self) -> dict[str, Object] | None:
        """Return every role by its name; None where there are none, or where we may not look after them."""
        answer = self._send("GET", "/api/security/role")
        if answer.status_code in (403, 404):
            return None
        self._check(answer)
        try:
            return {role["name"]: role for role in json.loads(answer.content)}
        except (ValueError, TypeError, KeyError):
            raise not_kibana(self._host) from None

    def put_role(self, name: str, role: Object) -> None:
        """Make a role, or put it in the place of the one of this name."""
        self._checked("PUT", f"/api/security/role/{name}", json=role)

    def keeps_keys(self) -> bool:
        """Tell whether Kibana can keep the keys that alert rules run with."""
        health = self._json("GET", self._prefix + "/api/alerting/_health")
        return bool(health.get("has_permanent_encryption_key"))

    def rule(self, id: str) -> Object | None:
        """Return an alert rule, or None."""
        return self._found(f"{self._prefix}/api/alerting/rule/{id}")

    def make_rule(self, id: str, rule: Object) -> None:
        """Make an alert rule."""
        self._json("POST", f"{self._prefix}/api/alerting/rule/{id}", json=rule)

    def change_rule(self, id: str, rule: Object) -> None:
        """Change an alert rule."""
        self._json("PUT", f"{self._prefix}/api/alerting/rule/{id}", json=rule)

    def _found(self, path: str) -> Object | None:
        answer = self._send("GET", path)
        # A proxy's 404, or that of another server, is no answer of Kibana's.
        if answer.status_code == 404 and self._body(answer).get("statusCode") == 404:
            return None
        self._check(answer)
        return self._body(answer)

    def _json(self, method: str, path: str, **request: Any) -> Object:
        return self._body(self._checked(method, path, **request))

    def _checked(self, method: str, path: str, **request: Any) -> httpx.Response:
        answer = self._send(method, path, **request)
        self._check(answer)
        return answer

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            return self._client.request(method, path, **request)
        except (httpx.RequestError, httpx.InvalidURL) as error:
            raise from_transport(error, self._host) from error

    def _check(self, answer: httpx.Response) -> None:
        if not answer.is_success:
            raise from_status(answer, self._host)

    def _body(self, answer: httpx.Response) -> Object:
        try:
            body = json.loads(answer.content)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise from_status(answer, self._host) if not answer.is_success else not_kibana(self._host)
        return body
