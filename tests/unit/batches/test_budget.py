"""Several processes draw from one budget: none of them passes it, and what they leave goes back."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path

import pytest

from pipeline.archive import Archive, Store
from pipeline.batches.budget import BatchBudget, is_out_of_budget
from pipeline.batches.lifecycle import begin_batch
from pipeline.batches.progress import cancel, pause, resume
from pipeline.core.errors import SettingsError, Stopped
from pipeline.core.models import Allowance, Batch, Lane, PageStatus
from pipeline.core.retry import CancelToken


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(Store(str(tmp_path)))


def begin(archive: Archive, **budget: int) -> Batch:
    return begin_batch(archive, "default", None, "en", ["in"], lane=Lane.NORMAL, budget=Allowance(**budget))


def newest(archive: Archive, batch: Batch) -> Batch:
    found = archive.batches[batch.id].newest()
    assert found is not None
    return found


def call(purse: BatchBudget, most: int, cost: int) -> bool:
    with purse.tokens.reserve(most, CancelToken()) as share:
        share.spent = cost
    return True


def drawn(archive: Archive, batch: Batch) -> tuple[int, int]:
    known = archive.reservations[batch.id].newest()
    return (known.tokens, known.pages) if known else (0, 0)


def test_two_processes_together_stay_within_the_tokens_and_the_batch_rests(archive: Archive) -> None:
    batch = begin(archive, tokens=10_000)
    purses = [BatchBudget(archive, batch), BatchBudget(archive, batch)]
    with pytest.raises(Stopped):
        all(call(purse, most=2_000, cost=900) for purse in cycle(purses))
    spent = sum(purse.tokens.spent for purse in purses)
    assert 10_000 - 2 * 2_000 - 900 < spent <= drawn(archive, batch)[0] <= 10_000
    rests = newest(archive, batch)
    assert (rests.state, rests.cause) == ("paused", "the budget of 10,000 tokens is used up")
    for purse in purses:
        purse.close()
    assert drawn(archive, batch) == (spent, 0)


def test_a_process_that_was_killed_has_spent_what_it_had_drawn(archive: Archive) -> None:
    batch = begin(archive, tokens=5_000)
    call(BatchBudget(archive, batch), most=3_000, cost=10)
    with pytest.raises(Stopped):
        call(BatchBudget(archive, batch), most=3_000, cost=10)
    assert drawn(archive, batch) == (3_000, 0)


def test_a_large_budget_is_drawn_seldom(archive: Archive) -> None:
    batch = begin(archive, tokens=1_000_000)
    purse = BatchBudget(archive, batch)
    for _ in range(100):
        call(purse, most=2_000, cost=1_000)
    known = archive.reservations[batch.id].newest()
    assert known is not None
    assert known.revision < 10


def test_pages_are_counted_when_they_end_and_others_go_back(archive: Archive) -> None:
    batch = begin(archive, pages=5)
    first, second = BatchBudget(archive, batch), BatchBudget(archive, batch)
    with first.pages(4) as share:
        assert share.room == 4
        share.count(PageStatus.DESCRIBED)
        with second.pages(4) as rest:
            assert rest.room == 1
            rest.count(PageStatus.FAILED)
    first.close()
    assert drawn(archive, batch) == (0, 2)
    assert newest(archive, batch).state == "working"
    with second.pages(3) as share:
        for _ in range(share.room):
            share.count(PageStatus.BLANK)
    with second.pages(1) as share:
        assert share.room == 0
    assert newest(archive, batch).cause == "the budget of 5 pages is used up"


def test_who_has_no_budget_draws_nothing(archive: Archive) -> None:
    batch = begin(archive)
    purse = BatchBudget(archive, batch)
    call(purse, most=10**9, cost=10**9)
    with purse.pages(10**6) as share:
        assert share.room == 10**6
    purse.close()
    assert archive.reservations[batch.id].newest() is None


@pytest.fixture
def spent(archive: Archive) -> Batch:
    """A batch whose budget is used up."""
    batch = begin(archive, pages=1)
    purse = BatchBudget(archive, batch)
    for _ in range(2):
        with purse.pages(1) as share:
            share.ended = share.room
    assert is_out_of_budget(newest(archive, batch))
    return newest(archive, batch)


def test_it_goes_on_with_a_larger_budget_only_and_the_same_words_raise_it_once(archive: Archive, spent: Batch) -> None:
    for raised in (Allowance(), Allowance(pages=1)):
        with pytest.raises(SettingsError, match="the budget of 1 pages is used up") as caught:
            resume(archive, spent.id, raised)
        assert f"pagesight resume {spent.id}" in caught.value.remedy
    with pytest.raises(SettingsError, match="no budget of tokens"):
        resume(archive, spent.id, Allowance(tokens=9))
    for _ in range(2):
        resumed = resume(archive, spent.id, Allowance(pages=3))
        assert (resumed.state, resumed.cause, resumed.budget) == ("working", None, Allowance(pages=3))
        assert resumed.revision == spent.revision + 1
    with pytest.raises(SettingsError, match="is 3 pages already"):
        resume(archive, spent.id, Allowance(pages=2))
    with BatchBudget(archive, spent).pages(5) as share:
        assert share.room == 2


def test_what_a_person_says_stays(archive: Archive, spent: Batch) -> None:
    assert pause(archive, spent.id) == spent
    cancelled = cancel(archive, spent.id)
    assert (cancelled.state, cancelled.cause) == ("cancelled", None)
    with BatchBudget(archive, spent).pages(1) as share:
        assert share.room == 0
    assert newest(archive, spent) == cancelled
