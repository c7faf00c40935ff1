"""Members of archives, messages and PDFs. Each member is a source, as a file is.

A sandbox extracts members into the cache, where each is stored under its hash. The members after the requested one are
extracted in the same pass, because in a solid archive a later pass would decompress everything before them again.
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

#: Number of containers whose lists of members are kept in memory. Ten thousand names take 3 MB.
CONTAINERS_KEPT = 8
#: Share of the cache that one pass may fill.
PASS_SHARE = 1 / 4


@dataclass(frozen=True, slots=True)
class MemberFile:
    """A file in a container."""

    name: str
    """Its unique path in the container."""
    bytes: int
    error: OutcomeError | None = None
    """Why it cannot be read."""


class Unpacker(Protocol):
    """Lists and extracts members, in a sandbox."""

    def members(self, file: BinaryIO, path: str, cancel: CancelToken) -> tuple[MemberFile, ...]:
        """Return the members of a file; an empty tuple if it is not a container."""
        ...

    def extract(
        self, file: BinaryIO, path: str, first: int, budget: int, cancel: CancelToken
    ) -> Generator[tuple[int, bytes, bool]]:
        """Yield the bytes of members, from number `first` on, in pieces.

        Each piece is the member's number, bytes, and whether these are the member's last bytes.
        """
        ...


@dataclass(slots=True)
class _Contents:
    """Everything known about a container in one state."""

    numbers: dict[str, int]
    """Numbers of its members, by name."""
    members: tuple[MemberFile, ...]
    documents: dict[int, str] = field(default_factory=dict)
    """SHA-256 of the extracted members, by number."""
    refused: dict[int, UnsupportedFormat] = field(default_factory=dict)
    """Errors by number, for members whose first bytes show a format that cannot be rendered as pages."""
    lock: threading.Lock = field(default_factory=threading.Lock)


Open = Callable[[], BinaryIO]
"""Opens a container's own file."""


