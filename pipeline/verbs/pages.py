"""One document or one page, with everything that its records say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.archive import Archive
from pipeline.core.described import DESCRIBED
from pipeline.core.errors import NotFound
from pipeline.verbs.lookup import find_document, require_collection

if TYPE_CHECKING:
    from pipeline.search.index import Index

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class DocumentShown:
    """A document and its pages, or one of them. docs/records.md describes the fields."""

    __pydantic_config__ = DESCRIBED

    document: Record
    """Record of the document."""
    pages: tuple[Record, ...]
    """Records of its pages, by number. `image.location` and `image.thumbnail_location` say where they are stored."""


def show_document(
    index: Index, archive: Archive, term: str, collection: str | None = None, page_number: int | None = None
) -> DocumentShown:
    """Return the one document that a name, a path or the start of an id matches, with its pages or one of them.

    Raises:
        NotFound: there is no such collection, document or page.
        SettingsError: several documents match.
    """
    require_collection(archive, collection, index)
    document = find_document(index, term, collection)
    found = index.queries.document_pages(
        document["document"]["id"], collection=document["collection"], page_number=page_number
    )
    pages = tuple(_with_location(record, archive) for record in found)
    if page_number is not None and not pages:
        raise NotFound(
            f"the document has no page {page_number}",
            remedy="Page numbers start at 1. `pagesight show DOCUMENT` lists the pages.",
        )
    return DocumentShown(document, pages)


def split_page(named: str) -> tuple[str, int | None]:
    """Return document and page of `report.pdf:3`; without a number, the whole text and None."""
    term, colon, page = named.rpartition(":")
    return (term, int(page)) if colon and term and page.isdecimal() else (named, None)


def _with_location(record: Record, archive: Archive) -> Record:
    image = record.get("image")
    if image is None:
        return record
    locations = {
        "location": archive.images.location(image["key"]),
        "thumbnail_location": archive.images.location(image["thumbnail_key"]),
    }
    return record | {"image": image | locations}
