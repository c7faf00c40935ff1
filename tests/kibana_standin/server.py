"""The HTTP side: who may ask, what is asked, and Kibana's errors."""

from __future__ import annotations

import base64
import json
import re
import ssl
import threading
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

from kibana_standin.state import NEWEST, Object, Refusal, State, bad_request, not_found


class Kibana:
    """A stand-in that answers from a thread of this process until it is closed.

    Args:
        api_key, user: the one that is let in, `user` as `name:password`; everybody where there is neither.
        base_path: `server.basePath`, with `server.rewriteBasePath`.
        versions: the newest version that it knows of each type.
        certificate: PEM file with key and certificate, for TLS.
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        user: str | None = None,
        base_path: str = "",
        versions: dict[str, str] = NEWEST,
        certificate: Path | None = None,
    ) -> None:
        self.state = State(dict(versions))
        self.allowed = {value for value in (api_key and f"ApiKey {api_key}", user and _basic(user)) if value}
        self.base_path = base_path
        self.may_write = True
        self.fault: tuple[int, bytes] | None = None
        """Status and body that every request gets."""
        self.requests: list[tuple[str, str]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        scheme = "https" if certificate else "http"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_port}{base_path}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def __enter__(self) -> Kibana:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    @property
    def changes(self) -> list[tuple[str, str]]:
        """The requests that may have changed something."""
        return [(method, path) for method, path in self.requests if method != "GET" and not path.endswith("/_export")]

    def answer(self, method: str, target: str, headers: Any, body: bytes) -> Any:
        url = urlsplit(target)
        self.requests.append((method, url.path))
        if self.allowed and headers.get("Authorization") not in self.allowed:
            raise Refusal(401, "Unauthorized", "[security_exception]: unable to authenticate")
        if not url.path.startswith(self.base_path + "/"):
            raise not_found()
        if method != "GET" and "kbn-xsrf" not in headers:
            raise bad_request("Request must contain a kbn-xsrf header.")
        path = url.path.removeprefix(self.base_path)
        space, path = _space(path)
        if method != "GET" and not path.endswith("/_export") and not self.may_write:
            raise Refusal(403, "Forbidden", "Unable to bulk_create dashboard,index-pattern,lens,search,tag")
        return self._route(method, path, space, parse_qs(url.query), headers, body)

    def _route(self, method: str, path: str, space: str, query: dict[str, list[str]], headers: Any, body: bytes) -> Any:
        state = self.state
        rule = re.fullmatch(r"/api/alerting/rule/([^/]+)", path)
        match method, path:
            case "GET", _ if one := re.fullmatch(r"/api/spaces/space/([^/]+)", path):
                return state.space(one[1])
            case "POST", "/api/spaces/space":
                return state.make_space(json.loads(body))
            case "POST", "/api/saved_objects/_import":
                sent = _uploaded(headers, body)
                return state.import_objects(space, sent, overwrite=query.get("overwrite") == ["true"])
            case "POST", "/api/saved_objects/_export":
                return "\n".join(map(json.dumps, state.export(space, json.loads(body))))
            case "GET", "/api/data_views/default":
                return {"data_view_id": state.default_views.get(space, "")}
            case "POST", "/api/data_views/default":
                return state.set_default_view(space, json.loads(body))
            case "GET", "/api/security/role" if state.roles is not None:
                return list(state.roles.values())
            case "PUT", _ if (role := re.fullmatch(r"/api/security/role/([^/]+)", path)) and state.roles is not None:
                return state.put_role(role[1], json.loads(body))
            case "GET", "/api/alerting/_health":
                return {"is_sufficiently_secure": True, "has_permanent_encryption_key": state.keeps_keys}
            case "GET", _ if rule:
                return state.rule(space, rule[1])
            case "POST", _ if rule:
                return state.make_rule(space, rule[1], json.loads(body))
            case "PUT", _ if rule:
                return state.change_rule(space, rule[1], json.loads(body))
        raise not_found()


def _space(path: str) -> tuple[str, str]:
    inside = re.fullmatch(r"/s/([^/]+)(/.*)", path)
    return (inside[1], inside[2]) if inside else ("default", path)


def _basic(user: str) -> str:
    return "Basic " + base64.b64encode(user.encode()).decode()


def _uploaded(headers: Any, body: bytes) -> list[Object]:
    """The lines of the file in a form, as Kibana takes it: by its field's name and by its extension."""
    kind = headers.get("Content-Type", "")
    if not kind.startswith("multipart/form-data"):
        raise Refusal(415, "Unsupported Media Type", "Unsupported Media Type")
    form = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body)
    for part in form.iter_parts():
        if part.get_param("name", header="content-disposition") == "file":
            if not (part.get_filename() or "").endswith(".ndjson"):
                raise bad_request("Invalid file extension .")
            lines = part.get_payload(decode=True).decode().splitlines()  # type: ignore[union-attr]
            return [json.loads(line) for line in lines if line.strip()]
    raise bad_request("[request body.file]: expected value of type [Stream] but got [undefined]")


def _handler(kibana: Kibana) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if kibana.fault:
                self._send(*kibana.fault)
                return
            try:
                answer = kibana.answer(self.command, self.path, self.headers, body)
            except Refusal as refusal:
                self._send(refusal.status, json.dumps(refusal.body).encode())
            else:
                self._send(200, answer.encode() if isinstance(answer, str) else json.dumps(answer).encode())

        do_GET = do_POST = do_PUT = _any

        def _send(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """`Kibana.requests` tells."""

    return Handler
