"""The route that searches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Query

from pipeline.archive import Archive
from pipeline.core.languages import normalise_tag
from pipeline.core.models import PageKind, PageStatus, Scope
from pipeline.core.url_signing import page_url
from pipeline.embedding import Embedder
from pipeline.search import Hit
from pipeline.search.index import Index
from pipeline.search.query_builder import Filters, Order
from pipeline.search.query_limits import MAX_CHARACTERS, MAX_START
from pipeline.verbs.lookup import require_collection
from pipeline.verbs.meaning import try_query_vector
from pipeline.verbs.search import SearchAnswer, finds_exact_words_only, search_answer
from pipeline.web.access import Access
from pipeline.web.api.problems import RESPONSES
from pipeline.web.api.routes import CollectionQuery, ConditionalRoute, Limit, requires
from pipeline.web.rights import Rights


def search_router(
    open_index: Callable[[], Index], archive: Archive, access: Access, embedder: Embedder | None, base_url: str
) -> APIRouter:
    """Return the route that searches; the arguments are those of `make_api`."""
    router = APIRouter(route_class=ConditionalRoute, responses=RESPONSES)

    def address(hit: Hit) -> str:
        return page_url(hit.collection, hit.document.id, hit.page_number, access.signer, base_url)

    @router.get("/search", tags=["search"])
    def search(
        q: Annotated[str, Query(max_length=MAX_CHARACTERS, description="The query: docs/search.md has its language.")],
        collection: CollectionQuery = None,
        language: Annotated[
            str | None, Query(max_length=64, description="Only pages in this language, as a BCP 47 tag.")
        ] = None,
        kind: Annotated[PageKind | None, Query(description="Only pages made this way.")] = None,
        status: Annotated[PageStatus | None, Query(description="Only pages with this status.")] = None,
        type: Annotated[str | None, Query(max_length=128, description="Only files of this format.")] = None,
        date: Annotated[
            str | None, Query(max_length=64, description="Only files modified then: 2020, 2020-05, 2020..2022.")
        ] = None,
        document: Annotated[
            str | None, Query(max_length=1024, description="Start of an id, or part of a name or path.")
        ] = None,
        suspect: Annotated[bool | None, Query(description="Only pages that should be looked at.")] = None,
        sort: Annotated[Order, Query(description="Order of the hits.")] = Order.RELEVANCE,
        grouped: Annotated[bool, Query(description="Return the best pages of each document.")] = False,
        explained: Annotated[bool, Query(description="Return the parts of each score.")] = False,
        words_only: Annotated[bool, Query(description="Search by words, not by meaning.")] = False,
        start: Annotated[int, Query(ge=0, le=MAX_START, description="Number of hits to leave out first.")] = 0,
        limit: Limit = 10,
        rights: Rights = Depends(requires(access, Scope.READ)),  # noqa: B008 - FastAPI reads it
    ) -> SearchAnswer:
        """Search pages by words and by meaning."""
        only, index = rights.only(collection), open_index()
        require_collection(archive, collection, index, rights.collections)
        tag = normalise_tag(language) if language else None
        vector, error = (None, None) if words_only else try_query_vector(embedder, q)
        found = index.queries.search(
            q,
            Filters(only, tag, kind, status, type, date, document, suspect),
            order=sort,
            start=start,
            size=limit,
            grouped=grouped,
            explained=explained,
            vector=vector,
        )
        exact = finds_exact_words_only(index, tag)
        return search_answer(found, archive, address, exact_words_only=exact, meaning_error=error)

    return router
