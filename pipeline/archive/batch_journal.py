"""The journal of a queued batch, from which its state can be derived after any crash.

    walks/<batch>/folders/<listing>.json           one listing: its chunks and subfolders
    walks/<batch>/members/<listing>.json           files within the sources of a part: the chunks that list them
    walks/<batch>/chunks/<listing>.<n>.json        up to 500 sources
    walks/<batch>/begun/<chunk>/<part>[.<entry>].json   what was registered, and is processed by other messages
    walks/<batch>/parts/<chunk>/<part>.json        how the sources of a part ended
    walks/<batch>/closed/<chunk>.json              the sum of a chunk's parts
    walks/<batch>/replaced/<source>.json           the first state of a source whose file was replaced during the batch
    walks/<batch>/costs/<document>/<revision>.json what rendering a document has cost, if it is not negligible
    walks/<batch>/contents/<file>/<part>-<count>…  empty: what the parts of a batch found within an outermost file
    walks/<batch>/vanished/all.json                how many vanished files below the roots were forgotten

Each is created once and never changed. Where two workers do the same work, the first result stays. Costs are a chain of
revisions.
"""

from __future__ import annotations

from functools import lru_cache

from pipeline.archive.chain import Chains, Records, decoder
from pipeline.archive.store import Store
from pipeline.core.models import (
    Chunk,
    DocumentCost,
    FileState,
    Folder,
    MemberListing,
    Outcome,
    PartState,
    VanishedFiles,
)

#: Chunks of a batch that are cached, some 300 KB each. Each of a chunk's 32 parts needs it several times: reading it
#: each time took a twentieth of a worker's time. The messages that a process handles come from one or two chunks.
CHUNKS_KEPT = 3


