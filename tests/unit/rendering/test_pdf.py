from __future__ import annotations

import hashlib
import io
import itertools
from collections.abc import Iterator
from dataclasses import replace

import pypdfium2
import pytest
from PIL import Image
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen import canvas

from pipeline.core.errors import CorruptFile, EncryptedFile, LimitExceeded, OutcomeError
from pipeline.core.formats import MediaType
from pipeline.rendering.host.pool import SandboxPool
from support.rendering import (
    LIMITS,
    drawn_pdf,
    one_page_pdf,
    opened,
    pixels,
    raw_pdf,
    render,
    stream,
    zero_page_pdf,
)


@pytest.fixture(scope="module")
def pool() -> Iterator[SandboxPool]:
    pool = SandboxPool(1, LIMITS)
    yield pool
    pool.close()


def red_square_at_the_bottom_left(paper: canvas.Canvas) -> None:
    paper.setFillColorRGB(1, 0, 0)
    paper.rect(0, 0, 100, 100, stroke=0, fill=1)


def words(text: str) -> object:
    return lambda paper: paper.drawString(72, 700, text)


def test_a_page_fills_the_models_bound_and_keeps_its_proportions(pool: SandboxPool) -> None:
    page = render(pool, drawn_pdf(words("hello")), MediaType.PDF)
    assert 0.99 * 1_003_520 < page.width_px * page.height_px <= 1_003_520
    assert page.width_px / page.height_px == pytest.approx(595 / 842, rel=0.002)
    assert page.dpi == pytest.approx(page.width_px / (595 / 72))


def test_jpeg_thumbnail_and_hash_belong_to_the_same_pixels(pool: SandboxPool) -> None:
    page = render(pool, drawn_pdf(red_square_at_the_bottom_left), MediaType.PDF)
    jpeg, thumbnail = Image.open(io.BytesIO(page.jpeg)), Image.open(io.BytesIO(page.thumbnail))
    assert (jpeg.format, jpeg.mode, jpeg.size) == ("JPEG", "RGB", (page.width_px, page.height_px))
    assert (thumbnail.format, max(thumbnail.size)) == ("WEBP", 320)
    for image in (jpeg, thumbnail.convert("RGB"), pixels(page)):
        red, green, blue = image.getpixel((5, image.height - 6))
        assert red > 230
        assert max(green, blue) < 25
        assert min(image.getpixel((image.width - 5, 5))) > 240
    assert page.rgb is not None
    assert page.pixels_sha256 == hashlib.sha256(b"%dx%d\n" % jpeg.size + page.rgb).hexdigest()


def test_pixels_are_sent_only_where_they_are_asked_for(pool: SandboxPool) -> None:
    with opened(pool, drawn_pdf(words("hello")), MediaType.PDF) as document:
        plain, full = document.render(1), document.render(1, with_pixels=True)
    assert plain.rgb is None
    assert full.rgb is not None
    assert plain.pixels_sha256 == full.pixels_sha256


@pytest.mark.parametrize(
    ("degrees", "corner"), [(0, "bottom left"), (90, "top left"), (180, "top right"), (270, "bottom right")]
)
def test_a_pages_own_rotation_is_applied(pool: SandboxPool, degrees: int, corner: str) -> None:
    red_square = stream(b"1 0 0 rg 0 0 50 50 re f")
    data = one_page_pdf(red_square, entries=b"/MediaBox[0 0 200 400]/Rotate %d" % degrees)
    page = render(pool, data, MediaType.PDF)
    picture = pixels(page)
    x = 5 if "left" in corner else picture.width - 6
    y = 5 if "top" in corner else picture.height - 6
    assert picture.getpixel((x, y)) == (255, 0, 0)
    assert page.original.rotation == degrees
    assert (picture.width > picture.height) == (degrees in (90, 270))


def test_the_crop_box_is_what_is_shown(pool: SandboxPool) -> None:
    data = one_page_pdf(
        stream(b"1 0 0 rg 100 100 100 100 re f"), entries=b"/MediaBox[0 0 400 400]/CropBox[100 100 200 200]"
    )
    page = render(pool, data, MediaType.PDF)
    assert pixels(page).getcolors() == [(page.width_px * page.height_px, (255, 0, 0))]


def test_annotations_and_form_fields_are_drawn(pool: SandboxPool) -> None:
    def draw(paper: canvas.Canvas) -> None:
        paper.acroForm.textfield(name="field", value="W" * 30, x=50, y=600, width=400, height=60, fontSize=40)

    assert render(pool, drawn_pdf(draw), MediaType.PDF).facts.ink_share > 0.01


