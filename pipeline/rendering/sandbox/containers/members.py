"""Values that all container readers use: a member, and the sink that receives bytes of members."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from pipeline.core.errors import OutcomeError


@dataclass(frozen=True, slots=True)
class Member:
    """A file in a file."""

    name: str
    """Its unique path there, without segments that lead elsewhere."""
    bytes: int
    error: OutcomeError | None = None
    """Why it cannot be read."""


class Sink(Protocol):
    """Receives the bytes of members."""

    def begin(self, index: int) -> bool:
        """Begin a member; return False to decline it and all that follow."""
        ...

    def write(self, data: bytes) -> None:
        """Receive some bytes of it."""
        ...

    def end(self) -> None:
        """End the member: all its bytes came, and its checksum is right."""
        ...
