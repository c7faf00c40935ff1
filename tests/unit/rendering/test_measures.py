"""What is measured of a page image: in-process, since it is arithmetic on pixels."""

from __future__ import annotations

import io
import random
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageDraw, ImageFont

from pipeline.core.text import clean_line, clean_text
from pipeline.rendering.sandbox.page_image.build import MAX_ASPECT, MAX_PIXELS, build_page_image, fit

A4 = (842, 1191)


def finished(picture: Image.Image) -> object:
    image = build_page_image(picture, picture.tobytes())
    return SimpleNamespace(**image.properties, **image.facts)


def paper(colour: str = "white", noise: int = 0) -> Image.Image:
    page = Image.new("RGB", A4, colour)
    if not noise:
        return page
    grain = Image.effect_noise(A4, noise)
    return Image.merge("RGB", [Image.blend(channel, grain, 0.2) for channel in page.split()])


def write(page: Image.Image, text: str, colour: object = "black", points: float = 10) -> Image.Image:
    font = ImageFont.load_default(size=points * A4[0] / 595)
    ImageDraw.Draw(page).text((410, 1130), text, fill=colour, font=font)
    return page


@given(width=st.floats(1e-3, 1e7), height=st.floats(1e-3, 1e7), enlarge=st.booleans())
def test_every_size_fits_what_the_model_takes(width: float, height: float, enlarge: bool) -> None:
    canvas = fit(width, height, enlarge=enlarge)
    assert canvas.size[0] * canvas.size[1] <= MAX_PIXELS
    assert max(canvas.size) <= MAX_ASPECT * min(canvas.size)
    assert 1 <= canvas.content[0] <= canvas.size[0]
    assert 1 <= canvas.content[1] <= canvas.size[1]


def test_a_picture_that_is_small_enough_is_left_alone() -> None:
    assert fit(1120, 896, enlarge=False).size == (1120, 896)
    assert fit(17, 31, enlarge=False).size == (17, 31)


@pytest.mark.parametrize("colour", ["white", "black", "khaki", "navy", "#eeeeee"])
@pytest.mark.parametrize("noise", [0, 30])
def test_a_uniform_page_is_blank_whatever_its_colour_and_grain(colour: str, noise: int) -> None:
    assert finished(paper(colour, noise)).blank


def test_single_specks_do_not_make_a_page() -> None:
    page, chance = paper(noise=20), random.Random(5)
    for _ in range(150):
        page.putpixel((chance.randrange(A4[0]), chance.randrange(A4[1])), (0, 0, 0))
    assert finished(page).blank


@pytest.mark.parametrize("text", ["1", "7", "23", "– 4 –", "i"])
@pytest.mark.parametrize("noise", [0, 20])
def test_a_lone_page_number_is_something(text: str, noise: int) -> None:
    assert not finished(write(paper(noise=noise), text)).blank


def test_coloured_and_pale_words_are_something() -> None:
    assert not finished(write(paper("#808080"), "as bright as the ground", "#b06060")).blank
    assert not finished(write(paper(), "pencil", "#a0a0a0")).blank


def scanned(colour: int = 245, grain: int = 0, shading: int = 0) -> Image.Image:
    """Grey paper with grain, darker towards its foot."""
    page = Image.new("L", A4, colour)
    shade = Image.linear_gradient("L").resize(A4).point(lambda level: level * shading // 255)
    page = ImageChops.subtract(page, shade)
    return ImageChops.add(page, Image.effect_noise(A4, grain), 1, -128) if grain else page


def faded(page: Image.Image, difference: int, lines: int = 8) -> Image.Image:
    """Lines of words that differ from the paper by a few levels."""
    ink = Image.new("L", A4)
    font = ImageFont.load_default(size=16)
    for line in range(lines):
        ImageDraw.Draw(ink).text((90, 200 + 30 * line), "Paid to the pilots at the mole", difference, font)
    return ImageChops.subtract(page, ink)


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(faded(scanned(), 8), id="pencil"),
        pytest.param(faded(scanned(), 10, lines=1), id="one line"),
        pytest.param(faded(scanned(grain=4), 10), id="grain"),
        pytest.param(faded(scanned(grain=8), 16), id="faded fax"),
        pytest.param(faded(scanned(grain=3, shading=20), 12), id="shaded"),
        pytest.param(ImageChops.invert(faded(scanned(grain=3), 12)), id="on a dark page"),
    ],
)
def test_faint_words_are_something(page: Image.Image) -> None:
    assert not finished(page.convert("RGB")).blank


