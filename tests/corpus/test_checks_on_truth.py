"""The checks on answers made from the corpus' truth texts: broken ones are found, clean ones left alone."""

from __future__ import annotations

from support.labelled_answers import CLEAN, held_out, labelled, scores, truth_pages

#: Clean copies of a file of filler text that says the same paragraph six times and has no layer beside it.
FILLER = "Lorem ipsum"


def test_faults_of_true_texts_are_found_and_clean_ones_left_alone() -> None:
    pages = [page for page in truth_pages() if FILLER not in page.text]
    assert len({page.source for page in pages}) >= 12
    told = scores(answer for answer in labelled(pages, 5) if held_out(answer.source))

    assert told[CLEAN].cases >= 30
    assert 1 - told[CLEAN].share <= 0.01, told[CLEAN].wrong
    assert {label: score.wrong for label, score in told.items() if score.share < 0.98} == {}
