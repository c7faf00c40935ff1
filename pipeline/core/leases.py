"""Single flight: of several workers that need the same result, one takes the lease on its key, the others wait.

A lease ends when its holder ends, even when the holder is killed, so a dead holder blocks no worker.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Protocol, TypeVar

from pipeline.core.private import make_private_folder
from pipeline.core.retry import CancelToken, Waiting, retry_until_available

#: Seconds before a lease is requested again while the lease service is unavailable; the last value repeats.
LEASE_WAITS_SECONDS = (0.5, 1.0, 2.0, 5.0)

T = TypeVar("T")


class Lease(Protocol):
    """The right to make the result of a key, until the end of the `with` block."""

    def __enter__(self) -> object: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None: ...


class Leases(Protocol):
    """Leases for all processes that share an archive."""

    def take(self, key: str) -> Lease | None:
        """Return the lease on a key, None while another holder has it.

        Raises:
            ServiceUnavailable: the lease service is unavailable.
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
    """Return the result of `find`, or that of `make` under a lease; and whether it was found.

    `waiting` is `service` and `cause` of the `Waiting` that is shown while another holder makes the result.

    Raises:
        Stopped: the token was cancelled while another holder made the result, or while leases were unavailable.
        Exception: `find` or `make` raised it.
    """
    since = time.time()
    while True:
        found = find()
        if found is not None:
            return found, True
        lease = retry_until_available(lambda: leases.take(key), cancel, LEASE_WAITS_SECONDS)
        if lease is not None:
            with lease:
                found = find()  # another holder may have made it before the lease was taken
                return (found, True) if found is not None else (make(), False)
        cancel.wait(poll_seconds, Waiting(*waiting, since))


class FileLeases:
    """Leases for the threads and processes of one machine: a locked file for each key, removed on release."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        make_private_folder(folder)

    def take(self, key: str) -> Lease | None:
        """Return the lease on a key, None while another holder has it."""
        path = self._folder / key
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        if not _is_named(
            descriptor, path
        ):  # the last holder just removed it, and another file of that name may be locked
            os.close(descriptor)
            return None
        return _FileLease(descriptor, path)

    def abandoned(self) -> Iterator[str]:
        """Yield the keys whose holder was killed. Each is leased until the next key is requested."""
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
