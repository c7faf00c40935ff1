"""The recipe: all that decides how a page is read, and the request that carries it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from pipeline.core.errors import EncryptedFile, OutcomeError
from pipeline.core.models import Failure, Reading
from pipeline.documents.passwords import Passwords
from pipeline.vision.endpoint.asking import Models
from pipeline.vision.profile import Profile


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that decides how a page is read. Equal recipe and equal bytes: equal reading."""

    language: str
    reader: str
    reader_revision: str
    profile: str
    prompt_revision: str
    render_revision: int
    limits: str
    """The limits in force; they count only for what one of them stopped."""
    passwords: Passwords
    """Those that were given; they count only for what none of them opened."""

    def fingerprint(self, document_id: str, page_number: int, failure: Failure | None = None) -> str:
        """Return the fingerprint of a page that ended so."""
        parts = {
            "document": document_id,
            "page": page_number,
            "language": self.language,
            "reader": self.reader,
            "reader_revision": self.reader_revision,
            "profile": self.profile,
            "prompt_revision": self.prompt_revision,
            "render_revision": self.render_revision,
            "limits": self.limits if failure and failure.type in LIMITED else None,
        }
        if failure and failure.type == EncryptedFile.code:
            parts["passwords"] = self.passwords.mark(document_id)
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def fingerprint_of(self, reading: Reading) -> str:
        """Return the fingerprint that a reading would have today, had its page ended as it did."""
        return self.fingerprint(reading.document.id, reading.page_number, reading.error)


@dataclass(frozen=True, slots=True)
class Request:
    """What one batch asks for."""

    collection: str
    batch: str
    deletions_seen: int
    recipe: Recipe
    again: bool = False
    """Whether failures of earlier batches are tried again whatever their reason."""


#: Codes of the failures that another limit would undo.
LIMITED = {error.code for error in OutcomeError.__subclasses__() if error.by_limit}


@dataclass(frozen=True, slots=True)
class CurrentRecipe:
    """How the pages of a collection are read with the settings and profile of now."""

    recipe: Recipe
    profile: Profile
    models: Models | None
    """The models that are asked; None where no vision model is configured."""
