"""Chains of numbered revisions, and records that are written once."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.archive import Chain, Records, Store
from pipeline.core.errors import RevisionTaken
from pipeline.core.models import BudgetReservation, Outcome

Reservations = Chain[BudgetReservation]


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store(str(tmp_path / "archive") if request.param == "local" else f"memory://{tmp_path.name}")


def chain(store: Store, prefix: str = "") -> Reservations:
    return Chain(store, "drawn/a", BudgetReservation.model_validate_json, prefix)


def reserved(revision: int, tokens: int = 0) -> BudgetReservation:
    return BudgetReservation(revision=revision, tokens=tokens)


def add_one(newest: BudgetReservation | None) -> BudgetReservation:
    return reserved(newest.revision + 1 if newest else 1)


def test_an_empty_chain_has_no_newest_revision(store: Store) -> None:
    empty = chain(store)
    assert (empty.newest(), empty.newest_revision(), empty.revisions(), list(empty.newest_first())) == (None, 0, [], [])
    with pytest.raises(KeyError):
        empty.revision(1)


def test_revisions_are_ordered_by_number_not_by_name(store: Store) -> None:
    numbers = chain(store)
    for _ in range(11):
        numbers.append(add_one)

    assert numbers.newest() == reserved(11)
    assert numbers.revisions() == list(range(1, 12))
    assert [value.revision for value in numbers.after(8)] == [9, 10, 11]
    assert [value.revision for value in numbers.newest_first()] == list(range(11, 0, -1))
    assert store.names("drawn/a") == sorted(f"{number}.json" for number in range(1, 12))


def test_a_revision_is_created_once(store: Store) -> None:
    chain(store).create(reserved(1, tokens=5))
    with pytest.raises(RevisionTaken):
        chain(store).create(reserved(1, tokens=7))
    assert chain(store).newest() == reserved(1, tokens=5)


def test_a_purged_revision_is_read_as_its_newest_successor(store: Store) -> None:
    numbers = chain(store)
    for _ in range(3):
        numbers.append(add_one)
    store.delete("drawn/a/1.json")
    store.delete("drawn/a/2.json")

    assert numbers.revision(1) == reserved(3)
    store.delete("drawn/a/3.json")
    with pytest.raises(KeyError):
        numbers.revision(3)


def test_a_writer_whose_view_is_old_is_called_again_with_the_newest(store: Store) -> None:
    numbers, seen = chain(store), []
    first = numbers.append(add_one)
    numbers.append(add_one)

    def build(newest: BudgetReservation | None) -> BudgetReservation:
        seen.append(newest)
        return add_one(newest)

    assert numbers.advance(first, build) == reserved(3)
    assert seen == [reserved(1), reserved(2)]


def test_nothing_is_added_where_build_returns_none(store: Store) -> None:
    numbers = chain(store)
    assert numbers.advance(None, lambda _: None) is None
    numbers.append(add_one)
    assert numbers.append(lambda _: None) == reserved(1)
    assert numbers.revisions() == [1]


def test_chains_in_one_folder_are_told_apart_by_their_prefix(store: Store) -> None:
    first, eleventh = chain(store, "1."), chain(store, "11.")
    first.append(add_one)
    first.append(add_one)
    eleventh.append(add_one)

    assert (first.revisions(), eleventh.revisions()) == ([1, 2], [1])
    assert store.names("drawn/a") == ["1.1.json", "1.2.json", "11.1.json"]


def test_the_first_writer_of_a_record_wins(store: Store) -> None:
    records = Records(store, "walks/b/closed", Outcome.model_validate_json)
    first, second = Outcome(documents={"failed": 1}, pages={}), Outcome(documents={"failed": 2}, pages={})

    assert records.get("c.0") is None
    assert records.add("c.0", first) == first
    assert records.add("c.0", second) == first
    assert (records.get("c.0"), records.names()) == (first, ["c.0"])
    records.delete("c.0")
    assert records.get("c.0") is None
