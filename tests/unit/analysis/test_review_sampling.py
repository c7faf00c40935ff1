"""The sample that a person looks at."""

import random
from collections import Counter

from pipeline.analysis.review import SampleCandidate, draw
from pipeline.core.models import PageKind


def candidate(
    number: int, kind: PageKind | None, language: str | None = "en", *, suspect: bool = False
) -> SampleCandidate:
    return SampleCandidate(f"{number // 10:064x}", number % 10 + 1, kind, language, suspect=suspect, revision=1)


def many() -> list[SampleCandidate]:
    """Mostly born-digital English, some scans, one page of each of three rare kinds."""
    kinds = [(PageKind.BORN_DIGITAL, "en")] * 300 + [(PageKind.SCANNED, "de")] * 100
    kinds += [(PageKind.MIXED, "ar"), (PageKind.BLANK, None), (None, None)]
    return [candidate(number, kind, language) for number, (kind, language) in enumerate(kinds)]


def test_every_kind_and_language_is_in_it_and_the_others_have_their_share() -> None:
    drawn = draw(many(), 43, seed=0)
    counts = Counter(one.stratum for one in drawn)
    assert len({one.page_key for one in drawn}) == 43
    assert counts[PageKind.BORN_DIGITAL, "en"] == 30
    assert counts[PageKind.SCANNED, "de"] == 10
    assert len(counts) == 5


def test_the_same_seed_draws_the_same_pages_in_whatever_order_they_come() -> None:
    pages = many()
    shuffled = random.Random(1).sample(pages, len(pages))
    assert draw(pages, 50, seed=7) == draw(shuffled, 50, seed=7)
    assert draw(pages, 50, seed=7) != draw(pages, 50, seed=8)


def test_where_there_are_fewer_pages_than_wanted_all_are_drawn() -> None:
    assert sorted(draw(many(), 1000, seed=0), key=lambda one: one.page_key) == many()
    assert draw([], 10, seed=0) == []


def test_where_fewer_are_wanted_than_there_are_kinds_the_most_frequent_ones_are_drawn() -> None:
    assert {one.stratum for one in draw(many(), 2, seed=0)} == {
        (PageKind.BORN_DIGITAL, "en"),
        (PageKind.SCANNED, "de"),
    }


def test_suspect_pages_come_before_all_others() -> None:
    doubtful = [candidate(number, PageKind.SCANNED, suspect=True) for number in range(1000, 1005)]
    drawn = draw([*many(), *doubtful], 20, seed=0, suspect_first=True)
    assert sum(one.suspect for one in drawn) == 5
    assert len(drawn) == 20
    assert all(one.suspect for one in draw([*many(), *doubtful], 3, seed=0, suspect_first=True))
