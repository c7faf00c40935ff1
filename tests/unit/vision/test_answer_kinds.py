"""Floors of the checks over kinds of failure that users of other tools reported, and over ordinary pages."""

from __future__ import annotations

from support.answer_kinds import broken_cases, clean_cases, held_out, kind_scores, lines

MIN_KINDS, MIN_THREADS, MIN_CLEAN_KINDS = 60, 60, 30


def test_the_set_has_its_kinds_and_half_of_them_are_held_out() -> None:
    kinds = lines("broken_answers.jsonl")
    names = [entry["kind"] for entry in kinds]

    assert len(set(names)) == len(names) >= MIN_KINDS
    assert len({entry["source"] for entry in kinds} - {None}) >= MIN_THREADS
    assert len(lines("clean_pages.jsonl")) >= MIN_CLEAN_KINDS
    assert sum(held_out(name, names) for name in names) == len(names) // 2


def test_broken_answers_of_tuned_kinds_are_found_or_mended() -> None:
    scores = [score for score in kind_scores(broken_cases()) if not score.held_out]
    missed = {score.kind: [case.content[:80] for case in score.wrong] for score in scores if score.wrong}

    assert sum(score.right for score in scores) >= 0.98 * sum(score.cases for score in scores), missed


def test_broken_answers_of_unseen_kinds_are_found_or_mended() -> None:
    scores = [score for score in kind_scores(broken_cases()) if score.held_out]
    missed = {score.kind: [case.content[:80] for case in score.wrong] for score in scores if score.wrong}

    assert sum(score.right for score in scores) >= 0.95 * sum(score.cases for score in scores), missed


def test_ordinary_pages_raise_no_alarm() -> None:
    scores = kind_scores(clean_cases())
    alarms = {score.kind: [case.content[:80] for case in score.wrong] for score in scores if score.wrong}

    assert sum(len(score.wrong) for score in scores) <= 0.02 * sum(score.cases for score in scores), alarms
