"""All values of an archive, folder by folder: reads every JSON file, and names the damaged ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from pydantic import ValidationError

from pipeline.archive.chain import decoder
from pipeline.archive.identity import IDENTITY, Identity
from pipeline.archive.readings import decode_reading
from pipeline.archive.store import Store
from pipeline.core.iterables import batched
from pipeline.core.models import (
    AccessToken,
    Answer,
    Batch,
    BudgetReservation,
    Chunk,
    Collection,
    Conversion,
    Deletion,
    DocumentCost,
    FileState,
    FleetState,
    Folder,
    MemberListing,
    Outcome,
    PartState,
    Run,
    Source,
    VanishedFiles,
)

#: Folders with values, and what decodes them. A star stands for each name in its folder.
FOLDERS: tuple[tuple[str, Callable[[bytes], Any]], ...] = (
    ("collections/*", decoder(Collection)),
    ("deletions/*", decoder(Deletion)),
    ("sources/*/*", decoder(Source)),
    ("readings/*/*", decode_reading),
    ("answers/*/*", decoder(Answer)),
    ("conversions/*/*", decoder(Conversion)),
    ("fleet", decoder(FleetState)),
    ("tokens/*", decoder(AccessToken)),
    ("runs/*", decoder(Run)),
    ("batches/*", decoder(Batch)),
    ("drawn/*", decoder(BudgetReservation)),
    ("walks/*/folders", decoder(Folder)),
    ("walks/*/members", decoder(MemberListing)),
    ("walks/*/chunks", decoder(Chunk)),
    ("walks/*/begun/*", decoder(PartState)),
    ("walks/*/parts/*", decoder(Outcome)),
    ("walks/*/closed", decoder(Outcome)),
    ("walks/*/replaced", decoder(FileState)),
    ("walks/*/costs/*", decoder(DocumentCost)),
    ("walks/*/vanished", decoder(VanishedFiles)),
)
#: Files that are fetched together.
_AT_ONCE = 32


def damaged_files(store: Store, advance: Callable[[], None] = lambda: None) -> Iterator[str]:
    """Yield the names of the JSON files that cannot be read. `advance` is called for each folder."""
    if _damaged(store.get(IDENTITY), decoder(Identity)):
        yield IDENTITY
    for pattern, decode in FOLDERS:
        for folder in _expanded(store, pattern.split("/")):
            yield from _damaged_in(store, folder, decode)
            advance()


def _damaged_in(store: Store, folder: str, decode: Callable[[bytes], Any]) -> Iterator[str]:
    files = (f"{folder}/{name}" for name in store.names(folder) if name.endswith(".json"))
    for some in batched(files, _AT_ONCE):
        for name, data in zip(some, store.get_many(some), strict=True):
            if _damaged(data, decode):
                yield name


def _damaged(data: bytes | None, decode: Callable[[bytes], Any]) -> bool:
    """Whether a file is there and cannot be read. One that was purged since the listing is not there."""
    if data is not None:
        with suppress(ValidationError):
            decode(data)
            return False
    return data is not None


def _expanded(store: Store, parts: list[str], folder: str = "") -> Iterator[str]:
    """Yield the folders of a pattern."""
    if not parts:
        yield folder.removeprefix("/")
        return
    first, *rest = parts
    for name in [first] if first != "*" else store.names(folder.removeprefix("/")):
        yield from _expanded(store, rest, f"{folder}/{name}")
