"""The words of turned pages, and of text that is turned on its page: in order, and apart from each other."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import pytest

from pipeline.core.formats import MediaType
from pipeline.core.models import RenderedPage
from pipeline.rendering.host.pool import SandboxPool
from support.rendering import LIMITS, one_page_pdf, render, stream

LINES = (
    "The pilots of the outer harbour were paid",
    "by the tide and kept their own",
    "lists of every ship that came in",
    "Berth Depth Tide",
    "Eleven 4.20 noon",
)
FONT = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"
#: Words with their distance from the start of the line and from the top, in points.
Placed = Iterator[tuple[str, int, int]]


@pytest.fixture(scope="module")
def pool() -> Iterator[SandboxPool]:
    pool = SandboxPool(1, LIMITS)
    yield pool
    pool.close()


def lines() -> Placed:
    for number, line in enumerate(LINES):
        yield line, 0, 20 * number


def words() -> Placed:
    for line, _, down in lines():
        start = 0
        for word in line.split():
            yield word, start, down
            start += 7 * len(word) + 8


def columns() -> Placed:
    """Two columns whose lines are side by side; the right one is drawn after the left one."""
    for start in (0, 250):
        for line, _, down in lines():
            yield line, start, down


def page(pool: SandboxPool, placed: Placed, rotation: int, angle: int) -> RenderedPage:
    """A page of 600 x 600 points with /Rotate, whose text is turned counterclockwise about its middle."""
    cosine, sine = (round(function(math.radians(angle)), 6) for function in (math.cos, math.sin))
    content = ""
    for text, along, down in placed:
        x, y = along - 240, 100 - down
        place = f"{300 + x * cosine - y * sine:g} {300 + x * sine + y * cosine:g}"
        content += f"BT /F 10 Tf {cosine:g} {sine:g} {-sine:g} {cosine:g} {place} Tm ({text}) Tj ET "
    entries = b"/MediaBox[0 0 600 600]/Rotate %d/Resources<</Font<</F 5 0 R>>>>" % rotation
    return render(pool, one_page_pdf(stream(content.encode()), FONT, entries=entries), MediaType.PDF)


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("angle", [0, 90, 180, 270, 5, 275])
@pytest.mark.parametrize("placed", [lines, words])
def test_lines_are_read_as_on_an_upright_page(
    pool: SandboxPool, placed: Callable[[], Placed], angle: int, rotation: int
) -> None:
    found = page(pool, placed(), rotation, angle)
    assert (found.layer_text or "").split() == " ".join(LINES).split()
    assert (found.facts.layer, found.original.rotation) == ("sound", rotation)


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_columns_are_not_glued_together(pool: SandboxPool, rotation: int) -> None:
    text = page(pool, columns(), rotation, rotation).layer_text or ""
    assert sorted(text.split()) == sorted(" ".join(LINES * 2).split())


@pytest.mark.parametrize("rotation", [0, 90])
def test_words_beyond_the_page_are_left_out_of_turned_text(pool: SandboxPool, rotation: int) -> None:
    outside = [("Unseen words", 0, -700), *lines()]
    text = page(pool, iter(outside), rotation, 90).layer_text or ""
    assert text.split() == " ".join(LINES).split()


def test_turning_the_text_leaves_the_picture_as_it_is(pool: SandboxPool) -> None:
    turned, upright = page(pool, lines(), 90, 90), page(pool, lines(), 0, 0)
    assert turned.pixels_sha256 == upright.pixels_sha256
