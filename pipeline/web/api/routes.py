"""What routes share: parameters, rights, conditional answers."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Query
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from pipeline.core.models import Scope
from pipeline.web.access import Access
from pipeline.web.contents import ASK_AGAIN, content
from pipeline.web.rights import Rights

Limit = Annotated[int, Query(ge=1, le=1000, description="Most entries to return.")]
CollectionQuery = Annotated[str | None, Query(max_length=256, description="Only this collection.")]


class ConditionalRoute(APIRoute):
    """Answers with an `ETag`, and with 304 if the client has the same answer."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler that adds the `ETag`."""
        handle = super().get_route_handler()

        async def conditional(request: Request) -> Response:
            answer = await handle(request)
            if answer.status_code != HTTPStatus.OK or not isinstance(answer.body, bytes):
                return answer
            return content(request, answer.body, "application/json", ASK_AGAIN)

        return conditional


def requires(access: Access, scope: Scope) -> Callable[[Request], Rights]:
    """Return a dependency that refuses a request without the scope, and returns its rights."""

    def rights(request: Request) -> Rights:
        found = access.rights(request)
        if found is None:
            raise HTTPException(
                HTTPStatus.UNAUTHORIZED,
                "this needs a token: send `Authorization: Bearer TOKEN`",
                {"WWW-Authenticate": "Bearer"},
            )
        if not found.allow(scope):
            raise HTTPException(HTTPStatus.FORBIDDEN, f"this needs a token with the scope {scope.value!r}")
        return found

    return rights
