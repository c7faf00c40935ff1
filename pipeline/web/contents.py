"""Answers with bytes: ETag, conditional requests, ranges."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

#: `Retry-After` of an answer while archive or cluster is away, and named no time itself.
RETRY_AFTER_SECONDS = 10
#: Caching of content that never changes under its name. Shared caches must not store it: it needs a key.
FOR_EVER = "private, max-age=31536000, immutable"
#: Caching of content that a browser revalidates each time.
ASK_AGAIN = "private, no-cache"
#: Allows our own files only, no frames in foreign pages, and no inline script or style.
POLICY = (
    "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'self'"
)
#: Headers of answers other than pages. Their policy only refuses foreign frames: a browser shows an image alone in a
#: page with a style of its own.
HEADERS = {"Content-Security-Policy": "frame-ancestors 'self'"}
PAGE_HEADERS = {"Content-Security-Policy": POLICY}
_ONE_RANGE = re.compile(r"bytes=([0-9]{0,15})-([0-9]{0,15})")


def content(
    request: Request, data: bytes, media_type: str, caching: str, headers: Mapping[str, str] = HEADERS
) -> Response:
    """Return the bytes, the requested range of them, or 304 if the browser has them.

    A request for several ranges gets all bytes, as HTTP allows. Starlette sends no body to a HEAD request.
    """
    etag = f'"{hashlib.blake2b(data, digest_size=16).hexdigest()}"'
    headers = {**headers, "Cache-Control": caching, "ETag": etag, "Accept-Ranges": "bytes"}
    if _has_etag(request.headers.get("if-none-match", ""), etag):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    wanted = _ONE_RANGE.fullmatch(request.headers.get("range", ""))
    if wanted and any(wanted.groups()) and request.headers.get("if-range", etag) == etag:
        begin, end = _bounds(wanted[1], wanted[2], len(data))
        if begin >= end:
            headers |= {"Content-Range": f"bytes */{len(data)}"}
            return Response(status_code=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, headers=headers)
        headers |= {"Content-Range": f"bytes {begin}-{end - 1}/{len(data)}"}
        return Response(data[begin:end], HTTPStatus.PARTIAL_CONTENT, headers, media_type)
    return Response(data, HTTPStatus.OK, headers, media_type)


def _has_etag(header: str, etag: str) -> bool:
    known = [entry.strip().removeprefix("W/") for entry in header.split(",")]
    return etag in known or known == ["*"]


def _bounds(first: str, last: str, size: int) -> tuple[int, int]:
    """Return begin and end of the requested range; `-5` requests the last five bytes."""
    if not first:
        return max(size - int(last), 0), size
    return int(first), min(int(last) + 1, size) if last else size
