from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from PIL import ExifTags, Image, ImageCms, TiffImagePlugin

from pipeline.core.errors import CorruptFile, LimitExceeded
from pipeline.core.formats import MediaType, Route
from pipeline.core.models import RenderedPage
from pipeline.rendering.host.pool import SandboxPool
from support.pictures import file_of
from support.rendering import LIMITS, encoded, opened, pixels, png_that_inflates, render

#: Every format that Pillow or libheif decodes.
IMAGES = [kind for kind in MediaType if kind.route is Route.IMAGE]
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


@pytest.fixture(scope="module")
def pool() -> Iterator[SandboxPool]:
    pool = SandboxPool(1, LIMITS)
    yield pool
    pool.close()


def quarters() -> Image.Image:
    """Red, green, blue, white: top left, top right, bottom left, bottom right; wider than high."""
    picture = Image.new("RGB", (60, 40), WHITE)
    picture.paste(RED, (0, 0, 30, 20))
    picture.paste(GREEN, (30, 0, 60, 20))
    picture.paste(BLUE, (0, 20, 30, 40))
    return picture


def corners(page: RenderedPage) -> list[tuple[int, ...]]:
    """Colours of the four quarters, in the order of `quarters`, rounded to the nearest pure one."""
    picture = pixels(page)
    places = [(x, y) for y in (0.25, 0.75) for x in (0.25, 0.75)]
    found = [picture.getpixel((int(x * picture.width), int(y * picture.height))) for x, y in places]
    return [tuple(255 if level > 127 else 0 for level in colour) for colour in found]


@pytest.mark.parametrize("media_type", IMAGES)
def test_every_image_format_gives_one_page(pool: SandboxPool, media_type: MediaType) -> None:
    page = render(pool, file_of(quarters(), media_type), media_type)
    assert (page.width_px, page.height_px) == (60, 40)
    assert (page.original.format, page.original.width, page.original.height) == (media_type.row.decoder, 60, 40)
    assert Image.open(io.BytesIO(page.jpeg)).size == (60, 40)
    assert corners(page) == [RED, GREEN, BLUE, WHITE]
    assert (page.layer_text, page.label, page.facts.is_vector, page.facts.picture_share) == (None, None, False, None)


@pytest.mark.parametrize(
    ("orientation", "stored_as", "degrees"),
    [
        (1, None, 0),
        (2, Image.Transpose.FLIP_LEFT_RIGHT, 0),
        (3, Image.Transpose.ROTATE_180, 180),
        (4, Image.Transpose.FLIP_TOP_BOTTOM, 180),
        (5, Image.Transpose.TRANSPOSE, 270),
        (6, Image.Transpose.ROTATE_90, 90),
        (7, Image.Transpose.TRANSVERSE, 90),
        (8, Image.Transpose.ROTATE_270, 270),
    ],
)
@pytest.mark.parametrize("media_type", [MediaType.JPEG, MediaType.PNG, MediaType.TIFF, MediaType.WEBP])
def test_pictures_are_turned_upright(
    pool: SandboxPool, media_type: MediaType, orientation: int, stored_as: Image.Transpose | None, degrees: int
) -> None:
    stored = quarters() if stored_as is None else quarters().transpose(stored_as)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    options = {"lossless": True} if media_type == MediaType.WEBP else {}
    page = render(pool, encoded(stored, media_type.partition("/")[2].upper(), exif=exif, **options), media_type)
    assert corners(page) == [RED, GREEN, BLUE, WHITE]
    assert (page.width_px, page.height_px) == (60, 40)
    assert (page.original.width, page.original.height) == stored.size
    assert (page.original.orientation, page.original.rotation) == (orientation, degrees)


def test_a_picture_can_be_rendered_twice(pool: SandboxPool) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    for media_type, name in ((MediaType.TIFF, "TIFF"), (MediaType.JPEG, "JPEG")):
        picture = Image.effect_noise((3000, 1000), 50).convert("RGB")
        with opened(pool, encoded(picture, name, exif=exif), media_type) as document:
            first, second = document.render(1), document.render(1)
        assert first == second
        assert (first.original.width, first.original.height, first.original.rotation) == (3000, 1000, 90)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparency_is_white(pool: SandboxPool, mode: str) -> None:
    picture = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    picture.paste((0, 0, 0, 255), (0, 0, 20, 40))
    if mode == "LA":
        picture = picture.convert("LA")
    if mode == "PA":  # a palette with one transparent entry
        picture = picture.quantize(4)
    page = render(pool, encoded(picture, "PNG"), MediaType.PNG)
    assert pixels(page).getpixel((5, 20)) == (0, 0, 0)
    assert pixels(page).getpixel((35, 20)) == WHITE