def test_the_text_layer_title_and_labels_are_read(pool: SandboxPool) -> None:
    def title(paper: canvas.Canvas) -> None:
        paper.setTitle("Annual\x00 report \n 2024")
        paper.addPageLabel(0, style="ROMAN_LOWER")
        words("Straße and 漢字 nothing more")(paper)

    with opened(pool, drawn_pdf(title, words("second")), MediaType.PDF) as document:
        first, second = document.render(1), document.render(2)
        assert (document.pages, document.title) == (2, "Annual report 2024")
    assert (first.label, second.label) == ("i", "ii")
    assert first.layer_text is not None
    assert "Straße and" in first.layer_text
    assert second.layer_text == "second"


def test_a_page_without_text_has_no_text_layer(pool: SandboxPool) -> None:
    assert render(pool, drawn_pdf(red_square_at_the_bottom_left), MediaType.PDF).layer_text is None
    assert render(pool, drawn_pdf(words("   ")), MediaType.PDF).layer_text is None


def test_broken_unicode_in_the_text_layer_does_not_survive(pool: SandboxPool) -> None:
    to_unicode = stream(
        b"/CIDInit /ProcSet findresource begin begincmap 1 begincodespacerange <00> <ff> endcodespacerange "
        b"3 beginbfchar <41> <D800> <42> <0000> <43> <0063> endbfchar endcmap end"
    )
    font = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/ToUnicode 6 0 R>>"
    data = one_page_pdf(
        stream(b"BT /F 24 Tf 20 100 Td (CABC) Tj ET"),
        font,
        to_unicode,
        entries=b"/MediaBox[0 0 200 200]/Resources<</Font<</F 5 0 R>>>>",
    )
    text = render(pool, data, MediaType.PDF).layer_text
    assert text is not None
    assert text.encode("utf-8")
    assert text.startswith("c")
    assert not any(character < " " for character in text)


@pytest.mark.parametrize(("width", "height"), [(2, 2), (14_400, 14_400), (9_000_000, 6_000_000), (200_000, 100)])
def test_page_boxes_of_any_size_end_within_the_bound(pool: SandboxPool, width: int, height: int) -> None:
    data = one_page_pdf(stream(b"0 g 0 0 1 1 re f"), entries=b"/MediaBox[0 0 %d %d]" % (width, height))
    page = render(pool, data, MediaType.PDF)
    assert page.width_px * page.height_px <= 1_003_520
    assert max(page.width_px, page.height_px) <= 200 * min(page.width_px, page.height_px)


def test_a_page_box_larger_than_any_paper_is_corrupt(pool: SandboxPool) -> None:
    data = one_page_pdf(stream(b""), entries=b"/MediaBox[0 0 595 2147483648]")
    with pytest.raises(CorruptFile, match="no usable size"):
        render(pool, data, MediaType.PDF)


def test_a_scanned_page_is_told_from_a_drawn_one(pool: SandboxPool) -> None:
    scan = ImageReader(Image.new("RGB", (60, 80), "beige"))
    scanned = render(pool, drawn_pdf(lambda paper: paper.drawImage(scan, 0, 0, 595, 842)), MediaType.PDF)
    drawn = render(pool, drawn_pdf(lambda paper: paper.drawImage(scan, 0, 0, 297.5, 421)), MediaType.PDF)
    assert (scanned.facts.picture_share, scanned.facts.is_vector) == (pytest.approx(1), False)
    assert (drawn.facts.picture_share, drawn.facts.is_vector) == (pytest.approx(0.25, abs=0.01), True)


def test_a_picture_inside_a_form_counts_where_the_form_is_placed(pool: SandboxPool) -> None:
    data = one_page_pdf(
        stream(b"q 0.5 0 0 0.5 0 0 cm /Form Do Q"),
        stream(b"q 200 0 0 200 0 0 cm /Im Do Q", b"/Subtype/Form/BBox[0 0 200 200]/Resources<</XObject<</Im 6 0 R>>>>"),
        stream(b"\x80", b"/Subtype/Image/Width 1/Height 1/ColorSpace/DeviceGray/BitsPerComponent 8"),
        entries=b"/MediaBox[0 0 200 200]/Resources<</XObject<</Form 5 0 R>>>>",
    )
    assert render(pool, data, MediaType.PDF).facts.picture_share == pytest.approx(0.25, abs=0.01)


def test_a_password_is_asked_for_only_where_reading_needs_it(pool: SandboxPool) -> None:
    from reportlab.lib.pdfencrypt import StandardEncryption

    locked = drawn_pdf(words("secret"), encrypt=StandardEncryption("user", "owner"))
    with pytest.raises(EncryptedFile, match="password"):
        render(pool, locked, MediaType.PDF)
    owner_only = drawn_pdf(words("open"), encrypt=StandardEncryption("", "owner"))
    assert render(pool, owner_only, MediaType.PDF).layer_text == "open"


