"""Transparent pictures: whatever is drawn can be seen."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from PIL import Image, ImageDraw, ImageFont

from pipeline.core.formats import MediaType
from pipeline.core.models import RenderedPage
from pipeline.rendering.host.pool import SandboxPool
from support.rendering import LIMITS, encoded, pixels, render

PNG, WEBP, TIFF, GIF = MediaType.PNG, MediaType.WEBP, MediaType.TIFF, MediaType.GIF
SIZE = (600, 200)
WHITE, BLACK = (255, 255, 255), (0, 0, 0)


@pytest.fixture(scope="module")
def pool() -> Iterator[SandboxPool]:
    pool = SandboxPool(1, LIMITS)
    yield pool
    pool.close()


def letters(at: tuple[int, int] = (20, 60)) -> Image.Image:
    """A mask of words."""
    mask = Image.new("L", SIZE)
    ImageDraw.Draw(mask).text(at, "Herring landed at the quay", 255, ImageFont.load_default(40))
    return mask


def drawn(colour: tuple[int, int, int], mask: Image.Image, hidden: tuple[int, int, int] | None = None) -> Image.Image:
    """Words in one colour; transparent pixels have another one, which must not count."""
    picture = Image.new("RGB", SIZE, hidden or colour)
    picture.paste(colour, (0, 0), mask)
    picture.putalpha(mask)
    return picture


def palette(colour: int) -> bytes:
    """A palette of two equal colours, one of them transparent."""
    picture = letters().point(lambda level: level > 127, "1").convert("P")
    picture.putpalette([colour] * 6)
    return encoded(picture.point(lambda level: level > 0), "PNG", transparency=bytes([0, 255]))


def gif() -> bytes:
    picture = letters().point(lambda level: level > 127).convert("P")
    picture.putpalette([255] * 6)
    return encoded(picture, "GIF", transparency=0, optimize=False)


def range_of(page: RenderedPage) -> int:
    darkest, brightest = pixels(page).convert("L").getextrema()
    return int(brightest - darkest)


CASES = [
    pytest.param(encoded(drawn(WHITE, letters()), "PNG"), PNG, id="white"),
    pytest.param(encoded(drawn(WHITE, letters(), BLACK), "PNG"), PNG, id="white, transparent black"),
    pytest.param(encoded(drawn((240, 240, 200), letters()), "WEBP", lossless=True, exact=True), WEBP, id="webp"),
    pytest.param(encoded(drawn(WHITE, letters()), "TIFF"), TIFF, id="tiff"),
    pytest.param(encoded(drawn(WHITE, letters()).convert("LA"), "TIFF"), TIFF, id="grey tiff"),
    pytest.param(encoded(drawn(WHITE, letters()).convert("LA"), "PNG"), PNG, id="grey"),
    pytest.param(palette(255), PNG, id="palette"),
    pytest.param(gif(), GIF, id="gif"),
    pytest.param(encoded(letters().point(lambda level: 255 - (level < 128)), "PNG", transparency=254), PNG, id="tRNS"),
    pytest.param(encoded(drawn(WHITE, letters()), "JPEG2000"), MediaType.JP2, id="jpeg 2000"),
    pytest.param(encoded(drawn(WHITE, letters()), "AVIF", quality=90), MediaType.AVIF, id="avif"),
    pytest.param(encoded(drawn(BLACK, letters()), "PNG"), PNG, id="black"),
    pytest.param(encoded(drawn((128, 128, 128), letters()), "PNG"), PNG, id="grey letters"),
    pytest.param(encoded(drawn(BLACK, letters().point(lambda level: level // 2)), "PNG"), PNG, id="half transparent"),
    pytest.param(encoded(drawn(WHITE, letters().point(lambda level: level // 2)), "PNG"), PNG, id="white, half"),
]


@pytest.mark.parametrize(("data", "media_type"), CASES)
def test_a_drawing_on_nothing_is_seen(pool: SandboxPool, data: bytes, media_type: MediaType) -> None:
    page = render(pool, data, media_type)
    assert not page.blank
    assert range_of(page) > 100


def test_black_and_white_letters_are_both_seen(pool: SandboxPool) -> None:
    picture = drawn(WHITE, letters((20, 20)))
    picture.alpha_composite(drawn(BLACK, letters((20, 130))))
    page = pixels(render(pool, encoded(picture, "PNG"), PNG)).convert("L")
    for box in ((0, 0, 600, 100), (0, 100, 600, 200)):
        darkest, brightest = page.crop(box).getextrema()
        assert brightest - darkest > 100


def test_white_paper_with_transparent_corners_stays_on_white(pool: SandboxPool) -> None:
    mask = Image.new("L", SIZE)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, 599, 199), 20, 255)
    picture = Image.new("RGB", SIZE, WHITE)
    for line in range(4):
        picture.paste(BLACK, (0, 0), letters((20, 45 * line)))
    picture.putalpha(mask)
    assert pixels(render(pool, encoded(picture, "PNG"), PNG)).getpixel((0, 0)) == WHITE


def test_a_picture_whose_alpha_channel_is_empty_shows_its_colours(pool: SandboxPool) -> None:
    picture = Image.new("RGB", SIZE, WHITE)
    picture.paste(BLACK, (0, 0), letters())
    picture.putalpha(0)
    assert not render(pool, encoded(picture, "PNG"), PNG).blank


@pytest.mark.parametrize("colour", [WHITE, BLACK, (200, 0, 0)])
def test_a_picture_of_nothing_is_a_blank_white_page(pool: SandboxPool, colour: tuple[int, int, int]) -> None:
    page = render(pool, encoded(drawn(colour, Image.new("L", SIZE)), "PNG"), PNG)
    assert page.blank
    assert pixels(page).getpixel((9, 9)) == WHITE


def test_large_pictures_are_drawn_on_one_ground(pool: SandboxPool) -> None:
    picture = drawn(WHITE, letters()).resize((4200, 1400))
    page = render(pool, encoded(picture, "PNG"), PNG)
    corners = {pixels(page).getpixel((x, y)) for x in (0, page.width_px - 1) for y in (0, page.height_px - 1)}
    assert corners == {BLACK}
    assert range_of(page) > 200
