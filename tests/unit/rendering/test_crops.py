"""Crops show exactly the parts of the page that they say, sharper than its page image, whatever the file is."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageDraw
from reportlab.pdfgen import canvas

from pipeline.core.errors import CorruptFile, LimitExceeded, RenderTimeout
from pipeline.core.formats import MediaType
from pipeline.core.models import RenderedCrop, RenderedPage
from pipeline.rendering.host.pool import SandboxPool
from pipeline.rendering.protocol import BANDS
from pipeline.rendering.sandbox.page_image.build import MAX_ASPECT, MAX_PIXELS, on_canvas
from pipeline.rendering.sandbox.page_image.crops import OVERLAP, boxes_below, boxes_beside, page_size
from support.crops import assert_shows_the_page, picture_of
from support.pictures import png_16_bit
from support.rendering import (
    LIMITS,
    drawn_pdf,
    encoded,
    one_page_pdf,
    opened,
    shading_that_takes_minutes,
    stream,
)


@pytest.fixture(scope="module")
def pool() -> Iterator[SandboxPool]:
    pool = SandboxPool(1, LIMITS)
    yield pool
    pool.close()


def both(
    pool: SandboxPool, data: bytes, media_type: MediaType, bands: int
) -> tuple[RenderedPage, tuple[RenderedCrop, ...]]:
    with opened(pool, data, media_type) as document:
        return document.render(1, with_pixels=True), document.render_crops(1, bands)


def colourful(width: int, height: int) -> Image.Image:
    """A picture no part of which looks like another, nor like itself turned or mirrored."""
    picture = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(picture)
    for row, column in itertools.product(range(12), range(9)):
        x, y = column * width // 9, row * height // 12
        colour = (20 * row, 25 * column, (70 * row + 40 * column) % 256)
        draw.rectangle((x + width // 40, y + height // 60, x + width // 11, y + height // 15), fill=colour)
    draw.line((0, 0, width // 3, height), fill="black", width=max(1, width // 60))
    return picture


def drawing(paper: canvas.Canvas) -> None:
    paper.drawInlineImage(colourful(300, 400), 40, 200, 300, 400)
    paper.setFont("Helvetica", 9)
    for line in range(80):
        paper.drawString(50, 820 - 10 * line, f"line {line} of the page, and so on to its end")


def landscape(paper: canvas.Canvas) -> None:
    paper.scale(842 / 595, 595 / 842)
    drawing(paper)


def spread(paper: canvas.Canvas) -> None:
    for left in (0, 595 + 40):
        for line in range(60):
            paper.drawString(left + 60, 780 - 12 * line, f"line {line} of {left}, and so on {'a' * 40}")


def pdf(entries: bytes) -> bytes:
    """A page with a black corner, a red and a blue block, which is shown through these boxes and turned so."""
    content = b"0 0 80 90 re f 1 0 0 rg 300 500 150 100 re f 0 0 1 rg 100 300 50 250 re f"
    return one_page_pdf(stream(content), entries=entries)


def turned_jpeg(orientation: int) -> tuple[bytes, MediaType]:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return encoded(colourful(2400, 1700), "JPEG", exif=exif, quality=95), MediaType.JPEG


def one_bit_tiff(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return encoded(colourful(2480, 3508).convert("1"), "TIFF", exif=exif, compression="group4")


FILES = {
    "a drawn PDF": lambda: (drawn_pdf(drawing), MediaType.PDF),
    "a landscape PDF": lambda: (drawn_pdf(landscape, size=(842, 595)), MediaType.PDF),
    "a spread of two PDF pages": lambda: (drawn_pdf(spread, size=(1190, 842)), MediaType.PDF),
    "a turned PDF": lambda: (pdf(b"/MediaBox[0 0 600 800]/Rotate 90"), MediaType.PDF),
    "a PDF through a crop box": lambda: (
        pdf(b"/MediaBox[0 0 600 800]/CropBox[50 80 500 700]/Rotate 180"),
        MediaType.PDF,
    ),
    "a PDF of 3 m": lambda: (pdf(b"/MediaBox[0 0 600 8000]"), MediaType.PDF),
    **{f"a JPEG of orientation {n}": partial(turned_jpeg, n) for n in (1, 3, 5, 6, 8)},
    "a JPEG in CMYK": lambda: (encoded(colourful(1700, 2400).convert("CMYK"), "JPEG", quality=95), MediaType.JPEG),
    "a TIFF of one bit": lambda: (one_bit_tiff(1), MediaType.TIFF),
    "a turned TIFF of one bit": lambda: (one_bit_tiff(6), MediaType.TIFF),
    "a PNG of 16 bits": lambda: (png_16_bit(colourful(900, 1300)), MediaType.PNG),
    "a HEIF": lambda: (encoded(colourful(1200, 1600), "HEIF", quality=90), MediaType.HEIF),
    "a JPEG that is decoded at a reduced scale": lambda: (encoded(colourful(6000, 8000), "JPEG"), MediaType.JPEG),
    "a picture smaller than a page image": lambda: (encoded(colourful(300, 400), "PNG"), MediaType.PNG),
}


@pytest.mark.parametrize("bands", [2, 3])
@pytest.mark.parametrize("file", FILES)
def test_crops_laid_over_the_page_image_change_nothing(pool: SandboxPool, file: str, bands: int) -> None:
    page, crops = both(pool, *FILES[file](), bands)
    assert_shows_the_page(page, crops)
    along = (0, 2) if "spread" in file and bands == 2 else (1, 3)
    assert len(crops) == bands
    assert (crops[0].box[along[0]], crops[-1].box[along[1]]) == (0, 1)
    for first, second in itertools.pairwise(crops):
        assert first.box[along[1]] - second.box[along[0]] == pytest.approx(OVERLAP, abs=0.01)
    for crop in crops:
        assert crop.page_number == 1
        assert picture_of(crop).size == (crop.width_px, crop.height_px)
        assert crop.width_px * crop.height_px <= MAX_PIXELS


def test_a_comparison_that_shows_nothing_would_not_see_a_wrong_part(pool: SandboxPool) -> None:
    page, crops = both(pool, *FILES["a JPEG of orientation 6"](), 2)
    with pytest.raises(AssertionError):
        assert_shows_the_page(page, [replace(crop, box=crops[0].box) for crop in crops[1:]])


def test_half_a_page_of_a4_is_drawn_at_140_dpi(pool: SandboxPool) -> None:
    page, (first, second) = both(pool, *FILES["a drawn PDF"](), 2)
    assert first.width_px * first.height_px > 0.99 * MAX_PIXELS
    assert first.width_px / (595 / 72) == pytest.approx(140, abs=1)
    assert page.dpi == pytest.approx(102, abs=1)
    assert first.pixels_sha256 != second.pixels_sha256


def test_a_picture_is_never_enlarged(pool: SandboxPool) -> None:
    _, crops = both(pool, *FILES["a picture smaller than a page image"](), 2)
    assert {crop.width_px for crop in crops} == {300}
    assert page_size(300, 400, 2, enlarge=False) == (300, 400)


def test_the_same_crop_has_the_same_pixels_each_time(pool: SandboxPool) -> None:
    for file in ("a drawn PDF", "a turned TIFF of one bit", "a JPEG of orientation 6"):
        with opened(pool, *FILES[file]()) as document:
            crops, page = document.render_crops(1, 3), document.render(1)
            assert document.render_crops(1, 3) == crops
            assert document.render(1) == page


def test_the_noisiest_page_fits_into_a_reply(pool: SandboxPool) -> None:
    noise = Image.frombytes("RGB", (2100, 2700), os.urandom(3 * 2100 * 2700))
    with opened(pool, encoded(noise, "BMP"), MediaType.BMP) as document:
        assert len(document.render_crops(1, BANDS[-1])) == BANDS[-1]


def test_frames_of_a_tiff_are_cut_each(pool: SandboxPool) -> None:
    frames = [Image.new("L", (1000, 1400), level) for level in (40, 200)]
    data = encoded(frames[0], "TIFF", save_all=True, append_images=frames[1:])
    with opened(pool, data, MediaType.TIFF) as document:
        shades = [picture_of(document.render_crops(number, 2)[1]).getpixel((9, 9)) for number in (2, 1)]
    assert shades == [(200, 200, 200), (40, 40, 40)]


def test_what_a_page_must_not_cost_its_crops_must_not(pool: SandboxPool) -> None:
    impatient = SandboxPool(1, replace(LIMITS, page_seconds=2, wall_seconds=2))
    try:
        with opened(impatient, shading_that_takes_minutes(), MediaType.PDF) as document, pytest.raises(RenderTimeout):
            document.render_crops(1, 2)
    finally:
        impatient.close()
    too_large = encoded(Image.new("1", (8000, 8000)), "PNG")
    with opened(pool, too_large, MediaType.PNG) as document, pytest.raises(LimitExceeded):
        document.render_crops(1, 2)
    broken = encoded(colourful(900, 1200), "PNG")
    with opened(pool, broken[: len(broken) // 2], MediaType.PNG) as document, pytest.raises(CorruptFile):
        document.render_crops(1, 2)


def test_strips_are_cut_across(pool: SandboxPool) -> None:
    with opened(pool, encoded(colourful(3000, 400), "PNG"), MediaType.PNG) as document:
        assert [crop.box[1::2] for crop in document.render_crops(1, 2)] == [(0, 1), (0, 1)]


@pytest.mark.parametrize(("page_number", "bands"), [(0, 2), (2, 2), (1, 1), (1, 7)])
def test_pages_and_numbers_of_bands_that_there_are_not_are_refused(
    pool: SandboxPool, page_number: int, bands: int
) -> None:
    with opened(pool, *FILES["a drawn PDF"]()) as document, pytest.raises(ValueError, match=r"of 1|2 to 6"):
        document.render_crops(page_number, bands)


SIDES = st.floats(1e-3, 1e7)


@given(width=SIDES, height=SIDES, bands=st.sampled_from(BANDS), enlarge=st.booleans())
def test_any_page_is_cut_into_bands_that_cover_it_and_fit_the_model(
    width: float, height: float, bands: int, enlarge: bool
) -> None:
    size = page_size(width, height, bands, enlarge=enlarge)
    for along, boxes in ((0, boxes_beside(size, bands)), (1, boxes_below(size, bands))):
        starts, ends = [box[along] for box in boxes], [box[along + 2] for box in boxes]
        assert len(boxes) == bands
        assert (starts[0], ends[-1]) == (0, size[along])
        assert all(start <= end for end, start in zip(ends, starts[1:], strict=False))
        for left, top, right, bottom in boxes:
            assert left < right
            assert top < bottom
            across, down = on_canvas((right - left, bottom - top)).size
            assert across * down <= MAX_PIXELS
            assert max(across, down) <= MAX_ASPECT * min(across, down)
