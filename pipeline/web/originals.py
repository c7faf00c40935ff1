"""Original files to download: opened beneath their recorded roots, and sent only if they are still the document."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from starlette.responses import Response, StreamingResponse

from pipeline.archive import Archive, source_id
from pipeline.core.errors import OutcomeError, SourceChanged
from pipeline.core.models import Reading, Source
from pipeline.pages.roots import with_root
from pipeline.sources import open_unchanged, require_unchanged, source_path, source_url

_PIECE_BYTES = 256 * 1024


def download(archive: Archive, reading: Reading) -> Response | None:
    """Return the file of a page as an attachment; None if no path has its bytes, or this process may not read them.

    The whole file is read once for its hash before the first byte is sent. Members of containers and objects in
    buckets are not sent.
    """
    document = reading.document
    for path in filter(os.path.isabs, document.path):
        source = archive.sources(reading.collection)[source_id(source_url(Path(path)))].newest()
        if isinstance(source, Source) and (file := _open(with_root(source, archive), document.id)) is not None:
            return StreamingResponse(_pieces(file, document.bytes), HTTPStatus.OK, _headers(reading))
    return None


def _open(source: Source, document_id: str) -> BinaryIO | None:
    """Open the file of a source if it has the document's bytes now."""
    if source.state is None or source.document is None or source.document.id != document_id:
        return None
    try:
        file = open_unchanged(source_path(source.url), source.state, source.root)
    except OutcomeError:
        return None
    try:
        _require_bytes(file, source, document_id)
    except (OSError, OutcomeError):
        file.close()
        return None
    file.seek(0)
    return file


def _require_bytes(file: BinaryIO, source: Source, document_id: str) -> None:
    """Raise `SourceChanged` for a file with other bytes than the document's."""
    assert source.state is not None
    digest = hashlib.sha256()
    while piece := file.read(_PIECE_BYTES):
        digest.update(piece)
    if digest.hexdigest() != document_id:
        raise SourceChanged("its bytes are not the document's")
    require_unchanged(file, source.state)


def _pieces(file: BinaryIO, left: int) -> Iterator[bytes]:
    """Yield at most `left` bytes. A file that is cut meanwhile ends the answer before its `Content-Length`."""
    with file:
        while left > 0 and (piece := file.read(min(_PIECE_BYTES, left))):
            left -= len(piece)
            yield piece


def _headers(reading: Reading) -> dict[str, str]:
    """Return headers with which a browser saves the file and never shows or runs it."""
    name = quote(reading.document.name, safe="", errors="replace")
    return {
        "Content-Type": "application/octet-stream",
        "Content-Length": str(reading.document.bytes),
        "Content-Disposition": f"attachment; filename*=UTF-8''{name}",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Cache-Control": "no-store",
    }
