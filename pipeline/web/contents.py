"""Bytes over HTTP: an ETag of what they are, nothing sent twice, a part where a part is asked for."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

#: For what never changes under its name. Not for caches that many share: the bytes are for whoever has the key.
FOR_EVER = "private, max-age=31536000, immutable"
#: For what is asked about each time.
ASK_AGAIN = "private, no-cache"
#: Nothing but our own files is loaded, nothing stands in a frame of others, and no script or style within a page runs.
POLICY = (
    "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'self'"
)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # a URL has its key in it
}
#: Of our pages. An image has none: browsers show one that is opened alone in a page of their own, with its own style.
PAGE_HEADERS = {**HEADERS, "Content-Security-Policy": POLICY}
_ONE_RANGE = re.compile(r"bytes=([0-9]{0,15})-([0-9]{0,15})")


def content(
    request: Request, data: bytes, media_type: str, caching: str, headers: Mapping[str, str] = HEADERS
) -> Response:
    """Return the answer with these bytes, or with the part of them that the request asks for, or that it has them.

    Of several parts at once the whole is sent, which HTTP allows. Starlette sends no body to a HEAD request.
    """
    etag = f'"{hashlib.blake2b(data, digest_size=16).hexdigest()}"'
    headers = {**headers, "Cache-Control": caching, "ETag": etag, "Accept-Ranges": "bytes"}
    if _has_it(request.headers.get("if-none-match", ""), etag):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    asked = _ONE_RANGE.fullmatch(request.headers.get("range", ""))
    if asked and any(asked.groups()) and request.headers.get("if-range", etag) == etag:
        begin, end = _bounds(asked[1], asked[2], len(data))
        if begin >= end:
            headers |= {"Content-Range": f"bytes */{len(data)}"}
            return Response(status_code=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, headers=headers)
        headers |= {"Content-Range": f"bytes {begin}-{end - 1}/{len(data)}"}
        return Response(data[begin:end], HTTPStatus.PARTIAL_CONTENT, headers, media_type)
    return Response(data, HTTPStatus.OK, headers, media_type)


def _has_it(header: str, etag: str) -> bool:
    known = [entry.strip().removeprefix("W/") for entry in header.split(",")]
    return etag in known or known == ["*"]


def _bounds(first: str, last: str, size: int) -> tuple[int, int]:
    """Return begin and end of what is asked for; `-5` asks for the last five bytes."""
    if not first:
        return max(size - int(last), 0), size
    return int(first), min(int(last) + 1, size) if last else size
