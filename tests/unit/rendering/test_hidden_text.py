"""Words that cannot be seen among words that can: they are left out of the layer, object by object."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipeline.core.formats import MediaType
from pipeline.core.models import RenderedPage
from pipeline.rendering.host.pool import SandboxPool
from support.rendering import LIMITS, raw_pdf, render, stream

FONT = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"
PICTURE = stream(b"\xcc", b"/Subtype/Image/Width 8/Height 1/ColorSpace/DeviceGray/BitsPerComponent 1")
LINES = ("Coal for the steamers", "was weighed on the quay", "and paid for by the week")


@pytest.fixture(scope="module")
def pool() -> Iterator[SandboxPool]:
    pool = SandboxPool(1, LIMITS)
    yield pool
    pool.close()


def words(text: str, x: float, y: float, size: float = 14) -> bytes:
    return b"BT /F %g Tf %g %g Td (%s) Tj ET " % (size, x, y, text.encode())


def page(pool: SandboxPool, content: bytes, annotations: bytes = b"", rotation: int = 0) -> RenderedPage:
    """A page with three lines that can be seen, and more content."""
    visible = b"".join(words(line, 20, 370 - 20 * number) for number, line in enumerate(LINES))
    form = b"/Subtype/Form/BBox[0 0 400 400]/Matrix[1 0 0 1 0 -20]/Resources<</Font<</F 5 0 R>>>>"
    look = b"/Subtype/Form/BBox[0 0 200 30]/Resources<</Font<</F 5 0 R>>>>"
    data = raw_pdf(
        b"<</Type/Catalog/Pages 2 0 R/OCProperties<</OCGs[7 0 R]/D<</OFF[7 0 R]>>>>>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/Contents 4 0 R/MediaBox[0 0 400 400]/Rotate %d/Annots[%s]/Resources<</Font"
        b"<</F 5 0 R>>/XObject<</P 6 0 R/X 8 0 R>>/Properties<</Off 7 0 R>>>>>>" % (rotation, annotations),
        stream(visible + content),
        FONT,
        PICTURE,
        b"<</Type/OCG/Name(Off)>>",
        stream(b"1 g " + words("hidden words", 20, 120), form),
        stream(words("hidden words", 5, 10), look),
    )
    return render(pool, data, MediaType.PDF)


HIDDEN = words("hidden words", 20, 100)
CASES = [
    pytest.param(b"1 g " + HIDDEN, id="white on white"),
    pytest.param(b"0 0 1 rg 0 50 400 100 re f " + HIDDEN, id="blue on blue"),
    pytest.param(HIDDEN + b"1 g 0 80 400 60 re f", id="covered by white"),
    pytest.param(HIDDEN + b"0 g 0 80 400 60 re f", id="blackened"),
    pytest.param(b"q 0 0 5 5 re W n " + HIDDEN + b"Q", id="clipped"),
    pytest.param(b"/OC /Off BDC " + HIDDEN + b"EMC", id="optional content that is off"),
    pytest.param(words("hidden words", 20, 100, 0.01), id="of no size"),
    pytest.param(b"/X Do", id="within a form"),
    pytest.param(b"1 g " + HIDDEN * 40, id="more than the visible ones"),
]


@pytest.mark.parametrize("content", CASES)
def test_hidden_words_are_left_out(pool: SandboxPool, content: bytes) -> None:
    found = page(pool, content)
    assert (found.layer_text or "").split() == " ".join(LINES).split()
    assert found.facts.layer == "sound"


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_hidden_words_of_turned_pages_are_left_out(pool: SandboxPool, rotation: int) -> None:
    assert "hidden" not in (page(pool, b"1 g " + HIDDEN, rotation=rotation).layer_text or "")
    assert "hidden" in (page(pool, HIDDEN, rotation=rotation).layer_text or "")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(HIDDEN, id="black"),
        pytest.param(b"0.9 g " + HIDDEN, id="pale"),
        pytest.param(b"0 g 0 50 400 100 re f 1 g " + HIDDEN, id="white on black"),
        pytest.param(b"3 Tr " + HIDDEN, id="invisible mode"),
        pytest.param(b"0 g 10 80 300 40 re f 1 g " + HIDDEN + b"0 g", id="white on a bar"),
    ],
)
def test_words_that_can_be_seen_and_ocr_are_kept(pool: SandboxPool, content: bytes) -> None:
    assert "hidden words" in (page(pool, content).layer_text or "")


def test_ocr_behind_a_scan_stays_beside_a_stamp(pool: SandboxPool) -> None:
    behind = b"".join(words(f"Line {line} of what was scanned", 30, 200 - 12 * line, 10) for line in range(12))
    found = page(pool, behind + b"q 380 0 0 200 10 40 cm /P Do Q")
    assert "Line 7 of what was scanned" in (found.layer_text or "")
    assert found.facts.layer == "invisible"


@pytest.mark.parametrize(("flags", "is_seen"), [(4, True), (4 | 2, False), (4 | 32, False)])
def test_annotations_that_are_not_shown_are_left_out(pool: SandboxPool, flags: int, is_seen: bool) -> None:
    note = b"<</Type/Annot/Subtype/FreeText/F %d/Rect[20 80 220 110]/Contents(hidden words)/AP<</N 9 0 R>>>>" % flags
    found = page(pool, b"", note)
    assert ("hidden words" in (found.layer_text or "")) == is_seen
    assert (found.facts.layer, LINES[0] in (found.layer_text or "")) == ("sound", True)


def test_what_a_field_has_no_room_for_is_kept(pool: SandboxPool) -> None:
    field = b"<</Type/Annot/Subtype/Widget/FT/Tx/T(goods)/F 4/Rect[20 80 220 110]/AP<</N 9 0 R>>>>"
    look = words("shown words", 5, 10) + words("cut words", 5, -20)
    visible = words(LINES[0], 20, 370)
    data = raw_pdf(
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/Contents 4 0 R/MediaBox[0 0 400 400]/Annots[%s]/Resources<</Font<</F 5 0 R>>>>>>"
        % field,
        stream(visible),
        FONT,
        *[b"null"] * 3,
        stream(look, b"/Subtype/Form/BBox[0 0 200 30]/Resources<</Font<</F 5 0 R>>>>"),
    )
    text = render(pool, data, MediaType.PDF).layer_text or ""
    assert "shown words" in text
    assert "cut words" in text
