"""Tells from an answer, and from what is known of the page, whether the answer can be trusted. Pure functions.

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
from pipeline.vision.quality.repetition import repetition
from pipeline.vision.quality.tokens import TOKEN, letters, terms

#: A blank page is described in so many words, and has none of its own.
BLANK_MAX_WORDS = 30
#: A page with less ink than this may be rightly said to bear nothing.
INKED_MIN_SHARE = 0.0005
#: Pixels that differ from the ground, for each character. Small print in the corpus has 33; this is print half as high.
MIN_INK_PER_CHARACTER = 6.0
#: So many characters are written about any ink: the check is for answers that go on.
INK_FREE_CHARACTERS = 60
#: Fewer words than this in a layer are no evidence.
LAYER_MIN_TERMS = 8
#: With less overlap of words an answer is of something else; with less than the second, where hardly any two words
#: follow one another as in the layer: pages of one document share their words, and not their order.
MIN_AGREEMENT = 0.45
SURE_AGREEMENT = 0.8
MIN_PAIR_AGREEMENT = 0.2
#: So many words of the prompt in a row are an echo; a sentence of the prompt is one from so many words on.
ECHO_WORDS = 9
ECHO_SENTENCE_WORDS = 4
#: A half of an answer with fewer bytes than this is not judged apart from the other: a dozen words, or 25 characters.
HALF_MIN_BYTES = 75


class AnswerType(StrEnum):
    """What sort of answer a question wants."""

    PROSE = "prose"
    """Written by the model: a description, a caption, a translation."""
    VERBATIM = "verbatim"
    """The text on the page."""
    CLOSED = "closed"
    """A choice, yes or no, a number."""


class Fault(StrEnum):
    """What is wrong with an answer: words that records keep as reasons."""

    CUT_OFF = "cut_off"
    TAIL_REPETITION = "tail_repetition"
    """The same words again and again without anything between, to the end as a rule."""
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


#: What `pipeline.vision.quality.repetition` finds.
LOOPS = frozenset({Fault.TAIL_REPETITION, Fault.REPEATED_LINES, Fault.COMPRESSIBLE})
#: An answer in another language than it was to be.
LANGUAGE = frozenset({Fault.WRONG_SCRIPT, Fault.WRONG_LANGUAGE})


@dataclass(frozen=True, slots=True)
class Context:
    """What is known of the question and of the page."""

    kind: AnswerType
    prompt: str
    language: str | None
    """BCP 47 tag of the language that the answer is to be in; None where the page decides."""
    max_tokens: int
    tokens_out: int
    truncated: bool
    """Whether the endpoint says that it cut the answer off."""
    blank: bool
    ink_share: float
    width_px: int
    height_px: int
    layer_text: str | None = None
    """The page's own text layer, only where it is sound and can be seen."""
    empty_answer: str | None = None
    """What the prompt tells the model to answer where there is nothing."""


@dataclass(frozen=True, slots=True)
class Checked:
    """An answer after the checks."""

    content: str
    """Without code fence and preamble; "" for the agreed word for nothing."""
    said_empty: bool
    """Whether it is the agreed word for nothing."""
    faults: tuple[Fault, ...]
    clean_prefix: str
    """What comes before a repetition begins, with what is repeated once; `content` where nothing is."""
    repetition: float
    """Share of the answer that repeats what was said before in it, 0 to 1; 0 where it is no fault."""
    agreement: float | None
    """Overlap of its words with those of the layer, 0 to 1; None without a layer or where the answer is no copy."""


def check(content: str, context: Context) -> Checked:
    """Clean an answer and look at it in every way that its kind allows."""
    text, said_empty = clean_answer(content, context.empty_answer, context.layer_text)
    verbatim = context.kind is AnswerType.VERBATIM
    agreement = overlap(text, context.layer_text) if verbatim and context.layer_text is not None else None
    disagrees = agreement is not None and disagrees_with_layer(text, context.layer_text or "", agreement)
    repeats = repetition(text, prose=context.kind is not AnswerType.VERBATIM)
    if repeats is not None and agreement is not None and not disagrees:
        # A page of forty equal labels reads like a loop: its layer tells.
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
        *(() if repeats is None else (Fault(repeats.sort),)),
        *(() if language is None else (language,)),
    )
    return Checked(
        content=text,
        said_empty=said_empty,
        faults=reasons,
        clean_prefix=text if repeats is None else text[: repeats.ends].rstrip(),
        repetition=0.0 if repeats is None else repeats.share,
        agreement=agreement,
    )


def is_cut_off(context: Context) -> bool:
    """Whether the answer ends where its tokens did. Some endpoints say that it ended by itself all the same."""
    return context.truncated or context.tokens_out >= context.max_tokens


def is_empty_on_ink(text: str, said_empty: bool, context: Context) -> bool:
    """Whether nothing was answered about a page that bears something.

    The agreed word for nothing is believed of a picture, and not of a page whose layer has words.
    """
    if letters(text) or context.blank or context.ink_share < INKED_MIN_SHARE:
        return False
    return not said_empty or len(terms(context.layer_text or "")) >= LAYER_MIN_TERMS


def is_text_on_blank(text: str, context: Context) -> bool:
    """Whether words were found on a blank page, or more said of it than that it is blank."""
    if not context.blank or context.kind is AnswerType.CLOSED:
        return False
    return len(terms(text)) > (BLANK_MAX_WORDS if context.kind is AnswerType.PROSE else 0)


def is_too_long_for_ink(text: str, context: Context) -> bool:
    """Whether the page has not the ink for so many characters."""
    characters = sum(map(len, text.split())) - INK_FREE_CHARACTERS
    pixels = context.ink_share * context.width_px * context.height_px
    return characters > 0 and not context.blank and pixels < MIN_INK_PER_CHARACTER * characters


def overlap(text: str, layer_text: str) -> float | None:
    """Return the overlap of two texts' words, in any order, as often as they come, 0 to 1 (Dice's coefficient).

    None where the layer has too few words to tell.
    """
    there = terms(layer_text)
    return _dice(terms(text), there) if len(there) >= LAYER_MIN_TERMS else None


def disagrees_with_layer(text: str, layer_text: str, agreement: float) -> bool:
    """Whether a copy is of something else than the layer, of which `agreement` is the overlap of words."""
    if agreement < MIN_AGREEMENT or agreement >= SURE_AGREEMENT:
        return agreement < MIN_AGREEMENT
    return _dice(pairwise(terms(text)), pairwise(terms(layer_text))) < MIN_PAIR_AGREEMENT


def _dice(said: Iterable[Hashable], there: Iterable[Hashable]) -> float:
    one, other = Counter(said), Counter(there)
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
    """Return the fault of an answer that is not in its language as a whole or in one of its halves.

    What it quotes may be in any.
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
    """Whether the answer repeats the question: a sentence of it, or many words of it in a row."""
    said = f" {' '.join(_echo_words(text))} "
    sentences = (_echo_words(sentence) for sentence in _SENTENCE_END.split(prompt))
    if any(len(words) >= ECHO_SENTENCE_WORDS and f" {' '.join(words)} " in said for words in sentences):
        return True
    asked = _echo_words(prompt)
    return any(
        f" {' '.join(asked[start : start + ECHO_WORDS])} " in said for start in range(len(asked) - ECHO_WORDS + 1)
    )


def _echo_words(text: str) -> list[str]:
    return [token for token in TOKEN.findall(text.casefold()) if token.isalnum()]
