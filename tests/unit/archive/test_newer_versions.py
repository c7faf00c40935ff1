"""Values that a newer version wrote: unknown fields are ignored at every depth, unknown words damage one file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from enum import Enum
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from pipeline.archive.chain import decoder
from pipeline.archive.identity import Identity
from pipeline.archive.inventory import FOLDERS
from pipeline.archive.readings import decode_reading
from pipeline.core.models import (
    AccessToken,
    Allowance,
    Answer,
    Archived,
    BatchEntry,
    BudgetReservation,
    Chunk,
    Collection,
    Conversion,
    Deletion,
    DocumentCost,
    FileState,
    FleetState,
    Folder,
    Lane,
    MemberListing,
    Outcome,
    PartState,
    PendingDocument,
    Reading,
    Scope,
    Tombstone,
    VanishedFiles,
)
from support.readings import FAILURE, NOW, full_batch, full_reading, full_run, full_source

#: One value of each kind that is stored, with every nested value filled.
VALUES: tuple[Archived, ...] = (
    Collection(name="works", language="en", profile="p", own_profile={"questions": []}, revision=1),
    Deletion(collection="works", document_id="d" * 64, purge=True, requested_at=NOW, revision=1),
    AccessToken(
        id="a",
        name="reader",
        scope=Scope.READ,
        collections=("works",),
        digest="0" * 64,
        created_at=NOW,
        expires_at=NOW,
        revoked_at=NOW,
        revision=1,
    ),
    full_source(failed=False),
    full_source(failed=True),
    full_reading(),
    Tombstone(collection="works", document_id="d" * 64, page_number=1, deletion=1, revision=2),
    Answer(key="a-b", question="text", model="m", content="words", asked_at=NOW),
    Conversion(converter="c", sha256="0" * 64, pages=2, notes={1: "n"}, seconds=1.0, converted_at=NOW),
    FleetState(state="halted", service="model", cause="c", remedy="r", since=NOW, revision=1),
    full_run(),
    full_batch(),
    full_batch().model_copy(update={"lane": Lane.BACKFILL, "budget": Allowance(tokens=1, pages=2), "revision": 2}),
    BudgetReservation(tokens=5, pages=1, revision=1),
    DocumentCost(cpu_seconds=1.5, timeouts=1, revision=1),
    Folder(root="file:///in", url="file:///in", cursor="", sources=(1,), folders=("file:///in/a",), next_cursor=""),
    MemberListing(sources=(3,)),
    Chunk(entries=(BatchEntry(url="file:///in/a.pdf", error=FAILURE, pages=(1, 2)),)),
    PartState(documents=(PendingDocument(entry=0, document="d" * 64, pages=2, due=(1,), known={1: 1}),)),
    Outcome(documents={"complete": 1}, pages={"described": 2}),
    FileState(bytes=1, mtime_ns=1, inode=1),
    VanishedFiles(sources=2),
    Identity(id="0" * 32),
)
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)
new_names = words.map(lambda word: f"new_{word}")


def decode(value: Archived, fields: Any) -> Archived:
    decodes = decode_reading if hasattr(value, "kind") else decoder(type(value))
    return decodes(json.dumps(fields).encode())


def objects(value: object, fields: Any) -> Iterator[dict[str, Any]]:
    """The JSON objects of a value that are models; those of open dictionaries may have any name."""
    if isinstance(value, BaseModel):
        yield fields
        for name in type(value).model_fields:
            yield from objects(getattr(value, name), fields[name])
    elif isinstance(value, tuple | list):
        for one, field in zip(value, fields, strict=True):
            yield from objects(one, field)


def closed_words(value: object, fields: Any) -> Iterator[tuple[dict[str, Any], str]]:
    """The fields with words from a closed list, of every model in a value."""
    for one, inside in zip(_models(value), objects(value, fields), strict=True):
        for name in type(one).model_fields:
            if isinstance(getattr(one, name), Enum) or name in ("kind", "outcome"):
                yield inside, name


def _models(value: object) -> Iterator[BaseModel]:
    if isinstance(value, BaseModel):
        yield value
        for name in type(value).model_fields:
            yield from _models(getattr(value, name))
    elif isinstance(value, tuple | list):
        for one in value:
            yield from _models(one)


def test_there_is_a_value_of_each_kind_of_file() -> None:
    kinds = {decode.func.__self__ for _, decode in FOLDERS if isinstance(decode, partial)}  # type: ignore[attr-defined]
    assert kinds | {Reading, Tombstone, Identity} == {type(value) for value in VALUES}


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_unknown_fields_are_ignored_at_every_depth(value: Archived, data: st.DataObject) -> None:
    fields = json.loads(value.model_dump_json())
    for inside in list(objects(value, fields)):
        inside.update(data.draw(st.dictionaries(new_names, anything, max_size=2)))
    assert decode(value, fields) == value


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_unknown_words_and_values_end_in_a_damaged_file_at_most(value: Archived, data: st.DataObject) -> None:
    fields = json.loads(value.model_dump_json())
    for inside, name in list(closed_words(value, fields)):
        if data.draw(st.booleans()):
            inside[name] = data.draw(new_names)
    inside = data.draw(st.sampled_from(list(objects(value, fields))))
    inside[data.draw(st.sampled_from(sorted(inside)))] = data.draw(anything)
    with suppress(ValidationError):
        decode(value, fields)
