"""Rights of a request: its scope, and the collections that it may see."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.core.errors import NotFound
from pipeline.core.models import Scope

_ORDER = tuple(Scope)


@dataclass(frozen=True, slots=True)
class Rights:
    """Rights of one request."""

    scope: Scope
    collections: frozenset[str] | None = None
    """Collections that it may see; None for every collection."""

    def allow(self, scope: Scope) -> bool:
        """Whether the rights include a scope."""
        return _ORDER.index(self.scope) >= _ORDER.index(scope)

    def only(self, collection: str | None) -> str | frozenset[str] | None:
        """Return the collections to search: the named one, else all that are allowed; None for every collection.

        Raises:
            NotFound: the named one is not allowed, as if it did not exist.
        """
        if collection is None:
            return self.collections
        if self.collections is not None and collection not in self.collections:
            there_are = ", ".join(sorted(self.collections))
            raise NotFound(f"collection {collection!r} does not exist", remedy=f"There are: {there_are}.")
        return collection


#: Rights of the operator's own token, and of a person at this machine where no token is set.
EVERYTHING = Rights(Scope.ADMIN)
