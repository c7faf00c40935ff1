"""Stores bytes by name, in a directory, a bucket or another fsspec location. Readers never see half-written bytes."""

from __future__ import annotations

import errno
import io
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar

from pipeline.archive.identity import (
    IDENTITY,
    KnownArchives,
    another,
    mark_of,
    missing,
    new_identity,
    parse_identity,
)
from pipeline.core.errors import ArchiveDamaged, ArchiveUnavailable, RevisionTaken, ServiceRefused, ServiceUnavailable
from pipeline.core.models import FileState
from pipeline.core.objects import LIST_KEYS, OBJECT_WAITS_SECONDS, Location, open_objects, parse_location
from pipeline.core.private import create_private, make_private_folder
from pipeline.core.retry import CancelToken, retry_until_available

#: Age of temporary files after which their writer counts as dead. A live writer needs seconds.
STALE_SECONDS = 24 * 3600
#: Seconds between two log lines about waits: where one call in six fails, a line for each would fill the log.
LOG_SECONDS = 60.0
#: Errors of the operating system that do not end by themselves: rights, or a path that cannot be an archive.
_REFUSALS = frozenset(
    {errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL}
)
_TEMPORARY = "tmp"
_COPY_BYTES = 1 << 20

log = logging.getLogger(__name__)

T = TypeVar("T")
#: Makes a local file from an object, given its location, its state and a function that yields its bytes.
Fetch = Callable[[str, FileState, Callable[[], Generator[bytes]]], BinaryIO]


