"""What a collection keeps from one batch to the next."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.archive import Archive, Store
from pipeline.batches.lifecycle import begin_batch
from pipeline.core.models import Batch, Collection
from pipeline.vision.profile import Profile, kept_profile, load_profile, parse_profile

OWN = parse_profile(
    'name = "mine"\n[[questions]]\nname = "mood"\nkind = "yes_no"\nmax_tokens = 9\nprompt = "Calm? Say yes or no."'
)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(Store(str(tmp_path)))


def begin(archive: Archive, profile: Profile | None = None, language: str | None = None) -> Batch:
    return begin_batch(archive, "works", language, "en", [], profile=profile)


def kept(archive: Archive) -> Collection:
    collection = archive.collections["works"].newest()
    assert collection is not None
    return collection


def test_a_collection_begins_with_the_standard_profile(archive: Archive) -> None:
    batch = begin(archive)

    assert kept_profile(batch.profile, batch.own_profile) == load_profile()
    assert kept(archive).revision == 1


def test_a_profile_that_was_named_is_that_of_later_batches(archive: Archive) -> None:
    begin(archive, OWN)
    later = begin(archive, language="de")

    assert kept_profile(later.profile, later.own_profile) == OWN
    assert (later.language, kept(archive).revision) == ("de", 2)


def test_what_is_named_again_makes_no_revision(archive: Archive) -> None:
    begin(archive, OWN, "de")
    begin(archive, OWN, "de")

    assert kept(archive).revision == 1


def test_a_profile_that_changed_is_kept_once_it_is_named_again(archive: Archive) -> None:
    begin(archive, OWN)
    changed = OWN.model_copy(update={"questions": (OWN.questions[0].model_copy(update={"max_tokens": 3}),)})
    later = begin(archive, changed)

    assert kept_profile(later.profile, later.own_profile) == changed
    assert kept(archive).revision == 2


def test_a_built_in_profile_takes_the_place_of_ones_own(archive: Archive) -> None:
    begin(archive, OWN)
    later = begin(archive, load_profile("visual"))

    assert (later.profile, later.own_profile) == ("visual", None)


def test_batches_and_collections_of_before_had_the_standard_profile(archive: Archive) -> None:
    before = begin(archive).model_dump(mode="json", exclude={"profile", "own_profile"})

    assert Batch.model_validate(before).profile == "standard"
    assert Collection.model_validate({"name": "a", "language": "en", "profile": "standard", "revision": 1})


def test_ids_of_batches_sort_by_time_also_within_a_second(archive: Archive) -> None:
    begun = [begin(archive) for _ in range(20)]

    assert sorted(batch.id for batch in begun) == [batch.id for batch in begun]
