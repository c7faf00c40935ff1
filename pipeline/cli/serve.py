"""`pagesight serve`: pages and their images in a browser."""

from __future__ import annotations

import ipaddress
import signal
import socket
import sys
from types import FrameType
from typing import TYPE_CHECKING

import typer

from pipeline.cli.exits import ExitCode
from pipeline.cli.options import Json
from pipeline.cli.output import plain, print_json, stdout
from pipeline.core.errors import SettingsError
from pipeline.core.settings import Settings, load
from pipeline.core.url_signing import Signer
from pipeline.services import open_archive

if TYPE_CHECKING:
    from pipeline.web import Access

EXAMPLES = """
**Examples**

`pagesight serve` · to this machine alone; `pagesight show report.pdf:3` names a page's address

`PAGESIGHT_SERVE_SECRET=… PAGESIGHT_SERVE_HOST=0.0.0.0 pagesight serve` · to whoever has a page's address with its key

It reads the archive alone, so it needs neither the cluster nor a model. Ctrl-C and SIGTERM end it.
Exit codes: 0 ended by a signal, 2 settings or an address that cannot be had, 3 the archive refuses.
"""
#: Connections that wait to be accepted.
BACKLOG = 1024
#: What is being sent may end.
GRACE_SECONDS = 5


def serve(as_json: Json = False) -> None:
    """Show pages and their images in a browser, until told to stop."""
    import uvicorn

    from pipeline.web import Access, make_app

    settings = load()
    access = Access(Signer(settings.serve_secret), settings.serve_token)
    listener = _listen(settings, access)
    url = _url(listener)
    app = make_app(open_archive(settings), access)
    # No access log: keys stand in URLs. Whoever claims by a header to come by TLS has the cookie sent by TLS only.
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            access_log=False,
            log_level="warning",
            lifespan="off",
            server_header=False,
            forwarded_allow_ips="*",
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
    )

    def end(_number: int, _frame: FrameType | None) -> None:
        server.should_exit = True

    # For signals before uvicorn has its own handlers, and for the one that ended it: that it raises once more.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    if as_json:
        print_json({"url": url, "access": _rule(access)})
    else:
        stdout().print(plain(f"Pages are shown at {url}, {_rule(access)}. Ctrl-C ends it."))
    sys.stdout.flush()
    server.run(sockets=[listener])
    raise typer.Exit(ExitCode.OK)


def _listen(settings: Settings, access: Access) -> socket.socket:
    """Return a socket that listens; to other machines only where URLs need a key or a token."""
    host, port = settings.serve_host, settings.serve_port
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise SettingsError(
            f"serve_host: {host!r} is no address: {error.strerror}",
            remedy="Set PAGESIGHT_SERVE_HOST to one of this machine.",
        ) from None
    if access.is_open and not ipaddress.ip_address(address[0]).is_loopback:
        raise SettingsError(
            f"serve_host: on {host} other machines could see every page",
            remedy="Set PAGESIGHT_SERVE_SECRET or PAGESIGHT_SERVE_TOKEN, or leave PAGESIGHT_SERVE_HOST at 127.0.0.1.",
        )
    # With the protocol named asyncio sets TCP_NODELAY, without which an answer waits 40 ms for an acknowledgement.
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise SettingsError(
            f"serve_port: {host}:{port} cannot be listened on: {error.strerror}",
            remedy="Set PAGESIGHT_SERVE_PORT to a free one, or end what listens there.",
        ) from None
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if listener.family == socket.AF_INET6 else f"http://{host}:{port}"


def _rule(access: Access) -> str:
    if access.is_open:
        return "open to this machine"
    return "by " + " or ".join(
        word for word, there in (("key", access.signer.secret), ("token", access.token)) if there is not None
    )