class Store:
    """Flat access to an archive location; names use `/`. Threads and processes share it.

    With a cancel token, calls wait while the location is unavailable: a bucket is away, a disk is full, read-only or
    fails, the known archive is missing. Without a token they raise at once. With known archives, the identity of the
    archive is checked: in a directory at each write and at each read that finds nothing; in a bucket by `require`.

    Raises, from every method:
        ServiceRefused: the location cannot be used: a right or the bucket is missing.
        ServiceUnavailable: the location is unavailable, without a cancel token to wait by.
        ArchiveMissing: the known archive is missing, without a cancel token to wait by.
        Stopped: the token was cancelled while the archive was unavailable.
    """

    def __init__(self, url: str, cancel: CancelToken | None = None, known: KnownArchives | None = None) -> None:
        """Open a location. `known` has the ids of the archives that were seen; None checks no identity."""
        self.url = url
        self._cancel = cancel
        self._known = known
        self.damaged: set[str] = set()
        """Names of the damaged files that were found so far."""
        self._id = known.get(url) if known else None
        self._log_at = 0.0
        """Monotonic time from which the next wait is logged."""
        self._place: _Backend = self._do(lambda: _open(url, self._check_mark, is_new=self._id is None))

    def require(self, identifier: str | None = None) -> str | None:
        """Check that the known archive is at the location, without waiting for a missing one; return its id.

        The id is None where no archive was known and none with an identity is there. `identifier` is the id that
        another memory than the home's has.

        Raises:
            ArchiveMissing: the known archive is missing, or another one is there.
        """
        found = self._found_id()
        if identifier is not None and found != identifier:
            raise missing(self.url, identifier) if found is None else another(self.url, identifier, found)
        return found

    def establish(self) -> str:
        """Return the archive's id; make the identity of an archive without one.

        Raises:
            ArchiveMissing: the known archive is missing, or another one is there.
        """
        found = self.require()
        if found is None:
            identity, writer = new_identity().model_dump_json().encode(), uuid.uuid4().hex
            with suppress(FileExistsError):  # another writer was faster
                self._do(lambda: self._place.create(IDENTITY, identity, writer))
            found = self.require()
            assert found is not None
        return found

    def adopt(self) -> str:
        """Accept what is at the location as the archive; return its id."""
        assert self._known is not None
        self._known.forget(self.url)
        self._id = None
        return self.establish()

    def location(self, name: str) -> str:
        """Return the path or URL of a name."""
        return self._place.location(name)

    def create(self, name: str, data: bytes) -> None:
        """Write to a name that must be free. If several writers try, exactly one succeeds.

        Raises:
            RevisionTaken: the name exists.
        """
        writer = uuid.uuid4().hex
        try:
            self._write(lambda: self._place.create(name, data, writer))
        except FileExistsError:
            raise RevisionTaken(name) from None

    def put(self, name: str, data: bytes) -> None:
        """Write to a name, replacing its content atomically."""
        writer = uuid.uuid4().hex
        self._write(lambda: self._place.put(name, data, writer))

    def put_file(self, name: str, file: BinaryIO) -> None:
        """Write a whole file to a name, replacing its content atomically."""
        writer = uuid.uuid4().hex
        self._write(lambda: self._place.put_file(name, file, writer))

    def open(self, name: str, fetch: Fetch) -> BinaryIO | None:
        """Open the content of a name; return None if it does not exist. `fetch` makes a local file from an object.

        Raises:
            Exception: `fetch` raised it.
        """
        return self._do(lambda: self._place.open(name, fetch))

    def get(self, name: str) -> bytes | None:
        """Return the content of a name, or None if it does not exist."""
        return self.get_many([name])[0]

    def get_many(self, names: Sequence[str]) -> list[bytes | None]:
        """Return the content of each name, or None for each that does not exist. A bucket is read concurrently."""
        if self._place.reads_together:
            return self._do(lambda: self._place.get_many(names))
        # Each is repeated alone: where one call in six fails, thirty calls in a row hardly ever succeed.
        return [self._do(partial(self._place.get_many, [name]))[0] for name in names]

    def note_damage(self, error: ArchiveDamaged) -> None:
        """Note a damaged file, and log it the first time."""
        if error.name not in self.damaged:
            self.damaged.add(error.name)
            log.warning("%s. %s", error, error.remedy)

    def check(self) -> None:
        """Check that a name can be created, that it cannot be created twice, and that it can be deleted.

        Raises:
            ServiceRefused: the location lets two writers create the same name.
        """
        if self._known is not None:
            self.require()
        name = f"{_TEMPORARY}/{uuid.uuid4().hex}"
        self.create(name, b"")
        try:
            self.create(name, b"")
        except RevisionTaken:
            return
        finally:
            self.delete(name)
        raise ServiceRefused(
            "archive",
            f"{self.url} lets two writers create the same name",
            remedy="Keep the archive in a directory, or in a bucket with conditional writes (`If-None-Match`).",
        )

    def names(self, folder: str) -> list[str]:
        """Return the last parts of the names in a folder, sorted; a missing folder is empty.

        Names that begin with a dot are left out: other programs leave them (`.DS_Store`, `.nfs…`).
        """
        return sorted(name for name in self._do(lambda: self._place.names(folder)) if not name.startswith("."))

    def delete(self, name: str) -> None:
        """Remove a name; a missing one is ignored."""
        self._do(lambda: self._place.delete(name))

    def _write(self, call: Callable[[], None]) -> None:
        def write() -> None:
            if self._known is not None and self._id is None:
                self.establish()
            call()

        self._do(write)

    def _found_id(self) -> str | None:
        """Return the id of the archive at the location, and remember it.

        Raises:
            ArchiveMissing: it is not the known one.
        """
        data = self._do(lambda: self._place.get_many([IDENTITY]))[0]
        found = None if data is None else parse_identity(data, self.url)
        if self._id is not None and self._id != found:
            raise missing(self.url, self._id) if found is None else another(self.url, self._id, found)
        if found is not None:
            self._id = found
            if self._known is not None:
                self._known.remember(self.url, found)
        return found

    def _check_mark(self, mark: object) -> None:
        """Check the identity of a directory whose `archive.json` has this mark, and had another one before."""
        if self._id is None:
            return
        if mark is None:
            raise missing(self.url, self._id)
        self._found_id()

    def _do(self, call: Callable[[], T]) -> T:
        if self._cancel is None:
            return _translated(self.url, call)
        return retry_until_available(lambda: self._logging(call), self._cancel, OBJECT_WAITS_SECONDS)

    def _logging(self, call: Callable[[], T]) -> T:
        """Do a call, and log why it has to be repeated."""
        try:
            return _translated(self.url, call)
        except ServiceUnavailable as error:
            now = time.monotonic()
            if now >= self._log_at:
                self._log_at = now + LOG_SECONDS
                log.warning("Waiting for the archive: %s. %s", error, error.remedy)
            raise


