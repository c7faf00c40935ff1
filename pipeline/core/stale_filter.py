"""Filters stale pages by the conditions of `pagesight redescribe --where` and of schedules, as `reason=fallback`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from pipeline.core.errors import SettingsError
from pipeline.core.models import Reading, Source


class Reason(StrEnum):
    """Why a page is stale."""

    FAILED = "failed"
    FALLBACK = "fallback"
    """The page was read without a vision model, and one is configured now."""
    MODEL = "model"
    """Another model read the page."""
    REVISION = "revision"
    """Another revision of the same model read the page."""
    PROFILE = "profile"
    """The page was read with another profile or other prompts."""
    LANGUAGE = "language"
    """The page was read in another language."""
    RENDER = "render"
    """The page image was rendered by another revision of the renderer."""
    LADDER = "ladder"
    """Further attempts at an answer were left out, because they did not help other pages."""
    SUSPECT = "suspect"
    """The reading is doubtful. By itself this does not make a page stale."""
    OTHER = "other"
    """The recipe differs in a part that the reading does not record."""


#: Fields that a condition can name.
FIELDS = ("reason", "collection", "document", "language")


@dataclass(frozen=True, slots=True)
class Conditions:
    """Which stale pages match: for each field with values, any one of them."""

    values: tuple[tuple[str, str], ...] = ()

    def of(self, name: str) -> tuple[str, ...]:
        """Return the values of a field."""
        return tuple(value for field_name, value in self.values if field_name == name)

    def meet(self, reading: Reading, reasons: Iterable[Reason]) -> bool:
        """Whether a page that is stale for these reasons matches."""
        wanted = self.of("reason")
        if wanted and not set(wanted) & set(reasons):
            return False
        languages = self.of("language")
        return not languages or reading.language in languages

    def meet_source(self, source: Source) -> bool:
        """Whether pages of a source's document can match, by its collection, its id or its path."""
        assert source.document is not None
        collections, documents = self.of("collection"), self.of("document")
        if collections and source.collection not in collections:
            return False
        identifier = source.document.id
        return not documents or any(identifier.startswith(word) or word in source.path for word in documents)


def parse_conditions(words: Iterable[str]) -> Conditions:
    """Parse conditions of the form `field=value`.

    Raises:
        SettingsError: the field or the reason is unknown.
    """
    values = []
    for word in words:
        name, mark, value = word.partition("=")
        if not mark or not value or name not in FIELDS:
            known = ", ".join(f"{field_name}=…" for field_name in FIELDS)
            raise SettingsError(f"{word!r} is not a condition", remedy=f"Use one of {known}.")
        if name == "reason" and value not in set(Reason):
            raise SettingsError(f"unknown reason {value!r}", remedy=f"Use one of {', '.join(Reason)}.")
        values.append((name, value))
    return Conditions(tuple(values))
