"""What lies within files: archives, messages, the attachments of PDFs. Their members are sources like files.

A member's bytes come out of a sandbox into the cache, which knows them by their hash. Members that follow the wanted
one come along in the same pass, since in a solid archive each pass costs all that lies before.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain
from typing import BinaryIO, Protocol

from pipeline.core.errors import LimitExceeded, OutcomeError, SourceChanged, SourceVanished, UnsupportedFormat
from pipeline.core.models import FileState
from pipeline.core.retry import CancelToken
from pipeline.core.signatures import HEAD_BYTES
from pipeline.sources.cache import SourceCache
from pipeline.sources.signatures import media_type_of
from pipeline.sources.urls import containers_of, display_path, member_url
from pipeline.sources.walk import FoundFile

#: Containers whose members are remembered. Ten thousand names take 3 MB.
CONTAINERS_KEPT = 8
#: Share of the cache that one pass may fill.
PASS_SHARE = 1 / 4


@dataclass(frozen=True, slots=True)
class MemberFile:
    """A file within a file."""

    name: str
    """Its path there, unique."""
    bytes: int
    error: OutcomeError | None = None
    """Why it cannot be had."""


class Unpacker(Protocol):
    """Looks into files, in a sandbox."""

    def members(self, file: BinaryIO, path: str, cancel: CancelToken) -> tuple[MemberFile, ...]:
        """Return what lies in a file; nothing where it is no container."""
        ...

    def extract(
        self, file: BinaryIO, path: str, first: int, budget: int, cancel: CancelToken
    ) -> Generator[tuple[int, bytes, bool]]:
        """Yield number, bytes, and whether these are its last ones, of members from number `first` on."""
        ...


@dataclass(slots=True)
class _Book:
    """What is known of a container in one state."""

    places: dict[str, int]
    """Numbers of its members, by name."""
    members: tuple[MemberFile, ...]
    documents: dict[int, str] = field(default_factory=dict)
    """SHA-256 of those that were extracted."""
    refused: dict[int, UnsupportedFormat] = field(default_factory=dict)
    """Those that are of no kind that becomes pages, by their first bytes."""
    lock: threading.Lock = field(default_factory=threading.Lock)


Open = Callable[[], BinaryIO]
"""Opens a container's own file."""