def specked() -> Image.Image:
    page, chance = scanned(grain=3), random.Random(5)
    for _ in range(150):
        page.putpixel((chance.randrange(A4[0]), chance.randrange(A4[1])), 0)
    return page


def streaked() -> Image.Image:
    page, chance = scanned(grain=3), random.Random(3)
    for _ in range(12):
        x = chance.randrange(A4[0])
        page.paste(239, (x, 0, x + 1, A4[1]))
    return page


def coarse_grain() -> Image.Image:
    grain = Image.effect_noise((A4[0] // 4, A4[1] // 4), 6).resize(A4, Image.Resampling.BICUBIC)
    return ImageChops.add(scanned(grain=3), grain, 1, -128)


def squeezed(page: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    page.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(scanned(grain=3), id="grain"),
        pytest.param(scanned(200, grain=20), id="much grain"),
        pytest.param(scanned(grain=3, shading=24), id="shading"),
        pytest.param(squeezed(scanned(grain=12), 40), id="blocks of a JPEG"),
        pytest.param(specked(), id="specks"),
        pytest.param(streaked(), id="streaks along the feed"),
        pytest.param(coarse_grain(), id="rough paper"),
    ],
)
def test_what_scanners_add_to_blank_paper_is_nothing(page: Image.Image) -> None:
    assert finished(page.convert("RGB")).blank


def test_ink_is_counted_as_a_share_of_the_page() -> None:
    page = paper()
    page.paste("black", (0, 0, A4[0], A4[1] // 4))
    assert finished(page).ink_share == pytest.approx(0.25, abs=0.01)
    assert finished(paper()).ink_share == 0


@pytest.mark.parametrize(
    ("name", "colour"),
    [
        ("white", "white"),
        ("white", "#f4f4f2"),
        ("black", "black"),
        ("black", "#161616"),
        ("grey", "#808080"),
        ("red", "#d01020"),
        ("orange", "#f08000"),
        ("yellow", "#f7e017"),
        ("green", "#108030"),
        ("cyan", "#10c0d0"),
        ("blue", "#1040c0"),
        ("blue", "navy"),
        ("purple", "#7020a0"),
        ("pink", "#ffb6c1"),
        ("pink", "#f050b0"),
        ("brown", "#7a4a20"),
        ("beige", "#f0e0c0"),
    ],
)
def test_colours_have_the_names_people_give_them(name: str, colour: str) -> None:
    assert finished(paper(colour)).colours == (name,)


def test_dominant_colours_come_first_and_rims_of_letters_are_not_named() -> None:
    page = paper()
    page.paste("#d01020", (0, 0, A4[0], 500))
    page.paste("#1040c0", (0, 500, A4[0], 700))
    page.paste("#108030", (0, 1180, A4[0], A4[1]))
    assert finished(write(page, "letters")).colours == ("red", "white", "blue")


def test_the_perceptual_hash_survives_scaling_and_tells_pages_apart() -> None:
    def distance(first: Image.Image, second: Image.Image) -> int:
        hashes = [int(finished(picture).phash, 16) for picture in (first, second)]
        return (hashes[0] ^ hashes[1]).bit_count()

    slope = Image.linear_gradient("L").resize(A4).convert("RGB")
    mountain = Image.radial_gradient("L").resize(A4).convert("RGB")
    assert len(finished(slope).phash) == 16
    assert distance(mountain, mountain.resize((421, 595))) <= 4
    assert distance(mountain, slope) >= 16


def test_text_is_cleaned_of_what_cannot_be_stored() -> None:
    assert clean_text("a\0b\r\nc\rd\te\ud800f\x02g\ufffeh\x9fi") == "ab\nc\nd\tefghi"
    assert clean_line("  two \n words\0 ", 100) == "two words"
    assert clean_line("\0 \n", 100) is None
    assert clean_line("long" * 100, 7) == "longlon"


@given(st.text(alphabet=st.characters(), max_size=50))
def test_cleaned_text_is_always_valid_utf8(text: str) -> None:
    assert clean_text(text + "\ud800").encode("utf-8").decode("utf-8") is not None
