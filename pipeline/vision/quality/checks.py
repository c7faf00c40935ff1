"""Checks whether an answer can be trusted, from the answer and the facts of its page. Pure functions.

The limits were measured on a labelled set of answers: `bench/checks.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from pipeline.core.languages import SCRIPT_MIN_SHARE, is_in_language, script_share
from pipeline.vision.quality.capacity import MIN_INK_PER_SQUARE, has_surplus, holds, ink_per_square
from pipeline.vision.quality.cleanup import clean_answer
from pipeline.vision.quality.garbling import is_garbled
from pipeline.vision.quality.layer_comparison import (
    LAYER_MIN_TERMS,
    disagrees_with_layer,
    is_in_disorder,
    is_part_of_layer,
    overlap,
    repeats_layer,
)
from pipeline.vision.quality.refusals import is_refusal
from pipeline.vision.quality.repetition import Repetition, find_repetition
from pipeline.vision.quality.talk import is_error, is_talk, says_left_out, says_missing, says_unreadable
from pipeline.vision.quality.tokens import TOKEN, letters, terms

#: Longest description of a blank page, in words. A blank page has no words of its own.
BLANK_MAX_WORDS = 30
#: A page with less ink than this may have an empty answer.
INKED_MIN_SHARE = 0.0005
#: Least pixels of ink per character. Small print in the corpus has 33; this is print of half that height.
MIN_INK_PER_CHARACTER = 6.0
#: Characters that the ink check ignores: it is for answers that run on.
INK_FREE_CHARACTERS = 60
#: Line ends in a repetition that ink may excuse.
REPEATED_LINES = 4
#: Words of a layer that a refusal has none of.
REFUSED_MIN_TERMS = 2
#: Entries of a list without words, and their least share of the lines.
EMPTY_ENTRIES = 8
EMPTY_SHARE = 0.7
#: Words of the prompt in a row that make an echo, and words from which a whole sentence of the prompt makes one.
ECHO_WORDS = 9
ECHO_SENTENCE_WORDS = 4
#: Least bytes of half an answer whose language is checked by itself: a dozen words, or 25 CJK characters.
HALF_MIN_BYTES = 75


class AnswerType(StrEnum):
    """The type of answer that a question requests."""

    PROSE = "prose"
    """Written by the model: a description, a caption, a translation."""
    VERBATIM = "verbatim"
    """The text on the page."""
    CLOSED = "closed"
    """A choice, yes or no, a number."""


class Fault(StrEnum):
    """A fault of an answer. Records store these words as reasons."""

    CUT_OFF = "cut_off"
    TAIL_REPETITION = "tail_repetition"
    """The same words repeated without anything between them, usually to the end."""
    REPEATED_LINES = "repeated_lines"
    COMPRESSIBLE = "compressible"
    EMPTY_ON_INK = "empty_on_ink"
    TEXT_ON_BLANK = "text_on_blank"
    WRONG_SCRIPT = "wrong_script"
    WRONG_LANGUAGE = "wrong_language"
    REFUSAL = "refusal"
    PROMPT_ECHO = "prompt_echo"
    DISAGREES_WITH_LAYER = "disagrees_with_layer"
    TOO_LONG_FOR_INK = "too_long_for_ink"
    NOT_A_COPY = "not_a_copy"
    """A description, a thought, chat or a machine's output in place of the text on the page."""
    ERROR_MESSAGE = "error_message"
    GARBLED = "garbled"
    """Lost bytes, a wrong code page, letters of many scripts within words."""
    INCOMPLETE = "incomplete"
    """A part of the layer, or an answer that says that a part was left out."""
    DISORDER = "disorder"
    """The layer's words, but not in its order."""


#: Faults that `pipeline.vision.quality.repetition` finds.
LOOPS = frozenset({Fault.TAIL_REPETITION, Fault.REPEATED_LINES, Fault.COMPRESSIBLE})
#: Faults of an answer that is not in the requested language.
LANGUAGE = frozenset({Fault.WRONG_SCRIPT, Fault.WRONG_LANGUAGE})


