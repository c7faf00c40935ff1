"""The routes: page images, the pages that show them, and messages for errors."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from importlib.resources import files
from typing import Any

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route

from pipeline.archive import Archive, is_image_key, page_of_image
from pipeline.core.errors import NotFound, ServiceRefused, ServiceUnavailable, SettingsError
from pipeline.core.languages import english_name
from pipeline.core.models import Reading, Tombstone
from pipeline.core.url_signing import UrlPrefix, page_url
from pipeline.embedding import Embedder
from pipeline.search import SERVICE
from pipeline.search.index import Index
from pipeline.web.access import Access
from pipeline.web.api import API_PREFIX, make_api
from pipeline.web.contents import ASK_AGAIN, FOR_EVER, HEADERS, PAGE_HEADERS, RETRY_AFTER_SECONDS, content
from pipeline.web.originals import download
from pipeline.web.rights import Rights
from pipeline.web.search import SearchForm, search_view, start_view, texts_for
from pipeline.web.viewing import find_page, original_url, view_page

_TYPES = {"jpg": "image/jpeg", "webp": "image/webp", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
#: Collection, document and page number. Nothing else in the archive has a path of this form.
_PAGE = re.compile(r"([a-z0-9][a-z0-9_-]{0,62})/([0-9a-f]{64})/([1-9][0-9]{0,6})")
_NUMBER = re.compile(r"[1-9][0-9]{0,6}")
_ASSETS = ("viewer.css", "viewer.js", "search.css", "icon.svg")
_NO_ORIGINAL = (
    "The file cannot be downloaded here",
    "It is gone or has changed since it was indexed, it is inside another file or in a bucket, or this server may not "
    "read it. Its page image and texts are still in the archive. `pagesight index` of its folder takes up a change.",
)
_NO_SEARCH = (
    "The search cannot be reached now",
    "Nothing is lost. Pages at known addresses are still shown. Try again in a moment. If the error persists, "
    "`pagesight doctor` on the server names its cause.",
)
_MESSAGES = {
    HTTPStatus.FORBIDDEN: (
        "You may not see this page",
        "The key in its address is missing or no longer valid. Open the page from the search again. Or ask the "
        "operator of this server for a token, and add ?token=… to the address.",
    ),
    HTTPStatus.NOT_FOUND: (
        "Page not found",
        "The archive has no page at this address. Search in Kibana or with `pagesight search`: results have links to "
        "this server.",
    ),
    HTTPStatus.GONE: (
        "This page was deleted",
        "Its document or its collection was deleted. The page comes back only if the file is indexed again.",
    ),
    HTTPStatus.METHOD_NOT_ALLOWED: ("Method not allowed", "This server shows pages and changes nothing."),
    HTTPStatus.SERVICE_UNAVAILABLE: (
        "The archive cannot be reached now",
        "Nothing is lost. Try again in a moment. If the error persists, `pagesight doctor` on the server names its "
        "cause.",
    ),
}


def make_app(
    archive: Archive,
    open_index: Callable[[], Index],
    access: Access,
    originals: bool = False,
    embedder: Embedder | None = None,
    base_url: str = "",
) -> Starlette:
    """Return the ASGI application: search, viewer and API. It calls no vision model.

    Args:
        archive: read only. The viewer needs nothing else.
        open_index: returns the index for search page and API, or raises `ServiceRefused` while there is none.
        access: refuses requests without a key or token.
        originals: whether the viewer offers the files of documents.
        embedder: makes vectors of queries; None for searches by words only.
        base_url: of this server, for the addresses of pages in the API.
    """
    pages = _Pages(archive, open_index, access, originals, embedder)
    return Starlette(
        routes=[
            Route("/livez", _livez),
            Mount(API_PREFIX, make_api(open_index, archive, access, embedder, base_url)),
            *(Route(f"/{UrlPrefix.PAGES.value}/{name}", pages.asset) for name in _ASSETS),
            Route(f"/{UrlPrefix.IMAGES.value}/{{path:path}}", pages.image),
            *([Route(f"/{UrlPrefix.PAGES.value}/{{path:path}}/original", pages.original)] if originals else []),
            Route(f"/{UrlPrefix.PAGES.value}/{{path:path}}", pages.page),
            Route("/", pages.root),
        ],
        exception_handlers={
            HTTPException: pages.refuse,
            SettingsError: pages.unusable,
            ServiceRefused: pages.unavailable,
            ServiceUnavailable: pages.unavailable,
        },
    )


async def _livez(_request: Request) -> Response:
    return PlainTextResponse("live\n", headers=HEADERS)


class _Pages:
    """The endpoints. Every call that may wait for the archive runs in a thread."""

    def __init__(
        self,
        archive: Archive,
        open_index: Callable[[], Index],
        access: Access,
        originals: bool,
        embedder: Embedder | None,
    ) -> None:
        self._embedder = embedder
        self._archive = archive
        self._open_index = open_index
        self._access = access
        self._originals = originals
        # A large file takes seconds to hash: requests for files wait for each other, and images do not wait for them.
        self._one_file = CapacityLimiter(1)
        folder = files("pipeline.web") / "assets"
        self._assets = {name: (folder / name).read_bytes() for name in _ASSETS}
        self._templates = Environment(
            loader=PackageLoader("pipeline.web"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        # A new version has a new URL, so a browser can cache each version for ever.
        self._templates.globals["assets"] = {
            name.replace(".", "_"): f"/{UrlPrefix.PAGES.value}/{name}?v={hashlib.sha256(data).hexdigest()[:12]}"
            for name, data in self._assets.items()
        }
        self._templates.filters["language"] = english_name
        self._templates.filters["words"] = lambda name: str(name).replace("_", " ").replace(":", ": ")

    async def asset(self, request: Request) -> Response:
        """Serve style, script or icon, without access control."""
        name = request.url.path.rpartition("/")[2]
        return content(request, self._assets[name], _type(name), FOR_EVER)

    async def root(self, request: Request) -> Response:
        """Serve the search: collections, or the hits of a query. With `?token=`, sign in."""
        if signed_in := await run_sync(self._access.sign_in, request):
            return signed_in
        rights = await run_sync(self._require_rights, request)
        html = await run_sync(self._search, request, rights)
        return content(request, html.encode(), "text/html", ASK_AGAIN, PAGE_HEADERS)

    async def image(self, request: Request) -> Response:
        """Serve a page image or a thumbnail by its key in the archive."""
        key: str = request.path_params["path"]
        await run_sync(self._require_image, request, key)
        data = await run_sync(self._archive.images.get, key) if is_image_key(key) else None
        if data is None:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        return content(request, data, _type(key), FOR_EVER)

    async def page(self, request: Request) -> Response:
        """Serve the viewer for a page. With `?page=`, redirect to another page of the document."""
        path: str = request.path_params["path"]
        if signed_in := await run_sync(self._access.sign_in, request):
            return signed_in
        await run_sync(self._require_page, request, path, path)
        named = _PAGE.fullmatch(path)
        if named is None:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        collection, document, number = named.groups()
        wanted = request.query_params.get("page", "")
        if _NUMBER.fullmatch(wanted):
            url = page_url(collection, document, int(wanted), self._access.signer)
            return RedirectResponse(url, HTTPStatus.SEE_OTHER, PAGE_HEADERS)
        html = await run_sync(self._page, collection, document, int(number), request.query_params.get("key", ""))
        return content(request, html.encode(), "text/html", ASK_AGAIN, PAGE_HEADERS)

    async def original(self, request: Request) -> Response:
        """Serve the file of a page as an attachment. Its URL has a key of its own."""
        path: str = request.path_params["path"]
        await run_sync(self._require_page, request, path, f"{path}/original")
        named = _PAGE.fullmatch(path)
        if named is None:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        collection, document, number = named.groups()
        answer = await run_sync(self._original, collection, document, int(number), limiter=self._one_file)
        return answer or self._show(HTTPStatus.NOT_FOUND, *_NO_ORIGINAL)

    def _require_page(self, request: Request, page: str, path: str) -> None:
        """Refuse a request without the key of `path` and without the right to see its page.

        Raises:
            HTTPException: 403 without a key or token; 404 where the token may not see the collection.
        """
        if not self._access.has_key(request, UrlPrefix.PAGES, path):
            collections = self._require_rights(request).collections
            if collections is not None and page.partition("/")[0] not in collections:
                raise HTTPException(HTTPStatus.NOT_FOUND)

    def _require_image(self, request: Request, key: str) -> None:
        """Refuse a request without the key of an image and without the right to see a collection with its document."""
        if not self._access.has_key(request, UrlPrefix.IMAGES, key):
            collections = self._require_rights(request).collections
            if collections is not None and not self._is_in(collections, key):
                raise HTTPException(HTTPStatus.NOT_FOUND)

    def _require_rights(self, request: Request) -> Rights:
        rights = self._access.rights(request)
        if rights is None:
            raise HTTPException(HTTPStatus.FORBIDDEN)
        return rights

    def _is_in(self, collections: Iterable[str], key: str) -> bool:
        """Whether the page of an image belongs to one of these collections and was not deleted from it."""
        page = page_of_image(key)
        if page is None:
            return False
        document, number = page
        found = (self._archive.readings(name, document).newest((number,)) for name in collections)
        return any(isinstance(reading, Reading) for readings in found for reading in readings)

    async def refuse(self, _request: Request, error: Exception) -> Response:
        """Answer with a message about an HTTP error."""
        assert isinstance(error, HTTPException)
        return self._message(HTTPStatus(error.status_code), error.headers or {})

    async def unusable(self, _request: Request, error: Exception) -> Response:
        """Answer that an address names something that does not exist or cannot be used."""
        assert isinstance(error, SettingsError)
        status = HTTPStatus.NOT_FOUND if isinstance(error, NotFound) else HTTPStatus.BAD_REQUEST
        return self._show(status, str(error), error.remedy)

    async def unavailable(self, _request: Request, error: Exception) -> Response:
        """Answer that archive or cluster is unavailable. The error is not shown: it may contain paths and names."""
        if getattr(error, "service", "") == SERVICE:
            return self._show(HTTPStatus.SERVICE_UNAVAILABLE, *_NO_SEARCH, {"Retry-After": str(RETRY_AFTER_SECONDS)})
        return self._message(HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": str(RETRY_AFTER_SECONDS)})

    def _search(self, request: Request, rights: Rights) -> str:
        form, texts = SearchForm.of(request.query_params), texts_for(request.headers.get("accept-language", ""))
        if form.words:
            found = search_view(self._open_index(), rights, form, self._access.signer, self._embedder)
            return self._render("hits.html", view=found, texts=texts)
        return self._render("start.html", view=start_view(self._open_index(), rights), texts=texts)

    def _original(self, collection: str, document: str, number: int) -> Response | None:
        found = self._archive.readings(collection, document).newest(range(number, number + 1))
        return download(self._archive, _reading_of(found, number))

    def _page(self, collection: str, document: str, number: int, key: str) -> str:
        found = find_page(self._archive, collection, document, number)
        reading = _reading_of(found, number)
        around = [reading for reading in found if isinstance(reading, Reading)]
        view = view_page(reading, around, self._access.signer)
        original = original_url(reading, self._access.signer) if self._originals else None
        return self._render("page.html", view=view, reading=reading, key=key, original=original)

    def _message(self, status: HTTPStatus, headers: Mapping[str, str] | None = None) -> Response:
        return self._show(status, *_MESSAGES.get(status, (status.phrase, status.description)), headers)

    def _show(self, status: HTTPStatus, title: str, text: str, headers: Mapping[str, str] | None = None) -> Response:
        html = self._render("message.html", title=title, text=text, status=status)
        caching = {"Cache-Control": "no-store"}
        return Response(html, status, {**PAGE_HEADERS, **caching, **(headers or {})}, "text/html")

    def _render(self, template: str, **values: Any) -> str:
        return self._templates.get_template(template).render(**values)


def _reading_of(found: Iterable[Reading | Tombstone], number: int) -> Reading:
    """Return a page's reading.

    Raises:
        HTTPException: there is none, or it was deleted.
    """
    reading = next((reading for reading in found if reading.page_number == number), None)
    if reading is None:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    if isinstance(reading, Tombstone):
        raise HTTPException(HTTPStatus.GONE)
    return reading


def _type(name: str) -> str:
    return _TYPES[name.rpartition(".")[2]]
