"""A call begins only where the most that it can cost still fits into the budget."""

from __future__ import annotations

import threading

import pytest

from pipeline.core.errors import Stopped
from pipeline.core.retry import CancelToken
from pipeline.vision.budget import Budget


def spend(budget: Budget, most: int, cost: int) -> None:
    with budget.reserve(most, CancelToken()) as share:
        share.spent = cost


def test_what_was_held_back_and_not_spent_is_given_back() -> None:
    told: list[str] = []
    budget = Budget(1_000, told.append)
    for _ in range(5):
        spend(budget, most=600, cost=100)
    assert (budget.spent, told) == (500, [])


def test_the_call_that_might_pass_it_is_refused_and_that_is_told_once_it_happens() -> None:
    told: list[str] = []
    budget = Budget(1_000, told.append)
    spend(budget, most=600, cost=401)
    assert told == []
    with pytest.raises(Stopped, match="1,000 tokens"):
        spend(budget, most=600, cost=1)
    assert (budget.spent, told) == (401, ["the budget of 1,000 tokens has no room for another call"])


def test_a_call_that_fits_exactly_begins() -> None:
    told: list[str] = []
    budget = Budget(1_000, told.append)
    spend(budget, most=1_000, cost=1_000)
    assert (budget.spent, told) == (1_000, [])


def test_one_that_may_fit_waits_for_those_in_flight() -> None:
    told: list[str] = []
    budget = Budget(1_000, told.append)
    begun = threading.Event()
    with budget.reserve(600, CancelToken()) as share:
        second = threading.Thread(target=lambda: (begun.set(), spend(budget, most=600, cost=300)))
        second.start()
        begun.wait()
        assert (second.is_alive(), budget.spent) == (True, 0)
        share.spent = 200
    second.join(10)
    assert (budget.spent, told) == (500, [])


def test_a_call_that_failed_costs_nothing_and_holds_nothing() -> None:
    budget = Budget(600)
    with pytest.raises(ValueError, match="broken"), budget.reserve(600, CancelToken()):
        raise ValueError("broken")
    spend(budget, most=600, cost=10)
    assert budget.spent == 10


def test_whoever_waits_ends_with_the_patience() -> None:
    told: list[str] = []
    budget, cancel = Budget(1_000, told.append), CancelToken()
    cancel.stop()
    with budget.reserve(600, CancelToken()), pytest.raises(Stopped), budget.reserve(600, cancel):
        pass
    assert told == []


def test_without_a_budget_everything_fits() -> None:
    told: list[str] = []
    budget = Budget(used_up=told.append)
    spend(budget, most=10**12, cost=10**12)
    assert (budget.spent, told) == (10**12, [])


def test_what_is_lacking_is_drawn_and_what_is_left_goes_back() -> None:
    asked: list[int] = []
    budget = Budget(0, draw=lambda lacking: asked.append(lacking) or lacking)  # type: ignore[func-returns-value]
    spend(budget, most=600, cost=100)
    with budget.reserve(600, CancelToken()):
        assert (asked, budget.give_back()) == ([600, 100], 0)
    assert budget.give_back() == 600
    spend(budget, most=600, cost=100)
    assert (asked, budget.spent) == ([600, 100, 600], 200)
