"""`pagesight serve`: thumbnails against the same files from Starlette's `StaticFiles`, pages of long documents."""

from __future__ import annotations

import contextlib
import re
import select
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from common import Row, workplace
from pydantic import SecretStr

from pipeline.archive import Archive, image_stem
from pipeline.core.url_signing import Signer, UrlPrefix, page_path
from support.pagesight_runs import Pagesight
from support.readings import full_reading

THUMBNAILS = 500
#: As large as those of the samples.
THUMBNAIL_BYTES = 8_000
CONNECTIONS = 16
ROUNDS = 5
SECRET = "b" * 32
DOCUMENT = "d" * 64
STATIC = """
import sys, uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
app = Starlette(routes=[Mount("/page-images", StaticFiles(directory=sys.argv[1]))])
uvicorn.run(app, port=int(sys.argv[2]), log_level="warning", access_log=False)
"""


def rows() -> Iterator[Row]:
    with workplace() as home:
        pagesight = Pagesight(home / "pagesight", "http://127.0.0.1:1", serve_port=0, serve_secret=SECRET)
        keys = make_thumbnails(pagesight.archive)
        signer = Signer(SecretStr(SECRET))
        signed = [f"/{UrlPrefix.IMAGES.value}/{signer.signed(UrlPrefix.IMAGES, key)}" for key in keys]
        bare = [f"/{UrlPrefix.IMAGES.value}/{key}" for key in keys]
        short, long = (make_pages(pagesight.archive, pages, signer) for pages in (30, 2000))
        with ours(pagesight) as port, static(pagesight.archive_folder) as static_port:
            servers = {"ours": (port, signed), "static": (static_port, bare)}
            times: dict[str, list[float]] = {"ours": [], "static": [], "short": [], "long": []}
            rates: dict[str, list[float]] = {"ours": [], "static": []}
            for _ in range(ROUNDS):
                for name, (number, paths) in servers.items():
                    times[name] += one_by_one(number, paths)
                    rates[name].append(at_once(number, paths * 4))
                times["short"] += one_by_one(port, short)
                times["long"] += one_by_one(port, long)
    p50 = {name: statistics.median(each) * 1000 for name, each in times.items()}
    p99 = {name: statistics.quantiles(each, n=100)[98] * 1000 for name, each in times.items()}
    yield Row(
        "a thumbnail of 8 kB by its key from `pagesight serve`, one connection, against StaticFiles",
        f"p50 {p50['ours']:.2f} ms (p99 {p99['ours']:.1f})",
        f"{p50['ours'] / p50['static']:.2f}",
        "p50 < 5 ms",
    )
    ratio = statistics.median(mine / other for mine, other in zip(rates["ours"], rates["static"], strict=True))
    yield Row(
        f"the same over {CONNECTIONS} connections, against {statistics.median(rates['static']):.0f} a second",
        f"{statistics.median(rates['ours']):.0f} a second",
        f"{ratio:.2f}",
        ">= 1,000 a second",
    )
    yield Row(
        "the page of a page of 2,000, one connection, against that of one of 30",
        f"p50 {p50['long']:.1f} ms",
        f"{p50['long'] / p50['short']:.2f}",
        "",
    )


def make_thumbnails(archive: Archive) -> list[str]:
    data = bytes(number % 251 for number in range(THUMBNAIL_BYTES))
    return [
        archive.images.save(DOCUMENT, image_stem(page, 1, "c" * 64), b"", data + page.to_bytes(4, "big"))[1]
        for page in range(1, THUMBNAILS + 1)
    ]


def make_pages(archive: Archive, pages: int, signer: Signer) -> list[str]:
    """Archive the readings of a document of so many pages; return the URLs of thirty in its middle."""
    model = full_reading()
    document = f"{pages:064x}"
    info = model.document.model_copy(update={"id": document, "pages": pages})
    for page in range(1, pages + 1):
        reading = model.model_copy(update={"document": info, "page_number": page, "revision": 1})
        archive.readings("works", document).page(page).create(reading)
    middle = range(pages // 2 - 14, pages // 2 + 16)
    return [
        f"/{UrlPrefix.PAGES.value}/{signer.signed(UrlPrefix.PAGES, page_path('works', document, page))}"
        for page in middle
    ]


@contextlib.contextmanager
def ours(pagesight: Pagesight) -> Iterator[int]:
    run = pagesight.start("serve")
    try:
        run.until(lambda: "http://" in run.stdout)
        yield int(re.search(r"http://127\.0\.0\.1:(\d+)", run.stdout)[1])  # type: ignore[index]
        run.interrupt()
        assert run.ended().code == 0
    finally:
        pagesight.close()


@contextlib.contextmanager
def static(folder: Path) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-c", STATIC, str(folder), str(port)])
    try:
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.05)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


def one_by_one(port: int, paths: list[str]) -> list[float]:
    """Seconds of each request over one connection."""
    taken = []
    with socket.create_connection(("127.0.0.1", port)) as connection:
        for path in paths:
            began = time.perf_counter()
            connection.sendall(request(path))
            answer = Answer(connection)
            while not answer.read():
                pass
            taken.append(time.perf_counter() - began)
    return taken


def at_once(port: int, paths: list[str]) -> float:
    """Requests a second over several connections, each asked again as soon as it has answered."""
    left = iter(paths)
    connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS)]
    answers = {}
    began = time.perf_counter()
    for connection in connections:
        connection.sendall(request(next(left)))
        answers[connection] = Answer(connection)
    while answers:
        ready, _, _ = select.select(list(answers), [], [])
        for connection in ready:
            if answers[connection].read():
                path = next(left, None)
                if path is None:
                    del answers[connection]
                else:
                    connection.sendall(request(path))
                    answers[connection] = Answer(connection)
    seconds = time.perf_counter() - began
    for connection in connections:
        connection.close()
    return len(paths) / seconds


def request(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


class Answer:
    """An answer that arrives: it is whole once its head and so many bytes as that says are there."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._data = b""

    def read(self) -> bool:
        self._data += self._connection.recv(1 << 16)
        head, blank, body = self._data.partition(b"\r\n\r\n")
        if not blank:
            return False
        assert head.startswith(b"HTTP/1.1 200"), head
        return len(body) == int(re.search(rb"content-length: (\d+)", head)[1])  # type: ignore[index]