class BatchJournal:
    """The journal of one queued batch. Threads share it."""

    def __init__(self, store: Store, batch: str) -> None:
        self._store = store
        self._folder = f"walks/{batch}"
        self.folders = Records(store, f"{self._folder}/folders", decoder(Folder))
        """Listings of folders, by id."""
        self.members = Records(store, f"{self._folder}/members", decoder(MemberListing))
        """Listings of the files within sources, by id."""
        self.chunks = Records(store, f"{self._folder}/chunks", decoder(Chunk))
        """Chunks of sources, by id; `chunk` reads them from a cache."""
        self.closed = Records(store, f"{self._folder}/closed", decoder(Outcome))
        """How chunks ended, by the chunk's id."""
        self.replaced = Records(store, f"{self._folder}/replaced", decoder(FileState))
        """The first state of each source whose file was replaced during the batch, by `source_id`."""
        self.costs = Chains(store, f"{self._folder}/costs", decoder(DocumentCost))
        """What the pages of documents have cost to render, by the document's id."""
        self.vanished = Records(store, f"{self._folder}/vanished", decoder(VanishedFiles))
        """How many vanished files were forgotten, under the name `all`, once that has ended."""
        self._cached_chunk = lru_cache(CHUNKS_KEPT)(self._read_chunk)

    def chunk(self, identifier: str) -> Chunk | None:
        """Return a chunk of sources, None without a readable one."""
        try:
            return self._cached_chunk(identifier)
        except KeyError:
            return None

    def chunk_name(self, identifier: str) -> str:
        """Return the name of a chunk's file within the archive."""
        return f"{self._folder}/chunks/{identifier}.json"

    def chunk_size(self, identifier: str) -> int:
        """Return the number of sources in a chunk, 0 where it is unknown. For a damaged chunk the listing has it."""
        chunk = self.chunk(identifier)
        if chunk is not None:
            return len(chunk.entries)
        listing, _, number = identifier.rpartition(".")
        folder = self.folders.get(listing)
        sizes = folder.sources if folder is not None else self.member_sizes(listing)
        return sizes[int(number)] if number.isdecimal() and int(number) < len(sizes) else 0

    def member_sizes(self, listing: str) -> tuple[int, ...]:
        """Return the number of sources in each chunk of a listing of files within sources; none without that listing.

        The chunks of a damaged listing are looked up: they are archived before it.
        """
        members = self.members.get(listing)
        if members is not None:
            return members.sources
        if listing not in self.members.names():
            return ()
        chunks = [name for name in self.chunks.names() if name.rpartition(".")[0] == listing]
        found = (self.chunk(f"{listing}.{number}") for number in range(len(chunks)))
        return tuple(len(chunk.entries) if chunk is not None else 0 for chunk in found)

    def begin(self, chunk: str, part: int, entry: int | None, begun: PartState) -> PartState:
        """Archive that the sources of a part, or one of them, are registered."""
        return self._begun(chunk).add(str(part) if entry is None else f"{part}.{entry}", begun)

    def begun(self, chunk: str, part: int) -> PartState | None:
        """Return which pages of a part other messages process, None where it was not registered as a whole."""
        return self._begun(chunk).get(str(part))

    def begun_entries(self, chunk: str, part: int) -> dict[int, PartState]:
        """Return the same for the sources of a part that were registered one by one, by entry."""
        records, prefix = self._begun(chunk), f"{part}."
        entries = {}
        for name in records.names():
            if name.startswith(prefix) and name.removeprefix(prefix).isdecimal():
                begun = records.get(name)
                if begun is not None:
                    entries[int(name.removeprefix(prefix))] = begun
        return entries

    def begun_chunks(self) -> list[str]:
        """Return the ids of the chunks with a registered part whose pages did not fit into its message."""
        return self._store.names(f"{self._folder}/begun")

    def begun_parts(self, chunk: str) -> list[int]:
        """Return the numbers of these parts of a chunk."""
        numbers = (name.partition(".")[0] for name in self._begun(chunk).names())
        return sorted({int(number) for number in numbers if number.isdecimal()})

    def chunks_with_ended_parts(self) -> list[str]:
        """Return the ids of the chunks with an ended part."""
        return self._store.names(f"{self._folder}/parts")

    def ended_parts(self, chunk: str) -> list[int]:
        """Return the numbers of a chunk's parts that have ended."""
        return [int(name) for name in self._parts(chunk).names() if name.isdecimal()]

    def part(self, chunk: str, part: int) -> Outcome | None:
        """Return how the sources of a part ended, None where they have not."""
        return self._parts(chunk).get(str(part))

    def close_part(self, chunk: str, part: int, outcome: Outcome) -> Outcome:
        """Archive how a part ended; return what was archived first."""
        return self._parts(chunk).add(str(part), outcome)

    def note_contents(self, outermost: str, part: str, counts: tuple[int, ...]) -> None:
        """Note what a part found within an outermost file, by its source id. Only the name holds the counts."""
        self._store.put(f"{self._folder}/contents/{outermost}/{part}-{'-'.join(map(str, counts))}", b"")

    def contents(self, outermost: str) -> dict[str, tuple[int, ...]]:
        """Return what was noted for an outermost file, by part; of a part that was handled twice the greater counts."""
        noted: dict[str, tuple[int, ...]] = {}
        for name in self._store.names(f"{self._folder}/contents/{outermost}"):
            part, *counts = name.rsplit("-", 3)
            if all(map(str.isdecimal, counts)):
                noted[part] = max(noted.get(part, ()), tuple(map(int, counts)))
        return noted

    def _begun(self, chunk: str) -> Records[PartState]:
        return Records(self._store, f"{self._folder}/begun/{chunk}", decoder(PartState))

    def _parts(self, chunk: str) -> Records[Outcome]:
        return Records(self._store, f"{self._folder}/parts/{chunk}", decoder(Outcome))

    def _read_chunk(self, identifier: str) -> Chunk:
        chunk = self.chunks.get(identifier)
        if chunk is None:
            raise KeyError(identifier)
        return chunk
