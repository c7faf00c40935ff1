"""Files to be read, wherever they lie: what they are known by, and descriptors of their bytes."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import BinaryIO, TypeVar

from pipeline.errors import SourceChanged, SourceUnreadable, SourceVanished
from pipeline.models import FileState
from pipeline.objects import OBJECT_WAITS_SECONDS, Objects
from pipeline.retry import Patience, persist
from pipeline.sources.cache import SourceCache
from pipeline.sources.files import file_state, open_unchanged
from pipeline.sources.identify import HEAD_BYTES, media_type_of, require_size
from pipeline.sources.places import is_local, source_objects, source_path

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SourceFiles:
    """The way to the bytes of sources; built once per process, its threads share it.

    A local file is opened where it lies, an object is fetched into the cache first: so the sandbox gets a descriptor in
    both cases. A bucket that is away is waited for with the patience.

    Raises, from every method:
        SourceVanished: it is gone.
        SourceUnreadable: it may not be read.
        ServiceRefused: its bucket says no to everything, or the cache cannot be used.
        Stopped: the patience has ended while the bucket was away.
    """

    cache: SourceCache
    max_bytes: int
    patience: Patience

    def state(self, url: str) -> FileState:
        """Return a file's state without reading it."""
        if is_local(url):
            return file_state(source_path(url))
        objects, key = source_objects(url)
        return self._wait(lambda: objects.state(key))

    def is_gone(self, url: str) -> bool:
        """Whether nothing lies there any more. What may not be looked at may well be there."""
        try:
            self.state(url)
        except SourceVanished:
            return True
        except SourceUnreadable:
            return False
        return False

    def open(self, url: str, state: FileState) -> BinaryIO:
        """Open a file to be identified.

        An object of a kind that becomes no pages is not fetched beyond its first bytes, too large a one not at all.

        Raises:
            SourceChanged: it is not the one of this state.
            EmptyFile, LimitExceeded, UnsupportedFormat: as `identify` raises them.
        """
        if is_local(url):
            return open_unchanged(source_path(url), state)
        require_size(state, self.max_bytes)
        return self._fetch(url, state, None)

    def open_document(self, url: str, state: FileState, document_id: str) -> BinaryIO:
        """Open a file that was identified.

        Raises:
            SourceChanged: it is not the one of this state, or its bytes are not the document's.
            UnsupportedFormat: a pipe or device stands in its place.
        """
        if is_local(url):
            return open_unchanged(source_path(url), state)
        if self.state(url) != state:
            raise SourceChanged("the object was replaced since it was identified")
        return self.cache.get(document_id) or self._fetch(url, state, document_id)

    def _fetch(self, url: str, state: FileState, document_id: str | None) -> BinaryIO:
        objects, key = source_objects(url)

        def pieces() -> Generator[bytes]:
            return _looked_at(objects, key, state)

        return self._wait(lambda: self.cache.fetch(url, state, document_id, pieces, self.patience))

    def _wait(self, call: Callable[[], T]) -> T:
        with _translated():
            return persist(call, self.patience, OBJECT_WAITS_SECONDS)


def _looked_at(objects: Objects, key: str, state: FileState) -> Generator[bytes]:
    """Yield an object's bytes once its first ones tell that it is of a kind that becomes pages."""
    head = b""
    with closing(objects.chunks(key, state)) as pieces:
        while len(head) < min(HEAD_BYTES, state.bytes) and (piece := next(pieces, None)):
            head += piece
        media_type_of(head[:HEAD_BYTES])
        yield head
        yield from pieces


@contextmanager
def _translated() -> Iterator[None]:
    """Give objects the errors that files have."""
    try:
        yield
    except FileNotFoundError:
        raise SourceVanished("the object is gone") from None
    except PermissionError as error:
        raise SourceUnreadable(f"the object cannot be read: {error}") from error
