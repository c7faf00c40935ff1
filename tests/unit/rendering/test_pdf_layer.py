"""The text layer of PDF pages: whether it can be seen, in which order it reads, what else belongs to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from reportlab.pdfgen import canvas

from pipeline.core.formats import MediaType
from pipeline.core.models import LayerState, RenderedPage
from pipeline.rendering.host.pool import SandboxPool
from support.rendering import LIMITS, drawn_pdf, lettered_pdf, one_page_pdf, opened, raw_pdf, render, stream

WORDS = b"BT /F 20 Tf 20 150 Td (Goods handled in each quarter) Tj ET "
FONT = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"
#: A picture over the whole page, black at the left and white at the right of every eighth of it.
STRIPES = stream(b"\xcc", b"/Subtype/Image/Width 8/Height 1/ColorSpace/DeviceGray/BitsPerComponent 1")
RESOURCES = b"/MediaBox[0 0 400 200]/Resources<</Font<</F 5 0 R>>/XObject<</P 6 0 R>>/Properties<</Off 7 0 R>>>>"
PICTURE = b"q 400 0 0 200 0 0 cm /P Do Q "


@pytest.fixture(scope="module")
def pool() -> Iterator[SandboxPool]:
    pool = SandboxPool(1, LIMITS)
    yield pool
    pool.close()


def page_of(pool: SandboxPool, content: bytes) -> RenderedPage:
    """A page on which there is more than its text, and an optional-content group that is off."""
    data = raw_pdf(
        b"<</Type/Catalog/Pages 2 0 R/OCProperties<</OCGs[7 0 R]/D<</OFF[7 0 R]>>>>>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/Contents 4 0 R%s>>" % RESOURCES,
        stream(b"0 g 20 20 50 50 re f " + content),
        FONT,
        STRIPES,
        b"<</Type/OCG/Name(Off)>>",
    )
    return render(pool, data, MediaType.PDF)


@pytest.mark.parametrize(
    ("content", "layer"),
    [
        (WORDS, "sound"),
        (b"1 0 0 rg " + WORDS, "sound"),
        (b"0.9 g " + WORDS, "sound"),
        (PICTURE + b"1 0 0 rg " + WORDS, "sound"),
        (WORDS.replace(b"20 Tf", b"20 Tf 3 Tr"), "invisible"),
        (PICTURE + WORDS.replace(b"20 Tf", b"20 Tf 3 Tr"), "invisible"),
        (b"1 g " + WORDS, "invisible"),
        (WORDS + b"1 g 0 100 400 100 re f", "invisible"),
        (WORDS + PICTURE, "invisible"),
        (b"q 0 0 5 5 re W n " + WORDS + b"Q", "invisible"),
        (b"/OC /Off BDC " + WORDS + b"EMC", "invisible"),
        (PICTURE + b"/OC /Off BDC " + WORDS + b"EMC", "invisible"),
        (WORDS.replace(b"/F 20", b"/F 0.01"), "invisible"),
        (WORDS.replace(b"20 150 Td", b"20 900 Td"), "none"),
        # A heading that can be seen above a page of words that cannot.
        (WORDS + (b"3 Tr " + WORDS.replace(b"150 Td", b"90 Td")) * 2, "invisible"),
        (WORDS.replace(b"Goods handled in each quarter", b'!"#$%&*+ ,-./:;<=>?@'), "garbage"),
    ],
)
def test_a_layer_is_told_by_what_can_be_seen_of_it(pool: SandboxPool, content: bytes, layer: str) -> None:
    page = page_of(pool, content)
    assert page.facts.layer == layer
    assert not page.blank
    assert (page.layer_text is None) == (layer == "none")


def test_measuring_what_can_be_seen_leaves_the_page_as_it_was(pool: SandboxPool) -> None:
    data = one_page_pdf(stream(PICTURE + b"1 0 0 rg " + WORDS), FONT, STRIPES, b"null", entries=RESOURCES)
    with opened(pool, data, MediaType.PDF) as document:
        first, second = document.render(1), document.render(1)
    assert first.pixels_sha256 == second.pixels_sha256
    assert (first.facts, first.layer_text) == (second.facts, second.layer_text)
    assert not first.facts.is_vector


def test_layers_that_are_off_are_not_drawn(pool: SandboxPool) -> None:
    content = stream(b"/OC /Off BDC 0 g 50 50 90 90 re f EMC")
    data = raw_pdf(
        b"<</Type/Catalog/Pages 2 0 R/OCProperties<</OCGs[7 0 R]/D<</BaseState/OFF>>>>>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/Contents 4 0 R%s>>" % RESOURCES,
        content,
        FONT,
        STRIPES,
        b"<</Type/OCG/Name(Off)>>",
    )
    assert render(pool, data, MediaType.PDF).blank
    assert not render(pool, data.replace(b"/BaseState/OFF", b"/BaseState/ON "), MediaType.PDF).blank


def test_filled_fields_and_what_annotations_say_are_in_the_layer_and_on_the_page(pool: SandboxPool) -> None:
    def form(paper: canvas.Canvas) -> None:
        paper.drawString(50, 700, "Name of the ship")
        paper.acroForm.textfield(name="ship", value="Kittiwake", x=50, y=600, width=300, height=40)
        paper.acroForm.choice(name="port", value="Hull", options=["Hull", "Leith"], x=50, y=500, width=90, height=30)
        paper.freeTextAnnotation("arrived late", "/DA (/Helv 12 Tf)", Rect=[50, 300, 250, 340])

    with opened(pool, drawn_pdf(form), MediaType.PDF) as document:
        first, second = document.render(1), document.render(1)
    assert first.layer_text is not None
    assert first.layer_text.startswith("Name of the ship")
    assert {"Kittiwake", "Hull"} <= set(first.layer_text.split())
    assert first.facts.layer is LayerState.SOUND
    assert (first.pixels_sha256, first.layer_text) == (second.pixels_sha256, second.layer_text)


def xfa(fields: bytes = b"", pages: int = 1) -> bytes:
    kids = b" ".join(b"%d 0 R" % (5 + page) for page in range(pages))
    return raw_pdf(
        b"<</Type/Catalog/Pages 2 0 R/NeedsRendering true/AcroForm<</Fields[%s]/XFA 3 0 R>>>>" % fields,
        b"<</Type/Pages/Kids[%s]/Count %d/MediaBox[0 0 400 200]>>" % (kids, pages),
        stream(b"<xdp:xdp xmlns:xdp='http://ns.adobe.com/xdp/'></xdp:xdp>"),
        stream(WORDS.replace(b"Goods handled in each quarter", b"Please wait...")),
        *(
            b"<</Type/Page/Parent 2 0 R/Contents 4 0 R/Annots[%s]/Resources<</Font<</F %d 0 R>>>>>>"
            % (fields, 5 + pages)
            for _ in range(pages)
        ),
        FONT,
        b"<</Type/Annot/Subtype/Widget/FT/Tx/T(name)/V(Ada)/Rect[20 50 200 80]>>",
    )


def test_the_one_page_of_a_dynamic_xfa_form_is_a_placeholder(pool: SandboxPool) -> None:
    page = render(pool, xfa(), MediaType.PDF)
    assert page.facts.placeholder
    assert page.layer_text == "Please wait..."
    for static in (xfa(fields=b"7 0 R"), xfa(pages=2), drawn_pdf(lambda paper: paper.drawString(9, 9, "Please wait"))):
        assert not render(pool, static, MediaType.PDF).facts.placeholder


HEBREW = dict(zip("abcdefgh", "אבגדהוזח", strict=True))


def set_at(text: str, turned: str = "1 0 0 1 20 150") -> bytes:
    escaped = "".join(f"\\{char}" if char in "()" else char for char in text)
    return f"BT /F 16 Tf {turned} Tm ({escaped}) Tj ET ".encode()


@pytest.mark.parametrize(
    ("visual", "logical"),
    [
        ("(gf) SEA GULL 12.5 (ed) cba", "אבג (דה) SEA GULL 12.5 (וז)"),
        (".1914 edc 1.10.33 ba", "אב 1.10.33 גדה 1914."),
        ("cba SEA GULL fed", "דהו SEA GULL אבג"),
        ("?cba", "אבג?"),
        ("(4)(b)15 edc", "גדה 15(ב)(4)"),
        ("fed :cba", "אבג: דהו"),
    ],
)
@pytest.mark.parametrize("turned", ["1 0 0 1 20 150", "0 1 -1 0 200 10", "-1 0 0 -1 380 50", "0 -1 1 0 200 390"])
def test_right_to_left_lines_read_as_they_are_shown(pool: SandboxPool, visual: str, logical: str, turned: str) -> None:
    more = "hgfedcba " * 4 + "hgfedcba"  # so that the page is one of Hebrew
    content = set_at(visual, turned)
    data = lettered_pdf(content + b"3 Tr " + set_at(more, "0.1 0 0 0.1 20 10"), HEBREW, b"/MediaBox[0 0 400 400]")
    text = render(pool, data, MediaType.PDF).layer_text
    assert text is not None
    assert logical in text.split("\n")


def test_a_line_from_left_to_right_keeps_its_words_and_turns_those_within(pool: SandboxPool) -> None:
    text = render(pool, lettered_pdf(set_at("THE WORD (cba fed) IS HEBREW FOR 12"), HEBREW), MediaType.PDF).layer_text
    assert text == "THE WORD (דהו אבג) IS HEBREW FOR 12"


def test_a_glyph_of_several_letters_is_read_in_their_order(pool: SandboxPool) -> None:
    arabic = {"a": "س", "b": "م", "L": "لا", "A": "الله", "p": "ﻻ", "m": "\u064b"}
    data = lettered_pdf(set_at("bLa A bpa"), arabic)
    assert render(pool, data, MediaType.PDF).layer_text == "سلام الله سلام"


def test_columns_of_vertical_writing_read_from_right_to_left_and_tier_by_tier(pool: SandboxPool) -> None:
    letters = dict(zip("abcdefghijkl", "日月火水木金土山川田人口", strict=True))
    columns = [(40, 150, "def"), (60, 150, "abc"), (40, 70, "jkl"), (60, 70, "ghi")]
    content = b"".join(
        set_at(char, f"1 0 0 1 {x} {y - 17 * row}") for x, y, column in columns for row, char in enumerate(column)
    )
    text = render(pool, lettered_pdf(content, letters), MediaType.PDF).layer_text
    assert text == "日月火\n水木金\n土山川\n田人口"


def test_a_crop_box_beside_the_page_shows_the_whole_page(pool: SandboxPool) -> None:
    data = one_page_pdf(
        stream(WORDS), FONT, entries=b"/MediaBox[0 0 400 200]/CropBox[900 900 950 950]/Resources<</Font<</F 5 0 R>>>>"
    )
    page = render(pool, data, MediaType.PDF)
    assert page.layer_text == "Goods handled in each quarter"
    assert page.width_px == pytest.approx(2 * page.height_px, rel=0.01)


def test_words_that_were_hyphenated_are_whole_again(pool: SandboxPool) -> None:
    content = set_at("har-", "1 0 0 1 20 150") + set_at("bour and ~ferry~boat on quar~", "1 0 0 1 20 130")
    data = lettered_pdf(content + set_at("ter day", "1 0 0 1 20 110"), {"~": "\u00ad"})
    assert render(pool, data, MediaType.PDF).layer_text == "harbour and ferryboat on quarter day"


@pytest.mark.parametrize("form", [b"", b"/AcroForm 99 0 R", b"/AcroForm<</Fields[]>>"])
@pytest.mark.parametrize("look", [b"/AP<</N 7 0 R>>", b"/DA(/F 16 Tf 0 g)/V(Kittiwake)"])
def test_fields_that_no_form_lists_are_drawn_and_read(pool: SandboxPool, form: bytes, look: bytes) -> None:
    form_entries = b"/Subtype/Form/BBox[0 0 200 30]/Resources<</Font<</F 5 0 R>>>>"
    data = raw_pdf(
        b"<</Type/Catalog/Pages 2 0 R%s>>" % form,
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/Contents 4 0 R/Annots[6 0 R]%s>>" % RESOURCES.replace(b"6 0 R", b"8 0 R"),
        stream(b""),
        FONT,
        b"<</Type/Annot/Subtype/Widget/FT/Tx/T(ship)/F 4/Rect[20 80 220 110]%s>>" % look,
        stream(b"BT /F 16 Tf 5 10 Td (Kittiwake) Tj ET", form_entries),
        STRIPES,
    )
    with opened(pool, data, MediaType.PDF) as document:
        page, crops = document.render(1), document.render_crops(1, 2)
    assert (page.blank, page.layer_text, page.facts.layer) == (False, "Kittiwake", LayerState.SOUND)
    assert len(crops) == 2
