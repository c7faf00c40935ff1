"""Records as the index takes them, for tests that are not about how records are built."""

from __future__ import annotations

from typing import Any

from pipeline.search import PAGES_WRITE, SOURCES, Write

DOCUMENT = "ab" * 32


def page(number: int = 1, *, name: str = "report.pdf", collection: str = "default", **fields: Any) -> dict[str, Any]:
    """Return a page record: little of it, and what `fields` say."""
    document = {
        "id": DOCUMENT,
        "name": name,
        "path": [f"/archive/quarterly/{name}"],
        "media_type": "application/pdf",
        "bytes": 4096,
        "pages": 3,
    }
    return {
        "collection": collection,
        "document": document | fields.pop("document", {}),
        "page": {"number": number},
        "status": "described",
        "batch": "b0",
        "revision": 1,
    } | fields


def page_id(record: dict[str, Any]) -> str:
    return f"{record['collection']}:{record['document']['id']}:{record['page']['number']:05d}"


def page_write(record: dict[str, Any], version: int = 1) -> Write:
    return Write(PAGES_WRITE, page_id(record), version, record)


def error(type: str = "corrupt", message: str = "the bytes make no sense") -> dict[str, Any]:
    return {"type": type, "message": message, "remedy": "Copy it again.", "transient": False, "attempts": 1}


def failed_source(number: int, collection: str = "default") -> Write:
    path = f"/archive/broken-{number:04d}.pdf"
    place = {"collection": collection, "url": f"file://{path}", "path": path}
    record = place | {"state": "failed", "error": error(), "batch": "b0"}
    return Write(SOURCES, f"{collection}:{number}", 1, record)
