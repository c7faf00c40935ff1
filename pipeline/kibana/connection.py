"""Requests to Kibana's HTTP API. They raise errors of `pipeline.core.errors`."""

from __future__ import annotations

import json
import ssl
from pathlib import Path
from typing import Any

import httpx2
from pydantic import SecretStr

from pipeline.core.errors import SettingsError
from pipeline.kibana.errors import URL_REMEDY, from_status, from_transport, not_kibana

Object = dict[str, Any]

#: An import of all objects takes a few seconds, and longer in a Kibana that has just started.
TIMEOUT_SECONDS = 60.0


class Connection:
    """Connection to one Kibana.

    Requests raise `ServiceUnavailable` if Kibana is away, and `ServiceRefused` if it refuses or if the answer is not
    Kibana's.
    """

    def __init__(self, url: str, *, api_key: SecretStr | None = None, ca_certs: Path | None = None) -> None:
        """Create the HTTP client. No request is made yet.

        Args:
            url: with scheme, host and port, optionally Kibana's base path, user name and password.
            api_key: an encoded API key.
            ca_certs: the CA bundle (PEM) that signed Kibana's certificate.

        Raises:
            SettingsError: the URL or the bundle cannot be used.
        """
        # Kibana requires the first header for each change: a foreign web page cannot send it.
        headers = {"kbn-xsrf": "true"}
        if api_key is not None:
            headers["Authorization"] = f"ApiKey {api_key.get_secret_value()}"
        base = _base_url(url)
        self._host = base.netloc.decode("ascii")
        self._client = httpx2.Client(
            base_url=base,
            headers=headers,
            timeout=TIMEOUT_SECONDS,
            verify=_tls(ca_certs),
            # Connect directly, as the Elasticsearch client does, whatever proxy the environment names.
            trust_env=False,
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def send(self, method: str, path: str, **request: Any) -> httpx2.Response:
        """Send a request and return the answer, whatever its status."""
        try:
            return self._client.request(method, path, **request)
        except (httpx2.RequestError, httpx2.InvalidURL) as error:
            raise from_transport(error, self._host) from error

    def require_success(self, answer: httpx2.Response) -> None:
        """Raise if the status of an answer is not 2xx."""
        if not answer.is_success:
            raise from_status(answer, self._host)

    def checked(self, method: str, path: str, **request: Any) -> httpx2.Response:
        """Send a request and return the answer if its status is 2xx."""
        answer = self.send(method, path, **request)
        self.require_success(answer)
        return answer

    def body(self, answer: httpx2.Response) -> Object:
        """Return the JSON object in an answer."""
        try:
            body = json.loads(answer.content)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise from_status(answer, self._host) if not answer.is_success else self.not_kibana()
        return body

    def json(self, method: str, path: str, **request: Any) -> Object:
        """Send a request and return the JSON object in its answer."""
        return self.body(self.checked(method, path, **request))

    def found(self, path: str) -> Object | None:
        """Return the JSON object at a path, or None if Kibana has none."""
        answer = self.send("GET", path)
        # A proxy or another server may answer 404 too, without Kibana's body.
        if answer.status_code == 404 and self.body(answer).get("statusCode") == 404:
            return None
        self.require_success(answer)
        return self.body(answer)

    def not_kibana(self) -> Exception:
        """Return the error for an answer that Kibana would not give."""
        return not_kibana(self._host)


def _base_url(url: str) -> httpx2.URL:
    try:
        base = httpx2.URL(url)
        if base.scheme not in ("http", "https") or not base.host:
            raise ValueError("scheme and host are missing")
    except (httpx2.InvalidURL, ValueError) as error:
        raise SettingsError(f"the URL of Kibana cannot be used: {error}", remedy=URL_REMEDY) from None
    return base


def _tls(ca_certs: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(ca_certs) if ca_certs else None)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"the CA bundle cannot be read: {error}", remedy="See PAGESIGHT_ELASTICSEARCH_CA_CERTS."
        ) from None
