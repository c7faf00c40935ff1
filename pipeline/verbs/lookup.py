"""Look up what a caller names: a collection, a document, a class of errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipeline.archive import Archive
from pipeline.core.errors import NotFound, OutcomeError, SettingsError

if TYPE_CHECKING:
    from pipeline.search.index import Index

#: Most collections that an error names.
_NAMES_SHOWN = 20


def require_collection(
    archive: Archive, collection: str | None, index: Index | None = None, visible: frozenset[str] | None = None
) -> None:
    """Check that a collection exists, if one is named.

    Args:
        archive: looked into if the index lacks the collection.
        collection: its name; None is always right.
        index: looked into first, where it is given.
        visible: names that the error may list; None for every name.

    Raises:
        NotFound: it does not.
    """
    if collection is None:
        return
    indexed = [summary.name for summary in index.listings.collections()] if index else []
    if collection not in indexed and archive.collections[collection].newest() is None:
        every = {*indexed, *archive.collections.names()}
        names = sorted(every if visible is None else every & visible)
        raise NotFound(f"collection {collection!r} does not exist", remedy=_names_there_are(names))


def _names_there_are(names: Sequence[str]) -> str:
    if not names:
        return "There is no collection yet: `pagesight index FOLDER` makes one."
    shown = ", ".join(names[:_NAMES_SHOWN]) + (", …" if len(names) > _NAMES_SHOWN else "")
    return f"There are: {shown}. `pagesight collections` lists them."


def require_error_class(error: str | None) -> None:
    """Check that a class of errors exists, if one is named.

    Raises:
        SettingsError: it does not.
    """
    known = sorted(kind.code for kind in OutcomeError.__subclasses__())
    if error is not None and error not in known:
        raise SettingsError(f"unknown class of errors: {error!r}", remedy=f"Classes: {', '.join(known)}.")


def find_document(index: Index, term: str, collection: str | None) -> dict[str, Any]:
    """Return the record of the one document that a name, a path or the start of an id matches.

    Raises:
        NotFound: no document matches.
        SettingsError: several do.
    """
    found = index.queries.find_documents(term, collection=collection)
    exact = [record for record in found if term in (record["document"]["name"], *record["document"].get("path", ()))]
    if len(exact or found) == 1:
        return dict((exact or found)[0])
    if not found:
        raise NotFound(f"no document matches {term!r}", remedy="Find its name with `pagesight search`.")
    names = ", ".join(f"{record['document']['name']} ({record['document']['id'][:12]})" for record in found[:5])
    raise SettingsError(
        f"{term!r} matches several documents: {names} …", remedy="Give the full name, the id, or --collection."
    )
