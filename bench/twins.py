"""How well pages that look the same are told from pages that do not, over the PDFs and pictures of the corpus.

Distinct pages: how many have a page of another document within a distance of perceptual hashes, and how many would take
its answers. Copies: the same of pages that were changed a little, against what they were.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path

import common  # noqa: F401 - puts `support` on the path
from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFont

from pipeline.archive.looks import MAX_DISTANCE, hash_distance
from pipeline.core.errors import OutcomeError
from pipeline.core.models import LayerState, PageKind, RenderedPage
from pipeline.core.settings import Settings
from pipeline.pages.twins import MAX_DIFFERENCE
from pipeline.rendering.host.pool import SandboxPool
from pipeline.rendering.sandbox.page_image.finish import JPEG_QUALITY, PageImage, finish_page
from pipeline.rendering.sandbox.page_image.measure import largest_difference
from pipeline.services import render_limits
from support.corpus import CORPUS, MEDIA_TYPES, renderable

COLUMNS = ("pages", "number", *(f"within {distance}" for distance in range(MAX_DISTANCE + 1)), "taken for twins")
PAGES_OF_A_FILE = 20
#: Pages that are as large as a page image may be, more or less: others have no print of 10 points.
MIN_PIXELS = 600_000
#: Where `fonts-liberation` lies.
TYPEFACES = Path("/usr/share/fonts/truetype/liberation")
#: 10 points at 100 dpi, as A4 has on a page image.
PRINT_PX = 14
_FINER = 4


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    pages: str
    number: str
    within_0: str
    within_1: str
    within_2: str
    within_3: str
    twins: str


@dataclass(frozen=True)
class Page:
    """A page of the corpus."""

    name: str
    shown: RenderedPage

    @property
    def says(self) -> tuple[PageKind, list[str]]:
        """What two pages must have in common."""
        sound = self.shown.facts.layer is LayerState.SOUND
        return self.shown.kind, (self.shown.layer_text or "").split() if sound else []


def rows() -> Iterator[Row]:
    pages = list(distinct_pages())
    yield _distinct(pages)
    large = [page for page in pages if page.shown.width_px * page.shown.height_px >= MIN_PIXELS]
    for what, change in CHANGES.items():
        yield _changed(what, change, large)
    yield _digits()


def distinct_pages() -> Iterator[Page]:
    """Pages that are not blank, each with pixels of its own."""
    seen: set[str] = set()
    with closing(SandboxPool(1, render_limits(Settings()))) as sandboxes:
        for entry in renderable():
            try:
                with (
                    (CORPUS / entry["file"]).open("rb") as file,
                    sandboxes.open(file, MEDIA_TYPES[entry["format"]]) as document,
                ):
                    for number in range(1, min(document.pages, PAGES_OF_A_FILE) + 1):
                        shown = document.render(number)
                        if not shown.blank and shown.pixels_sha256 not in seen:
                            seen.add(shown.pixels_sha256)
                            yield Page(entry["file"], shown)
            except OutcomeError:
                continue


def _distinct(pages: list[Page]) -> Row:
    nearest: dict[int, int] = {}
    twins: set[int] = set()
    for (here, one), (there, other) in combinations(enumerate(pages), 2):
        if one.name == other.name:
            continue
        apart = hash_distance(one.shown.phash, other.shown.phash)
        for place in (here, there):
            nearest[place] = min(apart, nearest.get(place, 64))
        if apart <= MAX_DISTANCE and one.says == other.says and _look_alike(one.shown.jpeg, other.shown.jpeg):
            twins |= {here, there}
    return _row("distinct ones, against those of other files", list(nearest.values()), len(twins))


def _changed(what: str, change: Callable[[Image.Image], Image.Image], pages: list[Page]) -> Row:
    distances, twins = [], 0
    for page in pages:
        changed = _finished(change(Image.open(io.BytesIO(page.shown.jpeg)).convert("RGB")))
        distances.append(hash_distance(page.shown.phash, changed.phash))
        twins += distances[-1] <= MAX_DISTANCE and _look_alike(page.shown.jpeg, changed.jpeg)
    return _row(what, distances, twins)


def _digits() -> Row:
    """Every digit in the place of every other one, in typefaces of all kinds and at several places between pixels."""
    differences = []
    for typeface in sorted(TYPEFACES.glob("Liberation*-Regular.ttf")):
        font = ImageFont.truetype(str(typeface), PRINT_PX * _FINER)
        for (one, other), place in product(combinations("0123456789", 2), ((0, 0), (2, 1), (1, 3))):
            pictures = (_number(digit, one, font, place) for digit in (one, other))
            first, second = (_as_jpeg(JPEG_QUALITY)(picture) for picture in pictures)
            differences.append(largest_difference(first, second))
    alike = sum(difference <= MAX_DIFFERENCE for difference in differences)
    share = f"{alike / len(differences):.2f} ({alike}); they differ by {min(differences)} levels or more"
    return Row("one digit for another in print of 10 points", str(len(differences)), "", "", "", "", share)


def _number(digit: str, wide_as: str, font: ImageFont.FreeTypeFont, place: tuple[int, int]) -> Image.Image:
    """A number that differs in one digit only, printed at a place that is told in quarters of a pixel."""
    picture = Image.new("RGB", (100 * _FINER, 32 * _FINER), "white")
    draw = ImageDraw.Draw(picture)
    left, top = 16 * _FINER + place[0], 8 * _FINER + place[1]
    draw.text((left, top), "12", "black", font)
    left += round(draw.textlength("12", font=font))
    draw.text((left, top), digit, "black", font)
    draw.text((left + round(draw.textlength(wide_as, font=font)), top), "4.50", "black", font)
    return picture.resize((100, 32), Image.Resampling.BOX)


def _row(what: str, distances: list[int], twins: int) -> Row:
    counted = Counter(distances)
    within = [sum(counted[near] for near in range(distance + 1)) for distance in range(MAX_DISTANCE + 1)]
    shares = [f"{count / len(distances):.2f}" for count in within]
    return Row(what, str(len(distances)), *shares, f"{twins / len(distances):.2f} ({twins})")


def _look_alike(first: bytes, second: bytes) -> bool:
    one, other = (Image.open(io.BytesIO(jpeg)).convert("RGB") for jpeg in (first, second))
    return one.size == other.size and largest_difference(one, other) <= MAX_DIFFERENCE


def _finished(picture: Image.Image) -> PageImage:
    return finish_page(picture, picture.tobytes())


def _as_jpeg(quality: int) -> Callable[[Image.Image], Image.Image]:
    def change(picture: Image.Image) -> Image.Image:
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=quality)
        return Image.open(stream).convert("RGB")

    return change


def _grain(levels: float) -> Callable[[Image.Image], Image.Image]:
    def change(picture: Image.Image) -> Image.Image:
        grain = Image.effect_noise(picture.size, levels)
        return ImageChops.add(picture, Image.merge("RGB", [grain] * 3), offset=-128)

    return change


def _smaller(picture: Image.Image) -> Image.Image:
    size = round(0.7 * picture.width), round(0.7 * picture.height)
    return picture.resize(size, Image.Resampling.LANCZOS).resize(picture.size, Image.Resampling.BICUBIC)


def _askew(picture: Image.Image) -> Image.Image:
    return picture.rotate(0.3, Image.Resampling.BICUBIC, fillcolor="white")


def _written(words: str, size: int) -> Callable[[Image.Image], Image.Image]:
    """Something else stands in the middle of the page: black on white, in print of this size in pixels."""
    font = ImageFont.load_default(size)

    def change(picture: Image.Image) -> Image.Image:
        changed = picture.copy()
        draw = ImageDraw.Draw(changed)
        left, top, right, bottom = draw.textbbox((picture.width // 2, picture.height // 2), words, font=font)
        draw.rectangle((left - 2, top - 2, right + 2, bottom + 2), "white")
        draw.text((picture.width // 2, picture.height // 2), words, "black", font)
        return changed

    return change


CHANGES = {
    f"saved again as JPEG, quality {JPEG_QUALITY}": _as_jpeg(JPEG_QUALITY),
    "saved as JPEG, quality 75": _as_jpeg(75),
    "saved as JPEG, quality 50": _as_jpeg(50),
    "with grain of 5 levels": _grain(5),
    "with grain of 12 levels": _grain(12),
    "8 % brighter": lambda picture: ImageEnhance.Brightness(picture).enhance(1.08),
    "saved with 0.7 of its height and width": _smaller,
    "shifted by a pixel": lambda picture: ImageChops.offset(picture, 1, 1),
    "turned by 0.3 degrees": _askew,
    "another word in its middle, 14 px": _written("orchard", 14),
}
