"""Who makes what several want: one takes the lease on its key, the others wait for what comes of it.

A lease ends with its holder, however that ends, so nobody waits for a dead one.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Protocol, TypeVar

from pipeline.core.retry import CancelToken, Waiting, retry_until_available

#: Seconds before a lease is asked for again where the service that keeps leases is away; the last one repeats.
LEASE_WAITS_SECONDS = (0.5, 1.0, 2.0, 5.0)

T = TypeVar("T")


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


def find_or_make(
    key: str,
    leases: Leases,
    find: Callable[[], T | None],
    make: Callable[[], T],
    cancel: CancelToken,
    waiting: tuple[str, str],
    poll_seconds: float,
) -> tuple[T, bool]:
    """Return what `find` finds, else what `make` makes and keeps under a lease; and whether it was there already.

    `waiting` are the two words of `Waiting` for what people see while another makes it.

    Raises:
        Stopped: the patience has ended while another made it, or while leases could not be had.
        Exception: whatever `find` and `make` raise.
    """
    since = time.time()
    while True:
        found = find()
        if found is not None:
            return found, True
        lease = retry_until_available(lambda: leases.take(key), cancel, LEASE_WAITS_SECONDS)
        if lease is not None:
            with lease:
                found = find()  # it may have come between the look and the lease
                return (found, True) if found is not None else (make(), False)
        cancel.wait(poll_seconds, Waiting(*waiting, since))


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