def test_half_transparent_pixels_are_mixed_with_white(pool: SandboxPool) -> None:
    page = render(pool, encoded(Image.new("RGBA", (9, 9), (255, 0, 0, 128)), "PNG"), MediaType.PNG)
    assert pixels(page).getpixel((4, 4)) == (255, 127, 127)


def test_a_transparent_colour_of_a_plain_png_is_white(pool: SandboxPool) -> None:
    grey = encoded(Image.new("L", (9, 9), 7), "PNG", transparency=7)
    assert pixels(render(pool, grey, MediaType.PNG)).getpixel((4, 4)) == WHITE


def test_cmyk_keeps_its_colours_also_where_adobe_inverts_it(pool: SandboxPool) -> None:
    cmyk = quarters().convert("CMYK")
    assert corners(render(pool, encoded(cmyk, "TIFF"), MediaType.TIFF)) == [RED, GREEN, BLUE, WHITE]
    # Pillow marks its CMYK JPEG files as Adobe's and stores them inverted.
    jpeg = encoded(cmyk, "JPEG", quality=95, subsampling=0)
    assert b"Adobe" in jpeg
    page = render(pool, jpeg, MediaType.JPEG)
    assert corners(page) == [RED, GREEN, BLUE, WHITE]
    assert page.original.mode == "CMYK"


def test_one_bit_palette_and_lab_pictures_are_right(pool: SandboxPool) -> None:
    one_bit = Image.new("1", (20, 20), 1)
    one_bit.paste(0, (0, 0, 10, 20))
    for data, media_type in ((encoded(one_bit, "PNG"), MediaType.PNG), (encoded(one_bit, "TIFF"), MediaType.TIFF)):
        picture = pixels(render(pool, data, media_type))
        assert (picture.getpixel((4, 4)), picture.getpixel((15, 4))) == ((0, 0, 0), WHITE)
    palette = render(pool, encoded(quarters().quantize(8), "PNG"), MediaType.PNG)
    assert corners(palette) == [RED, GREEN, BLUE, WHITE]
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    lab = ImageCms.applyTransform(quarters(), to_lab)
    assert lab is not None
    page = render(pool, encoded(lab, "TIFF"), MediaType.TIFF)
    assert corners(page) == [RED, GREEN, BLUE, WHITE]
    assert page.original.mode == "LAB"


def test_deep_samples_are_scaled_not_clipped(pool: SandboxPool) -> None:
    def middle(data: bytes, media_type: MediaType = MediaType.TIFF) -> int:
        return int(pixels(render(pool, data, media_type)).getpixel((1, 0))[0])

    sixteen = Image.frombytes("I;16", (3, 1), struct.pack("<3H", 0, 32768, 65535))
    assert middle(encoded(sixteen, "PNG"), MediaType.PNG) == 127
    assert middle(encoded(sixteen, "TIFF")) == 127
    twelve = Image.frombytes("I;16", (3, 1), struct.pack("<3H", 0, 2048, 4095))
    assert middle(encoded(twelve, "TIFF")) == 127
    assert middle(encoded(Image.frombytes("I", (3, 1), struct.pack("<3i", -1000, 0, 1000)), "TIFF")) == 127
    assert middle(encoded(Image.frombytes("F", (3, 1), struct.pack("<3f", 0, 0.5, 1)), "TIFF")) == 127


def test_an_embedded_profile_is_honoured_and_a_broken_one_passed_over(pool: SandboxPool) -> None:
    picture = Image.new("RGB", (8, 8), (200, 30, 30))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    red_and_green_swapped = srgb.replace(b"rXYZ", b"????").replace(b"gXYZ", b"rXYZ").replace(b"????", b"gXYZ")

    def rendered(profile: bytes) -> tuple[int, ...]:
        page = render(pool, encoded(picture, "PNG", icc_profile=profile), MediaType.PNG)
        return tuple(pixels(page).getpixel((4, 4)))

    red, green, blue = rendered(red_and_green_swapped)
    assert green > 150 > 60 > max(red, blue)
    for profile in (srgb, b"not a profile", srgb[:200], b""):
        assert all(abs(a - b) <= 2 for a, b in zip(rendered(profile), (200, 30, 30), strict=True))