def test_a_truncated_or_invented_pdf_is_corrupt(pool: SandboxPool) -> None:
    for data in (b"%PDF-1.7\n" + b"\0" * 5000, drawn_pdf(words("hello"))[:300]):
        with pytest.raises(CorruptFile):
            render(pool, data, MediaType.PDF)


def test_outcomes_do_not_depend_on_what_failed_before(pool: SandboxPool) -> None:
    from reportlab.lib.pdfencrypt import StandardEncryption

    files = {
        "no pages": zero_page_pdf(),
        "locked": drawn_pdf(words("secret"), encrypt=StandardEncryption("user", "owner")),
        "damaged": b"%PDF-1.7\n%%EOF",
        "fine": drawn_pdf(words("hello")),
    }
    seen: dict[str, set[str]] = {name: set() for name in files}
    for order in itertools.permutations(files):
        for name in order:
            try:
                seen[name].add(render(pool, files[name], MediaType.PDF).pixels_sha256)
            except OutcomeError as error:
                seen[name].add(f"{error.code}: {error}")
    assert all(len(outcomes) == 1 for outcomes in seen.values())
    assert seen["no pages"] == {"corrupt: no pages can be found in the PDF"}
    assert seen["locked"] == {"encrypted: the PDF needs a password, and none was given"}


def test_one_page_that_cannot_be_loaded_costs_no_other(pool: SandboxPool) -> None:
    data = raw_pdf(
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R 9 0 R]/Count 2/MediaBox[0 0 200 200]>>",
        b"<</Type/Page/Parent 2 0 R>>",
    )
    with opened(pool, data, MediaType.PDF) as document:
        with pytest.raises(CorruptFile, match="page 2"):
            document.render(2)
        assert document.render(1).blank


def test_more_pages_than_the_limit_are_refused_with_both_numbers() -> None:
    pool = SandboxPool(1, replace(LIMITS, page_seconds=30, memory_mb=1024, max_pages=2, max_pixels=10**6))
    try:
        with pytest.raises(LimitExceeded, match=r"3 pages.*limit is 2"):
            render(pool, drawn_pdf(words("1"), words("2"), words("3")), MediaType.PDF)
    finally:
        pool.close()


def test_a_page_number_outside_the_document_is_the_callers_mistake(pool: SandboxPool) -> None:
    with opened(pool, drawn_pdf(words("1")), MediaType.PDF) as document:
        for number in (0, 2):
            with pytest.raises(ValueError, match="of 1"):
                document.render(number)


def test_pages_look_as_pdfium_draws_them_without_a_sandbox(pool: SandboxPool) -> None:
    data = drawn_pdf(words("The same in every way"))
    page = render(pool, data, MediaType.PDF)
    with pypdfium2.PdfDocument(data) as pdf:
        bare = pdf[0].render(scale=page.height_px / 842).to_pil()
    ours = pixels(page).convert("L").resize((100, 100))
    theirs = bare.convert("L").resize((100, 100))
    differences = [abs(a - b) for a, b in zip(ours.tobytes(), theirs.tobytes(), strict=True)]
    assert max(differences) < 40


def counted(count: int, listed: int, existing: int) -> bytes:
    """A PDF that announces `count` pages, lists `listed` and has `existing`."""
    kids = b" ".join(b"%d 0 R" % (3 + number) for number in range(listed))
    return raw_pdf(
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[%s]/Count %d/MediaBox[0 0 200 200]>>" % (kids, count),
        *[b"<</Type/Page/Parent 2 0 R>>"] * existing,
        *[b"null"] * (listed - existing),
    )


@pytest.mark.parametrize(
    ("count", "listed", "existing", "pages"),
    [
        (8, 1, 1, 2),
        (8, 3, 3, 4),
        (8, 8, 7, 8),
        (8, 8, 5, 6),
        (3, 3, 3, 3),
        (900_000, 2, 2, 3),
        (0, 3, 3, 3),
        (2, 1, 1, 2),
    ],
)
def test_pages_that_are_only_announced_are_one_failure(
    pool: SandboxPool, count: int, listed: int, existing: int, pages: int
) -> None:
    with opened(pool, counted(count, listed, existing), MediaType.PDF) as document:
        assert document.pages == pages
        assert document.render(existing).blank
        if pages > existing:
            missing = count - existing
            told = f"announces {count} pages, but {missing} cannot be found" if missing > 1 else f"page {pages} cannot"
            with pytest.raises(CorruptFile, match=told):
                document.render(pages)


def test_a_pdf_of_too_many_real_pages_is_refused(pool: SandboxPool) -> None:
    with pytest.raises(LimitExceeded, match="51 pages"), opened(pool, counted(51, 51, 51), MediaType.PDF):
        pass
