"""The services that the page pipeline calls: built once per process, bound once per message or run."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Literal

from pipeline.archive import Archive
from pipeline.core.models import Batch
from pipeline.core.retry import CancelToken
from pipeline.core.threads import PrioritySemaphore
from pipeline.documents.opening import Opener
from pipeline.documents.passwords import Passwords
from pipeline.pages.contents import ContentsLimits
from pipeline.pages.document_budget import DocumentLimits
from pipeline.pages.recipe import Recipe
from pipeline.projection.projector import Projector
from pipeline.rendering.protocol import RENDER_REVISION
from pipeline.sources import SourceFiles
from pipeline.vision.budget import Budget
from pipeline.vision.profile import kept_profile
from pipeline.vision.reader import Reader

Stage = Literal["register", "render", "read", "project"]


def unmeasured(_stage: Stage) -> AbstractContextManager[None]:
    """Enter a stage without measuring it."""
    return nullcontext()


@dataclass(frozen=True, slots=True)
class PageServices:
    """The services of one process. Its threads share them.

    `for_message` returns the same services bound to one batch and one cancel token. Everything below receives the bound
    ones, so no function takes a cancel token beside its services.
    """

    archive: Archive
    projector: Projector
    opener: Opener
    cropper: Opener
    """Opens documents a second time, to render a page again: with sandboxes of its own."""
    files: SourceFiles
    reader: Reader
    cancel: CancelToken
    """Ends every wait of these services; `files` and `projector` use the same one."""
    pages: Executor
    """Runs the reading of pages."""
    in_hand: PrioritySemaphore
    """Permits for rendered pages that are not read yet: enough for a busy model, few enough for flat memory."""
    limits: str
    """The limits in force, as fingerprints store them."""
    max_file_bytes: int
    document_limits: DocumentLimits
    contents_limits: ContentsLimits
    stage: Callable[[Stage], AbstractContextManager[None]] = unmeasured
    """Entered around each stage: a worker measures its duration."""

    def for_message(self, batch: Batch, cancel: CancelToken, budget: Budget | None = None) -> PageServices:
        """Return these services bound to a batch: its profile, a cancel token, and a budget for the model's tokens.

        Raises:
            SettingsError: this version cannot use the batch's profile.
        """
        reader = self.reader.with_profile(kept_profile(batch.profile, batch.own_profile))
        return replace(self.with_cancel(cancel), reader=reader if budget is None else reader.within(budget))

    def with_cancel(self, cancel: CancelToken) -> PageServices:
        """Return these services with another cancel token."""
        return replace(
            self,
            cancel=cancel,
            files=replace(self.files, cancel=cancel),
            projector=replace(self.projector, cancel=cancel),
        )

    def recipe(self, language: str) -> Recipe:
        """Return the recipe by which these services read pages."""
        return recipe_of(self.reader, language, self.limits, self.opener.passwords)


def recipe_of(reader: Reader, language: str, limits: str, passwords: Passwords) -> Recipe:
    """Return the recipe of a reader; `limits` are in the form that fingerprints store."""
    return Recipe(
        language=language,
        reader=reader.name,
        reader_revision=reader.revision,
        profile=reader.profile,
        prompt_revision=reader.prompt_revision,
        render_revision=RENDER_REVISION,
        limits=limits,
        passwords=passwords,
        describes=reader.describes,
    )
