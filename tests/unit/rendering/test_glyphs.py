"""How high letters are: pages of known type sizes, drawn and scanned."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pypdfium2
import pytest
from PIL import Image, ImageFilter, ImageOps
from reportlab.pdfgen.canvas import Canvas

from pipeline.core.formats import MediaType
from pipeline.core.models import RenderedPage
from pipeline.rendering.host.pool import SandboxPool
from support.rendering import LIMITS, drawn_pdf, encoded, render

#: Height of an x as a share of the type size (the fonts' own metrics).
X_HEIGHTS = {"Helvetica": 0.523, "Times-Roman": 0.450}
WORDS = "harbours are where seven pilots watch over grey water and count the barges that come home".split()


@pytest.fixture(scope="module")
def pool() -> Iterator[SandboxPool]:
    pool = SandboxPool(1, LIMITS)
    yield pool
    pool.close()


def text(font: str, points: float) -> Callable[[Canvas], None]:
    def draw(paper: Canvas) -> None:
        chance = random.Random(1)
        paper.setFont(font, points)
        for line in range(round(740 / 1.2 / points)):
            words = " ".join(chance.choice(WORDS) for _ in range(round(170 / points)))
            paper.drawString(50, 790 - 1.2 * points * line, words[: round(900 / points)])

    return draw


def scan(pdf: bytes, *, turned: float = 0) -> Image.Image:
    """A page scanned at 200 dpi: grey, blurred, on paper that is not quite white, and askew by so many degrees."""
    with pypdfium2.PdfDocument(pdf) as document:
        page = document[0].render(scale=200 / 72).to_pil().convert("L")
    grain = Image.effect_noise(page.size, 12)
    page = Image.blend(page.filter(ImageFilter.GaussianBlur(0.8)), grain, 0.1)
    return page.rotate(turned, Image.Resampling.BICUBIC, fillcolor=240)


def expected(font: str, points: float, page: RenderedPage) -> float:
    return X_HEIGHTS[font] * points * page.height_px / 842


@pytest.mark.parametrize("font", sorted(X_HEIGHTS))
@pytest.mark.parametrize("points", [6, 8, 10, 12])
def test_a_sound_text_layer_tells_the_height_of_its_letters(pool: SandboxPool, font: str, points: int) -> None:
    page = render(pool, drawn_pdf(text(font, points)), MediaType.PDF)
    assert page.facts.glyph_px == pytest.approx(expected(font, points, page), rel=0.1)


@pytest.mark.parametrize("font", sorted(X_HEIGHTS))
@pytest.mark.parametrize("points", [6, 8, 10, 12])
@pytest.mark.parametrize("turned", [0, 1])
def test_a_scan_shows_it_by_its_ink(pool: SandboxPool, font: str, points: int, turned: float) -> None:
    picture = scan(drawn_pdf(text(font, points)), turned=turned)
    page = render(pool, encoded(picture, "JPEG"), MediaType.JPEG)
    assert page.facts.glyph_px == pytest.approx(expected(font, points, page), abs=1.2)


def test_small_letters_are_told_from_large_ones(pool: SandboxPool) -> None:
    found = [
        render(pool, encoded(scan(drawn_pdf(text("Helvetica", points))), "JPEG"), MediaType.JPEG).facts.glyph_px
        for points in (5, 7, 9, 12)
    ]
    assert None not in found
    assert found == sorted(found)
    assert found[-1] > 1.8 * found[0]


def test_light_letters_on_a_dark_page_are_as_high(pool: SandboxPool) -> None:
    picture = scan(drawn_pdf(text("Helvetica", 9)))
    usual, inverted = (
        render(pool, encoded(shown, "JPEG"), MediaType.JPEG).facts.glyph_px
        for shown in (picture, ImageOps.invert(picture))
    )
    assert usual == pytest.approx(inverted, abs=1)


def test_turned_pages_have_letters_as_high(pool: SandboxPool) -> None:
    def draw(paper: Canvas) -> None:
        paper.rotate(90)
        paper.translate(0, -595)
        paper.setFont("Helvetica", 9)
        for line in range(40):
            paper.drawString(60, 560 - 12 * line, " ".join(WORDS))

    page = render(pool, drawn_pdf(draw), MediaType.PDF)
    assert page.facts.glyph_px == pytest.approx(expected("Helvetica", 9, page), rel=0.1)


@pytest.mark.parametrize(
    "picture",
    [
        pytest.param(Image.new("L", (900, 1100), "white"), id="white"),
        pytest.param(Image.effect_noise((900, 1100), 40), id="grain"),
        pytest.param(Image.radial_gradient("L").resize((900, 1100)), id="a shade"),
    ],
)
def test_what_bears_no_text_has_no_letters(pool: SandboxPool, picture: Image.Image) -> None:
    assert render(pool, encoded(picture, "PNG"), MediaType.PNG).facts.glyph_px is None