def test_large_pictures_are_scaled_to_the_bound_and_small_ones_are_kept(pool: SandboxPool) -> None:
    for data, media_type in (
        (encoded(Image.new("RGB", (4000, 3000), "navy"), "JPEG", dpi=(300, 300)), MediaType.JPEG),
        (encoded(Image.new("L", (4000, 3000), 9), "PNG", dpi=(300, 300)), MediaType.PNG),
        (encoded(Image.new("1", (4000, 3000)), "TIFF", dpi=(300, 300)), MediaType.TIFF),
    ):
        page = render(pool, data, media_type)
        assert (page.width_px, page.height_px) == (1156, 867)
        assert page.original.dpi == pytest.approx(300, abs=0.1)
        assert page.dpi == pytest.approx(300 * 1156 / 4000, abs=0.1)
    tiny = render(pool, encoded(Image.new("RGB", (1, 1)), "PNG"), MediaType.PNG)
    assert (tiny.width_px, tiny.height_px, tiny.dpi) == (1, 1, None)


def test_scaling_keeps_every_part_in_its_place(pool: SandboxPool) -> None:
    page = render(pool, encoded(quarters().resize((5001, 4003)), "PNG"), MediaType.PNG)
    picture = pixels(page)
    assert corners(page) == [RED, GREEN, BLUE, WHITE]
    assert picture.getpixel((0, 0)) == RED
    assert picture.getpixel((picture.width - 1, picture.height - 1)) == WHITE
    assert picture.getpixel((0, picture.height - 1)) == BLUE


@pytest.mark.parametrize("size", [(30_000, 10), (3, 9_000), (5_000, 1)])
def test_strips_are_padded_with_white_to_what_the_model_takes(pool: SandboxPool, size: tuple[int, int]) -> None:
    page = render(pool, encoded(Image.new("RGB", size, "black"), "PNG"), MediaType.PNG)
    long, short = max(page.width_px, page.height_px), min(page.width_px, page.height_px)
    assert long <= 200 * short
    assert long <= 14_000
    assert pixels(page).getpixel((0, 0)) == (0, 0, 0)
    assert pixels(page).getpixel((page.width_px - 1, page.height_px - 1)) == WHITE


def test_every_frame_of_a_tiff_is_a_page_of_its_own_kind(pool: SandboxPool) -> None:
    frames = [
        Image.new("RGB", (30, 20), "red"),
        Image.new("1", (50, 60), 1),
        Image.frombytes("I;16", (3, 1), struct.pack("<3H", 0, 32768, 65535)),
    ]
    buffer = io.BytesIO()
    with TiffImagePlugin.AppendingTiffWriter(buffer, new=True) as writer:
        for number, frame in enumerate(frames, 1):
            frame.save(writer, "TIFF", dpi=(100 * number, 100 * number))
            writer.newFrame()
    with opened(pool, buffer.getvalue(), MediaType.TIFF) as document:
        assert document.pages == 3
        backwards = [document.render(number) for number in (3, 2, 1)][::-1]
    assert [(page.width_px, page.height_px) for page in backwards] == [(30, 20), (50, 60), (3, 1)]
    assert [page.original.mode for page in backwards] == ["RGB", "1", "I;16"]
    assert [page.original.dpi for page in backwards] == [100, 200, 300]


def test_a_broken_tiff_frame_costs_no_other() -> None:
    pool = SandboxPool(1, LIMITS)
    frames = [Image.effect_noise((200, 200), level).convert("L") for level in (10, 20, 30)]
    data = encoded(frames[0], "TIFF", save_all=True, append_images=frames[1:])
    last = data.rindex(frames[2].tobytes())
    try:
        with opened(pool, data[: last + 5_000], MediaType.TIFF) as document:
            assert document.render(1).width_px == 200
            with pytest.raises(CorruptFile):
                document.render(document.pages)
            assert document.render(2).width_px == 200
    finally:
        pool.close()


def test_a_tiff_directory_that_leads_back_to_itself_ends(pool: SandboxPool) -> None:
    data = bytearray(encoded(Image.new("L", (9, 9)), "TIFF"))
    (directory,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, directory)
    struct.pack_into("<I", data, directory + 2 + 12 * entries, directory)
    with opened(pool, bytes(data), MediaType.TIFF) as document:
        assert document.pages <= 2
        assert document.render(1).width_px == 9


def test_only_the_first_frame_of_an_animation_is_a_page(pool: SandboxPool) -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    for name, media_type in (("GIF", MediaType.GIF), ("PNG", MediaType.PNG), ("WEBP", MediaType.WEBP)):
        data = encoded(frames[0], name, save_all=True, append_images=frames[1:])
        with opened(pool, data, media_type) as document:
            assert document.pages == 1
            page = document.render(1, with_pixels=True)
        assert corners(page) == [RED] * 4


