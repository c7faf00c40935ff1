"""Parses an answer into a typed value. The parsers tolerate different wordings and never guess."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from pipeline.core.models import AnswerKind
from pipeline.vision.profile.conditions import Known, language_of
from pipeline.vision.profile.definition import Question

Parsed = bool | float | str | tuple[str, ...]

#: A longer list is a loop; no search finds a page by its hundredth entry.
MAX_ENTRIES = 100

_MARKS = " \t\n\"'`*_.,:;!()[]“”„’‘«»"
_PREAMBLE = re.compile(r"(?:(?:it|this|that|the answer|answer) (?:is|shows):? |answer: ?)?(?:(?:a|an|the) )?")
_NUMBER = re.compile(r"[-−]?\d(?:[\d.,'’\u00a0\u202f ]*\d)?")
_GROUPED = re.compile(r"-?\d{1,3}(?P<mark>[.,' ])\d{3}(?:(?P=mark)\d{3})*")
#: It stays on its line: across lines, an answer of line breaks alone took quadratic time.
_BULLET = re.compile(r"^[^\S\n]*(?:[-*•–]|\d+[.)])(?:[^\S\n]+|(?=\n))", re.MULTILINE)


def parse_answer(text: str, question: Question) -> Parsed | None:
    """Return the value of an answer, or None if it does not have one of the requested kind."""
    return _PARSERS[question.kind](text, question)


def condition_values(text: str, question: Question) -> dict[str, Known]:
    """Return the values that an answer gives to the names of conditions."""
    if question.kind is AnswerKind.TEXT:
        return {question.name: text, f"{question.name}.language": language_of(text)}
    return {question.name: parse_answer(text, question)}


def _text(text: str, _question: Question) -> str | None:
    return text or None


def _yes_no(text: str, _question: Question) -> bool | None:
    word = _chosen(text, ("yes", "no"))
    return None if word is None else word == "yes"


def _choice(text: str, question: Question) -> str | None:
    return _chosen(text, question.choices)


def _number(text: str, _question: Question) -> float | None:
    """Return the only number of an answer; None for no number, several numbers, or an ambiguous one."""
    found = _NUMBER.findall(text)
    return _value(found[0]) if len(found) == 1 else None


def _list(text: str, question: Question) -> tuple[str, ...] | None:
    """Return the entries of an answer, each once; None if an entry is not one of the choices."""
    entries = [entry.strip(_MARKS) for entry in _entries(text)]
    entries = list(dict.fromkeys(entry for entry in entries if entry))[:MAX_ENTRIES]
    if question.choices:
        chosen = [_chosen(entry, question.choices) for entry in entries]
        entries = [entry for entry in chosen if entry is not None]
        if len(entries) < len(chosen):
            return None
    return tuple(dict.fromkeys(entries)) or None


_PARSERS: dict[AnswerKind, Callable[[str, Question], Parsed | None]] = {
    AnswerKind.TEXT: _text,
    AnswerKind.YES_NO: _yes_no,
    AnswerKind.CHOICE: _choice,
    AnswerKind.NUMBER: _number,
    AnswerKind.LIST: _list,
}


def _chosen(text: str, choices: tuple[str, ...]) -> str | None:
    """Return the choice that an answer begins with; None if it names another one as well."""
    plain = " ".join(text.casefold().split()).strip(_MARKS)
    whole = {choice.casefold(): choice for choice in choices}
    if plain in whole:
        return whole[plain]
    rest = _PREAMBLE.sub("", plain, count=1).lstrip(_MARKS)
    named = [choice for choice in choices if _names(rest, choice)]
    # "bar chart" names "chart" as well.
    named = [
        choice for choice in named if not any(_names(other.casefold(), choice) for other in named if other != choice)
    ]
    return named[0] if len(named) == 1 and rest.startswith(named[0].casefold()) else None


def _names(text: str, choice: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(choice.casefold())}(?!\w)", text) is not None


def _value(written: str) -> float | None:
    number = written.replace("−", "-").replace("’", "'").replace("\u00a0", " ").replace("\u202f", " ")
    grouped = _GROUPED.fullmatch(number)
    if grouped and number.count(grouped["mark"]) == 1 and grouped["mark"] in ".,":
        # 1.234 has different values in English and in German. A leading zero is not a group of thousands.
        return float(number) if re.match(r"-?0\.", number) else None
    if grouped:
        return float(number.replace(grouped["mark"], ""))
    whole, mark, part = _split_decimals(number)
    if mark and not part.isdigit():
        return None
    if not re.fullmatch(r"-?\d+", whole):
        grouped = _GROUPED.fullmatch(whole)
        if grouped is None or grouped["mark"] == mark:
            return None
        whole = whole.replace(grouped["mark"], "")
    return float(f"{whole}.{part or 0}")


def _split_decimals(number: str) -> tuple[str, str, str]:
    """Cut a number at the last point or comma."""
    position = max(number.rfind("."), number.rfind(","))
    return (number, "", "") if position < 0 else (number[:position], number[position], number[position + 1 :])


def _entries(text: str) -> list[str]:
    """Split an answer: a JSON list, lines, or commas."""
    if text.startswith("["):
        try:
            found = json.loads(text)
        except ValueError:
            found = None
        if isinstance(found, list):
            return [str(entry) for entry in found]
    lines = [line for line in _BULLET.sub("", text).splitlines() if line.strip()]
    return lines if len(lines) > 1 else re.split(r"[,;、،]", lines[0] if lines else "")
