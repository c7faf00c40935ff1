"""Which entry of a PDF's outline a page belongs to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from reportlab.pdfgen import canvas

from pipeline.core.formats import MediaType
from pipeline.rendering.host.pool import SandboxPool
from support.rendering import LIMITS, drawn_pdf, opened, raw_pdf


@pytest.fixture(scope="module")
def pool() -> Iterator[SandboxPool]:
    pool = SandboxPool(1, LIMITS)
    yield pool
    pool.close()


def sections(pool: SandboxPool, data: bytes) -> list[str | None]:
    with opened(pool, data, MediaType.PDF) as document:
        return [document.render(number).section for number in range(1, document.pages + 1)]


def with_outline(entries: list[bytes], first: int, pages: int = 2) -> bytes:
    """A PDF whose outline is these entries; the first of them is object 4 + `pages`."""
    kids = b" ".join(b"%d 0 R" % (4 + page) for page in range(pages))
    return raw_pdf(
        b"<</Type/Catalog/Pages 2 0 R/Outlines 3 0 R>>",
        b"<</Type/Pages/Kids[%s]/Count %d/MediaBox[0 0 200 200]>>" % (kids, pages),
        b"<</Type/Outlines/First %d 0 R/Last %d 0 R>>" % (first, first),
        *[b"<</Type/Page/Parent 2 0 R>>"] * pages,
        *entries,
    )


def test_a_page_belongs_to_the_last_entry_at_or_before_it(pool: SandboxPool) -> None:
    def page(*entries: tuple[str, int]) -> object:
        def draw(paper: canvas.Canvas) -> None:
            for title, level in entries:
                paper.bookmarkPage(title)
                paper.addOutlineEntry(title, title, level)

        return draw

    data = drawn_pdf(
        page(),
        page(("Part\x07 one", 0), ("Harbour \n dues", 1)),
        page(),
        page(("Pilots", 1)),
        page(("Teil zwei – Übersicht", 0)),
    )
    assert sections(pool, data) == [
        None,
        "Part one › Harbour dues",
        "Part one › Harbour dues",
        "Part one › Pilots",
        "Teil zwei – Übersicht",
    ]


def test_entries_by_action_count_and_those_that_lead_nowhere_only_name(pool: SandboxPool) -> None:
    entries = [
        b"<</Title(Appendix)/First 7 0 R/Last 7 0 R/Next 8 0 R>>",
        b"<</Title(Tables)/A<</S/GoTo/D[5 0 R/Fit]>>>>",
        b"<</Title(Elsewhere)/A<</S/URI/URI(http://example.org)>>/Next 9 0 R>>",
        b"<</Title( )/Dest[5 0 R/Fit]>>",
    ]
    assert sections(pool, with_outline(entries, 6)) == [None, "Appendix › Tables"]


def test_outlines_that_lead_back_into_themselves_or_never_end_are_bounded(pool: SandboxPool) -> None:
    loop = [
        b"<</Title(One)/Dest[4 0 R/Fit]/First 7 0 R/Next 7 0 R>>",
        b"<</Title(Two)/Dest[5 0 R/Fit]/First 6 0 R/Next 6 0 R>>",
    ]
    assert sections(pool, with_outline(loop, 6)) == ["One", "One › Two"]

    many = [b"<</Title(%d)/Dest[4 0 R/Fit]/Next %d 0 R>>" % (number, 7 + number) for number in range(20_000)]
    assert sections(pool, with_outline(many, 6)) == ["9999", "9999"]

    deep = [b"<</Title(%s)/Dest[4 0 R/Fit]/First %d 0 R>>" % (b"x" * 400, 7 + number) for number in range(100)]
    (section, _) = sections(pool, with_outline(deep, 6))
    assert section is not None
    assert len(section) <= 500