class Containers:
    """Lists containers and opens their members. Built once per process; its threads share it."""

    def __init__(self, unpacker: Unpacker, cache: SourceCache, max_depth: int) -> None:
        self._unpacker = unpacker
        self._cache = cache
        self._max_depth = max_depth
        self._known: OrderedDict[tuple[str, FileState], _Contents] = OrderedDict()
        self._lock = threading.Lock()

    def require_depth(self, url: str) -> None:
        """Check the nesting depth of a container.

        Raises:
            LimitExceeded: it is within too many containers to be opened.
        """
        if len(containers_of(url)) >= self._max_depth:
            raise LimitExceeded(
                f"within {self._max_depth} containers already; PAGESIGHT_MAX_CONTAINER_DEPTH is the limit"
            )

    def found(self, url: str, state: FileState, open_file: Open, cancel: CancelToken) -> tuple[FoundFile, ...]:
        """List a container. If that fails, the list holds only the error, at the URL of the container as a folder.

        Raises:
            ServiceRefused, Stopped: as its file, or a sandbox, raises them.
        """
        try:
            self.require_depth(url)
            refused = None
        except LimitExceeded as error:
            refused = error
        try:
            members = self._contents(url, state, open_file, cancel).members
        except OutcomeError as error:
            return (FoundFile(member_url(url, ""), error),)
        return tuple(
            FoundFile(member_url(url, member.name), member.error or refused, member.bytes) for member in members
        )

    def member(self, url: str, state: FileState, name: str, open_file: Open, cancel: CancelToken) -> MemberFile:
        """Return a member of a container.

        Raises:
            SourceVanished: the member does not exist.
            OutcomeError, ServiceRefused, Stopped: as its file, or a sandbox, raises them.
        """
        contents = self._contents(url, state, open_file, cancel)
        if name not in contents.numbers:
            raise SourceVanished("the container does not hold this member")
        return contents.members[contents.numbers[name]]

    def open(
        self, url: str, state: FileState, name: str, document_id: str | None, open_file: Open, cancel: CancelToken
    ) -> BinaryIO:
        """Open a member of the container with this URL and state.

        Raises:
            SourceVanished: the member does not exist.
            SourceChanged: its bytes are not the bytes of the document.
            UnsupportedFormat: its format cannot be rendered as pages.
            OutcomeError, ServiceRefused, Stopped: as its file, or a sandbox, raises them.
        """
        contents = self._contents(url, state, open_file, cancel)
        if name not in contents.numbers:
            raise SourceVanished("the container does not hold this member")
        number = contents.numbers[name]
        error = contents.members[number].error or contents.refused.get(number)
        if error is not None:
            raise error
        with contents.lock:
            file = self._cached(contents, number)
            if file is None:
                file = self._extract(contents, number, url, state, open_file, cancel)
        if document_id is not None and contents.documents[number] != document_id:
            file.close()
            raise SourceChanged("the member does not hold the bytes that were identified")
        return file

    def _cached(self, contents: _Contents, number: int) -> BinaryIO | None:
        document = contents.documents.get(number)
        return None if document is None else self._cache.get(document)

    def _contents(self, url: str, state: FileState, open_file: Open, cancel: CancelToken) -> _Contents:
        with self._lock:
            contents = self._known.get((url, state))
            if contents is not None:
                self._known.move_to_end((url, state))
                return contents
        with open_file() as file:
            members = self._unpacker.members(file, display_path(url), cancel)
        contents = _Contents({member.name: number for number, member in enumerate(members)}, members)
        with self._lock:
            contents = self._known.setdefault((url, state), contents)
            while len(self._known) > CONTAINERS_KEPT:
                self._known.popitem(last=False)
        return contents

    def _extract(
        self, contents: _Contents, wanted: int, url: str, state: FileState, open_file: Open, cancel: CancelToken
    ) -> BinaryIO:
        """Extract a member, and the members after it until this pass has used its share of the cache."""
        found: BinaryIO | None = None
        budget = int(self._cache.max_bytes * PASS_SHARE)
        try:
            with (
                open_file() as file,
                closing(self._unpacker.extract(file, display_path(url), wanted, budget, cancel)) as pieces,
            ):
                for number, data, is_last in pieces:
                    rest = _rest(data, is_last, pieces)
                    stored = self._store(contents, number, url, state, rest, cancel)
                    deque(rest, maxlen=0)  # skip the rest of an unsupported member
                    if number == wanted:
                        found = stored
                    elif stored is not None:
                        stored.close()
        except OutcomeError:
            # If the requested member has been found, the error is about a later one. A request for that one raises it.
            if found is None and wanted not in contents.refused:
                raise
        if wanted in contents.refused:
            raise contents.refused[wanted]
        if found is None:
            raise SourceVanished("the container does not hold this member")
        return found

    def _store(
        self, contents: _Contents, number: int, url: str, state: FileState, data: Iterator[bytes], cancel: CancelToken
    ) -> BinaryIO | None:
        """Store a member in the cache if its first bytes show a format that can be rendered as pages."""
        member, head = contents.members[number], b""
        while len(head) < HEAD_BYTES and (piece := next(data, None)) is not None:
            head += piece
        try:
            media_type_of(head[:HEAD_BYTES])
        except UnsupportedFormat as error:
            contents.refused[number] = error
            return None
        digest = hashlib.sha256()

        def pieces() -> Generator[bytes]:
            for piece in chain([head], data):
                digest.update(piece)
                yield piece

        name = member_url(url, member.name)
        file = self._cache.fetch(name, member_state(state, member.bytes), None, pieces, cancel)
        contents.documents[number] = digest.hexdigest()
        return file


def _rest(data: bytes, is_last: bool, pieces: Iterator[tuple[int, bytes, bool]]) -> Iterator[bytes]:
    """Yield the bytes of a member; `data` are the first of them."""
    yield data
    if not is_last:
        for _, more, ends in pieces:
            yield more
            if ends:
                return


def member_state(container: FileState, size: int) -> FileState:
    """Return a member's state: its size, and the state of its container's file."""
    etag = container.etag or f"{container.inode}-{container.mtime_ns}-{container.bytes}"
    return FileState(bytes=size, mtime_ns=container.mtime_ns, etag=etag)
