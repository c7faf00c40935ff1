"""A bounded cache of documents on this machine: an object is fetched once for all threads and processes."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO

from pipeline.core.errors import ServiceRefused, SourceChanged, Stopped
from pipeline.core.models import FileState
from pipeline.core.private import make_private_folder
from pipeline.core.retry import STOP_POLL_SECONDS, CancelToken

#: After a process has added this share of the bound, it shrinks the cache to the same share below the bound.
SWEEP_SHARE = 1 / 16
#: Fetched objects whose document is remembered.
FETCHED_KEPT = 1000
_DOCUMENT = re.compile(r"[0-9a-f]{64}")
_FILLING = "filling"


class SourceCache:
    """Files by the SHA-256 of their bytes, at most `max_bytes` in total; the least recently used are removed first.

    Files that are being fetched are not counted, and each process may exceed the bound by `SWEEP_SHARE`. An open file
    can be read to its end after it was removed.

    Raises, from its methods:
        ServiceRefused: the disk of the cache fails or is full.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self.max_bytes = max_bytes
        self._step = int(max_bytes * SWEEP_SHARE)
        self._added = self._step  # the cache may be full already
        self._lock = threading.Lock()
        self._fetched: dict[str, str] = {}

    def get(self, document_id: str) -> BinaryIO | None:
        """Open a document, or return None if it is not cached."""
        with self._translated():
            try:
                descriptor = os.open(self._folder / document_id, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return None
            os.utime(descriptor)  # mark it as just used
            return os.fdopen(descriptor, "rb")

    def fetched(self, name: str, state: FileState) -> str | None:
        """Return the document of an object that this process fetched, None if it is not remembered."""
        return self._fetched.get(_part_name(name, state))

    def fetch(
        self,
        name: str,
        state: FileState,
        document_id: str | None,
        chunks: Callable[[], Generator[bytes]],
        cancel: CancelToken,
    ) -> BinaryIO:
        """Fetch an object and open it. Concurrent callers for the same object wait for it (single flight).

        `name` identifies the object. Without a `document_id` its bytes are not checked.

        Raises:
            SourceChanged: its bytes are not the document's, or their number is not that of its state.
            Stopped: `cancel` was stopped while another caller fetched it.
            Exception: as `chunks` raises them.
        """
        part = self._folder / _FILLING / _part_name(name, state)
        while True:
            with self._translated():
                descriptor = _take(part)
            if document_id is not None and (file := self.get(document_id)) is not None:
                if descriptor is not None:
                    _give_up(descriptor, part)
                return file
            if descriptor is not None:
                return self._fill(part, descriptor, state, document_id, chunks)
            if cancel.stopped:
                raise Stopped("stopped while another process fetched the object")
            time.sleep(STOP_POLL_SECONDS)

    def _fill(
        self,
        part: Path,
        descriptor: int,
        state: FileState,
        document_id: str | None,
        chunks: Callable[[], Generator[bytes]],
    ) -> BinaryIO:
        try:
            digest, size = hashlib.sha256(), 0
            with closing(chunks()) as pieces:
                for piece in pieces:
                    size += len(piece)
                    if size > state.bytes:
                        break
                    digest.update(piece)
                    with self._translated():
                        _write(descriptor, piece)
            if size != state.bytes or document_id not in (None, digest.hexdigest()):
                raise SourceChanged("the object does not hold the bytes that were identified")
            with self._translated():
                os.fsync(descriptor)  # after a crash of the machine the name must not refer to other bytes
                # Opened again, read-only: a parser of untrusted bytes must not be able to change them.
                file = part.open("rb")
                part.rename(self._folder / digest.hexdigest())
            self._remember(part.name, digest.hexdigest())
        except BaseException:
            _give_up(descriptor, part)
            raise
        os.close(descriptor)
        self._sweep_after(size)
        return file

    def _remember(self, name: str, document_id: str) -> None:
        with self._lock:
            self._fetched[name] = document_id
            while len(self._fetched) > FETCHED_KEPT:
                del self._fetched[next(iter(self._fetched))]

    def _sweep_after(self, added: int) -> None:
        with self._lock:
            self._added += added
            if self._added < self._step:
                return
            self._added = 0
        with self._translated():
            self._sweep()

    def _sweep(self) -> None:
        for part in (self._folder / _FILLING).iterdir():
            descriptor = _take(part)
            if descriptor is not None:  # the process that fetched it was killed
                _give_up(descriptor, part)
        files = []
        with os.scandir(self._folder) as entries:
            for entry in entries:
                if _DOCUMENT.fullmatch(entry.name):
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    files.append((status.st_mtime_ns, status.st_size, entry.path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self.max_bytes - self._step:
                return
            Path(path).unlink(missing_ok=True)
            total -= size

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ServiceRefused(
                "source cache",
                f"the cache of sources at {self._folder} cannot be used: {error.strerror}",
                remedy="Free space or fix permissions there (or lower PAGESIGHT_SOURCE_CACHE_MB), then run it again.",
            ) from error


def _part_name(name: str, state: FileState) -> str:
    return hashlib.sha256(f"{name}\n{state.etag}".encode()).hexdigest()


def _take(part: Path) -> int | None:
    """Create and lock an empty part; return None while another process holds it. The lock ends with its process."""
    make_private_folder(part.parent)
    descriptor = os.open(part, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Its previous holder may have renamed or removed it since it was opened.
        if _is_named(descriptor, part):
            os.ftruncate(descriptor, 0)
            return descriptor
    except BlockingIOError:
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _is_named(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _give_up(descriptor: int, part: Path) -> None:
    part.unlink(missing_ok=True)
    os.close(descriptor)


def _write(descriptor: int, piece: bytes) -> None:
    rest = memoryview(piece)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
