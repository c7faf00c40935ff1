"""Errors as RFC 9457 problem details: what went wrong, and the remedy that the commands give."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from pipeline.core.errors import (
    ArchiveDamaged,
    NotFound,
    PagesightError,
    ServiceRefused,
    ServiceUnavailable,
    SettingsError,
)
from pipeline.web.contents import HEADERS, RETRY_AFTER_SECONDS

MEDIA_TYPE = "application/problem+json"
#: Statuses by class of error; the first class that fits counts.
STATUSES: Mapping[type[PagesightError], HTTPStatus] = {
    NotFound: HTTPStatus.NOT_FOUND,
    SettingsError: HTTPStatus.BAD_REQUEST,
    ServiceUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    ServiceRefused: HTTPStatus.BAD_GATEWAY,
    ArchiveDamaged: HTTPStatus.INTERNAL_SERVER_ERROR,
}


class Problem(BaseModel):
    """Problem details (RFC 9457)."""

    type: str = Field("about:blank", description="Always about:blank: the status says the kind.")
    title: str = Field(description="Name of the status.", examples=["Not Found"])
    status: int = Field(description="HTTP status.", examples=[404])
    detail: str = Field(description="Cause, in one line.", examples=["collection 'typo' does not exist"])
    remedy: str = Field("", description="What to do about it.", examples=["There are: default, works."])


#: Answers that every route may give, for OpenAPI.
RESPONSES: dict[int | str, dict[str, Any]] = {
    status.value: {"description": words, "content": {MEDIA_TYPE: {"schema": Problem.model_json_schema()}}}
    for status, words in (
        (HTTPStatus.BAD_REQUEST, "An argument cannot be used."),
        (HTTPStatus.UNAUTHORIZED, "A token is missing or invalid."),
        (HTTPStatus.FORBIDDEN, "The token has not the scope that this needs."),
        (HTTPStatus.NOT_FOUND, "Nothing has this name, or the token may not see it."),
        (HTTPStatus.UNPROCESSABLE_ENTITY, "A parameter is missing or has the wrong form."),
        (HTTPStatus.BAD_GATEWAY, "A service refuses every request."),
        (HTTPStatus.SERVICE_UNAVAILABLE, "A service is away; `Retry-After` says when to try again."),
    )
}


def problem(
    status: HTTPStatus, detail: str, remedy: str = "", headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Return an answer with problem details."""
    body = Problem(title=status.phrase, status=status.value, detail=detail, remedy=remedy)
    caching = {"Cache-Control": "no-store"}
    return JSONResponse(body.model_dump(), status, {**HEADERS, **caching, **(headers or {})}, MEDIA_TYPE)


def handle_errors(app: FastAPI) -> None:
    """Answer every error of an application with problem details."""
    app.add_exception_handler(PagesightError, _expected)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _refused)


async def _expected(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, PagesightError)
    status = next((status for kind, status in STATUSES.items() if isinstance(error, kind)), None)
    if status is None:
        raise error
    headers = {}
    if isinstance(error, ServiceUnavailable):
        headers["Retry-After"] = str(round(error.retry_after_seconds or RETRY_AFTER_SECONDS))
    return problem(status, str(error), error.remedy, headers)


async def _invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"][1:])
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"{name}: {first['msg']}", "The API's openapi.json has the form.")


async def _refused(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    detail = error.detail if error.detail != status.phrase else status.description
    return problem(status, detail, headers=error.headers)
