"""The samples that come from a scanner: sheets set in type, printed, and scanned askew with noise."""

from __future__ import annotations

import io
import random
from collections.abc import Callable

import pypdfium2 as pdfium
from layout import BODY, INK, fill, new_canvas, paragraphs
from photograph import jpeg
from PIL import Image, ImageChops, ImageDraw, ImageFilter
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, Paragraph, Spacer, Table, TableStyle

LETTER = ParagraphStyle("letter", BODY, fontName="Times-Roman", fontSize=13, leading=18.5, spaceAfter=11)


def typeset(draw: Callable[[Canvas], None]) -> bytes:
    """Return a one-page PDF."""
    out = io.BytesIO()
    canvas = new_canvas(out, "Original")
    draw(canvas)
    canvas.showPage()
    canvas.save()
    return out.getvalue()


def printed(pdf: bytes, dpi: int) -> Image.Image:
    """Return the first page as a grey picture."""
    document = pdfium.PdfDocument(pdf)
    try:
        picture: Image.Image = document[0].render(scale=dpi / 72, grayscale=True).to_pil().convert("L")
        return picture
    finally:
        document.close()


def scanned(sheet: Image.Image, degrees: float, seed: int) -> Image.Image:
    """Return the sheet as a flat-bed scanner sees it: a little askew, greyish, soft, noisy, with dark edges."""
    tilted = sheet.rotate(degrees, Image.Resampling.BICUBIC, fillcolor=255)
    soft = tilted.filter(ImageFilter.GaussianBlur(0.6)).point(lambda value: 38 + value * 200 // 255)
    grain = Image.frombytes("L", soft.size, random.Random(seed).randbytes(soft.width * soft.height))
    noisy = ImageChops.add(soft, grain.point(lambda value: value * 22 // 255), offset=-11)
    shade = ImageDraw.Draw(noisy)
    for inset in range(6):
        shade.rectangle((inset, inset, noisy.width - 1 - inset, noisy.height - 1 - inset), outline=110 + 20 * inset)
    return noisy


class Signature(Flowable):  # type: ignore[misc]
    """A scrawl in ink, 44 by 16 mm, that says no name."""

    def wrap(self, *_available: float) -> tuple[float, float]:
        return 44 * mm, 16 * mm

    def draw(self) -> None:
        canvas = self.canv
        canvas.setStrokeColor(INK)
        canvas.setLineWidth(1.2)
        path = canvas.beginPath()
        path.moveTo(2 * mm, 4 * mm)
        path.curveTo(4 * mm, 22 * mm, 12 * mm, 16 * mm, 7 * mm, 4 * mm)
        path.curveTo(5 * mm, -2 * mm, 15 * mm, 14 * mm, 15 * mm, 6 * mm)
        path.curveTo(15 * mm, 1 * mm, 20 * mm, 12 * mm, 21 * mm, 6 * mm)
        path.curveTo(22 * mm, 1 * mm, 26 * mm, 16 * mm, 28 * mm, 7 * mm)
        path.curveTo(29 * mm, 2 * mm, 34 * mm, 8 * mm, 44 * mm, 9 * mm)
        canvas.drawPath(path)


def letter_text(canvas: Canvas) -> None:
    story = [
        *paragraphs(LETTER, "<b>The Lock Keeper</b><br/>Old Lock House<br/>Canal Row"),
        Spacer(0, 5 * mm),
        *paragraphs(LETTER, "To the Harbour Office<br/>Quay Street 1"),
        Spacer(0, 4 * mm),
        *paragraphs(LETTER, "14 November", "<b>Repair of the sluice gate</b>"),
        *paragraphs(
            LETTER,
            "Dear colleagues,",
            "On the night of the storm a drifting barge struck the upper sluice gate. Two of the oak planks are split, "
            "and the iron hinge on the left side is bent. Since then water has been leaking into the chamber at the "
            "rate of about a bucket a minute.",
            "I have stopped the worst of it with tarpaulin and clay, which will hold until the frost. I ask you to "
            "send a carpenter and a blacksmith before the end of the month. The gate can be lifted out with the mobile "
            "crane; I would close the canal for two days.",
            "The owner of the barge has admitted the damage. His insurance wants a signed statement and an "
            "estimate, which I shall send as soon as your carpenter has been here.",
            "With kind regards,",
        ),
        Signature(),
        *paragraphs(LETTER, "The Lock Keeper"),
    ]
    fill(canvas, story, 28 * mm, 25 * mm, 154 * mm, 242 * mm)


def scanned_letter() -> bytes:
    """A letter as an image-only PDF: grey JPEG at 170 dpi, turned by 1.1 degrees."""
    picture = scanned(printed(typeset(letter_text), 170), degrees=1.1, seed=14)
    out = io.BytesIO()
    canvas = new_canvas(out, "Letter")
    canvas.drawImage(ImageReader(io.BytesIO(jpeg(picture, 55))), 0, 0, *A4)
    canvas.showPage()
    canvas.save()
    return out.getvalue()


def ledger_page(title: str, rows: list[list[str]], note: str) -> Callable[[Canvas], None]:
    """Return what draws a page of a ledger: ruled, in typewriter letters."""
    grid = TableStyle(
        [
            ("FONT", (0, 0), (-1, -1), "Courier", 12),
            ("FONT", (0, 0), (-1, 0), "Courier-Bold", 12),
            ("GRID", (0, 0), (-1, -1), 0.8, INK),
            ("LINEBELOW", (0, 0), (-1, 0), 2, INK),
            ("ALIGN", (-1, 0), (-1, -1), "RIGHT"),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 7),
            ("TOPPADDING", (0, 0), (-1, -1), 7),
        ]
    )
    heading = ParagraphStyle("ledger", BODY, fontName="Courier-Bold", fontSize=17, leading=24, spaceAfter=12)
    body = ParagraphStyle("ledger note", BODY, fontName="Courier", fontSize=12, leading=17)

    def draw(canvas: Canvas) -> None:
        table = Table(rows, colWidths=[36 * mm, 90 * mm, 36 * mm], style=grid)
        story = [Paragraph(title, heading), table, Spacer(0, 8 * mm), Paragraph(note, body)]
        fill(canvas, story, 24 * mm, 25 * mm, 162 * mm, 242 * mm)

    return draw


def ledger_scans() -> bytes:
    """Three frames in one TIFF: black and white at 200 dpi, CCITT group 4."""
    pages = [
        (
            "LEDGER I: BERTHS IN APRIL",
            [
                ["Date", "Vessel", "Berth"],
                ["2 April", "Grey Heron, coal", "4"],
                ["5 April", "Morning Star, timber", "7"],
                ["9 April", "Juniper, slate and lime", "2"],
                ["17 April", "Grey Heron, coal", "4"],
                ["26 April", "Two Brothers, herring", "11"],
            ],
            "Berth 9 was out of use: its bollard had come loose.",
        ),
        (
            "LEDGER II: DUES RECEIVED",
            [
                ["Receipt", "From", "Paid"],
                ["301", "Grey Heron", "12.40"],
                ["302", "Morning Star", "18.00"],
                ["303", "Juniper", "9.75"],
                ["304", "Grey Heron", "12.40"],
                ["Sum", "", "52.55"],
            ],
            "Two Brothers to pay at the next call.",
        ),
        (
            "LEDGER III: STORES",
            [
                ["Shelf", "Goods", "In stock"],
                ["A1", "Tarred rope, fathoms", "240"],
                ["A2", "Signal lamps", "16"],
                ["B1", "Red lead paint, tins", "35"],
                ["B2", "Sailcloth, bolts", "8"],
                ["C1", "Copper nails, boxes", "61"],
            ],
            "Order more sailcloth before the autumn gales.",
        ),
    ]
    sheets = [printed(typeset(ledger_page(*page)), 200) for page in pages]
    turns = (0.5, -0.4, 0.2)
    frames = [
        scanned(sheet, degrees, seed=20 + index).point(lambda value: 255 * (value > 140)).convert("1")
        for index, (sheet, degrees) in enumerate(zip(sheets, turns, strict=True))
    ]
    out = io.BytesIO()
    frames[0].save(
        out, "TIFF", save_all=True, append_images=frames[1:], compression="group4", dpi=(200, 200), software="Pagesight"
    )
    return out.getvalue()
