"""Finds repetition in an answer: loops, counting loops, repeated lines, runs of one sign."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from pipeline.vision.quality.tokens import SPACELESS_TOKEN, TOKEN

#: Longest unit of a loop in tokens: words, numbers, marks, line breaks, characters of scripts without spaces.
LOOP_MAX_PERIOD = 200
#: Smallest loop: letters in all, and repetitions of its unit. A model's own prose repeats nothing; pages have refrains
#: and equal rows.
PROSE_LOOP = (60, 3)
PAGE_LOOP = (200, 6)
#: Weight of a sign compared with a letter: pages have many leader dots and blanks to fill in.
SIGN_WEIGHT = 0.1
#: Weight of a character of a script without spaces: it carries more than a letter.
SPACELESS_WEIGHT = 2
#: Signs without letters are a loop from this number of characters on one line, or of repetitions over lines. Leader
#: dots, blanks to fill in and empty cells are shorter.
SIGNS_LOOP_CHARACTERS = 400
SIGNS_LOOP_LINES = 60
#: One letter or digit this many times in a row is not a word.
SAME_LETTERS = 100
#: A counting loop ("item 1, item 2, …") needs this multiple of the repetitions of other loops, and this number of words
#: in its unit or this number of repetitions: rooms, chapters and versions are numbered too.
COUNTING_LOOP_FACTOR = 2
COUNTING_LOOP_WORDS = 4
COUNTING_LOOP_TIMES = 20
#: Shortest line or sentence that counts as repeated, in letters. Then its least occurrences, and the least share of
#: repeats in the text after the first of them.
REPEATED_MIN_LETTERS = 12
PROSE_REPEATED = (3, 0.4)
PAGE_REPEATED = (6, 0.6)
#: Lines of a block, and how often a text says it: a page that is read over and over.
BLOCK_LINES = 5
BLOCK_TIMES = 3
#: Words of at least this number of bytes whose deflate ratio reaches this value repeat one statement.
COMPRESSIBLE_MIN_BYTES = 400
COMPRESSIBLE_RATIO = 10.0


@dataclass(frozen=True, slots=True)
class Repetition:
    """A repetition, and its beginning."""

    fault: Literal["tail_repetition", "repeated_lines", "compressible"]
    """The value of `Fault`: a loop, repeated lines or sentences, or highly compressible words."""
    clean_end: int
    """Number of characters before the repetition begins."""
    share: float
    """Share of the answer that is repetition, 0 to 1."""


def find_repetition(text: str, *, prose: bool) -> Repetition | None:
    """Return the repetition in an answer, or None.

    `prose`, text that a model writes itself, repeats less than the text of pages.
    """
    return (
        _same_signs(text)
        or _same_blocks(text)
        or _loop(text, *(PROSE_LOOP if prose else PAGE_LOOP))
        or _repeated_lines(text, *(PROSE_REPEATED if prose else PAGE_REPEATED))
        or _compressible(text)
    )


_SAME = re.compile(
    rf"([^\W_])\1{{{SAME_LETTERS - 1},}}|([^\s])\2{{{SIGNS_LOOP_CHARACTERS - 1},}}"
    rf"|(\S{{2,8}}?)\3{{{SAME_LETTERS - 1},}}"
)


def _same_signs(text: str) -> Repetition | None:
    run = _SAME.search(text)
    return run and Repetition("tail_repetition", run.start() + 1, (len(run[0]) - 1) / len(text))


def _same_blocks(text: str) -> Repetition | None:
    """Return the repetition of a whole page: a block of lines that the text consists of, said again and again."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    starts = [place for place, line in enumerate(lines) if line == lines[0]]
    if len(starts) < BLOCK_TIMES or starts[1] < BLOCK_LINES:
        return None
    block = lines[: starts[1]]
    if any(lines[start : start + len(block)] != block for start in starts[1:-1]):
        return None
    second = text.index(lines[0], len(lines[0]))
    return Repetition("repeated_lines", second, 1 - second / len(text))


@dataclass(frozen=True, slots=True)
class _RepeatedRun:
    """Tokens from `start` to before `end` that repeat the first `period` of them."""

    start: int
    end: int
    period: int

    @property
    def times(self) -> float:
        return (self.end - self.start) / self.period


def _loop(text: str, min_letters: int, min_times: int) -> Repetition | None:
    tokens = TOKEN.findall(text)
    # Counting loops are found with all numbers alike; their numbers are compared afterwards.
    alike = ["0" if token.isdigit() else token for token in tokens]
    runs = [run for run in _runs(alike) if _is_loop(tokens[run.start : run.end], run.period, min_letters, min_times)]
    if not runs:
        return None
    longest = max(runs, key=lambda run: run.end - run.start)
    ends = [match.end() for match in TOKEN.finditer(text)]
    clean, last = ends[longest.start + longest.period - 1], ends[longest.end - 1]
    return Repetition("tail_repetition", clean, (last - clean) / len(text))


