"""A stand-in for the security API of Elasticsearch, which the test node cannot serve: it lacks what its index needs.

It keeps roles and keys, gives roles back as the server does, with what it adds, and knows one user.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

USER, PASSWORD = "elastic", "letmein"
MEDIA_TYPE = "application/vnd.elasticsearch+json;compatible-with=9"


class SecurityStandin(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, *, may_manage: bool) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.may_manage = may_manage
        self.roles: dict[str, Any] = {}
        self.keys: dict[str, Any] = {}
        """By their encoded form."""
        self.requests: list[tuple[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def signed_in(self) -> str:
        return f"http://{USER}:{PASSWORD}@127.0.0.1:{self.server_port}"


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: SecurityStandin

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "{}")
        self.server.requests.append((self.command, path))
        if not self._knows():
            self._answer(401, {"error": {"type": "security_exception", "reason": "unable to authenticate"}})
        elif path == "/_security/user/_has_privileges":
            wanted = dict.fromkeys(body["cluster"], self.server.may_manage)
            self._answer(200, {"has_all_requested": all(wanted.values()), "cluster": wanted})
        elif path.startswith("/_security/role/"):
            self._role(path.removeprefix("/_security/role/"), body)
        elif path == "/_security/api_key":
            self._key(body)
        elif path == "/_cluster/health":
            self._answer(200, {"status": "green"})
        else:
            self._answer(404, {"error": f"no handler found for uri [{path}] and method [{self.command}]"})

    do_PUT = do_POST = do_GET

    def _role(self, names: str, body: dict[str, Any]) -> None:
        roles = self.server.roles
        if self.command == "PUT":
            created = names not in roles
            indices = [entry | {"allow_restricted_indices": False} for entry in body.get("indices", [])]
            defaults = {"applications": [], "run_as": [], "metadata": {}, "transient_metadata": {"enabled": True}}
            roles[names] = defaults | body | {"indices": indices}
            self._answer(200, {"role": {"created": created}})
        else:
            found = {name: roles[name] for name in names.split(",") if name in roles}
            self._answer(200 if found else 404, found)

    def _key(self, body: dict[str, Any]) -> None:
        number = str(len(self.server.keys) + 1)
        encoded = base64.b64encode(f"{number}:secret".encode()).decode()
        self.server.keys[encoded] = body
        self._answer(200, {"id": number, "name": body["name"], "api_key": "secret", "encoded": encoded})

    def _knows(self) -> bool:
        kind, _, word = self.headers.get("Authorization", "").partition(" ")
        basic = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        return word in self.server.keys if kind == "ApiKey" else (kind, word) == ("Basic", basic)

    def _answer(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("X-Elastic-Product", "Elasticsearch")
        self.send_header("Content-Type", MEDIA_TYPE)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *words: object) -> None:
        return


@contextmanager
def security_standin(*, may_manage: bool = True) -> Iterator[SecurityStandin]:
    """Serve it. `may_manage`: whether its user may manage security."""
    server = SecurityStandin(may_manage=may_manage)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
