"""What a queued batch leaves in the archive, so that its state can be derived after any crash.

    walks/<batch>/folders/<listing>.json           one listing: its chunks and subfolders
    walks/<batch>/members/<listing>.json           what lies within the sources of a part: the chunks of it
    walks/<batch>/chunks/<listing>.<n>.json        up to 500 sources
    walks/<batch>/begun/<chunk>/<part>[.<entry>].json   what was registered, and is worked in other messages
    walks/<batch>/parts/<chunk>/<part>.json        how the sources of a part ended
    walks/<batch>/closed/<chunk>.json              the sum of a chunk's parts
    walks/<batch>/replaced/<source>.json           the first state of a source whose file was replaced during the batch
    walks/<batch>/vanished.json                    that the vanished files below the roots are forgotten

Each is created once and never changed; where two workers do the same, the first one's words stay.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeVar

from pipeline.archive.store import Store
from pipeline.core.errors import RevisionTaken
from pipeline.core.models import (
    Archived,
    Chunk,
    FileState,
    Folder,
    MemberListing,
    Outcome,
    PartState,
    VanishedFiles,
)

T = TypeVar("T", bound=Archived)
#: Chunks of a batch that are kept as read, some 300 KB each: each of their 32 parts wants them several times, which was
#: a twentieth of a worker's time. The messages in the hands of a process come from one or two of them.
CHUNKS_KEPT = 3


class BatchJournal:
    """The records of one queued batch. Threads share it."""

    def __init__(self, store: Store, batch: str) -> None:
        self._store = store
        self._folder = f"walks/{batch}"
        self._chunks = lru_cache(CHUNKS_KEPT)(self._read_chunk)

    def folder_ids(self) -> list[str]:
        """Return the ids of the listings that were made."""
        return self._ids("folders")

    def folder(self, identifier: str) -> Folder | None:
        """Return a listing."""
        return self._read(f"folders/{identifier}", Folder)

    def add_folder(self, identifier: str, folder: Folder) -> Folder:
        """Archive a listing; return the one that was archived first."""
        return self._add(f"folders/{identifier}", folder)

    def member_listing_ids(self) -> list[str]:
        """Return the ids of the listings of what lies within sources."""
        return self._ids("members")

    def members(self, identifier: str) -> MemberListing | None:
        """Return a listing of what lies within sources."""
        return self._read(f"members/{identifier}", MemberListing)

    def add_members(self, identifier: str, members: MemberListing) -> MemberListing:
        """Archive such a listing; return the one that was archived first."""
        return self._add(f"members/{identifier}", members)

    def chunk(self, identifier: str) -> Chunk | None:
        """Return a chunk of sources."""
        try:
            return self._chunks(identifier)
        except KeyError:
            return None

    def add_chunk(self, identifier: str, chunk: Chunk) -> Chunk:
        """Archive a chunk; return the one that was archived first."""
        return self._add(f"chunks/{identifier}", chunk)

    def begin(self, chunk: str, part: int, entry: int | None, begun: PartState) -> PartState:
        """Archive that the sources of a part, or one of them, are registered."""
        return self._add(f"begun/{chunk}/{part}" + ("" if entry is None else f".{entry}"), begun)

    def begun(self, chunk: str, part: int) -> PartState | None:
        """Return what of a part is worked in messages of its own, or None where it was not registered as a whole."""
        return self._read(f"begun/{chunk}/{part}", PartState)

    def begun_entries(self, chunk: str, part: int) -> dict[int, PartState]:
        """Return the same of the sources of a part that were registered one by one."""
        prefix = f"{part}."
        entries = {}
        for name in self._ids(f"begun/{chunk}"):
            if name.startswith(prefix):
                begun = self._read(f"begun/{chunk}/{name}", PartState)
                assert begun is not None
                entries[int(name.removeprefix(prefix))] = begun
        return entries

    def begun_chunks(self) -> list[str]:
        """Return the ids of the chunks of which a part was registered and had more pages than fit into its message."""
        return self._store.names(f"{self._folder}/begun")

    def begun_parts(self, chunk: str) -> list[int]:
        """Return the numbers of a chunk's parts that were registered so."""
        return sorted({int(name.partition(".")[0]) for name in self._ids(f"begun/{chunk}")})

    def chunks_with_ended_parts(self) -> list[str]:
        """Return the ids of the chunks of which a part has ended."""
        return self._store.names(f"{self._folder}/parts")

    def parts(self, chunk: str) -> list[int]:
        """Return the numbers of a chunk's parts that have ended."""
        return [int(name) for name in self._ids(f"parts/{chunk}")]

    def part(self, chunk: str, part: int) -> Outcome | None:
        """Return how the sources of a part ended, or None where they have not."""
        return self._read(f"parts/{chunk}/{part}", Outcome)

    def close_part(self, chunk: str, part: int, outcome: Outcome) -> Outcome:
        """Archive how a part ended; return what was archived first."""
        return self._add(f"parts/{chunk}/{part}", outcome)

    def closed_ids(self) -> list[str]:
        """Return the ids of the chunks that have ended."""
        return self._ids("closed")

    def closed(self, chunk: str) -> Outcome | None:
        """Return how a chunk ended, or None where it has not."""
        return self._read(f"closed/{chunk}", Outcome)

    def close_chunk(self, chunk: str, outcome: Outcome) -> Outcome:
        """Archive how a chunk ended; return what was archived first."""
        return self._add(f"closed/{chunk}", outcome)

    def add_replaced(self, source: str, state: FileState) -> FileState:
        """Archive the state of a source whose file was replaced; return the state that was archived first."""
        return self._add(f"replaced/{source}", state)

    def vanished(self) -> VanishedFiles | None:
        """Return what the step that forgets vanished files did; None before it ended."""
        return self._read("vanished", VanishedFiles)

    def close_vanished(self, vanished: VanishedFiles) -> VanishedFiles:
        """Archive that the vanished files are forgotten; return what was archived first."""
        return self._add("vanished", vanished)

    def _read_chunk(self, identifier: str) -> Chunk:
        chunk = self._read(f"chunks/{identifier}", Chunk)
        if chunk is None:
            raise KeyError(identifier)
        return chunk

    def _ids(self, folder: str) -> list[str]:
        return [name.removesuffix(".json") for name in self._store.names(f"{self._folder}/{folder}")]

    def _read(self, name: str, model: type[T]) -> T | None:
        data = self._store.get(f"{self._folder}/{name}.json")
        return None if data is None else model.model_validate_json(data)

    def _add(self, name: str, value: T) -> T:
        try:
            self._store.create(f"{self._folder}/{name}.json", value.model_dump_json().encode())
        except RevisionTaken:
            first = self._read(name, type(value))
            assert first is not None
            return first
        return value
