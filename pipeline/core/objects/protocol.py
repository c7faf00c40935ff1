"""The interface of object stores, and its errors."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Protocol

from pipeline.core.errors import ServiceRefused
from pipeline.core.models import FileState

#: Keys of one listing: the most that S3 returns at once.
LIST_KEYS = 1000
#: Seconds before a request to an unavailable object store is retried, see `pipeline.core.retry`.
OBJECT_WAITS_SECONDS = (1.0, 2.0, 5.0, 10.0)


class BucketMissing(ServiceRefused):
    """The bucket does not exist."""


@dataclass(frozen=True, slots=True)
class ObjectPage:
    """A page of the objects and folders directly in a folder."""

    keys: tuple[str, ...]
    """Objects, without the folder's own marker: an empty object with the folder's key."""
    folders: tuple[str, ...]
    """Keys that end with a slash."""
    after: str = ""
    """The key after which the listing continues, "" at its end. Unlike a continuation token it does not expire."""


class Objects(Protocol):
    """The objects of one bucket; threads share it. A folder is a prefix of keys that ends with a slash.

    Raises, from every method:
        FileNotFoundError: the object does not exist.
        PermissionError: access to this object or folder is denied.
        ServiceUnavailable: the store is unreachable, fails or throttles.
        ServiceRefused: it refuses every request: credentials, bucket, region.
    """

    def state(self, key: str) -> FileState:
        """Return the state of an object without reading it."""
        ...

    def page(self, folder: str, after: str, keys: int) -> ObjectPage:
        """List at most `keys` entries of a folder ("" or ending with a slash), after the key `after`."""
        ...

    def read(self, key: str) -> bytes:
        """Return an object's bytes."""
        ...

    def read_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the bytes of several objects, None for each one that does not exist."""
        ...

    def chunks(self, key: str, state: FileState) -> Generator[bytes]:
        """Yield an object's bytes piece by piece.

        Raises:
            SourceChanged: the object has another state.
        """
        ...

    def create(self, key: str, data: bytes, writer: str) -> None:
        """Create an object; of several writers exactly one succeeds.

        `writer` is a unique word, stored with the object. A writer that lost the response can retry: if the object
        exists with its word, the first attempt succeeded.

        Raises:
            FileExistsError: another writer created the object.
        """
        ...

    def put(self, key: str, data: bytes) -> None:
        """Write an object, and atomically replace an existing one."""
        ...

    def delete(self, key: str) -> None:
        """Remove an object."""
        ...
