"""The two ways in which the archive stores values: chains of numbered revisions, and records that are written once.

A revision or record is created exclusively and never overwritten. So writers need neither a clock nor a lock, and the
newest revision is found by listing names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from pipeline.archive.store import Store
from pipeline.core.errors import RevisionTaken
from pipeline.core.models import Archived, Numbered

T = TypeVar("T", bound=Numbered)
R = TypeVar("R", bound=Archived)

_SUFFIX = ".json"


class Chain(Generic[T]):
    """The revisions of one thing, as `<folder>/<prefix><revision>.json`. Threads and processes share it."""

    def __init__(self, store: Store, folder: str, decode: Callable[[bytes], T], prefix: str = "") -> None:
        """Read and write the chain in a folder.

        Args:
            store: the store of the archive.
            folder: folder of the revisions.
            decode: makes a revision from its JSON.
            prefix: distinguishes this chain from others in the same folder.
        """
        self._store = store
        self._folder = folder
        self._decode = decode
        self._prefix = prefix

    def revisions(self) -> list[int]:
        """Return the numbers of all revisions, oldest first. Only names are read."""
        start = len(self._prefix)
        names = (name for name in self._store.names(self._folder) if name.startswith(self._prefix))
        return sorted(int(name[start:].removesuffix(_SUFFIX)) for name in names)

    def newest_revision(self) -> int:
        """Return the number of the newest revision, or 0 if the chain is empty. Only names are read."""
        return max(self.revisions(), default=0)

    def newest(self) -> T | None:
        """Return the newest revision, or None if the chain is empty."""
        number = self.newest_revision()
        return self.revision(number) if number else None

    def revision(self, number: int) -> T:
        """Return one revision. If it was purged, return the newest one.

        Raises:
            KeyError: the revision does not exist, and the chain has no newer one.
        """
        while (data := self._store.get(self._name(number))) is None:
            newest = self.newest_revision()
            if newest <= number:
                raise KeyError(self._name(number))
            number = newest
        return self._decode(data)

    def after(self, number: int) -> list[T]:
        """Return the revisions newer than a number, oldest first."""
        return [self.revision(newer) for newer in self.revisions() if newer > number]

    def newest_first(self) -> Iterator[T]:
        """Yield all revisions, newest first. Each is read when the iterator reaches it."""
        return map(self.revision, reversed(self.revisions()))

    def create(self, value: T) -> None:
        """Archive a revision under its number.

        Raises:
            RevisionTaken: the revision exists.
        """
        self._store.create(self._name(value.revision), encode(value))

    def append(self, build: Callable[[T | None], T | None]) -> T:
        """Archive the successor of the newest revision, and return it.

        `build` gets the newest revision and returns its successor, or None to add nothing. It must not return None if
        the chain is empty. It is called again when another writer was faster.
        """
        value = self.advance(self.newest(), build)
        assert value is not None
        return value

    def advance(self, newest: T | None, build: Callable[[T | None], T | None]) -> T | None:
        """Do the same as `append`, given the newest revision that the caller knows.

        Returns:
            The newest revision; None if the chain is empty and `build` adds nothing.
        """
        while (value := build(newest)) is not None:
            try:
                self.create(value)
            except RevisionTaken:
                newest = self.newest()
            else:
                return value
        return newest

    def _name(self, number: int) -> str:
        return f"{self._folder}/{self._prefix}{number}{_SUFFIX}"


class Chains(Generic[T]):
    """Chains of one type of value, as `<folder>/<name>/<revision>.json`."""

    def __init__(self, store: Store, folder: str, decode: Callable[[bytes], T]) -> None:
        self._store = store
        self._folder = folder
        self._decode = decode

    def names(self) -> list[str]:
        """Return the names of all chains, sorted."""
        return self._store.names(self._folder)

    def __getitem__(self, name: str) -> Chain[T]:
        """Return the chain of a name; it may be empty."""
        return Chain(self._store, f"{self._folder}/{name}", self._decode)


class Records(Generic[R]):
    """Values that are written once, as `<folder>/<name>.json`. The first writer of a name wins."""

    def __init__(self, store: Store, folder: str, decode: Callable[[bytes], R]) -> None:
        self._store = store
        self._folder = folder
        self._decode = decode

    def names(self) -> list[str]:
        """Return the names of all records, sorted."""
        return [name.removesuffix(_SUFFIX) for name in self._store.names(self._folder)]

    def get(self, name: str) -> R | None:
        """Return a record, or None if it does not exist."""
        data = self._store.get(f"{self._folder}/{name}{_SUFFIX}")
        return None if data is None else self._decode(data)

    def add(self, name: str, value: R) -> R:
        """Archive a record. If the name exists, leave it; return the record that is archived."""
        try:
            self._store.create(f"{self._folder}/{name}{_SUFFIX}", encode(value))
        except RevisionTaken:
            first = self.get(name)
            assert first is not None
            return first
        return value

    def delete(self, name: str) -> None:
        """Remove a record."""
        self._store.delete(f"{self._folder}/{name}{_SUFFIX}")


def encode(value: Archived) -> bytes:
    """Return a value in its archived form: JSON in UTF-8."""
    return value.model_dump_json().encode()
