"""Mends damaged files: what is read in the place of a damaged revision is archived as its successor.

Files whose readers count them as absent are removed: answers and reports of conversions. A damaged request to delete
has no stand-in, and a listing of an open batch is written again by the batch; both are left.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json

from pipeline.archive.chain import Chain
from pipeline.core.errors import RevisionTaken
from pipeline.core.models import Reading, Tombstone

if TYPE_CHECKING:
    from pipeline.archive.archive import Archive
    from pipeline.archive.store import Store

#: Folders of files that count as absent while they are damaged.
_RECORDS = ("answers", "conversions")


def mend(archive: Archive, store: Store, name: str) -> bool:
    """Mend a damaged file; return whether it is mended. The damaged file is removed once nothing needs it.

    A JSON object is left: a newer version may have written it.
    """
    if _is_object(store.get(name)):
        return False
    *folders, file = name.split("/")
    if not folders or folders[0] not in _RECORDS:
        found = _chain(archive, folders, file)
        if found is None or not _succeeded(*found):
            return False
    store.delete(name)
    return True


def make_due(archive: Archive, collection: str, document: str, page: int) -> None:
    """Archive a revision of a page's reading without a fingerprint, so that the page is read again."""

    def due(newest: Reading | Tombstone | None) -> Reading | None:
        if not isinstance(newest, Reading) or not newest.fingerprint:
            return None
        return newest.model_copy(update={"fingerprint": "", "revision": newest.revision + 1})

    chain = archive.readings(collection, document).page(page)
    chain.advance(chain.newest(), due)


def _is_object(data: bytes | None) -> bool:
    try:
        return isinstance(from_json(data or b""), dict)
    except ValueError:
        return False


def _chain(archive: Archive, folders: list[str], file: str) -> tuple[Chain[Any], int] | None:
    """Return the chain of a revision, and its number; None for a kind that is left as it is, and for a strange name."""
    numbers = file.removesuffix(".json").split(".")
    match folders, [int(number) for number in numbers] if all(map(str.isdecimal, numbers)) else []:
        case ["readings", collection, document], [page, number]:
            return archive.readings(collection, document).page(page), number
        case ["sources", collection, source], [number]:
            return archive.sources(collection)[source], number
        case ["collections", collection], [number]:
            return archive.collections[collection], number
        case ["batches", batch], [number]:
            return archive.batches[batch], number
        case ["fleet"], [number]:
            return archive.fleet, number
    return None


def _succeeded(chain: Chain[Any], number: int) -> bool:
    """Whether a revision has a successor; archive the stand-in as the successor of the newest one."""
    if chain.newest_revision() > number:
        return True
    stand_in = chain.newest()
    if stand_in is None:
        return False
    with suppress(RevisionTaken):  # another writer was faster: its revision is the successor
        chain.create(stand_in.model_copy(update={"revision": number + 1}))
    return True
