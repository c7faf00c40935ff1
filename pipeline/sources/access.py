"""Access to source files on disks, in buckets and in containers: their states, and descriptors of their bytes."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import BinaryIO, TypeVar
from urllib.parse import unquote

from pipeline.core.errors import (
    LinkOutOfTree,
    OutcomeError,
    SourceChanged,
    SourceUnreadable,
    SourceVanished,
    UnsupportedFormat,
)
from pipeline.core.models import FileState, Root
from pipeline.core.objects import OBJECT_WAITS_SECONDS, Objects
from pipeline.core.retry import CancelToken, retry_until_available
from pipeline.core.signatures import HEAD_BYTES
from pipeline.sources.cache import SourceCache
from pipeline.sources.files import file_state, open_unchanged
from pipeline.sources.identify import require_size
from pipeline.sources.litter import is_litter
from pipeline.sources.members import Containers, member_state
from pipeline.sources.signatures import media_type_of
from pipeline.sources.urls import is_local, source_objects, source_path, split_member
from pipeline.sources.walk import FoundFile

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SourceFiles:
    """Opens sources. Built once per process; its threads share it.

    A local file is opened in place. An object is first fetched, and a member of a container first extracted, into the
    cache: so the sandbox always gets a descriptor. A file on a disk is opened beneath its root; members have
    the root of their container. Requests to an unavailable bucket are retried until `cancel` stops.

    Raises, from every method:
        SourceVanished: it is gone, or its container has no such member.
        SourceUnreadable: reading it is not permitted.
        LinkOutOfTree: its path leads out of its root.
        ServiceRefused: its bucket refuses every request, or the cache cannot be used.
        Stopped: `cancel` was stopped while the bucket was unavailable.
    """

    cache: SourceCache
    max_bytes: int
    cancel: CancelToken
    containers: Containers

    def state(self, url: str, root: Root | None = None) -> FileState:
        """Return a file's state without reading it. The state of a member changes with its container's file.

        Raises:
            SourceUnreadable: also where a container cannot be opened now.
            UnsupportedFormat: it is a folder, pipe or device.
        """
        container, name = split_member(url)
        if name is not None:
            state = self.state(container, root)
            opening = self._opening(container, state, root)
            try:
                member = self.containers.member(container, state, name, opening, self.cancel)
            except (SourceVanished, SourceUnreadable, LinkOutOfTree):
                raise
            except OutcomeError as error:
                gone = SourceUnreadable if error.transient or error.by_limit else SourceVanished
                raise gone(f"its container cannot be opened: {error}") from error
            return member_state(state, member.bytes)
        if is_local(url):
            return file_state(source_path(url), root)
        objects, key = source_objects(url)
        return self._wait(lambda: objects.state(key))

    def is_gone(self, url: str, root: Root | None = None) -> bool:
        """Whether the file no longer exists. A file that cannot be examined, or beyond a link, may still exist.

        Where a folder, pipe or device has its path, the file is gone.
        """
        try:
            self.state(url, root)
        except (SourceVanished, UnsupportedFormat):
            return True
        except (SourceUnreadable, LinkOutOfTree):
            return False
        return False

    def open(self, url: str, state: FileState, root: Root | None = None) -> BinaryIO:
        """Open a file to be identified.

        An object whose format becomes no pages is fetched only up to its first bytes, and one that is too large not at
        all. Such members are not kept either.

        Raises:
            SourceChanged: its state is another one.
            EmptyFile, LimitExceeded, UnsupportedFormat: as `identify` raises them.
            OutcomeError: the reason why a member cannot be extracted.
        """
        if split_member(url)[1] is not None:
            require_size(state, self.max_bytes)
            return self._open_member(url, state, None, root)
        if is_local(url):
            return open_unchanged(source_path(url), state, root)
        require_size(state, self.max_bytes)
        return self._fetch(url, state, None)

    def open_document(self, url: str, state: FileState, document_id: str, root: Root | None = None) -> BinaryIO:
        """Open a file that was identified.

        Raises:
            SourceChanged: it is not the one of this state, or its bytes are not the document's.
            UnsupportedFormat: it is a pipe or device by now.
            OutcomeError: the reason why a member cannot be extracted.
        """
        if split_member(url)[1] is not None:
            if self.state(url, root) != state:
                raise SourceChanged("the container was replaced since its member was identified")
            return self.cache.get(document_id) or self._open_member(url, state, document_id, root)
        if is_local(url):
            return open_unchanged(source_path(url), state, root)
        if self.state(url) != state:
            raise SourceChanged("the object was replaced since it was identified")
        return self.cache.get(document_id) or self._fetch(url, state, document_id)

    def members(
        self,
        url: str,
        state: FileState,
        root: Root | None = None,
        pass_over: Callable[[int], None] = lambda _number: None,
    ) -> tuple[FoundFile, ...]:
        """List the members of a container. They have its root. `pass_over` is called with the number of litter."""
        found = self.containers.found(url, state, self._opening(url, state, root), self.cancel)
        kept = tuple(replace(member, root=root) for member in found if not _is_litter(member, url))
        pass_over(len(found) - len(kept))
        return kept

    def _opening(self, url: str, state: FileState, root: Root | None) -> Callable[[], BinaryIO]:
        return lambda: self._open_container(url, state, root)

    def _open_container(self, url: str, state: FileState, root: Root | None) -> BinaryIO:
        """Open a file again. An object that this process has fetched comes from the cache."""
        document = None if is_local(url) else self.cache.fetched(url, state)
        return self.open(url, state, root) if document is None else self.open_document(url, state, document, root)

    def _open_member(self, url: str, state: FileState, document_id: str | None, root: Root | None) -> BinaryIO:
        container, name = split_member(url)
        assert name is not None
        outer = self.state(container, root)
        if member_state(outer, state.bytes) != state:
            raise SourceChanged("the container was replaced since its member was identified")
        opening = self._opening(container, outer, root)
        return self.containers.open(container, outer, name, document_id, opening, self.cancel)

    def _fetch(self, url: str, state: FileState, document_id: str | None) -> BinaryIO:
        objects, key = source_objects(url)

        def pieces() -> Generator[bytes]:
            return _supported_chunks(objects, key, state)

        return self._wait(lambda: self.cache.fetch(url, state, document_id, pieces, self.cancel))

    def _wait(self, call: Callable[[], T]) -> T:
        with _translated():
            return retry_until_available(call, self.cancel, OBJECT_WAITS_SECONDS)


def _is_litter(member: FoundFile, container: str) -> bool:
    inside = member.url.removeprefix(container).removeprefix("#")
    return is_litter(unquote(inside).split("/"))


def _supported_chunks(objects: Objects, key: str, state: FileState) -> Generator[bytes]:
    """Yield an object's bytes, after its first ones showed a format that becomes pages."""
    head = b""
    with closing(objects.chunks(key, state)) as pieces:
        while len(head) < min(HEAD_BYTES, state.bytes) and (piece := next(pieces, None)):
            head += piece
        media_type_of(head[:HEAD_BYTES])
        yield head
        yield from pieces


@contextmanager
def _translated() -> Iterator[None]:
    """Translate errors of objects to errors of files."""
    try:
        yield
    except FileNotFoundError:
        raise SourceVanished("the object is gone") from None
    except PermissionError as error:
        raise SourceUnreadable(f"the object cannot be read: {error}") from error
