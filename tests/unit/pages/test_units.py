"""How due pages are cut into work units."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.models import Document, MediaType, PageSlice, Source
from pipeline.pages.units import UNIT_PAGES, divide, pack, pages_in, slices_of

DOCUMENT = Document(id="d" * 64, bytes=1, media_type=MediaType.PDF, pages=60)
SOURCE = Source(
    collection="works",
    url="file:///in/a.pdf",
    path="/in/a.pdf",
    state=None,
    document=DOCUMENT,
    batch="1",
    revision=1,
    observed_at=datetime.now(UTC),
)


def slices(counts: list[int]) -> list[PageSlice]:
    return [piece for count in counts for piece in slices_of(SOURCE, DOCUMENT, range(1, count + 1))]


@given(st.lists(st.integers(1, 60), max_size=12))
def test_no_slice_is_lost_or_divided_and_no_unit_is_too_large_or_needlessly_small(counts: list[int]) -> None:
    pieces = slices(counts)
    units = list(pack(pieces))
    assert [piece for unit in units for piece in unit] == pieces
    assert all(0 < pages_in(unit) <= UNIT_PAGES for unit in units)
    assert all(pages_in(unit) + pages_in(later[:1]) > UNIT_PAGES for unit, later in pairwise(units))


@given(st.lists(st.integers(1, 40), max_size=5), st.integers(0, 100))
def test_the_first_pages_and_the_rest_are_all_of_them(counts: list[int], pages: int) -> None:
    pieces = slices(counts)
    first, others = divide(pieces, pages)
    assert pages_in(first) == min(pages, pages_in(pieces))
    numbers = [number for piece in (*first, *others) for number in piece.page_numbers]
    assert numbers == [number for piece in pieces for number in piece.page_numbers]
