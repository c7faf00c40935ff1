"""Pictures whose pixels are not square: the page image has the proportions of the sheet."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator

import pytest
from PIL import ExifTags, Image, ImageDraw, TiffImagePlugin

from pipeline.core.formats import MediaType
from pipeline.core.models import RenderedPage
from pipeline.rendering.host.pool import SandboxPool
from support.rendering import LIMITS, encoded, opened, pixels, render

TIFF, PNG, JPEG, WEBP = MediaType.TIFF, MediaType.PNG, MediaType.JPEG, MediaType.WEBP


@pytest.fixture(scope="module")
def pool() -> Iterator[SandboxPool]:
    pool = SandboxPool(1, LIMITS)
    yield pool
    pool.close()


def sheet(across: float, down: float, mode: str = "L") -> Image.Image:
    """A sheet of 4 x 6 inches with a disc of 2 inches in its upper half, at these dots per inch."""
    picture = Image.new("L", (round(4 * across), round(6 * down)), 255)
    ImageDraw.Draw(picture).ellipse((across, down / 2, 3 * across, 2.5 * down), fill=0)
    return picture.convert(mode)


def exif(across: float, down: float, unit: int | None = 2, orientation: int = 1) -> Image.Exif:
    tags = Image.Exif()
    tags[ExifTags.Base.Orientation] = orientation
    tags[ExifTags.Base.XResolution], tags[ExifTags.Base.YResolution] = across, down
    if unit is not None:
        tags[ExifTags.Base.ResolutionUnit] = unit
    return tags


def png_with(picture: Image.Image, across: int, down: int, unit: int) -> bytes:
    """A PNG whose chunk pHYs has these pixels for each metre (unit 1), or this ratio (unit 0)."""
    data = encoded(picture, "PNG")
    chunk = b"pHYs" + struct.pack(">IIB", across, down, unit)
    return data[:33] + struct.pack(">I", 9) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[33:]


def jpeg_with(picture: Image.Image, across: int, down: int, unit: int, **options: object) -> bytes:
    """A JPEG whose JFIF header has these densities."""
    data = bytearray(encoded(picture, "JPEG", quality=95, **options))
    struct.pack_into(">BHH", data, data.index(b"JFIF\0") + 7, unit, across, down)
    return bytes(data)


def tiff_with(picture: Image.Image, across: float, down: float, unit: int) -> bytes:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[TiffImagePlugin.RESOLUTION_UNIT] = unit
    tags[TiffImagePlugin.X_RESOLUTION], tags[TiffImagePlugin.Y_RESOLUTION] = across, down
    return encoded(picture, "TIFF", tiffinfo=tags)


def disc(page: RenderedPage) -> tuple[int, int]:
    """Width and height of the ink on a page."""
    box = pixels(page).convert("L").point(lambda level: 255 * (level < 128)).getbbox()
    assert box is not None
    return box[2] - box[0], box[3] - box[1]


def is_the_sheet(page: RenderedPage) -> bool:
    width, height = disc(page)
    return page.width_px / page.height_px == pytest.approx(2 / 3, abs=0.01) and abs(width - height) <= 3


@pytest.mark.parametrize(("across", "down"), [(204, 98), (204, 391), (204, 196), (100, 300), (300, 100)])
@pytest.mark.parametrize(("name", "media_type"), [("TIFF", TIFF), ("PNG", PNG), ("JPEG", JPEG), ("BMP", MediaType.BMP)])
def test_a_disc_is_round_whatever_the_resolutions(
    pool: SandboxPool, name: str, media_type: MediaType, across: int, down: int
) -> None:
    page = render(pool, encoded(sheet(across, down), name, dpi=(across, down)), media_type)
    assert is_the_sheet(page)
    assert (page.original.dpi, page.original.dpi_y) == pytest.approx((across, down), abs=0.1)
    assert page.dpi == pytest.approx(page.width_px / 4, abs=0.5)
    assert page.dpi == pytest.approx(page.height_px / 6, abs=0.5)


def test_a_fax_is_as_high_as_its_sheet(pool: SandboxPool) -> None:
    for compression in ("group3", "group4"):
        picture = Image.new("1", (1728, 1078), 1)
        picture.paste(0, (200, 200, 300, 260))
        data = encoded(picture, "TIFF", compression=compression, dpi=(204, 98))
        with opened(pool, data, TIFF) as document:
            page, crops = document.render(1), document.render_crops(1, 2)
        assert page.width_px / page.height_px == pytest.approx(8.47 / 11, abs=0.002)
        assert crops[0].width_px / page.width_px > 1.2


@pytest.mark.parametrize(
    ("data", "media_type", "dpi"),
    [
        pytest.param(png_with(sheet(200, 100), 2, 1, unit=0), PNG, None, id="png ratio"),
        pytest.param(jpeg_with(sheet(200, 100), 2, 1, unit=0), JPEG, None, id="jfif ratio"),
        pytest.param(jpeg_with(sheet(200, 100), 80, 40, unit=2), JPEG, 80 * 2.54, id="jfif centimetres"),
        pytest.param(tiff_with(sheet(200, 100), 80, 40, unit=3), TIFF, 80 * 2.54, id="tiff centimetres"),
        pytest.param(tiff_with(sheet(200, 100), 2, 1, unit=1), TIFF, None, id="tiff ratio"),
        pytest.param(jpeg_with(sheet(200, 100), 1, 1, 0, exif=exif(200, 100)), JPEG, 200, id="exif"),
        pytest.param(jpeg_with(sheet(200, 100), 1, 1, 0, exif=exif(80, 40, 3)), JPEG, 80 * 2.54, id="exif centimetres"),
        pytest.param(jpeg_with(sheet(200, 100), 1, 1, 0, exif=exif(2, 1, 1)), JPEG, None, id="exif ratio"),
        pytest.param(jpeg_with(sheet(200, 100), 1, 1, 0, exif=exif(200, 100, None)), JPEG, 200, id="exif, no unit"),
        pytest.param(encoded(sheet(200, 100), "PNG", exif=exif(200, 100)), PNG, 200, id="exif in png"),
        pytest.param(
            encoded(sheet(200, 100, "RGB"), "WEBP", lossless=True, exif=exif(200, 100)), WEBP, 200, id="exif in webp"
        ),
    ],
)
def test_each_way_of_saying_it_counts(pool: SandboxPool, data: bytes, media_type: MediaType, dpi: float | None) -> None:
    page = render(pool, data, media_type)
    assert is_the_sheet(page)
    assert page.original.dpi == (dpi and pytest.approx(dpi, abs=0.1))
    assert (page.dpi is None) == (dpi is None)


@pytest.mark.parametrize("orientation", [3, 6, 8])
@pytest.mark.parametrize(("name", "media_type"), [("TIFF", TIFF), ("JPEG", JPEG), ("PNG", PNG)])
def test_resolutions_are_those_of_the_stored_picture(
    pool: SandboxPool, name: str, media_type: MediaType, orientation: int
) -> None:
    turned = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    upright = sheet(200, 100) if orientation == 3 else sheet(100, 200)
    data = encoded(
        upright.transpose(turned[orientation]), name, dpi=(200, 100), exif=exif(200, 100, orientation=orientation)
    )
    page = render(pool, data, media_type)
    assert is_the_sheet(page)
    assert (page.original.dpi, page.original.dpi_y) == pytest.approx((200, 100), abs=0.1)


def test_a_picture_that_is_decoded_at_a_reduced_scale_keeps_its_sheet(pool: SandboxPool) -> None:
    page = render(pool, encoded(sheet(1200, 600), "JPEG", dpi=(1200, 600)), JPEG)
    assert is_the_sheet(page)
    assert (page.original.width, page.original.height) == (4800, 3600)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(jpeg_with(sheet(100, 100), 300, 1, unit=1), id="no vertical one"),
        pytest.param(jpeg_with(sheet(100, 100), 0, 100, unit=0), id="zero"),
        pytest.param(jpeg_with(sheet(100, 100), 65_000, 72, unit=1), id="beyond all scanners"),
        pytest.param(jpeg_with(sheet(100, 100), 300, 299, unit=1), id="rounded"),
        pytest.param(jpeg_with(sheet(100, 100), 1, 1, 0, exif=exif(0, 100)), id="exif of zero"),
    ],
)
def test_implausible_resolutions_leave_the_picture_as_it_is(pool: SandboxPool, data: bytes) -> None:
    page = render(pool, data, JPEG)
    assert (page.width_px, page.height_px, page.original.dpi_y) == (400, 600, None)


def test_each_frame_of_a_tiff_has_its_own(pool: SandboxPool) -> None:
    buffer = io.BytesIO()
    with TiffImagePlugin.AppendingTiffWriter(buffer, new=True) as writer:
        for dpi in ((200, 100), (100, 100)):
            sheet(*dpi).save(writer, "TIFF", dpi=dpi)
            writer.newFrame()
    with opened(pool, buffer.getvalue(), TIFF) as document:
        assert is_the_sheet(document.render(1, with_pixels=True))
        assert is_the_sheet(document.render(2, with_pixels=True))