def _open(url: str, check: Callable[[object], None], *, is_new: bool) -> _Backend:
    location = parse_location(url)
    if location is not None:
        return _Bucket(location)
    return _Directory(Path(url.removeprefix("file://")), check, is_new=is_new)


def _translated(url: str, call: Callable[[], T]) -> T:
    """Return the result of a call on the archive at `url`; translate errors of the operating system."""
    try:
        return call()
    except FileExistsError:
        raise
    except OSError as error:
        raise _error_for(url, error) from error


def _error_for(url: str, error: OSError) -> ServiceRefused | ArchiveUnavailable:
    """Return the error of the archive for one of the operating system, with its cause and the path."""
    where = f": {error.filename}" if error.filename and str(error.filename) != url else ""
    cause = f"{error.strerror or error}{where}"
    if error.errno in _REFUSALS or isinstance(error, PermissionError):
        return ServiceRefused(
            "archive",
            f"the archive at {url} cannot be used: {cause}",
            remedy="Give the user who runs Pagesight the rights to read and write there, or set PAGESIGHT_ARCHIVE.",
        )
    return ArchiveUnavailable(f"the archive at {url} is unavailable: {cause}")


class _Backend(Protocol):
    reads_together: bool
    """Whether many names are read faster in one call."""

    def location(self, name: str) -> str: ...

    def create(self, name: str, data: bytes, writer: str) -> None: ...

    def put(self, name: str, data: bytes, writer: str) -> None: ...

    def put_file(self, name: str, file: BinaryIO, writer: str) -> None: ...

    def open(self, name: str, fetch: Fetch) -> BinaryIO | None: ...

    def get_many(self, names: Sequence[str]) -> list[bytes | None]: ...

    def names(self, folder: str) -> list[str]: ...

    def delete(self, name: str) -> None: ...


class _Bucket:
    """A location in a bucket. `Objects.create` is a conditional put."""

    reads_together = True

    def __init__(self, location: Location) -> None:
        self._root = location
        self._folder = f"{folder}/" if (folder := location.key.strip("/")) else ""
        self._objects = open_objects(location, "archive")

    def location(self, name: str) -> str:
        return str(replace(self._root, key=self._folder + name))

    def create(self, name: str, data: bytes, writer: str) -> None:
        self._objects.create(self._folder + name, data, writer)

    def put(self, name: str, data: bytes, writer: str) -> None:
        self._objects.put(self._folder + name, data)

    def put_file(self, name: str, file: BinaryIO, writer: str) -> None:
        file.seek(0)
        self.put(name, file.read(), writer)

    def open(self, name: str, fetch: Fetch) -> BinaryIO | None:
        key = self._folder + name
        try:
            state = self._objects.state(key)
            return fetch(self.location(name), state, lambda: self._objects.chunks(key, state))
        except FileNotFoundError:
            return None

    def get_many(self, names: Sequence[str]) -> list[bytes | None]:
        return self._objects.read_many([self._folder + name for name in names])

    def names(self, folder: str) -> list[str]:
        key = f"{self._folder}{folder}/"
        page = self._objects.page(key, "", LIST_KEYS)
        found = [*page.keys, *page.folders]
        while page.after:
            page = self._objects.page(key, page.after, LIST_KEYS)
            found += [*page.keys, *page.folders]
        return [name.removeprefix(key).rstrip("/") for name in found]

    def delete(self, name: str) -> None:
        try:
            self._objects.delete(self._folder + name)
        except FileNotFoundError:
            return