def _runs(tokens: Sequence[str]) -> list[_RepeatedRun]:
    """Return the runs of tokens with one period: anywhere by token triples, and at the end exactly."""
    runs: list[_RepeatedRun] = []
    last: dict[tuple[str, str, str], int] = {}
    start, period = 0, 0
    for position, triple in enumerate(zip(tokens, tokens[1:], tokens[2:], strict=False)):
        distance = position - last.get(triple, position)
        last[triple] = position
        if distance != period:
            if 0 < period <= LOOP_MAX_PERIOD and position - start >= period:
                runs.append(_RepeatedRun(start - period, position + 2, period))
            start, period = position, distance
    if 0 < period <= LOOP_MAX_PERIOD:
        runs.append(_RepeatedRun(start - period, len(tokens), period))
    # The last token may be a word cut in two.
    return [*runs, *_tail_runs(tokens[:-1])]


def _tail_runs(tokens: Sequence[str]) -> list[_RepeatedRun]:
    """Return the repetitions at the end, including units that hold the same words twice."""
    runs = []
    for period in range(1, min(LOOP_MAX_PERIOD, len(tokens) // 2) + 1):
        start = len(tokens)
        while start > period and tokens[start - 1] == tokens[start - 1 - period]:
            start -= 1
        if len(tokens) - start >= period:
            runs.append(_RepeatedRun(start - period, len(tokens), period))
        if len(tokens) - start >= 2 * LOOP_MAX_PERIOD:
            # A longer period that fits would be a multiple of this one.
            break
    return runs


def _is_loop(tokens: Sequence[str], period: int, min_letters: int, min_times: int) -> bool:
    unit, times = tokens[:period], len(tokens) / period
    if times < min(min_times, SIGNS_LOOP_LINES):
        return False
    words = [token for token in unit if token.isalpha()]
    signs = sum(map(len, unit)) - sum(map(len, words))
    if not words:
        limit = SIGNS_LOOP_LINES if "\n" in unit else SIGNS_LOOP_CHARACTERS / signs
        return times >= limit and _is_constant(tokens, period)
    letters = sum(SPACELESS_WEIGHT if SPACELESS_TOKEN.match(word) else len(word) for word in words)
    if times < max(min_times, min_letters / (letters + SIGN_WEIGHT * signs)):
        return False
    if _is_constant(tokens, period):
        return True
    if times < COUNTING_LOOP_FACTOR * min_times:
        return False
    return (len(words) >= COUNTING_LOOP_WORDS or times >= COUNTING_LOOP_TIMES) and _is_counting(tokens, period)


def _is_constant(tokens: Sequence[str], period: int) -> bool:
    return all(
        tokens[index] == tokens[index % period] for index in range(period, len(tokens)) if tokens[index].isdigit()
    )


def _is_counting(tokens: Sequence[str], period: int) -> bool:
    """Return whether each number of the unit stays the same or changes by a constant step."""
    for offset in range(period):
        # The last may be cut off.
        numbers = [int(token) for token in tokens[offset::period] if token.isdecimal() and len(token) < 18][:-1]
        if len({after - before for before, after in pairwise(numbers)}) > 1:
            return False
    return True


_SEGMENT_END = re.compile(r"\n+|(?<=[.!?؟])\s+|(?<=[。！？।॥])")


def _repeated_lines(text: str, min_times: int, min_share: float) -> Repetition | None:
    segments = [segment.strip() for segment in _SEGMENT_END.split(text)]
    counts = Counter(s for s in segments if sum(map(str.isalpha, s)) >= REPEATED_MIN_LETTERS)
    if not counts or counts.most_common(1)[0][1] < min_times:
        return None
    repeated = [segment for segment, times in counts.items() if times >= min_times]
    begins = min(text.index(segment) for segment in repeated)
    copied = sum((times - 1) * len(segment) for segment, times in counts.items())
    if copied < min_share * (len(text) - begins):
        return None
    second = min(text.index(segment, text.index(segment) + len(segment)) for segment in repeated)
    return Repetition("repeated_lines", second, copied / len(text))


def _compressible(text: str) -> Repetition | None:
    words = " ".join(token for token in TOKEN.findall(text) if token.isalpha()).encode()
    if len(words) < COMPRESSIBLE_MIN_BYTES:
        return None
    ratio = len(words) / len(zlib.compress(words))
    if ratio < COMPRESSIBLE_RATIO:
        return None
    # The beginning of the repetition is unknown.
    return Repetition("compressible", len(text), 1 - 1 / ratio)
