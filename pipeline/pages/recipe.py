"""The recipe: everything that decides how a page is read, and the request that carries it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.core.errors import EncryptedFile, OutcomeError
from pipeline.core.models import Batch, Failure, FilePatterns, PageStatus, Reading

if TYPE_CHECKING:  # the model's client is slow to import, and commands that only compare recipes never use it
    from pipeline.documents.passwords import Passwords
    from pipeline.vision.endpoint.asking import Models
    from pipeline.vision.profile import Profile


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides how a page is read. An equal recipe and equal bytes give an equal reading."""

    language: str
    reader: str
    reader_revision: str
    profile: str
    prompt_revision: str
    render_revision: int
    limits: str
    """The limits in force. A fingerprint contains them only where one of them stopped the page."""
    passwords: Passwords
    """The passwords that were given. A fingerprint contains their mark only where none of them opened the document."""
    describes: bool
    """Whether a vision model reads the pages. No fingerprint contains it, since the reader's name says the same."""

    def fingerprint(self, document_id: str, page_number: int, failure: Failure | None = None) -> str:
        """Return the fingerprint of a page, which may have ended with a failure."""
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
        """Return the fingerprint that a reading with the same outcome would have today."""
        return self.fingerprint(reading.document.id, reading.page_number, reading.error)

    def would_downgrade(self, reading: Reading) -> bool:
        """Whether a new reading would replace what a model described by text and measurements alone."""
        return not self.describes and reading.status is PageStatus.DESCRIBED


@dataclass(frozen=True, slots=True)
class Request:
    """The request of one batch: which pages are due depends on it."""

    collection: str
    batch: str
    deletions_seen: int
    recipe: Recipe
    again: bool = False
    """Whether failures of earlier batches are tried again whatever their reason."""
    downgrade: bool = False
    """Whether pages that a model described may be read without one."""
    patterns: FilePatterns | None = None
    """Which files it looks at; None for all."""

    def keeps(self, reading: Reading) -> bool:
        """Whether a page stays as a model described it, because no model is configured now."""
        return not self.downgrade and self.recipe.would_downgrade(reading)


def request_of(batch: Batch, recipe: Recipe) -> Request:
    """Return the request of a batch whose pages are read by a recipe."""
    return Request(
        batch.collection, batch.id, batch.deletions_seen, recipe, batch.again, batch.downgrade, batch.patterns
    )


#: Codes of the failures that another limit can prevent.
LIMITED = {error.code for error in OutcomeError.__subclasses__() if error.by_limit}


@dataclass(frozen=True, slots=True)
class CurrentRecipe:
    """How the pages of a collection are read with its current profile and the current settings."""

    recipe: Recipe
    profile: Profile
    models: Models | None
    """The models that read pages; None where no vision model is configured."""
