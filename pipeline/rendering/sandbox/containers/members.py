"""What every container reader yields: its members, and the sink that takes their bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from pipeline.core.errors import OutcomeError


@dataclass(frozen=True, slots=True)
class Member:
    """A file within a file."""

    name: str
    """Its path there, unique, in a form that leads nowhere else."""
    bytes: int
    error: OutcomeError | None = None
    """Why it cannot be had."""


class Sink(Protocol):
    """Takes the bytes of members."""

    def begin(self, index: int) -> bool:
        """Whether the bytes of this member are still wanted."""
        ...

    def write(self, data: bytes) -> None:
        """Take some bytes of it."""
        ...

    def end(self) -> None:
        """Hear that it is complete, and as its container says it should be."""
        ...
