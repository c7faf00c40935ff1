"""Objects at any other location that fsspec knows. Whether two writers are kept apart there depends on its package."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import fsspec

from pipeline.core.errors import PagesightError, ServiceRefused, ServiceUnavailable, SourceChanged
from pipeline.core.models import FileState
from pipeline.core.objects.location import Location
from pipeline.core.objects.protocol import ObjectPage
from pipeline.core.times import nanoseconds_of

_CHUNK_BYTES = 1 << 20


class OtherObjects:
    """The objects below a bucket or host."""

    def __init__(self, location: Location, service: str) -> None:
        self._service = service
        self._name = f"{location.protocol}://{location.authority}"
        # Of the location alone: in a key, `::` would make fsspec open another file system.
        self._fs: Any
        self._fs, self._base = fsspec.core.url_to_fs(self._name)

    def state(self, key: str) -> FileState:
        """Return what an object is known by; `ukey` is fsspec's hash of all that its package tells."""
        with self._translated():
            path = self._path(key)
            found = self._fs.info(path)
            if found["type"] != "file":
                raise FileNotFoundError(path)
            return FileState(bytes=found["size"], mtime_ns=self._modified_ns(path), etag=self._fs.ukey(path))

    def page(self, folder: str, after: str, keys: int) -> ObjectPage:
        """List a folder, always as a whole."""
        with self._translated():
            path = self._path(folder.rstrip("/"))
            self._fs.invalidate_cache(path)
            try:
                entries = self._fs.ls(path, detail=True)
            except FileNotFoundError:
                entries = []
        names = sorted((folder + _last_part(entry["name"]), entry["type"]) for entry in entries)
        return ObjectPage(
            keys=tuple(name for name, kind in names if kind != "directory"),
            folders=tuple(f"{name}/" for name, kind in names if kind == "directory"),
        )

    def read(self, key: str) -> bytes:
        """Return an object's bytes."""
        with self._translated():
            return bytes(self._fs.cat_file(self._path(key)))

    def read_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return several, one after the other."""
        return [self._read_if_there(key) for key in keys]

    def chunks(self, key: str, state: FileState) -> Generator[bytes]:
        """Yield an object's bytes piece by piece."""
        with self._translated():
            with self._fs.open(self._path(key), "rb") as file:
                while chunk := file.read(_CHUNK_BYTES):
                    yield chunk
            if self.state(key) != state:
                raise SourceChanged("the object was replaced while it was worked on")

    def create(self, key: str, data: bytes, writer: str) -> None:
        """Write under a key that must be free."""
        with self._translated():
            self._fs.pipe_file(self._path(key), data, mode="create")

    def put(self, key: str, data: bytes) -> None:
        """Write under a key."""
        with self._translated():
            self._fs.pipe_file(self._path(key), data)

    def delete(self, key: str) -> None:
        """Remove an object."""
        with self._translated():
            self._fs.rm_file(self._path(key))

    def _path(self, key: str) -> str:
        return f"{self._base.rstrip('/')}/{key}"

    def _modified_ns(self, path: str) -> int:
        """Return the time of an object; 0 where its package has none, or one that is not a time."""
        try:
            return nanoseconds_of(self._fs.modified(path))
        except (NotImplementedError, AttributeError, OverflowError, ValueError):
            return 0

    def _read_if_there(self, key: str) -> bytes | None:
        try:
            return self.read(key)
        except FileNotFoundError:
            return None

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (PagesightError, FileNotFoundError, FileExistsError, PermissionError):
            raise
        except (ConnectionError, TimeoutError) as error:
            raise ServiceUnavailable(self._service, f"{self._name} is away: {error}") from error
        except Exception as error:  # each package has errors of its own
            raise ServiceRefused(
                self._service,
                f"{self._name} cannot be used: {type(error).__name__}: {error}",
                remedy="Look at its configuration, then run the same command again.",
            ) from error


def _last_part(name: str) -> str:
    return name.rstrip("/").rsplit("/", 1)[-1]
