"""Checks whether an answer can be trusted, from the answer and the facts of its page. Pure functions.

The limits were measured on a labelled set of answers: `bench/checks.py`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from pipeline.core.languages import SCRIPT_MIN_SHARE, is_in_language, script_share
from pipeline.vision.quality.cleanup import clean_answer
from pipeline.vision.quality.refusals import is_refusal
from pipeline.vision.quality.repetition import find_repetition
from pipeline.vision.quality.tokens import TOKEN, letters, terms

#: Longest description of a blank page, in words. A blank page has no words of its own.
BLANK_MAX_WORDS = 30
#: A page with less ink than this may have an empty answer.
INKED_MIN_SHARE = 0.0005
#: Least pixels of ink per character. Small print in the corpus has 33; this is print of half that height.
MIN_INK_PER_CHARACTER = 6.0
#: Characters that the ink check ignores: it is for answers that run on.
INK_FREE_CHARACTERS = 60
#: A layer with fewer words than this is not evidence.
LAYER_MIN_TERMS = 8
#: Below the first overlap of words an answer belongs to another page. Below the second it does so if hardly any two
#: words follow one another as in the layer: pages of one document share words, but not their order.
MIN_AGREEMENT = 0.45
SURE_AGREEMENT = 0.8
MIN_PAIR_AGREEMENT = 0.2
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
    disagrees = agreement is not None and disagrees_with_layer(text, context.layer_text or "", agreement)
    repeats = find_repetition(text, prose=context.kind is not AnswerType.VERBATIM)
    if repeats is not None and agreement is not None and not disagrees:
        # A page of forty equal labels looks like a loop; its layer shows that it is not one.
        repeats = None
    language = wrong_language(text, context.language) if context.kind is AnswerType.PROSE else None
    found = {
        Fault.CUT_OFF: is_cut_off(context),
        Fault.EMPTY_ON_INK: is_empty_on_ink(text, said_empty, context),
        Fault.TEXT_ON_BLANK: is_text_on_blank(text, context),
        Fault.REFUSAL: is_refusal(text) and (agreement is None or disagrees),
        Fault.PROMPT_ECHO: is_prompt_echo(text, context.prompt) and (agreement is None or disagrees),
        Fault.DISAGREES_WITH_LAYER: disagrees,
        Fault.TOO_LONG_FOR_INK: verbatim and is_too_long_for_ink(text, context),
    }
    reasons = (
        *(fault for fault, is_there in found.items() if is_there),
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


def is_cut_off(context: Context) -> bool:
    """Return whether the answer ends at its token limit. Some endpoints do not report that."""
    return context.truncated or context.tokens_out >= context.max_tokens


def is_empty_on_ink(text: str, said_empty: bool, context: Context) -> bool:
    """Return whether the answer about a page with ink is empty.

    The agreed word for an empty answer is accepted for a picture, but not for a page whose layer has words.
    """
    if letters(text) or context.blank or context.ink_share < INKED_MIN_SHARE:
        return False
    return not said_empty or len(terms(context.layer_text or "")) >= LAYER_MIN_TERMS


def is_text_on_blank(text: str, context: Context) -> bool:
    """Return whether the answer holds text of a blank page, or a description longer than one of a blank page."""
    if not context.blank or context.kind is AnswerType.CLOSED:
        return False
    return len(terms(text)) > (BLANK_MAX_WORDS if context.kind is AnswerType.PROSE else 0)


def is_too_long_for_ink(text: str, context: Context) -> bool:
    """Return whether the answer has more characters than the page's ink allows."""
    characters = sum(map(len, text.split())) - INK_FREE_CHARACTERS
    pixels = context.ink_share * context.width_px * context.height_px
    return characters > 0 and not context.blank and pixels < MIN_INK_PER_CHARACTER * characters


def overlap(text: str, layer_text: str) -> float | None:
    """Return the overlap of two texts' words as multisets, 0 to 1 (Dice's coefficient).

    None if the layer has too few words.
    """
    layer_terms = terms(layer_text)
    return _dice(terms(text), layer_terms) if len(layer_terms) >= LAYER_MIN_TERMS else None


def disagrees_with_layer(text: str, layer_text: str, agreement: float) -> bool:
    """Return whether a copy belongs to another page than the layer; `agreement` is their overlap of words."""
    if agreement < MIN_AGREEMENT or agreement >= SURE_AGREEMENT:
        return agreement < MIN_AGREEMENT
    return _dice(pairwise(terms(text)), pairwise(terms(layer_text))) < MIN_PAIR_AGREEMENT


def _dice(first: Iterable[Hashable], second: Iterable[Hashable]) -> float:
    one, other = Counter(first), Counter(second)
    return 2 * (one & other).total() / max(1, one.total() + other.total())


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
