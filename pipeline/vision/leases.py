"""Who asks where several want the same answer: one takes the lease on its key, the others wait for the archive.

A lease ends with its holder, however that ends, so nobody waits for a dead one.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Protocol


class Lease(Protocol):
    """The right to ask; given back at the end of the `with` block."""

    def __enter__(self) -> object: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None: ...


class Leases(Protocol):
    """Hands out leases to all who share an archive."""

    def take(self, key: str) -> Lease | None:
        """Return the lease on a key, or None while another holds it.

        Raises:
            ServiceUnavailable: the service that keeps them is away.
        """
        ...


class FileLeases:
    """Leases for the threads and processes of one machine: a locked file for each key, gone when it is given back."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def take(self, key: str) -> Lease | None:
        """Return the lease on a key, or None while another holds it."""
        path = self._folder / key
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        if not _is_named(descriptor, path):  # its last holder has just removed it: another file may be locked by now
            os.close(descriptor)
            return None
        return _FileLease(descriptor, path)

    def abandoned(self) -> Iterator[str]:
        """Yield the keys whose holder was killed. Each is held meanwhile, and given back by the next step."""
        for key in sorted(os.listdir(self._folder)):
            lease = self.take(key)
            if lease is not None:
                with lease:
                    yield key


class _FileLease:
    def __init__(self, descriptor: int, path: Path) -> None:
        self._descriptor = descriptor
        self._path = path

    def __enter__(self) -> _FileLease:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._path.unlink()
        os.close(self._descriptor)


def _is_named(descriptor: int, path: Path) -> bool:
    try:
        named = path.stat()
    except FileNotFoundError:
        return False
    held = os.fstat(descriptor)
    return (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino)
