"""Stores bytes by name, in a directory, a bucket or another fsspec location. Readers never see half-written bytes."""

from __future__ import annotations

import io
import os
import shutil
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar

from pipeline.core.errors import RevisionTaken, ServiceRefused
from pipeline.core.models import FileState
from pipeline.core.objects import LIST_KEYS, OBJECT_WAITS_SECONDS, Location, open_objects, parse_location
from pipeline.core.retry import CancelToken, retry_until_available

#: Age of temporary files after which their writer counts as dead. A live writer needs seconds.
STALE_SECONDS = 24 * 3600
_TEMPORARY = "tmp"
_COPY_BYTES = 1 << 20

T = TypeVar("T")
#: Makes a local file from an object, given its location, its state and a function that yields its bytes.
Fetch = Callable[[str, FileState, Callable[[], Generator[bytes]]], BinaryIO]


class Store:
    """Flat access to an archive location; names use `/`. Threads and processes share it.

    With a cancel token, calls wait while a bucket is unavailable; without one they do not.

    Raises, from every method:
        ServiceRefused: the location cannot be used: permission, space or the bucket is missing.
        ServiceUnavailable: the bucket is unavailable, and there is no cancel token.
        Stopped: the token was cancelled while the bucket was unavailable.
    """

    def __init__(self, url: str, cancel: CancelToken | None = None) -> None:
        self.url = url
        self._cancel = cancel
        location = parse_location(url)
        with self._translated():
            self._place: _Backend = (
                _Directory(Path(url.removeprefix("file://"))) if location is None else _Bucket(location)
            )

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
            self._do(lambda: self._place.create(name, data, writer))
        except FileExistsError:
            raise RevisionTaken(name) from None

    def put(self, name: str, data: bytes) -> None:
        """Write to a name, replacing its content atomically."""
        self._do(lambda: self._place.put(name, data))

    def put_file(self, name: str, file: BinaryIO) -> None:
        """Write a whole file to a name, replacing its content atomically."""
        self._do(lambda: self._place.put_file(name, file))

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
        return self._do(lambda: self._place.get_many(names))

    def check(self) -> None:
        """Check that a name can be created, that it cannot be created twice, and that it can be deleted.

        Raises:
            ServiceRefused: the location lets two writers create the same name.
        """
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
        """Return the last parts of the names in a folder, sorted; a missing folder is empty."""
        return sorted(self._do(lambda: self._place.names(folder)))

    def delete(self, name: str) -> None:
        """Remove a name; a missing one is ignored."""
        self._do(lambda: self._place.delete(name))

    def _do(self, call: Callable[[], T]) -> T:
        with self._translated():
            return call() if self._cancel is None else retry_until_available(call, self._cancel, OBJECT_WAITS_SECONDS)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except FileExistsError:
            raise
        except OSError as error:
            raise ServiceRefused(
                "archive",
                f"the archive at {self.url} cannot be used: {error.strerror or error}",
                remedy="Free space or fix permissions there (or set PAGESIGHT_ARCHIVE), then run the command again.",
            ) from error


class _Backend(Protocol):
    def location(self, name: str) -> str: ...

    def create(self, name: str, data: bytes, writer: str) -> None: ...

    def put(self, name: str, data: bytes) -> None: ...

    def put_file(self, name: str, file: BinaryIO) -> None: ...

    def open(self, name: str, fetch: Fetch) -> BinaryIO | None: ...

    def get_many(self, names: Sequence[str]) -> list[bytes | None]: ...

    def names(self, folder: str) -> list[str]: ...

    def delete(self, name: str) -> None: ...


class _Bucket:
    """A location in a bucket. `Objects.create` is a conditional put."""

    def __init__(self, location: Location) -> None:
        self._root = location
        self._folder = f"{folder}/" if (folder := location.key.strip("/")) else ""
        self._objects = open_objects(location, "archive")

    def location(self, name: str) -> str:
        return str(replace(self._root, key=self._folder + name))

    def create(self, name: str, data: bytes, writer: str) -> None:
        self._objects.create(self._folder + name, data, writer)

    def put(self, name: str, data: bytes) -> None:
        self._objects.put(self._folder + name, data)

    def put_file(self, name: str, file: BinaryIO) -> None:
        file.seek(0)
        self.put(name, file.read())

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

    `create` makes a hard link, which fails if the name exists; `put` renames the file.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        (directory / _TEMPORARY).mkdir(parents=True, exist_ok=True)
        self._sweep()

    def location(self, name: str) -> str:
        return str(self._directory / name)

    def create(self, name: str, data: bytes, writer: str) -> None:
        self._write(self._directory / name, io.BytesIO(data), os.link)

    def put(self, name: str, data: bytes) -> None:
        self._write(self._directory / name, io.BytesIO(data), os.replace)

    def put_file(self, name: str, file: BinaryIO) -> None:
        file.seek(0)
        self._write(self._directory / name, file, os.replace)

    def open(self, name: str, fetch: Fetch) -> BinaryIO | None:
        try:
            return (self._directory / name).open("rb")
        except FileNotFoundError:
            return None

    def get_many(self, names: Sequence[str]) -> list[bytes | None]:
        return [self._get(name) for name in names]

    def names(self, folder: str) -> list[str]:
        try:
            return os.listdir(self._directory / folder)
        except FileNotFoundError:
            return []

    def delete(self, name: str) -> None:
        (self._directory / name).unlink(missing_ok=True)

    def _get(self, name: str) -> bytes | None:
        try:
            # Many small files are read here, and `Path.read_bytes` takes twice as long.
            with open(f"{self._directory}/{name}", "rb", buffering=0) as file:  # noqa: PTH123
                return file.read()
        except FileNotFoundError:
            return None

    def _write(self, path: Path, data: BinaryIO, move: Any) -> None:
        """Write a temporary file, make it durable, then give it its name by `os.link` or `os.replace`."""
        temporary = self._directory / _TEMPORARY / uuid.uuid4().hex
        try:
            with temporary.open("xb") as file:
                shutil.copyfileobj(data, file, _COPY_BYTES)
                file.flush()
                os.fsync(file.fileno())
            try:
                move(temporary, path)
            except FileNotFoundError:
                path.parent.mkdir(parents=True, exist_ok=True)
                move(temporary, path)
            _sync_directory(path.parent)
        finally:
            temporary.unlink(missing_ok=True)

    def _sweep(self) -> None:
        for leftover in (self._directory / _TEMPORARY).iterdir():
            try:
                if time.time() - leftover.stat().st_mtime > STALE_SECONDS:
                    leftover.unlink(missing_ok=True)
            except OSError:  # it was removed, or this process may only read
                continue


def _sync_directory(path: Path) -> None:
    """Make a new name durable. An fsync of the file does not cover its entry in the folder."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
