"""Conditions of questions: which ones can be written, and their value if little is known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.core.errors import SettingsError
from pipeline.core.models import LayerState
from pipeline.vision.profile import parse_profile
from pipeline.vision.profile.conditions import (
    MAX_CHARACTERS,
    MAX_DEPTH,
    PAGE_NAMES,
    check_condition,
    evaluate,
    language_of,
    page_facts,
)
from support.vision import rendered_page

NAMES = {
    **PAGE_NAMES,
    "has_text": (True, ()),
    "total": (1.0, ()),
    "picture_kind": ("chart", ("chart", "map", "other")),
    "topics": (("a",), ()),
    "text": ("a", ()),
    "text.language": ("en", ()),
}
KNOWN = {
    "page.kind": "scanned",
    "page.ink_share": 0.1,
    "has_text": True,
    "total": 12.5,
    "picture_kind": "map",
    "topics": ("harbour", "timber"),
    "text": "",
    "text.language": "de",
    "requested": "en",
}


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("has_text", True),
        ("not has_text", False),
        ('page.kind == "scanned"', True),
        ('page.kind in ["mixed", "born_digital"]', False),
        ('picture_kind in ("chart", "map")', True),
        ('picture_kind not in ["chart"] and has_text', True),
        ("text.language != requested", True),
        ("0.05 < page.ink_share <= 0.1", True),
        ("total >= 100 or has_text", True),
        ('"timber" in topics', True),
        # An empty answer is known.
        ("text", False),
        ("not text", True),
    ],
)
def test_a_condition_holds_or_does_not(condition: str, holds: bool) -> None:
    check_condition(condition, NAMES)

    assert evaluate(condition, KNOWN) is holds


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("has_text", None),
        ("not has_text", None),
        ("text.language != requested", None),
        ("text.language == requested", None),
        ("not (text.language == requested)", None),
        ('"harbour" in topics', None),
        ('page.kind == "scanned" or has_text', True),
        ('has_text or page.kind == "scanned"', True),
        ('has_text and page.kind == "mixed"', False),
        ('page.kind == "mixed" or has_text', None),
        ('page.kind == "scanned" and has_text', None),
        ('not (has_text and page.kind == "mixed")', True),
        # A chain is the `and` of its pairs.
        ("total < 1 < 0", False),
        ("0 < total < 1", None),
        ("total == None", None),
    ],
)
def test_what_is_not_known_decides_nothing(condition: str, found: bool | None) -> None:
    check_condition(condition, NAMES)

    assert evaluate(condition, {"page.kind": "scanned", "requested": "en"}) is found


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("has_txt", "'has_txt', which is not known there; known are page.kind"),
        ("page.colour == 1", "'page.colour'"),
        ("page", "'page'"),
        ("has_text.language", "'has_text.language'"),
        ("has_text and", "is not an expression"),
        ("", "is not an expression"),
        ("has_text; total", "is not an expression"),
        ("x = 1", "nothing else"),
        ("import os", "nothing else"),
        ("total + 1 > 2", "nothing else: arithmetic is not allowed"),
        ("len(text) > 2", "nothing else: a call is not allowed"),
        ("text.__class__", "'text.__class__'"),
        ("().__class__.__bases__", "which is not known"),
        ("[x for x in topics]", "nothing else: a comprehension is not allowed"),
        ("text[0]", "nothing else: an index is not allowed"),
        ("lambda: 1", "nothing else: lambda is not allowed"),
        ("f'{text}'", "nothing else: an f-string is not allowed"),
        ("has_text if total else text", "nothing else: if … else is not allowed"),
        ("text is None", "nothing else: is is not allowed"),
        ("text is not None", "nothing else: is not is not allowed"),
        ("-total < 1", "nothing else: a minus sign is not allowed"),
        ("[*topics]", "nothing else: Starred is not allowed"),
        ("(yield)", "nothing else: Yield is not allowed"),
        ("(x := total)", "nothing else: an assignment is not allowed"),
        ('text == b"a"', "nothing else: Constant is not allowed"),
        ("total == 1j", "nothing else: Constant is not allowed"),
        ("total == ...", "nothing else: Constant is not allowed"),
        ("total < text", "cannot be compared"),
        ("text in total", "cannot be compared"),
        ('page.kind == "scan"', "page.kind is never 'scan'; it is one of born_digital, scanned"),
        ('picture_kind in ["chart", "graph"]', "picture_kind is never 'graph'"),
        ('"graph" == picture_kind', "picture_kind is never 'graph'"),
    ],
)
def test_a_condition_that_could_never_be_evaluated_or_hold_is_refused(condition: str, words: str) -> None:
    with pytest.raises(ValueError) as caught:
        check_condition(condition, NAMES)

    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("text == '" + "a" * MAX_CHARACTERS + "'", f"at most {MAX_CHARACTERS} are allowed"),
        ("has_text" + " and has_text" * 100_000, f"at most {MAX_CHARACTERS} are allowed"),
        ("not " * 400 + "has_text", "nested more than"),
        ("(" * 900 + "has_text" + ")" * 900, "is not an expression"),
        ("[" * 100 + "text" + "]" * 100, "nested more than"),
        ("text" + ".a" * 900, "nested more than"),
        ("text" + "()" * 900, "nested more than"),
        ("total < 9**9**9**9", "arithmetic is not allowed"),
        ("'a' * 9999999999 == text", "arithmetic is not allowed"),
        ("text == ''.__class__.__mro__[1].__subclasses__()", "is not allowed"),
        ("__import__('os').system('true')", "a call is not allowed"),
        ("text == '\\0' \0", "is not an expression"),
    ],
    ids=lambda value: value[:30],
)
def test_a_hostile_condition_is_refused_without_being_evaluated(condition: str, words: str) -> None:
    with pytest.raises(ValueError) as caught:
        check_condition(condition, NAMES)

    assert words in str(caught.value)


def test_a_condition_within_its_bounds_is_evaluated() -> None:
    deepest = "not " * (MAX_DEPTH - 5) + "has_text"
    longest = "total < " + "9" * (MAX_CHARACTERS - len("total < "))

    check_condition(deepest, NAMES)
    check_condition(longest, NAMES)

    assert evaluate(deepest, KNOWN) is False
    assert evaluate(longest, KNOWN) is True


PROFILE = """
name = "mine"
[[questions]]
name = "caption"
when = "has_text"
max_tokens = 1
prompt = "{language}"
[[questions]]
name = "has_text"
kind = "yes_no"
max_tokens = 1
prompt = "yes or no"
"""


def test_a_question_knows_the_answers_before_it_and_no_other() -> None:
    with pytest.raises(SettingsError, match=r"question caption: .*'has_text'.* known are page\.kind.*requested"):
        parse_profile(PROFILE)

    head, first, second = PROFILE.split("[[questions]]")
    parse_profile("[[questions]]".join((head, second, first)))


def test_what_is_known_of_a_page() -> None:
    page = rendered_page(1)
    page = replace(page, facts=replace(page.facts, is_vector=False, layer=LayerState.INVISIBLE))

    facts = page_facts(page, "pt-BR")

    assert set(facts) == set(PAGE_NAMES)
    assert (facts["page.kind"], facts["page.layer"], facts["requested"]) == ("scanned", "invisible", "pt")


def test_the_two_written_forms_of_norwegian_are_one_language() -> None:
    text = "Båten kom inn til bryggen med tømmer og kobber, og havnefogden skrev alt ned i boken sin."

    assert language_of(text) == page_facts(rendered_page(1), "nb")["requested"]
