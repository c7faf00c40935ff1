"""Bytes by name, in a directory or any location that fsspec knows. Nothing half-written is ever seen under a name."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from pipeline.errors import RevisionTaken, ServiceRefused

#: Temporary files of writers that died; a living one needs seconds.
STALE_SECONDS = 24 * 3600
_TEMPORARY = "tmp"


class Store:
    """Flat access to an archive location; names use `/`.

    Raises, from every method:
        ServiceRefused: the location cannot be used (no right, no space, no such bucket).
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._fs: Any
        self._fs, self._root = fsspec.core.url_to_fs(url)
        self._directory = Path(self._root) if isinstance(self._fs, LocalFileSystem) else None
        if self._directory is not None:
            with self._translated():
                (self._directory / _TEMPORARY).mkdir(parents=True, exist_ok=True)
                self._sweep()

    def location(self, name: str) -> str:
        """Return where a name lies, as a path or a URL."""
        return (
            str(self._directory / name)
            if self._directory is not None
            else str(self._fs.unstrip_protocol(self._path(name)))
        )

    def create(self, name: str, data: bytes) -> None:
        """Write under a name that must be free: of several writers exactly one succeeds.

        Locally a complete temporary file is hard-linked to its name, which fails where the name exists; elsewhere it is
        a conditional put.

        Raises:
            RevisionTaken: the name exists.
        """
        with self._translated():
            try:
                if self._directory is None:
                    self._fs.pipe_file(self._path(name), data, mode="create")
                else:
                    self._place(self._directory / name, data, os.link)
            except FileExistsError:
                raise RevisionTaken(name) from None

    def put(self, name: str, data: bytes) -> None:
        """Write under a name, replacing at one stroke what was there."""
        with self._translated():
            if self._directory is None:
                self._fs.pipe_file(self._path(name), data)
            else:
                self._place(self._directory / name, data, os.replace)

    def get(self, name: str) -> bytes | None:
        """Return what lies under a name, or None."""
        with self._translated():
            try:
                if self._directory is None:
                    return bytes(self._fs.cat_file(self._path(name)))
                return (self._directory / name).read_bytes()
            except FileNotFoundError:
                return None

    def exists(self, name: str) -> bool:
        """Return whether something lies under a name."""
        with self._translated():
            return bool(self._fs.exists(self._path(name)))

    def check(self) -> None:
        """Write something and remove it again."""
        name = f"{_TEMPORARY}/{uuid.uuid4().hex}"
        self.put(name, b"")
        self.delete(name)

    def names(self, folder: str) -> list[str]:
        """Return the last parts of the names in a folder, sorted; an absent folder is empty."""
        with self._translated():
            try:
                if self._directory is None:
                    self._fs.invalidate_cache(self._path(folder))
                    found = [
                        str(path).rstrip("/").rsplit("/", 1)[-1]
                        for path in self._fs.ls(self._path(folder), detail=False)
                    ]
                else:
                    # fsspec's own listing would stat every entry.
                    found = os.listdir(self._directory / folder)
            except FileNotFoundError:
                return []
            return sorted(found)

    def delete(self, name: str) -> None:
        """Remove a name; an absent one is removed already."""
        with self._translated():
            try:
                self._fs.rm_file(self._path(name))
            except FileNotFoundError:
                return

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _place(self, path: Path, data: bytes, move: Any) -> None:
        """Write a temporary file, make it durable, then give it its name by `os.link` or `os.replace`."""
        assert self._directory is not None
        temporary = self._directory / _TEMPORARY / uuid.uuid4().hex
        try:
            with temporary.open("xb") as file:
                file.write(data)
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
        assert self._directory is not None
        for leftover in (self._directory / _TEMPORARY).iterdir():
            try:
                if time.time() - leftover.stat().st_mtime > STALE_SECONDS:
                    leftover.unlink(missing_ok=True)
            except FileNotFoundError:
                continue

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
                remedy="Free space or mend rights there (or set PAGESIGHT_ARCHIVE), then run the same command again.",
            ) from error


def _sync_directory(path: Path) -> None:
    """Make a new name durable: fsync of a file does not cover the entry in its folder."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