@dataclass(frozen=True, slots=True)
class Context:
    """The facts of question and page that an answer is checked against."""

    kind: AnswerType
    prompt: str
    language: str | None
    """BCP 47 tag of the language that the answer must be in; None if the page decides."""
    max_tokens: int
    tokens_out: int
    truncated: bool
    """Whether the endpoint reports that it cut the answer off."""
    blank: bool
    ink_share: float
    width_px: int
    height_px: int
    glyph_px: float | None = None
    """Height of a typical letter on the page image; None if the page shows no lines of text."""
    layer_text: str | None = None
    """The page's own text layer, only if it is sound and visible."""
    empty_answer: str | None = None
    """The word that the prompt requests if there is nothing to report."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A cleaned answer and its faults."""

    content: str
    """Without code fence and preamble; "" for the agreed word for an empty answer."""
    said_empty: bool
    """Whether it is the agreed word for an empty answer."""
    faults: tuple[Fault, ...]
    clean_prefix: str
    """The text up to a repetition, with the repeated unit once; `content` without a repetition."""
    repetition: float
    """Share of the answer that repeats earlier parts, 0 to 1; 0 if repetition is not a fault."""
    agreement: float | None
    """Overlap of its words with the layer's words, 0 to 1; None without a layer or for an answer that is not a copy."""


def check(content: str, context: Context) -> Checked:
    """Clean an answer and run all checks of its type."""
    text, said_empty = clean_answer(content, context.empty_answer, context.layer_text)
    verbatim = context.kind is AnswerType.VERBATIM
    agreement = overlap(text, context.layer_text) if verbatim and context.layer_text is not None else None
    is_shown = agreement is not None and not disagrees_with_layer(text, context.layer_text or "", agreement)
    repeats = None if is_shown else _repetition(text, context)
    language = wrong_language(text, context.language) if context.kind is AnswerType.PROSE else None
    found = dict.fromkeys(_faults_of_words(content, text, context) if not is_shown else ())
    found |= dict.fromkeys(_faults_of_copy(text, context, agreement, is_shown=is_shown) if verbatim else ())
    reasons = (
        *((Fault.CUT_OFF,) if is_cut_off(context) else ()),
        *((Fault.EMPTY_ON_INK,) if is_empty_on_ink(text, said_empty, context) else ()),
        *((Fault.TEXT_ON_BLANK,) if is_text_on_blank(text, context) else ()),
        *found,
        *(() if repeats is None else (Fault(repeats.fault),)),
        *(() if language is None else (language,)),
    )
    return Checked(
        content=text,
        said_empty=said_empty,
        faults=reasons,
        clean_prefix=text if repeats is None else text[: repeats.clean_end].rstrip(),
        repetition=0.0 if repeats is None else repeats.share,
        agreement=agreement,
    )


def _repetition(text: str, context: Context) -> Repetition | None:
    """Return the repetition in an answer; None if the page's ink accounts for all that repeats, as for equal labels.

    Only lines with words are excused: no page has hundreds of equal words in a line, or of empty rows.
    """
    verbatim = context.kind is AnswerType.VERBATIM
    repeats = find_repetition(text, prose=not verbatim)
    if repeats is None or not verbatim:
        return repeats
    repeated = text[repeats.clean_end :]
    has_lines = letters(repeated) and repeated.count("\n") >= REPEATED_LINES
    is_excusable = has_lines or repeats.fault == "compressible"
    return None if is_excusable and holds(_share(text, context), context.ink_share) else repeats


def _share(text: str, context: Context) -> float | None:
    return ink_per_square(text, context.ink_share * context.width_px * context.height_px, context.glyph_px)


def _faults_of_words(raw: str, text: str, context: Context) -> Iterator[Fault]:
    """Yield the faults that the words of an answer show. The layer did not confirm them."""
    verbatim = context.kind is AnswerType.VERBATIM
    share = _share(text, context)
    surplus = verbatim and has_surplus(share)
    # A refusal names itself: it needs no evidence but that the page does not show it.
    may_refuse = not verbatim or share is None or surplus or _has_nothing_of_layer(text, context.layer_text or "")
    if is_prompt_echo(text, context.prompt):
        yield Fault.PROMPT_ECHO
    elif (may_refuse and is_refusal(text)) or (
        says_unreadable(text, surplus=surplus) if verbatim else says_missing(text)
    ):
        yield Fault.REFUSAL
    if context.kind is not AnswerType.CLOSED and is_garbled(raw, text):
        yield Fault.GARBLED
    if verbatim and is_talk(text, surplus=surplus):
        yield Fault.NOT_A_COPY
    if may_refuse and is_error(text):
        yield Fault.ERROR_MESSAGE
    if verbatim and surplus and says_left_out(text):
        yield Fault.INCOMPLETE


def _has_nothing_of_layer(text: str, layer: str) -> bool:
    """Return whether the layer has words, and the answer has none of them. A few words are evidence enough here."""
    known = set(terms(layer))
    return len(known) >= REFUSED_MIN_TERMS and known.isdisjoint(terms(text))


