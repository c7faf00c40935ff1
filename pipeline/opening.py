"""From a document's bytes to its pages: the one way to open a file, whatever its format."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from pipeline.errors import UnsupportedFormat
from pipeline.models import MediaType, Route
from pipeline.passwords import Passwords
from pipeline.rendering import OpenDocument, SandboxPool
from pipeline.retry import Patience


@dataclass(frozen=True, slots=True)
class Opener:
    """Opens documents. Built once per process, its threads share it."""

    sandboxes: SandboxPool
    passwords: Passwords

    def refine(self, file: BinaryIO, media_type: MediaType, patience: Patience) -> MediaType:
        """Return the format of a file whose head tells only what it is packed in.

        Raises:
            UnsupportedFormat: of no kind that becomes pages.
            OutcomeError: as `open` raises them.
        """
        return media_type

    @contextmanager
    def open(self, file: BinaryIO, path: str, media_type: MediaType, patience: Patience) -> Iterator[OpenDocument]:
        """Open a document's pages, and keep a sandbox to the end of the block.

        `path` is where it lies, for people: it chooses the passwords.

        Raises:
            UnsupportedFormat: this machine cannot make pages of it.
            OutcomeError, ServiceRefused, Stopped: as `SandboxPool.open` raises them.
        """
        if media_type.route is Route.CONVERTED:
            raise UnsupportedFormat(f"files of type {media_type} are not supported")
        with self.sandboxes.open(file, media_type, patience, self.passwords.of(path)) as opened:
            yield opened
