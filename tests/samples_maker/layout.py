"""Paper, ink and type of the samples."""

from __future__ import annotations

import io

from reportlab.lib.colors import HexColor
from reportlab.lib.pagesizes import A4
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.lib.styles import ParagraphStyle
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, Frame, Paragraph

NAVY = HexColor("#1d3f6e")
BLUE = HexColor("#3f7fbf")
PALE = HexColor("#e6eef7")
ORANGE = HexColor("#d9822b")
INK = HexColor("#222222")
GREY = HexColor("#777777")

BODY = ParagraphStyle("body", fontName="Helvetica", fontSize=12, leading=18, textColor=INK, spaceAfter=10)
SMALL = ParagraphStyle("small", BODY, fontSize=9.5, leading=13, textColor=GREY)
HEADING = ParagraphStyle("heading", BODY, fontName="Helvetica-Bold", fontSize=23, leading=29, textColor=NAVY)
SUBHEADING = ParagraphStyle(
    "subheading", BODY, fontName="Helvetica-Bold", fontSize=14, leading=19, textColor=BLUE, spaceBefore=6
)


def new_canvas(out: io.BytesIO, title: str, encrypt: StandardEncryption | None = None) -> Canvas:
    """Return a canvas for A4 pages that writes no date and no random id."""
    canvas = Canvas(out, pagesize=A4, invariant=1, pageCompression=1, encrypt=encrypt)
    canvas.setTitle(title)
    canvas.setAuthor("The Harbour Office")
    return canvas


def fill(canvas: Canvas, story: list[Flowable], left: float, bottom: float, width: float, height: float) -> None:
    """Set flowables into a box (points). A story that does not fit is a mistake in this script."""
    rest = list(story)
    Frame(left, bottom, width, height, 0, 0, 0, 0).addFromList(rest, canvas)
    if rest:
        raise ValueError(f"{len(rest)} flowables do not fit on page {canvas.getPageNumber()}")


def paragraphs(style: ParagraphStyle, *texts: str) -> list[Flowable]:
    """Return one paragraph a text."""
    return [Paragraph(text, style) for text in texts]
