"""How well the checks tell broken answers from clean ones: by kind of failure, and by fault on unseen sources.

The first part takes kinds of failure from the issue trackers of other tools (`tests/support/answer_kinds.py`). Half of
the kinds were held out before a rule was written; their rows stand apart, with the kinds that are missed.

Answers are made from clean texts by fault (`tests/support/labelled_answers.py`): made-up pages of fourteen kinds and
sentences in 35 languages, and the corpus' truth texts where the corpus is there. A false alarm is a clean answer in
which any fault is seen. What a check costs is told beside what deflate takes for the same text.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import common  # noqa: F401 - puts `support` on the path

from pipeline.vision.quality.checks import check
from support.answer_kinds import KindScore, broken_cases, clean_cases, kind_scores
from support.corpus import CORPUS
from support.labelled_answers import (
    CLEAN,
    held_out,
    labelled,
    labelled_prose,
    made_pages,
    page_context,
    scores,
    truth_pages,
)

COLUMNS = ("answers", "cases", "recall", "false alarms", "aim")
SEED = 20261124
PAGES_OF_A_KIND = 40
PROSE_ROUNDS = 4
LONG_CHARACTERS = 12_000


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    answers: str
    cases: str
    recall: str
    false_alarms: str
    aim: str


def rows() -> Iterator[Row]:
    broken, clean = kind_scores(broken_cases()), kind_scores(clean_cases())
    for name, is_held in (("tuned", False), ("held out", True)):
        yield _kinds(f"{name} kinds of failure", [score for score in broken if score.held_out == is_held])
        yield _kinds(f"{name} kinds of clean pages", [score for score in clean if score.held_out == is_held])
    for score in (*broken, *clean):
        if score.wrong:
            yield _kind(score)
    yield from _faults()


def _kinds(name: str, scores: list[KindScore]) -> Row:
    cases, right = sum(score.cases for score in scores), sum(score.right for score in scores)
    share = f"{right / cases:.4f}"
    if scores[0].clean:
        return Row(f"{name} ({len(scores)})", str(cases), "", f"{1 - right / cases:.4f}", "<= 0.02")
    return Row(f"{name} ({len(scores)})", str(cases), share, "", ">= 0.95")


def _kind(score: KindScore) -> Row:
    name = f"{'held out' if score.held_out else 'tuned'}: {score.kind}"
    share = score.right / score.cases
    return Row(
        name, str(score.cases), "" if score.clean else f"{share:.2f}", f"{1 - share:.2f}" if score.clean else "", ""
    )


def _faults() -> Iterator[Row]:
    pages = [*made_pages(SEED, PAGES_OF_A_KIND), *(truth_pages() if CORPUS.is_dir() else ())]
    answers = [*labelled(pages, SEED), *labelled_prose(SEED, PROSE_ROUNDS)]
    told = scores(answer for answer in answers if held_out(answer.source))
    clean = told.pop(CLEAN)
    yield Row("clean", str(clean.cases), "", f"{1 - clean.share:.4f}", "<= 0.01")
    for label, score in sorted(told.items()):
        yield Row(label, str(score.cases), f"{score.share:.4f}", "", ">= 0.98")
    yield _cost()


def _cost() -> Row:
    text = "\n".join(page.text for page in made_pages(SEED, PAGES_OF_A_KIND))[:LONG_CHARACTERS]
    context = page_context(text, layer=False)
    ratio = _seconds(lambda: check(text, context)) / _seconds(lambda: zlib.compress(text.encode()))
    return Row(f"time of {LONG_CHARACTERS:,} characters", "", f"{ratio:.1f} x deflate", "", "")


def _seconds(action: Callable[[], object]) -> float:
    def once() -> float:
        began = time.process_time()
        action()
        return time.process_time() - began

    return min(once() for _ in range(30))