def _faults_of_copy(text: str, context: Context, agreement: float | None, *, is_shown: bool) -> Iterator[Fault]:
    """Yield the faults that a comparison of a copy with its page shows."""
    if is_too_long_for_ink(text, context):
        yield Fault.TOO_LONG_FOR_INK
    if agreement is None or context.layer_text is None:
        return
    if not is_shown:
        yield Fault.DISAGREES_WITH_LAYER
    elif is_part_of_layer(text, context.layer_text):
        yield Fault.INCOMPLETE
    elif repeats_layer(text, context.layer_text):
        yield Fault.REPEATED_LINES
    elif is_in_disorder(text, context.layer_text):
        yield Fault.DISORDER


def is_cut_off(context: Context) -> bool:
    """Return whether the answer ends at its token limit. Some endpoints do not report that."""
    return context.truncated or context.tokens_out >= context.max_tokens


def is_empty_on_ink(text: str, said_empty: bool, context: Context) -> bool:
    """Return whether the answer about a page with ink is empty.

    The agreed word for an empty answer is accepted for a picture, but not for a page whose layer has words.
    """
    if _has_content(text, context) or context.blank or context.ink_share < INKED_MIN_SHARE:
        return False
    return not said_empty or len(terms(context.layer_text or "")) >= LAYER_MIN_TERMS


#: A line with the number of an entry, and no entry.
_NUMBER_ALONE = re.compile(r"^[ \t]*\(?\d{1,4}[.)、:．][ \t]*$", re.MULTILINE)


def _has_content(text: str, context: Context) -> bool:
    """Return whether an answer has letters or digits that are not only the numbers of a list without entries."""
    if not letters(text):
        return False
    alone = len(_NUMBER_ALONE.findall(text))
    return (
        context.kind is not AnswerType.VERBATIM or alone < EMPTY_ENTRIES or alone < EMPTY_SHARE * len(text.split("\n"))
    )


def is_text_on_blank(text: str, context: Context) -> bool:
    """Return whether the answer holds text of a blank page, or a description longer than one of a blank page."""
    if not context.blank or context.kind is AnswerType.CLOSED:
        return False
    return len(terms(text)) > (BLANK_MAX_WORDS if context.kind is AnswerType.PROSE else 0)


def is_too_long_for_ink(text: str, context: Context) -> bool:
    """Return whether the answer has more characters than the page's ink allows."""
    characters = sum(map(len, text.split())) - INK_FREE_CHARACTERS
    pixels = context.ink_share * context.width_px * context.height_px
    if characters <= 0 or context.blank:
        return False
    share = ink_per_square(text, pixels, context.glyph_px)
    return pixels < MIN_INK_PER_CHARACTER * characters or (share is not None and share < MIN_INK_PER_SQUARE)


_QUOTED = re.compile(
    "|".join(
        f"{opening}[^{closing}\n]{{1,300}}[{closing}]"
        for opening, closing in (
            ('"', '"'),
            ("[“„]", "“”"),
            ("«", "»"),
            ("»", "«"),
            ("「", "」"),
            ("『", "』"),
            ("《", "》"),
            ("‘", "’"),
        )
    )
)
_SENTENCE_END = re.compile(r"(?<=[.!?؟])\s+|(?<=[。！？।॥])|\n+")


def wrong_language(text: str, language: str | None) -> Fault | None:
    """Return the fault of an answer that, as a whole or in one half, is not in the requested language.

    Quotations may be in any language.
    """
    if language is None:
        return None
    own_words = _QUOTED.sub(" ", text.strip('"“”„«» \n'))
    share = script_share(own_words, language)
    for part in (own_words, *_halves(own_words)):
        if is_in_language(part, language) is False:
            return Fault.WRONG_SCRIPT if share is not None and share < SCRIPT_MIN_SHARE else Fault.WRONG_LANGUAGE
    return None


def _halves(text: str) -> tuple[str, ...]:
    sentences = _SENTENCE_END.split(text)
    middle = len(sentences) // 2
    halves = (" ".join(sentences[:middle]), " ".join(sentences[middle:]))
    return tuple(half for half in halves if len(half.encode()) >= HALF_MIN_BYTES)


def is_prompt_echo(text: str, prompt: str) -> bool:
    """Return whether the answer repeats a sentence of the prompt, or many of its words in a row."""
    answer = f" {' '.join(_echo_words(text))} "
    sentences = (_echo_words(sentence) for sentence in _SENTENCE_END.split(prompt))
    if any(len(words) >= ECHO_SENTENCE_WORDS and f" {' '.join(words)} " in answer for words in sentences):
        return True
    words = _echo_words(prompt)
    starts = range(len(words) - ECHO_WORDS + 1)
    return any(f" {' '.join(words[start : start + ECHO_WORDS])} " in answer for start in starts)


def _echo_words(text: str) -> list[str]:
    return [token for token in TOKEN.findall(text.casefold()) if token.isalnum()]
