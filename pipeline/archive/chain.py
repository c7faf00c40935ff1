"""The two ways in which the archive stores values: chains of numbered revisions, and records that are written once.

A revision or record is created exclusively and never overwritten. So writers need neither a clock nor a lock, and the
newest revision is found by listing names.

A damaged file costs only itself. A damaged revision is read as the one before it, under the number of the damaged one:
its successor gets the next number. A damaged record counts as absent, and the next writer replaces it. The store notes
the name of each damaged file. Fields that this version does not know are ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Generic, TypeVar

from pydantic import ValidationError

from pipeline.archive.store import Store
from pipeline.core.errors import ArchiveDamaged, RevisionTaken
from pipeline.core.models import Archived, Numbered

T = TypeVar("T", bound=Numbered)
R = TypeVar("R", bound=Archived)

_SUFFIX = ".json"

V = TypeVar("V")
#: Makes what is read in the place of a damaged revision, given its number and the newest readable one before it, if
#: any. None where nothing can be read.
StandIn = Callable[[int, T | None], T | None]


def decoder(kind: type[R]) -> Callable[[bytes], R]:
    """Return a function that makes values of a kind from their JSON, without fields that this version does not know."""
    return partial(kind.model_validate_json, extra="ignore")


def decoded(store: Store, name: str, data: bytes, decode: Callable[[bytes], V]) -> V:
    """Return the value of an archived file.

    Raises:
        ArchiveDamaged: the file is damaged. The store has noted it.
    """
    try:
        return decode(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        damaged = ArchiveDamaged(name, first["msg"] if data else "it is empty")
        store.note_damage(damaged)
        raise damaged from None


def predecessor(number: int, before: T | None) -> T | None:
    """Return the revision before a damaged one, under the number of the damaged one."""
    return before.model_copy(update={"revision": number}) if before is not None else None


class Chain(Generic[T]):
    """The revisions of one thing, as `<folder>/<prefix><revision>.json`. Threads and processes share it."""

    def __init__(
        self,
        store: Store,
        folder: str,
        decode: Callable[[bytes], T],
        prefix: str = "",
        stand_in: StandIn[T] = predecessor,
    ) -> None:
        """Read and write the chain in a folder.

        Args:
            store: the store of the archive.
            folder: folder of the revisions.
            decode: makes a revision from its JSON.
            prefix: distinguishes this chain from others in the same folder.
            stand_in: what is read in the place of a damaged revision.
        """
        self._store = store
        self._folder = folder
        self._decode = decode
        self._prefix = prefix
        self._stand_in = stand_in

    def revisions(self) -> list[int]:
        """Return the numbers of all revisions, oldest first. Only names are read."""
        start = len(self._prefix)
        names = (name for name in self._store.names(self._folder) if name.startswith(self._prefix))
        numbers = (name[start:].removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX))
        return sorted(int(number) for number in numbers if number.isdecimal())

    def newest_revision(self) -> int:
        """Return the number of the newest revision, or 0 if the chain is empty. Only names are read."""
        return max(self.revisions(), default=0)

    def newest(self) -> T | None:
        """Return the newest revision, None where there is none or none can be read."""
        number = self.newest_revision()
        try:
            return self.revision(number) if number else None
        except ArchiveDamaged:
            return None

    def revision(self, number: int) -> T:
        """Return one revision, or the newest one where that revision was purged, or its stand-in where it is damaged.

        Raises:
            KeyError: the chain has neither.
            ArchiveDamaged: it is damaged, and nothing can be read in its place.
        """
        try:
            return self._read(number)
        except ArchiveDamaged:
            older = (revision for revision in reversed(self.revisions()) if revision < number)
            found = self._stand_in(number, next(self._readable(older), None))
            if found is None:
                raise
            return found

    def _read(self, number: int) -> T:
        while (data := self._store.get(self._name(number))) is None:
            newest = self.newest_revision()
            if newest <= number:
                raise KeyError(self._name(number))
            number = newest
        return decoded(self._store, self._name(number), data, self._decode)

    def _readable(self, numbers: Iterable[int]) -> Iterator[T]:
        """Yield the revisions with these numbers that can be read."""
        for number in numbers:
            try:
                yield self._read(number)
            except ArchiveDamaged:
                continue

    def after(self, number: int) -> list[T]:
        """Return the readable revisions newer than a number, oldest first."""
        return list(self._readable(newer for newer in self.revisions() if newer > number))

    def newest_first(self) -> Iterator[T]:
        """Yield all readable revisions, newest first; each is read when it is wanted."""
        return self._readable(reversed(self.revisions()))

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

        Where no revision can be read, the value gets the number after the newest.

        Returns:
            The newest revision; None if the chain is empty and `build` adds nothing.
        """
        while (value := build(newest)) is not None:
            try:
                self.create(value)
            except RevisionTaken:
                newest = self.newest()
                if newest is None and (taken := self.newest_revision()):
                    build = _after_damaged(build, taken)
            else:
                return value
        return newest

    def _name(self, number: int) -> str:
        return f"{self._folder}/{self._prefix}{number}{_SUFFIX}"


class Chains(Generic[T]):
    """Chains of one type of value, as `<folder>/<name>/<revision>.json`."""

    def __init__(
        self,
        store: Store,
        folder: str,
        decode: Callable[[bytes], T],
        stand_in: Callable[[str, int, T | None], T | None] = lambda _name, number, before: predecessor(number, before),
    ) -> None:
        """Read and write the chains in a folder. `stand_in` gets the name of the chain before what a chain's gets."""
        self._store = store
        self._folder = folder
        self._decode = decode
        self._stand_in = stand_in

    def names(self) -> list[str]:
        """Return the names of all chains, sorted."""
        return self._store.names(self._folder)

    def __getitem__(self, name: str) -> Chain[T]:
        """Return the chain of a name; it may be empty."""
        return Chain(self._store, f"{self._folder}/{name}", self._decode, stand_in=partial(self._stand_in, name))


class Records(Generic[R]):
    """Values that are written once, as `<folder>/<name>.json`. The first writer of a name wins."""

    def __init__(self, store: Store, folder: str, decode: Callable[[bytes], R]) -> None:
        self._store = store
        self._folder = folder
        self._decode = decode

    def names(self) -> list[str]:
        """Return the names of all records, sorted."""
        names = self._store.names(self._folder)
        return [name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX)]

    def get(self, name: str) -> R | None:
        """Return a record, or None if there is no readable one."""
        path = f"{self._folder}/{name}{_SUFFIX}"
        data = self._store.get(path)
        try:
            return None if data is None else decoded(self._store, path, data, self._decode)
        except ArchiveDamaged:
            return None

    def add(self, name: str, value: R) -> R:
        """Archive a record. If a readable one exists, leave it; return the record that is archived."""
        path = f"{self._folder}/{name}{_SUFFIX}"
        try:
            self._store.create(path, encode(value))
        except RevisionTaken:
            first = self.get(name)
            if first is not None:
                return first
            self._store.put(path, encode(value))
        return value

    def delete(self, name: str) -> None:
        """Remove a record."""
        self._store.delete(f"{self._folder}/{name}{_SUFFIX}")


def encode(value: Archived) -> bytes:
    """Return a value in its archived form: JSON in UTF-8."""
    return value.model_dump_json().encode()


def _after_damaged(build: Callable[[T | None], T | None], taken: int) -> Callable[[T | None], T | None]:
    """Return `build` for a chain without a readable revision: its first value follows the newest number."""

    def numbered(newest: T | None) -> T | None:
        value = build(newest)
        return value.model_copy(update={"revision": taken + 1}) if value is not None and newest is None else value

    return numbered