class _Directory:
    """A directory. Data is written to a temporary file, which then gets its name.

    `create` makes a hard link, which fails if the name exists; `put` renames the file. A folder in the place of a file
    is read as an empty, damaged file. Where a file replaces it, it is moved to the temporary files, and kept.
    """

    reads_together = False

    def __init__(self, directory: Path, check: Callable[[object], None], *, is_new: bool) -> None:
        """Open a directory, and make it if `is_new`. `check` gets the mark of `archive.json` when it has changed."""
        self._directory = directory
        self._check = check
        self._mark: object = None
        if is_new:
            make_private_folder(directory / _TEMPORARY)
        self._sweep()

    def location(self, name: str) -> str:
        return str(self._directory / name)

    def create(self, name: str, data: bytes, writer: str) -> None:
        self._write(self._directory / name, io.BytesIO(data), os.link, writer)

    def put(self, name: str, data: bytes, writer: str) -> None:
        self._write(self._directory / name, io.BytesIO(data), os.replace, writer)

    def put_file(self, name: str, file: BinaryIO, writer: str) -> None:
        file.seek(0)
        self._write(self._directory / name, file, os.replace, writer)

    def open(self, name: str, fetch: Fetch) -> BinaryIO | None:
        try:
            return (self._directory / name).open("rb")
        except FileNotFoundError:
            self._guard()
            return None
        except IsADirectoryError:
            return None

    def get_many(self, names: Sequence[str]) -> list[bytes | None]:
        return [self._get(name) for name in names]

    def names(self, folder: str) -> list[str]:
        try:
            return os.listdir(self._directory / folder)
        except FileNotFoundError:
            self._guard()
            return []
        except NotADirectoryError:  # a stray file beside the folders
            return []

    def delete(self, name: str) -> None:
        try:
            (self._directory / name).unlink(missing_ok=True)
        except IsADirectoryError:
            _move_aside(self._directory / name, self._directory / _TEMPORARY)

    def _get(self, name: str) -> bytes | None:
        try:
            # Many small files are read here, and `Path.read_bytes` takes twice as long.
            with open(f"{self._directory}/{name}", "rb", buffering=0) as file:  # noqa: PTH123
                return file.read()
        except FileNotFoundError:
            if name != IDENTITY:
                self._guard()
            return None
        except IsADirectoryError:
            return b""

    def _guard(self) -> None:
        """Check that this is still the known archive: a file that is not there may be on a disk that is unmounted."""
        mark = mark_of(self._directory / IDENTITY)
        if mark is None or mark != self._mark:
            self._check(mark)
            self._mark = mark

    def _write(self, path: Path, data: BinaryIO, move: Any, writer: str) -> None:
        """Write a temporary file, make it durable, then give it its name by `os.link` or `os.replace`.

        A link may exist although its call failed: the disk failed afterwards, or the answer of a file server was lost.
        So a writer that tries again looks for its own temporary file under the name, and writes no second one.
        """
        self._guard()
        temporary = self._directory / _TEMPORARY / writer
        if not _is_same_file(temporary, path):
            _write_temporary(temporary, data)
            try:
                _move(temporary, path, move)
            except FileExistsError:
                if not _is_same_file(temporary, path):
                    temporary.unlink(missing_ok=True)
                    raise
        _sync_directory(path.parent)
        temporary.unlink(missing_ok=True)

    def _sweep(self) -> None:
        for leftover in (self._directory / _TEMPORARY).glob("*"):
            try:
                if time.time() - leftover.stat().st_mtime > STALE_SECONDS:
                    leftover.unlink(missing_ok=True)
            except OSError:  # it was removed, or this process may only read
                continue


def _write_temporary(temporary: Path, data: BinaryIO) -> None:
    """Write a temporary file and make it durable. A failed one is removed: on a full disk it would take up room."""
    make_private_folder(temporary.parent)
    try:
        with create_private(temporary) as file:
            shutil.copyfileobj(data, file, _COPY_BYTES)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _move(temporary: Path, path: Path, move: Any) -> None:
    try:
        move(temporary, path)
    except FileNotFoundError:
        make_private_folder(path.parent)
        move(temporary, path)
    except IsADirectoryError:
        _move_aside(path, temporary.parent)
        move(temporary, path)


def _move_aside(folder: Path, temporary: Path) -> None:
    """Move a folder in the place of a file to the temporary files, where it stays for a person."""
    make_private_folder(temporary)
    folder.rename(temporary / f"{folder.name}.{uuid.uuid4().hex}")


def _is_same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except FileNotFoundError:
        return False


def _sync_directory(path: Path) -> None:
    """Make a new name durable. An fsync of the file does not cover its entry in the folder."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
