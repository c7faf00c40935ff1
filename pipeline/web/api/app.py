"""The routes of the API. Each calls one verb and returns its result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Path, Query

from pipeline.archive import Archive
from pipeline.core.described import DESCRIBED
from pipeline.core.errors import NotFound
from pipeline.core.models import DocumentStatus, Scope
from pipeline.embedding import Embedder
from pipeline.search import FailedPage
from pipeline.search.index import Index
from pipeline.search.listings import DocumentOrder
from pipeline.verbs.batches import BatchSummary, find_batch, recent_batches
from pipeline.verbs.catalogue import CollectionList, list_collections
from pipeline.verbs.lookup import require_collection, require_error_class
from pipeline.verbs.pages import DocumentShown, show_document
from pipeline.web.access import Access
from pipeline.web.api import cursors
from pipeline.web.api.problems import RESPONSES, handle_errors
from pipeline.web.api.routes import CollectionQuery, ConditionalRoute, Limit, requires
from pipeline.web.api.search import search_router
from pipeline.web.rights import Rights

API_PREFIX = "/api/v1"
#: Version of the JSON shapes. It rises when a field is removed or changes its meaning, never for a new field.
SCHEMA_VERSION = "1"
DESCRIPTION = """
Search pages, look at documents, and follow batches. Errors are problem details (RFC 9457) with a remedy. Long lists
have a `next` cursor. Answers have an `ETag`; send it back as `If-None-Match` to receive 304 for an unchanged answer.
"""
#: Sort values of a document: by its order, name, id, collection.
_DOCUMENT_CURSOR = 4

CollectionPath = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$", description="Name of a collection.")]
DocumentPath = Annotated[str, Path(pattern="^[0-9a-f]{64}$", description="Id of a document: SHA-256 of its bytes.")]
PagePath = Annotated[int, Path(ge=1, le=9_999_999, description="Number of a page, from 1.")]


@dataclass(frozen=True, slots=True)
class DocumentPart:
    """A part of the list of documents."""

    __pydantic_config__ = DESCRIBED

    total: int
    """Number of all matching documents."""
    documents: tuple[dict[str, Any], ...]
    """Records of documents: docs/records.md describes the fields."""
    next: str | None
    """Cursor of the next part; null at the end."""


@dataclass(frozen=True, slots=True)
class BatchPart:
    """A part of the list of batches, newest first."""

    __pydantic_config__ = DESCRIBED

    batches: tuple[BatchSummary, ...]
    """The batches of this part."""
    next: str | None
    """Cursor of the next part; null at the end."""


@dataclass(frozen=True, slots=True)
class FailureList:
    """Failed files and pages."""

    __pydantic_config__ = DESCRIBED

    failures: tuple[FailedPage, ...]
    """Files by path, then pages by document."""
    complete: bool
    """False if there are more than `limit`."""


def make_api(
    open_index: Callable[[], Index], archive: Archive, access: Access, embedder: Embedder | None, base_url: str
) -> FastAPI:
    """Return the ASGI application of the API, for mounting at `API_PREFIX`.

    Args:
        open_index: returns the index, or raises `ServiceRefused` while no cluster is configured or runs.
        archive: read only.
        access: refuses requests without the right to a route.
        embedder: makes vectors of queries; None for searches by words only.
        base_url: of this server, for the addresses of pages.
    """
    app = FastAPI(
        title="Pagesight",
        version=SCHEMA_VERSION,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        redirect_slashes=False,
    )
    handle_errors(app)
    app.include_router(reading_router(open_index, archive, access))
    app.include_router(search_router(open_index, archive, access, embedder, base_url))
    return app


def reading_router(open_index: Callable[[], Index], archive: Archive, access: Access) -> APIRouter:
    """Return the routes that list and show; the arguments are those of `make_api`."""
    router = APIRouter(route_class=ConditionalRoute, responses=RESPONSES)
    may_read = Depends(requires(access, Scope.READ))

    @router.get("/collections", tags=["collections"])
    def collections(rights: Rights = may_read) -> CollectionList:
        """List collections with documents, pages, size and state."""
        return list_collections(open_index(), archive, rights.collections)

    @router.get("/documents", tags=["documents"])
    def documents(
        term: Annotated[
            str | None, Query(max_length=1024, description="Start of an id, or part of a name or path.")
        ] = None,
        collection: CollectionQuery = None,
        status: Annotated[DocumentStatus | None, Query(description="Only documents with this status.")] = None,
        sort: Annotated[DocumentOrder, Query(description="Order of the list.")] = DocumentOrder.NAME,
        limit: Limit = 100,
        cursor: Annotated[str | None, Query(description="`next` of the part before.")] = None,
        rights: Rights = may_read,
    ) -> DocumentPart:
        """List documents with pages, size and status."""
        only, index = rights.only(collection), open_index()
        require_collection(archive, collection, index, rights.collections)
        after = cursors.decode(cursor, _DOCUMENT_CURSOR)
        found = index.listings.documents(term, collection=only, status=status, order=sort, size=limit, after=after)
        return DocumentPart(found.total, found.records, cursors.encode(found.after))

    @router.get("/documents/{collection}/{document}", tags=["documents"])
    def document(collection: CollectionPath, document: DocumentPath, rights: Rights = may_read) -> DocumentShown:
        """Return a document's record, and the records of its pages."""
        rights.only(collection)
        return show_document(open_index(), archive, document, collection)

    @router.get("/documents/{collection}/{document}/pages/{page}", tags=["documents"])
    def page(
        collection: CollectionPath, document: DocumentPath, page: PagePath, rights: Rights = may_read
    ) -> DocumentShown:
        """Return a document's record, and the record of one page."""
        rights.only(collection)
        return show_document(open_index(), archive, document, collection, page)

    @router.get("/failures", tags=["batches"])
    def failures(
        collection: CollectionQuery = None,
        batch: Annotated[str | None, Query(max_length=256, description="Only failures of this batch.")] = None,
        error: Annotated[str | None, Query(max_length=64, description="Only this class of errors.")] = None,
        limit: Limit = 100,
        rights: Rights = may_read,
    ) -> FailureList:
        """List failed files and pages, with causes and remedies."""
        only, index = rights.only(collection), open_index()
        require_collection(archive, collection, index, rights.collections)
        require_error_class(error)
        found = tuple(islice(index.queries.failures(collection=only, batch=batch, error=error), limit + 1))
        return FailureList(found[:limit], len(found) <= limit)

    @router.get("/batches", tags=["batches"])
    def batches(
        collection: CollectionQuery = None,
        limit: Limit = 20,
        cursor: Annotated[str | None, Query(description="`next` of the part before.")] = None,
        rights: Rights = may_read,
    ) -> BatchPart:
        """List batches, newest first."""
        only = rights.only(collection)
        require_collection(archive, collection, visible=rights.collections)
        before = cursors.decode(cursor, 1)
        found = recent_batches(archive, only, None if before is None else str(before[0]))
        part = tuple(islice(found, limit))
        more = [part[-1].id] if len(part) == limit else None
        return BatchPart(tuple(map(BatchSummary.of, part)), cursors.encode(more))

    @router.get("/batches/{batch}", tags=["batches"])
    def batch(
        batch: Annotated[str, Path(max_length=256, description="Id of a batch.")], rights: Rights = may_read
    ) -> BatchSummary:
        """Return a batch."""
        found = find_batch(archive, batch)
        if rights.collections is not None and found.collection not in rights.collections:
            raise NotFound(f"there is no batch {batch!r}")
        return BatchSummary.of(found)

    return router