class Containers:
    """The way into containers. Built once per process, its threads share it."""

    def __init__(self, unpacker: Unpacker, cache: SourceCache, max_depth: int) -> None:
        self._unpacker = unpacker
        self._cache = cache
        self._max_depth = max_depth
        self._books: OrderedDict[tuple[str, FileState], _Book] = OrderedDict()
        self._lock = threading.Lock()

    def require_depth(self, url: str) -> None:
        """See that a container does not lie too deep in others to be opened.

        Raises:
            LimitExceeded: it does.
        """
        if len(containers_of(url)) >= self._max_depth:
            raise LimitExceeded(
                f"within {self._max_depth} containers already; PAGESIGHT_MAX_CONTAINER_DEPTH allows no more"
            )

    def found(self, url: str, state: FileState, open_file: Open, cancel: CancelToken) -> tuple[FoundFile, ...]:
        """List a container; where that cannot be done, the reason stands at the URL of its inside.

        Raises:
            ServiceRefused, Stopped: as its file, or a sandbox, raises them.
        """
        try:
            self.require_depth(url)
            refused = None
        except LimitExceeded as error:
            refused = error
        try:
            members = self._book(url, state, open_file, cancel).members
        except OutcomeError as error:
            return (FoundFile(member_url(url, ""), error),)
        return tuple(FoundFile(member_url(url, member.name), member.error or refused) for member in members)

    def member(self, url: str, state: FileState, name: str, open_file: Open, cancel: CancelToken) -> MemberFile:
        """Return a member of a container.

        Raises:
            SourceVanished: there is no such member.
            OutcomeError, ServiceRefused, Stopped: as its file, or a sandbox, raises them.
        """
        book = self._book(url, state, open_file, cancel)
        if name not in book.places:
            raise SourceVanished("the container holds no such member")
        return book.members[book.places[name]]

    def open(
        self, url: str, state: FileState, name: str, document_id: str | None, open_file: Open, cancel: CancelToken
    ) -> BinaryIO:
        """Open a member of a container, which is given with its state.

        Raises:
            SourceVanished: there is no such member.
            SourceChanged: its bytes are not those of the document.
            UnsupportedFormat: it is of a kind that becomes no pages.
            OutcomeError, ServiceRefused, Stopped: as its file, or a sandbox, raises them.
        """
        book = self._book(url, state, open_file, cancel)
        if name not in book.places:
            raise SourceVanished("the container holds no such member")
        place = book.places[name]
        error = book.members[place].error or book.refused.get(place)
        if error is not None:
            raise error
        with book.lock:
            file = self._cached(book, place)
            if file is None:
                file = self._extract(book, place, url, state, open_file, cancel)
        if document_id is not None and book.documents[place] != document_id:
            file.close()
            raise SourceChanged("the member does not hold the bytes that were identified")
        return file

    def _cached(self, book: _Book, place: int) -> BinaryIO | None:
        document = book.documents.get(place)
        return None if document is None else self._cache.get(document)

    def _book(self, url: str, state: FileState, open_file: Open, cancel: CancelToken) -> _Book:
        with self._lock:
            book = self._books.get((url, state))
            if book is not None:
                self._books.move_to_end((url, state))
                return book
        with open_file() as file:
            members = self._unpacker.members(file, display_path(url), cancel)
        book = _Book({member.name: place for place, member in enumerate(members)}, members)
        with self._lock:
            book = self._books.setdefault((url, state), book)
            while len(self._books) > CONTAINERS_KEPT:
                self._books.popitem(last=False)
        return book

    def _extract(
        self, book: _Book, wanted: int, url: str, state: FileState, open_file: Open, cancel: CancelToken
    ) -> BinaryIO:
        """Take a member out, and those behind it for as long as the pass lasts."""
        found: BinaryIO | None = None
        budget = int(self._cache.max_bytes * PASS_SHARE)
        try:
            with (
                open_file() as file,
                closing(self._unpacker.extract(file, display_path(url), wanted, budget, cancel)) as pieces,
            ):
                for place, data, is_last in pieces:
                    rest = _rest(data, is_last, pieces)
                    stored = self._store(book, place, url, state, rest, cancel)
                    deque(rest, maxlen=0)  # what nobody wanted of it
                    if place == wanted:
                        found = stored
                    elif stored is not None:
                        stored.close()
        except OutcomeError:
            # Where the wanted one is here, this is about one behind it, and comes again when that one is wanted.
            if found is None and wanted not in book.refused:
                raise
        if wanted in book.refused:
            raise book.refused[wanted]
        if found is None:
            raise SourceVanished("the container holds no such member")
        return found

    def _store(
        self, book: _Book, place: int, url: str, state: FileState, data: Iterator[bytes], cancel: CancelToken
    ) -> BinaryIO | None:
        """Put a member into the cache once its first bytes tell that it is of a kind that becomes pages."""
        member, head = book.members[place], b""
        while len(head) < HEAD_BYTES and (piece := next(data, None)) is not None:
            head += piece
        try:
            media_type_of(head[:HEAD_BYTES])
        except UnsupportedFormat as error:
            book.refused[place] = error
            return None
        digest = hashlib.sha256()

        def pieces() -> Generator[bytes]:
            for piece in chain([head], data):
                digest.update(piece)
                yield piece

        name = member_url(url, member.name)
        file = self._cache.fetch(name, member_state(state, member.bytes), None, pieces, cancel)
        book.documents[place] = digest.hexdigest()
        return file


def _rest(data: bytes, is_last: bool, pieces: Iterator[tuple[int, bytes, bool]]) -> Iterator[bytes]:
    """Yield the bytes of the member whose first ones these are."""
    yield data
    if not is_last:
        for _, more, ends in pieces:
            yield more
            if ends:
                return


def member_state(container: FileState, size: int) -> FileState:
    """Return a member's state: its size, and what its container's file is known by."""
    etag = container.etag or f"{container.inode}-{container.mtime_ns}-{container.bytes}"
    return FileState(bytes=size, mtime_ns=container.mtime_ns, etag=etag)
