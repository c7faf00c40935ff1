"""The messages of the queue: identifiers and URLs, a few hundred bytes each, as JSON.

Identifiers become parts of names in the archive, so each one in a message from the queue must match a pattern.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from pipeline.core.models import SLUG

#: Sources that one message registers, and processes if their pages fit.
PART_SOURCES = 16
#: Largest number of a part, and of a page. Both are far beyond what archives have.
_MOST_PARTS, _MOST_PAGES = 10**6, 10**7

BatchId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,63}$")]
ChunkId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}\.[0-9]{1,9}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
CollectionName = Annotated[str, Field(pattern=f"^{SLUG}$")]
PartNumber = Annotated[int, Field(ge=0, le=_MOST_PARTS)]
EntryNumber = Annotated[int, Field(ge=0, lt=PART_SOURCES)]
PageNumber = Annotated[int, Field(ge=1, le=_MOST_PAGES)]


@dataclass(frozen=True, slots=True)
class Walk:
    """List one directory, or one page of a bucket's listing."""

    batch: BatchId
    root: str
    url: str
    cursor: str = ""

    @property
    def id(self) -> str:
        """The same each time the message is sent."""
        return f"{self.batch}/walk/{folder_id(self.root, self.url, self.cursor)}"


@dataclass(frozen=True, slots=True)
class Part:
    """Register up to 16 sources of a chunk, and process the documents whose pages fit into a work unit."""

    batch: BatchId
    chunk: ChunkId
    part: PartNumber
    entry: EntryNumber | None = None
    """Only this source of the part, alone in its process, because registering the part has killed workers."""

    @property
    def id(self) -> str:
        """The same each time the message is sent."""
        return f"{self.batch}/{self.chunk}/{self.part}" + ("" if self.entry is None else f"/{self.entry}")

    @property
    def suspect(self) -> bool:
        """Whether it is handled alone in its process."""
        return self.entry is not None


@dataclass(frozen=True, slots=True)
class Pages:
    """Process up to 16 pages of one document."""

    batch: BatchId
    chunk: ChunkId
    part: PartNumber
    entry: EntryNumber
    document: Sha256
    pages: tuple[PageNumber, ...]
    suspect: bool = False

    @property
    def id(self) -> str:
        """The same each time the message is sent."""
        numbers = ",".join(map(str, self.pages))
        return f"{self.batch}/{self.chunk}/{self.part}/{self.entry}/{self.document}/{numbers}" + "!" * self.suspect


@dataclass(frozen=True, slots=True)
class Project:
    """Bring the index up to date with the archive for some documents and sources of a collection."""

    collection: CollectionName
    documents: tuple[Sha256, ...]
    sources: tuple[Sha256, ...] = ()

    @property
    def id(self) -> str:
        """The same each time the message is sent."""
        named = "\0".join((self.collection, *self.documents, "", *self.sources))
        return f"project/{hashlib.sha256(named.encode()).hexdigest()[:32]}"


Message = Walk | Part | Pages | Project
_KINDS: dict[str, TypeAdapter[Message]] = {
    kind.__name__.lower(): TypeAdapter(kind) for kind in (Walk, Part, Pages, Project)
}


def to_json(message: Message) -> dict[str, Any]:
    """Return a message as JSON fields."""
    return asdict(message)


def from_json(kind: str, fields: dict[str, Any]) -> Message:
    """Return the message with these JSON fields.

    Raises:
        ValueError: they are not the fields of this kind of message.
    """
    return _KINDS[kind].validate_python(fields)


def kind_of(message: Message) -> str:
    """Return the name of a message's kind."""
    return type(message).__name__.lower()


def folder_id(root: str, url: str, cursor: str) -> str:
    """Return the id of a listing within its batch. Sources that a batch names itself are in `folder_id("", "", "")`."""
    return hashlib.sha256("\0".join((root, url, cursor)).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def members_id(part: Part) -> str:
    """Return the id of the listing of the files within the sources that a message registers."""
    return folder_id("members", part.chunk, f"{part.part}" if part.entry is None else f"{part.part}.{part.entry}")


def chunk_id(folder: str, number: int) -> str:
    """Return the id of a chunk: its listing, and its number there."""
    return f"{folder}.{number}"


def parts_of(entries: int) -> range:
    """Return the numbers of the parts of a chunk with `entries` entries."""
    return range(-(-entries // PART_SOURCES))


def split(message: Part | Pages, entries: int) -> list[Part | Pages]:
    """Split a message that kills its workers into messages that are handled alone, with one source or one page each.

    `entries` is the number of entries of the part's chunk.
    """
    if isinstance(message, Part):
        first = message.part * PART_SOURCES
        return [replace(message, entry=entry) for entry in range(min(PART_SOURCES, entries - first))]
    return [replace(message, pages=(page,), suspect=True) for page in message.pages]
