"""What can be done with objects, and how it can fail."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Protocol

from pipeline.core.errors import ServiceRefused
from pipeline.core.models import FileState

#: Keys of one listing; S3 returns no more at once.
LIST_KEYS = 1000
#: Seconds before an object store that was away is asked again, see `pipeline.core.retry.persist`.
OBJECT_WAITS_SECONDS = (1.0, 2.0, 5.0, 10.0)


class BucketMissing(ServiceRefused):
    """There is no such bucket."""


@dataclass(frozen=True, slots=True)
class ObjectPage:
    """Part of what lies directly in a folder."""

    keys: tuple[str, ...]
    """Objects. A folder's own marker, an empty object whose key is that of the folder, is none of them."""
    folders: tuple[str, ...]
    """Keys that end with a slash."""
    after: str = ""
    """Where the listing goes on; "" at its end. It is a key, and so holds however long it is kept."""


class Objects(Protocol):
    """The objects of one bucket; threads share them. A folder is the beginning of keys, up to a slash.

    Raises, from every method:
        FileNotFoundError: there is no such object.
        PermissionError: this object or folder may not be had.
        ServiceUnavailable: the store is away, fails or asks for patience.
        ServiceRefused: it says no to everything: credentials, bucket, region.
    """

    def state(self, key: str) -> FileState:
        """Return what an object is known by, without reading it."""
        ...

    def page(self, folder: str, after: str, keys: int) -> ObjectPage:
        """List a folder ("" or ending with a slash) from behind a place on."""
        ...

    def read(self, key: str) -> bytes:
        """Return an object's bytes."""
        ...

    def read_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return several at once, None for those that are not there."""
        ...

    def chunks(self, key: str, state: FileState) -> Generator[bytes]:
        """Yield an object's bytes piece by piece.

        Raises:
            SourceChanged: it is not the one of this state.
        """
        ...

    def create(self, key: str, data: bytes, writer: str) -> None:
        """Write under a key that must be free: of several writers exactly one succeeds.

        A writer names himself by a word that nobody else uses. So he who did not hear the answer may try again, and
        learns whether the object that is there is his own.

        Raises:
            FileExistsError: the key is taken.
        """
        ...

    def put(self, key: str, data: bytes) -> None:
        """Write under a key, replacing at one stroke what was there."""
        ...

    def delete(self, key: str) -> None:
        """Remove an object."""
        ...