def photograph() -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Pentacon\0\0"
    exif[ExifTags.Base.Model] = "Six TL"
    exif[ExifTags.Base.ImageDescription] = "x" * 500
    details = exif.get_ifd(ExifTags.IFD.Exif)
    details[ExifTags.Base.DateTimeOriginal] = "2021:07:03 10:20:30"
    details[ExifTags.Base.OffsetTimeOriginal] = "+02:00"
    details[ExifTags.Base.ExposureTime] = TiffImagePlugin.IFDRational(1, 250)
    details[ExifTags.Base.MakerNote] = b"secret of the maker"
    details[ExifTags.Base.UserComment] = b"\0\xff\0binary"
    position = exif.get_ifd(ExifTags.IFD.GPSInfo)
    position[ExifTags.GPS.GPSLatitudeRef] = "N"
    position[ExifTags.GPS.GPSLatitude] = (52.0, 31.0, 12.0)
    return encoded(Image.new("RGB", (40, 30)), "JPEG", exif=exif)


def test_exif_becomes_typed_values_and_short_strings(pool: SandboxPool) -> None:
    page = render(pool, photograph(), MediaType.JPEG)
    assert page.original.camera == "Pentacon Six TL"
    assert page.original.captured_at == datetime(2021, 7, 3, 10, 20, 30, tzinfo=timezone(timedelta(hours=2)))
    assert page.exif["Make"] == "Pentacon"
    assert page.exif["ImageDescription"] == "x" * 200
    assert page.exif["ExposureTime"] == "0.004"
    assert not {"MakerNote", "UserComment", "ExifOffset", "GPSInfo"} & page.exif.keys()


def test_the_position_is_kept_only_where_it_is_asked_for(pool: SandboxPool) -> None:
    assert not [name for name in render(pool, photograph(), MediaType.JPEG).exif if "GPS" in name]
    willing = SandboxPool(1, LIMITS, keep_gps=True)
    try:
        exif = render(willing, photograph(), MediaType.JPEG).exif
    finally:
        willing.close()
    assert (exif["GPSLatitudeRef"], exif["GPSLatitude"]) == ("N", "52.0, 31.0, 12.0")


@pytest.mark.parametrize("moment", ["0000:00:00 00:00:00", "2021:13:03 10:20:30", "yesterday", ""])
def test_an_impossible_capture_date_is_none(pool: SandboxPool, moment: str) -> None:
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = moment
    page = render(pool, encoded(Image.new("RGB", (9, 9)), "JPEG", exif=exif), MediaType.JPEG)
    assert page.original.captured_at is None


def test_broken_exif_makes_no_broken_picture(pool: SandboxPool) -> None:
    exif = b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\xee" * 100
    page = render(pool, encoded(Image.new("RGB", (9, 9)), "JPEG", exif=exif), MediaType.JPEG)
    assert (page.width_px, page.original.orientation) == (9, None)


def test_more_pixels_than_the_limit_are_refused_with_both_numbers(pool: SandboxPool) -> None:
    with pytest.raises(LimitExceeded, match=r"8000 x 8000 = 64000000 pixels, the limit is 50000000"):
        render(pool, png_that_inflates(8000), MediaType.PNG)


def test_the_limit_of_pixels_is_ours_not_pillows() -> None:
    pool = SandboxPool(1, replace(LIMITS, page_seconds=30, memory_mb=1024, max_pages=1, max_pixels=200_000_000))
    try:
        page = render(pool, png_that_inflates(13_600), MediaType.PNG)
    finally:
        pool.close()
    assert (page.original.width, page.width_px, page.blank) == (13_600, 1001, True)


def test_more_frames_than_the_limit_are_refused() -> None:
    pool = SandboxPool(1, replace(LIMITS, page_seconds=30, memory_mb=1024, max_pages=2, max_pixels=10**6))
    frames = [Image.new("L", (9, 9))] * 3
    try:
        with pytest.raises(LimitExceeded, match="limit of 2"):
            render(pool, encoded(frames[0], "TIFF", save_all=True, append_images=frames[1:]), MediaType.TIFF)
    finally:
        pool.close()


@pytest.mark.parametrize("media_type", IMAGES)
def test_truncated_and_invented_pictures_are_corrupt(pool: SandboxPool, media_type: MediaType) -> None:
    noise = Image.effect_noise((300, 300), 90).convert("RGB")
    whole = file_of(noise, media_type)
    for data in (whole[: len(whole) // 2], whole[:20], b"\x89PNG nonsense", b"II*\0" + b"\xff" * 60):
        with pytest.raises(CorruptFile, match="picture"):
            render(pool, data, media_type)
