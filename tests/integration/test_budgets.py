"""`--budget-tokens` and `--max-pages`: neither is ever passed, and the next run goes on where the last one ended."""

from __future__ import annotations

import pytest

from support.pagesight_runs import Pagesight, make_pdf, make_picture
from support.standin import Standin

EXHAUSTED = 4


def write_twelve_pages(pagesight: Pagesight) -> None:
    make_pdf(pagesight.files / "book.pdf", 9, seed=1)
    for number in range(3):
        make_picture(pagesight.files / f"plate-{number}.png", number)


def tokens_spent(pagesight: Pagesight) -> int:
    """What every archived answer cost."""
    answers = map(pagesight.archive.answers.get, pagesight.archived_answers())
    return sum(answer.tokens_in + answer.tokens_out for answer in answers if answer)


@pytest.mark.slow
def test_a_run_ends_before_its_tokens_are_passed_and_the_next_ones_finish(
    pagesight: Pagesight, standin: Standin
) -> None:
    write_twelve_pages(pagesight)
    standin.tell(latency_seconds=0.05)
    budget, runs, spent = 15_000, 0, 0
    while True:
        ended = pagesight.index(pagesight.files, "--budget-tokens", str(budget))
        runs += 1
        assert ended.json["tokens"] <= budget
        assert tokens_spent(pagesight) == spent + ended.json["tokens"]
        assert tokens_spent(pagesight) > spent
        spent = tokens_spent(pagesight)
        if ended.code == 0:
            break
        assert ended.code == EXHAUSTED, ended.stderr
        assert ended.json["state"] == "exhausted"
        assert "the budget of 15,000 tokens" in ended.stderr
        pagesight.assert_archive_and_index_agree(complete=False)
    assert runs > 2
    assert ended.json["state"] == "done"
    counters = standin.counters()
    assert (counters["answered"], counters["asked_again"]) == (24, 0)
    pagesight.assert_archive_and_index_agree()
    pagesight.assert_nothing_left()


def test_a_budget_that_no_call_fits_into_asks_nothing(pagesight: Pagesight, standin: Standin) -> None:
    write_twelve_pages(pagesight)
    ended = pagesight.index(pagesight.files, "--budget-tokens", "100")
    assert (ended.code, ended.json["state"], ended.json["tokens"]) == (EXHAUSTED, "exhausted", 0)
    assert standin.requests() == []


def test_what_is_archived_costs_nothing(pagesight: Pagesight, standin: Standin) -> None:
    write_twelve_pages(pagesight)
    assert pagesight.index().code == 0
    standin.reset_counters()
    again = pagesight.index(pagesight.files, "--collection", "other", "--budget-tokens", "1")
    assert (again.code, again.json["state"], again.json["pages"]) == (0, "done", {"described": 12})
    assert standin.requests() == []


def test_exactly_so_many_pages_are_worked_and_the_next_run_does_the_rest(
    pagesight: Pagesight, standin: Standin
) -> None:
    write_twelve_pages(pagesight)
    first = pagesight.index(pagesight.files, "--max-pages", "5")
    assert (first.code, first.json["state"], first.json["pages"]) == (EXHAUSTED, "exhausted", {"described": 5})
    assert "the budget of 5 pages" in first.stderr
    assert standin.counters()["answered"] == 10
    pagesight.assert_archive_and_index_agree(complete=False)

    second = pagesight.index(pagesight.files, "--max-pages", "7")
    assert (second.code, second.json["state"], second.json["pages"]) == (0, "done", {"described": 12})
    counters = standin.counters()
    assert (counters["answered"], counters["asked_again"]) == (24, 0)
    pagesight.assert_archive_and_index_agree()
    pagesight.assert_nothing_left()
