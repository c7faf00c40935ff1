"""Look up what a person names on the command line: a collection, a document, a class of errors."""

from __future__ import annotations

from typing import Any

from pipeline.archive import Archive
from pipeline.core.errors import OutcomeError, SettingsError
from pipeline.search import Index


def require_collection(archive: Archive, collection: str | None) -> None:
    """Make sure that there is a collection, where one is named.

    Raises:
        SettingsError: there is not.
    """
    if collection is not None and archive.collection(collection) is None:
        raise SettingsError(f"there is no collection {collection!r}", remedy=f"There are: {archive.collections()}.")


def require_error_class(error: str | None) -> None:
    """Check that a class of errors exists, if one is named.

    Raises:
        SettingsError: it does not.
    """
    known = sorted(kind.code for kind in OutcomeError.__subclasses__())
    if error is not None and error not in known:
        raise SettingsError(f"there is no class of errors {error!r}", remedy=f"There are: {', '.join(known)}.")


def find_document(index: Index, term: str, collection: str | None) -> dict[str, Any]:
    """Return the one document record that a person means.

    Raises:
        SettingsError: there is none, or more than one.
    """
    found = index.queries.find_documents(term, collection=collection)
    exact = [record for record in found if term in (record["document"]["name"], *record["document"].get("path", ()))]
    if len(exact or found) == 1:
        return dict((exact or found)[0])
    if not found:
        raise SettingsError(f"no document is called {term!r}", remedy="`pagesight search` and `pagesight status` help.")
    names = ", ".join(f"{record['document']['name']} ({record['document']['id'][:12]})" for record in found[:5])
    raise SettingsError(f"{term!r} could be {names} …", remedy="Give the whole name, the id, or --collection.")
