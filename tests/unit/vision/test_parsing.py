"""From the model's words to typed values: tolerant, and never more than was said."""

from __future__ import annotations

import pytest

from pipeline.core.models import AnswerKind
from pipeline.vision.profile import Question
from pipeline.vision.profile.parsing import MAX_ENTRIES, parse_answer


def question(kind: AnswerKind, *choices: str) -> Question:
    told = f"{{language}} yes no {' '.join(choices)}"
    return Question(name="mine", kind=kind, choices=choices, prompt=told, max_tokens=1)


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("yes", True),
        ("No", False),
        ("**Yes.**", True),
        ("Yes, there is written language.", True),
        ("No, there is none.", False),
        ("The answer is: no", False),
        # Not said, or both.
        ("", None),
        ("Nothing is written.", None),
        ("There is no text.", None),
        ("yes or no", None),
        ("ja", None),
        ("note", None),
    ],
)
def test_yes_or_no(answer: str, value: bool | None) -> None:
    assert parse_answer(answer, question(AnswerKind.YES_NO)) is value


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("chart", "chart"),
        ('"Chart."', "chart"),
        ("chart: values by year", "chart"),
        ("It is a chart.", "chart"),
        ("The answer is bar chart", "bar chart"),
        ("Bar  chart", "bar chart"),
        ("charts", None),
        ("graph", None),
        ("not a chart", None),
        ("chart or map", None),
        ("This shows something other than a chart", None),
        ("", None),
    ],
)
def test_one_of_the_choices(answer: str, value: str | None) -> None:
    assert parse_answer(answer, question(AnswerKind.CHOICE, "chart", "bar chart", "map")) == value


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("12", 12.0),
        ("0", 0.0),
        ("-3.5", -3.5),
        ("−3,5", -3.5),
        ("1234.56", 1234.56),
        ("1,234.56", 1234.56),
        ("1.234,56 €", 1234.56),
        ("EUR 1 234 567,8", 1234567.8),
        ("1'234'567", 1234567.0),
        ("The total is 99.", 99.0),
        ("0.125", 0.125),
        ("1,234,567", 1234567.0),
        # Thousands in one country and a fraction in another.
        ("1.234", None),
        ("1,234", None),
        # Several numbers, none, and other words.
        ("12 of 13", None),
        ("3 4", None),
        ("12.3.2024", None),
        ("1.2.3,4", None),
        ("twelve", None),
        ("", None),
    ],
)
def test_the_one_number(answer: str, value: float | None) -> None:
    assert parse_answer(answer, question(AnswerKind.NUMBER)) == value


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("harbour, timber", ("harbour", "timber")),
        ("- harbour\n- timber\n", ("harbour", "timber")),
        ("1. harbour\n2) timber", ("harbour", "timber")),
        ("-\n  harbour, timber", ("harbour", "timber")),
        ("*\n\n  - harbour\n\n  - timber", ("harbour", "timber")),
        ("\n" * 100_000 + "- harbour", ("harbour",)),
        ('["harbour", "timber"]', ("harbour", "timber")),
        ("[harbour, timber]", ("harbour", "timber")),
        ("港、木材", ("港", "木材")),
        ("timber, timber, timber", ("timber",)),
        ("harbour", ("harbour",)),
        ("", None),
        (" , ;", None),
    ],
)
def test_a_list(answer: str, value: tuple[str, ...] | None) -> None:
    assert parse_answer(answer, question(AnswerKind.LIST)) == value


def test_a_list_has_an_end() -> None:
    found = parse_answer(", ".join(map(str, range(1000))), question(AnswerKind.LIST))
    assert isinstance(found, tuple)
    assert len(found) == MAX_ENTRIES


@pytest.mark.parametrize(
    ("answer", "value"),
    [("Stamp, seal", ("stamp", "seal")), ("stamp, signature", None), ("stamp", ("stamp",))],
)
def test_a_list_of_choices_has_no_others(answer: str, value: tuple[str, ...] | None) -> None:
    assert parse_answer(answer, question(AnswerKind.LIST, "stamp", "seal")) == value


def test_a_text_is_itself() -> None:
    assert parse_answer("Paid.", question(AnswerKind.TEXT)) == "Paid."
    assert parse_answer("", question(AnswerKind.TEXT)) is None
