"""Pages in an archive, and the server that shows them, in a thread of its own."""

from __future__ import annotations

import http.client
import io
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message

from PIL import Image, ImageDraw
from pydantic import SecretStr

from pipeline.archive import Archive, image_stem
from pipeline.core.http_server import SAFE_HEADERS, ConnectionLimits, make_server
from pipeline.core.models import Reading
from pipeline.core.url_signing import Signer, UrlPrefix, page_path
from pipeline.search.index import Index
from pipeline.web import Access, TokenReader, make_app
from support.readings import full_reading

DOCUMENT = "d" * 64
SECRET = "a-secret-of-more-than-32-characters"
TOKEN = "a-token-of-more-than-32-characters"
#: A port that nobody listens on (discard).
NO_CLUSTER = "http://127.0.0.1:9"
LIMITS = ConnectionLimits()
SIGNER = Signer(SecretStr(SECRET))


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Message
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


class Served:
    """A server that runs, asked as a client does that normalises nothing."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def ask(self, path: str, headers: Mapping[str, str] | None = None, method: str = "GET") -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, headers=dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()


@contextmanager
def served(
    archive: Archive,
    secret: str | None = None,
    token: str | None = None,
    limits: ConnectionLimits = LIMITS,
    originals: bool = False,
    index: Index | None = None,
) -> Iterator[Served]:
    """Serve an archive on a free port. Without an index, the cluster is away."""
    signer, own = Signer(SecretStr(secret) if secret else None), SecretStr(token) if token else None
    access = Access(signer, own, TokenReader(archive))
    app = make_app(archive, lambda: index or Index(NO_CLUSTER), access, originals)
    server = make_server(app, limits, headers=SAFE_HEADERS, grace_seconds=1)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield Served(listener.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join()


def shelve(archive: Archive, page: int = 1, pages: int = 1, **changes: object) -> Reading:
    """Archive a page with a picture of its number, and return its reading. `changes` are fields of the reading."""
    image = full_reading().image
    assert image is not None
    document = str(changes.pop("document_id", DOCUMENT))
    key, thumbnail_key = archive.images.save(document, image_stem(page, 2, f"{page:064x}"), _jpeg(page), _webp(page))
    info = full_reading().document.model_copy(
        update={"id": document, "pages": pages, "name": changes.pop("name", "a.pdf")}
    )
    reading = full_reading().model_copy(
        update={
            "document": info,
            "page_number": page,
            "revision": 1,
            "error": None,
            "image": image.model_copy(update={"key": key, "thumbnail_key": thumbnail_key}),
            **changes,
        }
    )
    archive.readings(reading.collection, document).page(page).advance(None, lambda _: reading)
    return reading


def page_of(reading: Reading, signer: Signer | None = None) -> str:
    """The URL of a page's page."""
    return _url(UrlPrefix.PAGES, page_path(reading.collection, reading.document.id, reading.page_number), signer)


def image_of(reading: Reading, signer: Signer | None = None) -> str:
    """The URL of a page's image."""
    assert reading.image is not None
    return _url(UrlPrefix.IMAGES, reading.image.key, signer)


def thumbnail_of(reading: Reading, signer: Signer | None = None) -> str:
    """The URL of a page's thumbnail."""
    assert reading.image is not None
    return _url(UrlPrefix.IMAGES, reading.image.thumbnail_key, signer)


def _url(place: UrlPrefix, path: str, signer: Signer | None) -> str:
    return f"/{place.value}/{(signer or Signer()).signed(place, path)}"


def _picture(page: int, width: int) -> Image.Image:
    picture = Image.new("RGB", (width, width * 7 // 5), "white")
    ImageDraw.Draw(picture).text((width // 4, width // 4), str(page), "black", font_size=width // 4)
    return picture


def _jpeg(page: int) -> bytes:
    buffer = io.BytesIO()
    _picture(page, 842).save(buffer, "JPEG")
    return buffer.getvalue()


def _webp(page: int) -> bytes:
    buffer = io.BytesIO()
    _picture(page, 160).save(buffer, "WEBP")
    return buffer.getvalue()
