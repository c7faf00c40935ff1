"""Every kind of message in a lane: what a newer version adds is ignored, and what it changes becomes a dead letter."""

from __future__ import annotations

import base64
import json
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.batches.messages import Message, Pages, Part, Project, Walk, from_json, kind_of, to_json
from workers.redis.dead_letters import problem, problem_of_taken

BATCH, CHUNK, DOCUMENT = "20261124T065448-612691", "c" * 32 + ".0", "d" * 64
#: One message of each kind, with every field filled.
MESSAGES: tuple[Message, ...] = (
    Walk(BATCH, "file:///in/", "file:///in/a/", "cursor"),
    Part(BATCH, CHUNK, 3, 2),
    Pages(BATCH, CHUNK, 3, 2, DOCUMENT, (1, 2), suspect=True),
    Project("works", (DOCUMENT,), ("e" * 64,)),
)
FIELDS: dict[str, dict[str, Any]] = {kind_of(message): to_json(message) for message in MESSAGES} | {"tick": {}}
#: The tasks of a worker, and one of another program.
TASKS = {*(f"pagesight.{kind}" for kind in FIELDS), "others.task"}

words = st.text(max_size=12)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)
new_fields = st.dictionaries(words.map(lambda word: f"new_{word}"), anything, max_size=3)
kinds = pytest.mark.parametrize("kind", sorted(FIELDS))


def element(task: str, fields: Any, arguments: Any = (), headers: dict[str, Any] | None = None) -> str:
    """An element of the lane `normal`, as Celery writes it."""
    body = base64.b64encode(json.dumps([arguments, fields, {}]).encode()).decode()
    return json.dumps(
        {
            "body": body,
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {"task": task, "id": "1", "eta": None, "timelimit": [None, None]} | (headers or {}),
            "properties": {
                "delivery_tag": "t",
                "delivery_info": {"exchange": "", "routing_key": "normal"},
                "body_encoding": "base64",
            },
        }
    )


def cause(text: str) -> str | None:
    """Why an element is a dead letter; the same where a worker has taken it."""
    found = problem(text, "normal", TASKS)
    taken = problem_of_taken(json.dumps([json.loads(text), "", "normal"]))
    assert (found is None) is (taken is None)
    return found


def test_there_is_a_message_of_each_kind() -> None:
    assert {type(message) for message in MESSAGES} == set(get_args(Message))


@kinds
@settings(max_examples=40, deadline=None)
@given(fields=new_fields, headers=new_fields)
def test_fields_and_headers_of_a_newer_version_are_ignored(
    kind: str, fields: dict[str, Any], headers: dict[str, Any]
) -> None:
    assert cause(element(f"pagesight.{kind}", FIELDS[kind] | fields, headers=headers)) is None
    if kind != "tick":
        assert from_json(kind, fields | FIELDS[kind]) == from_json(kind, FIELDS[kind])


@kinds
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_fields_of_another_meaning_make_a_dead_letter_or_a_message(kind: str, data: st.DataObject) -> None:
    fields = dict(FIELDS[kind])
    for name in sorted(fields):
        change = data.draw(st.sampled_from(["keep", "keep", "replace", "leave out"]))
        if change == "replace":
            fields[name] = data.draw(anything)
        elif change == "leave out":
            del fields[name]
    found = cause(element(f"pagesight.{kind}", fields))
    if found is None and kind != "tick":
        assert kind_of(from_json(kind, fields)) == kind


@kinds
@settings(max_examples=40, deadline=None)
@given(fields=anything, arguments=anything)
def test_a_body_of_another_shape_makes_a_dead_letter_or_a_message(kind: str, fields: Any, arguments: Any) -> None:
    found = cause(element(f"pagesight.{kind}", fields, arguments))
    assert found is None or found.startswith("it")


@settings(max_examples=40, deadline=None)
@given(kind=words.filter(lambda word: word not in FIELDS), fields=new_fields)
def test_a_kind_of_a_newer_version_is_a_dead_letter(kind: str, fields: dict[str, Any]) -> None:
    assert problem(element(f"pagesight.{kind}", fields), "normal", TASKS) == "its task is unknown"
    assert problem_of_taken(json.dumps([json.loads(element(f"pagesight.{kind}", fields)), "", "normal"])) is not None
