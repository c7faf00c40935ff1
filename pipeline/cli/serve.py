"""`pagesight serve`: serve pages and search in a browser."""

from __future__ import annotations

import ipaddress
import signal
import socket
import sys
from functools import cache, partial
from types import FrameType
from typing import TYPE_CHECKING

import typer

from pipeline.cli.exits import ExitCode
from pipeline.cli.options import Json
from pipeline.cli.output import plain, print_json, stdout
from pipeline.core.errors import SettingsError
from pipeline.core.settings import Settings, load
from pipeline.core.url_signing import Signer
from pipeline.services import open_archive, open_embedder, open_index

if TYPE_CHECKING:
    from pipeline.web import Access

EXAMPLES = """
**Examples**

`pagesight serve` · for this machine only; `pagesight show report.pdf:3` prints the URL of a page

`PAGESIGHT_SERVE_SECRET=… PAGESIGHT_SERVE_HOST=0.0.0.0 pagesight serve` · for everyone who has a page URL with its key

Pages come from the archive, and original files if `PAGESIGHT_SERVE_ORIGINALS` is set; the search at `/` and the API
under `/api/v1` query the cluster, and say so where there is none. Ctrl-C and SIGTERM stop it.

Exit codes: 0 stopped by a signal, 2 settings, or the address is unavailable, 3 the archive refuses.
"""
#: Length of the queue of connections to accept.
BACKLOG = 1024
#: Time for responses in progress to finish.
GRACE_SECONDS = 5


def serve(as_json: Json = False) -> None:
    """Serve search and pages in a browser until stopped."""
    from pipeline.core.http_server import SAFE_HEADERS, ConnectionLimits, make_server
    from pipeline.web import Access, TokenReader, make_app

    settings = load()
    archive = open_archive(settings)
    access = Access(Signer(settings.serve_secret), settings.serve_token, TokenReader(archive))
    listener = _listen(settings, access)
    url = _url(listener)
    embedder = open_embedder(settings)
    index = cache(partial(open_index, settings))  # a cluster that is started later is found by the next request
    app = make_app(archive, index, access, settings.serve_originals, embedder, settings.pages_url)
    server = make_server(app, ConnectionLimits(), headers=SAFE_HEADERS, grace_seconds=GRACE_SECONDS)

    def end(_number: int, _frame: FrameType | None) -> None:
        server.should_exit = True

    # Handles signals before uvicorn installs its own handlers, and the signal that uvicorn raises again at its end.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    if as_json:
        print_json({"url": url, "access": _rule(access)})
    else:
        stdout().print(plain(f"Pages are shown at {url}, {_rule(access)}. Ctrl-C stops the server."))
    sys.stdout.flush()
    server.run(sockets=[listener])
    raise typer.Exit(ExitCode.OK)


def _listen(settings: Settings, access: Access) -> socket.socket:
    """Return a listening socket. It accepts other machines only if URLs need a key or a token.

    Raises:
        SettingsError: the address is invalid, unprotected or in use.
    """
    host, port = settings.serve_host, settings.serve_port
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise SettingsError(
            f"serve_host: {host!r} is not an address: {error.strerror}",
            remedy="Set PAGESIGHT_SERVE_HOST to an address of this machine.",
        ) from None
    if access.is_open and not ipaddress.ip_address(address[0]).is_loopback:
        raise SettingsError(
            f"serve_host: on {host} other machines could see every page",
            remedy="Make a token with `pagesight token create`, set PAGESIGHT_SERVE_SECRET or PAGESIGHT_SERVE_TOKEN, "
            "or leave PAGESIGHT_SERVE_HOST at 127.0.0.1.",
        )
    # asyncio sets TCP_NODELAY only if the protocol is given. Without it, a response waits 40 ms for an acknowledgement.
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise SettingsError(
            f"serve_port: cannot listen on {host}:{port}: {error.strerror}",
            remedy="Set PAGESIGHT_SERVE_PORT to a free port, or stop the program that uses this one.",
        ) from None
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if listener.family == socket.AF_INET6 else f"http://{host}:{port}"


def _rule(access: Access) -> str:
    if access.is_open:
        return "open to this machine"
    has_token = access.token is not None or (access.made is not None and access.made.any())
    return "by " + " or ".join(["key"] * (access.signer.secret is not None) + ["token"] * has_token)
