"""Which stale pages a person means, as `pagesight redescribe --where` and schedules have it: `reason=fallback`."""

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
    """It was read without a vision model, and there is one now."""
    MODEL = "model"
    """Another model read it."""
    REVISION = "revision"
    """Other weights of the same one did."""
    PROFILE = "profile"
    """Other questions were asked."""
    LANGUAGE = "language"
    """They were asked in another language."""
    RENDER = "render"
    """Its image is made otherwise today."""
    SUSPECT = "suspect"
    """It is to be looked at. By itself this makes no page stale."""
    OTHER = "other"
    """The recipe differs in what the reading does not tell."""


#: Fields that a condition can name.
FIELDS = ("reason", "collection", "document", "language")


@dataclass(frozen=True, slots=True)
class Conditions:
    """Which stale pages are meant: of each field any of the values, where there are some."""

    values: tuple[tuple[str, str], ...] = ()

    def of(self, name: str) -> tuple[str, ...]:
        """Return the values of a field."""
        return tuple(value for field_name, value in self.values if field_name == name)

    def meet(self, reading: Reading, reasons: Iterable[Reason]) -> bool:
        """Whether a page is meant that is stale for these reasons."""
        wanted = self.of("reason")
        if wanted and not set(wanted) & set(reasons):
            return False
        languages = self.of("language")
        return not languages or reading.language in languages

    def meet_source(self, source: Source) -> bool:
        """Whether pages of a source's document can be meant, by its collection, its id or its path."""
        assert source.document is not None
        collections, documents = self.of("collection"), self.of("document")
        if collections and source.collection not in collections:
            return False
        identifier = source.document.id
        return not documents or any(identifier.startswith(word) or word in source.path for word in documents)


def parse_conditions(words: Iterable[str]) -> Conditions:
    """Return the conditions that people write as `field=value`.

    Raises:
        SettingsError: there is no such field, or no such reason.
    """
    values = []
    for word in words:
        name, mark, value = word.partition("=")
        if not mark or not value or name not in FIELDS:
            known = ", ".join(f"{field_name}=…" for field_name in FIELDS)
            raise SettingsError(f"{word!r} is no condition", remedy=f"There are: {known}.")
        if name == "reason" and value not in set(Reason):
            raise SettingsError(f"there is no reason {value!r}", remedy=f"There are: {', '.join(Reason)}.")
        values.append((name, value))
    return Conditions(tuple(values))
