"""Draws the files of this folder: `python samples/make_samples.py [FOLDER]`.

Everything here is made up and drawn by this script, so it can be shared freely. Dates and seeds are fixed: the same
versions of reportlab, Pillow and pypdfium2 give the same bytes, and the committed files are one run's output.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from layout import BLUE, BODY, GREY, HEADING, INK, NAVY, ORANGE, PALE, SMALL, SUBHEADING, fill, new_canvas, paragraphs
from photograph import draw_harbour, harbour_photograph, jpeg
from PIL import Image
from reportlab.lib.colors import white
from reportlab.lib.enums import TA_RIGHT
from reportlab.lib.pagesizes import A4
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.lib.utils import ImageReader
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Paragraph, Spacer, Table, TableStyle
from scans import ledger_scans, scanned_letter

#: Greek letters are in none of reportlab's own fonts. A subset of this one goes into the committed PDF.
GREEK_FONTS = (
    Path("/usr/share/fonts/truetype/dejavu/DejaVuSerif.ttf"),
    Path("/usr/share/fonts/truetype/dejavu/DejaVuSerif-Bold.ttf"),
)
#: Opens `encrypted.pdf`.
PASSWORD = "lighthouse"


def main(folder: Path) -> None:
    """Write every sample into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    photograph = draw_harbour()
    report = annual_report(photograph)
    for name, content in {
        "annual-report.pdf": report,
        "scanned-letter.pdf": scanned_letter(),
        "ledger-scans.tif": ledger_scans(),
        "harbour.jpg": harbour_photograph(photograph),
        "bericht.pdf": german_page(),
        "anakoinosi.pdf": greek_page(),
        "encrypted.pdf": encrypted_page(),
        "truncated.pdf": report[: len(report) // 2],
    }.items():
        (folder / name).write_bytes(content)
        print(f"{len(content):9,d}  {name}")


def annual_report(photograph: Image.Image) -> bytes:
    """Five pages: cover and contents labelled i and ii, then 1 to 3: prose in two columns, a chart, a table."""
    out = io.BytesIO()
    canvas = new_canvas(out, "Annual report of the harbour")
    canvas.addPageLabel(0, style="ROMAN_LOWER")
    canvas.addPageLabel(2, style="ARABIC", start=1)
    report_cover(canvas, photograph)
    report_contents(canvas)
    report_prose(canvas)
    report_chart(canvas)
    report_table(canvas)
    canvas.save()
    return out.getvalue()


def report_footer(canvas: Canvas, label: str) -> None:
    canvas.setStrokeColor(PALE)
    canvas.line(22 * mm, 17 * mm, A4[0] - 22 * mm, 17 * mm)
    canvas.setFont("Helvetica", 8)
    canvas.setFillColor(GREY)
    canvas.drawString(22 * mm, 12 * mm, "Annual report of the harbour")
    canvas.drawRightString(A4[0] - 22 * mm, 12 * mm, label)
    canvas.showPage()


def report_cover(canvas: Canvas, photograph: Image.Image) -> None:
    width, height = A4
    canvas.setFillColor(NAVY)
    canvas.rect(0, height - 105 * mm, width, 105 * mm, stroke=0, fill=1)
    canvas.setFillColor(white)
    canvas.setFont("Helvetica-Bold", 38)
    canvas.drawString(22 * mm, height - 55 * mm, "Annual report")
    canvas.setFont("Helvetica", 17)
    canvas.drawString(22 * mm, height - 68 * mm, "of the harbour, in its fortieth year")
    canvas.setFillColor(ORANGE)
    canvas.rect(22 * mm, height - 80 * mm, 40 * mm, 2 * mm, stroke=0, fill=1)
    picture = ImageReader(io.BytesIO(jpeg(photograph.resize((900, 600), Image.Resampling.LANCZOS), 82)))
    canvas.drawImage(picture, 22 * mm, height - 225 * mm, 166 * mm, 166 * mm * 2 / 3)
    canvas.setFillColor(INK)
    canvas.setFont("Helvetica", 11)
    canvas.drawString(22 * mm, 45 * mm, "Published by the Harbour Office")
    report_footer(canvas, "i")


def report_contents(canvas: Canvas) -> None:
    entry_right = ParagraphStyle("entry", BODY, alignment=TA_RIGHT)
    entries = [("The year on the quays", "1"), ("Goods handled", "2"), ("Ships by kind", "3")]
    table = Table(
        [[Paragraph(title, BODY), Paragraph(page, entry_right)] for title, page in entries],
        colWidths=[146 * mm, 20 * mm],
        style=TableStyle([("LINEBELOW", (0, 0), (-1, -1), 0.5, PALE), ("VALIGN", (0, 0), (-1, -1), "MIDDLE")]),
    )
    note = (
        "All weights are in thousands of tonnes. A ship is counted once for each arrival. The figures were taken from "
        "the berth books and rounded; sums may therefore differ by one in the last place."
    )
    story = [
        Paragraph("Contents", HEADING),
        Spacer(0, 6 * mm),
        table,
        Spacer(0, 12 * mm),
        Paragraph("How to read the figures", SUBHEADING),
        Paragraph(note, BODY),
    ]
    fill(canvas, story, 22 * mm, 25 * mm, 166 * mm, 245 * mm)
    report_footer(canvas, "ii")


def report_prose(canvas: Canvas) -> None:
    left = paragraphs(
        BODY,
        "The year began with ice. For eleven days in January the inner basin was closed, and the tugs kept a single "
        "lane open for the ferries. Nobody was hurt, and no berth was damaged.",
        "From March on, trade recovered. Grain left the new silo at twice the rate of the old one, because two ships "
        "can now be loaded side by side. Timber stayed where it was.",
        "The dredging of the northern channel was finished in June, a month early. Vessels with a draught of eleven "
        "metres now reach the container quay at any tide.",
        "The old customs shed was taken down. Its bricks, some ninety thousand of them, were cleaned by hand and will "
        "line the new promenade between the fish market and the ferry landing.",
        "Prices for berths were left as they are for the third year running.",
    )
    right = [
        Paragraph("The lighthouse", SUBHEADING),
        *paragraphs(
            BODY,
            "The lamp of the lighthouse was changed to light-emitting diodes. It uses a tenth of the power and is seen "
            "two miles farther out. The old lens is on show in the reading room.",
        ),
        Paragraph("Visitors", SUBHEADING),
        *paragraphs(
            BODY,
            "Sixty thousand people came to the open days, more than ever before. The boat trips around the breakwater "
            "were sold out on every one of them.",
        ),
        Paragraph("Birds", SUBHEADING),
        *paragraphs(
            BODY,
            "A pair of ospreys nested on the radar mast. The mast was switched off until the young had flown, and "
            "the pilots steered by the two range lights instead.",
        ),
        Paragraph("Outlook", SUBHEADING),
        *paragraphs(
            BODY,
            "Next year the swing bridge will be renewed. Road traffic is led over the dam; ships are not affected.",
        ),
    ]
    fill(canvas, [Paragraph("The year on the quays", HEADING)], 22 * mm, 250 * mm, 166 * mm, 20 * mm)
    fill(canvas, left, 22 * mm, 30 * mm, 78 * mm, 215 * mm)
    fill(canvas, right, 110 * mm, 30 * mm, 78 * mm, 215 * mm)
    report_footer(canvas, "1")


def report_chart(canvas: Canvas) -> None:
    fill(canvas, [Paragraph("Goods handled", HEADING)], 22 * mm, 250 * mm, 166 * mm, 20 * mm)
    draw_bars(canvas, 34 * mm, 135 * mm, 150 * mm, 98 * mm)
    text = (
        "Figure 1. Goods handled in each quarter, in thousands of tonnes. Containers grew in every quarter; grain "
        "follows the harvest and peaks in the third. Timber and the goods that ferries carry are not shown."
    )
    fill(canvas, [Paragraph(text, BODY)], 22 * mm, 60 * mm, 166 * mm, 55 * mm)
    report_footer(canvas, "2")


def draw_bars(canvas: Canvas, left: float, bottom: float, width: float, height: float) -> None:
    """Draw a bar chart as vectors: four quarters, two kinds of goods, values from 0 to 400."""
    quarters = [("Spring", 180, 90), ("Summer", 230, 140), ("Autumn", 290, 330), ("Winter", 340, 120)]
    canvas.setFont("Helvetica", 9)
    for value in range(0, 401, 100):
        y = bottom + height * value / 400
        canvas.setStrokeColor(PALE if value else INK)
        canvas.line(left, y, left + width, y)
        canvas.setFillColor(GREY)
        canvas.drawRightString(left - 3 * mm, y - 3, str(value))
    step = width / len(quarters)
    for index, (name, containers, grain) in enumerate(quarters):
        for offset, value, colour in ((0.18, containers, BLUE), (0.50, grain, ORANGE)):
            x, bar = left + step * (index + offset), height * value / 400
            canvas.setFillColor(colour)
            canvas.rect(x, bottom, step * 0.29, bar, stroke=0, fill=1)
            canvas.setFillColor(INK)
            canvas.drawCentredString(x + step * 0.145, bottom + bar + 4, str(value))
        canvas.drawCentredString(left + step * (index + 0.485), bottom - 5 * mm, name)
    for index, (name, colour) in enumerate((("Containers", BLUE), ("Grain", ORANGE))):
        x = left + index * 32 * mm
        canvas.setFillColor(colour)
        canvas.rect(x, bottom + height + 6 * mm, 4 * mm, 4 * mm, stroke=0, fill=1)
        canvas.setFillColor(INK)
        canvas.drawString(x + 6 * mm, bottom + height + 6.7 * mm, name)


def report_table(canvas: Canvas) -> None:
    rows = [
        ["Kind of ship", "Arrivals", "Mean stay, hours", "Goods"],
        ["Container ships", "412", "19", "1,040"],
        ["Grain carriers", "96", "31", "680"],
        ["Timber carriers", "58", "44", "210"],
        ["Ferries", "2,904", "2", "75"],
        ["Research vessels", "11", "96", "0"],
        ["All ships", "3,481", "6", "2,005"],
    ]
    grid = TableStyle(
        [
            ("FONT", (0, 0), (-1, -1), "Helvetica", 10),
            ("FONT", (0, 0), (-1, 0), "Helvetica-Bold", 10),
            ("FONT", (0, -1), (-1, -1), "Helvetica-Bold", 10),
            ("TEXTCOLOR", (0, 0), (-1, 0), white),
            ("BACKGROUND", (0, 0), (-1, 0), NAVY),
            ("ROWBACKGROUNDS", (0, 1), (-1, -2), [white, PALE]),
            ("LINEABOVE", (0, -1), (-1, -1), 1, NAVY),
            ("ALIGN", (1, 0), (-1, -1), "RIGHT"),
            ("TOPPADDING", (0, 0), (-1, -1), 6),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 6),
        ]
    )
    text = (
        "Ferries make most of the arrivals and carry little of the goods. The research vessels stay longest: they take "
        "in stores for a whole season. One of them wintered here and lent its crane when ours was under repair."
    )
    story = [
        Paragraph("Ships by kind", HEADING),
        Spacer(0, 8 * mm),
        Table(rows, colWidths=[64 * mm, 30 * mm, 40 * mm, 32 * mm], style=grid),
        Spacer(0, 3 * mm),
        Paragraph("Table 1. Arrivals, length of stay, and goods in thousands of tonnes.", SMALL),
        Spacer(0, 6 * mm),
        Paragraph(text, BODY),
    ]
    fill(canvas, story, 22 * mm, 25 * mm, 166 * mm, 245 * mm)
    report_footer(canvas, "3")


def german_page() -> bytes:
    """One page in German, full of compounds and inflected words."""
    out = io.BytesIO()
    canvas = new_canvas(out, "Bericht des Hafenamts")
    story = [
        Paragraph("Bericht des Hafenamts", HEADING),
        Spacer(0, 4 * mm),
        Paragraph("Häuser am Kai", SUBHEADING),
        *paragraphs(
            BODY,
            "Die alten Häuser am Südkai wurden im Frühjahr saniert. In drei Gebäuden sind nun Werkstätten und eine "
            "Seefahrtsschule untergebracht; die übrigen Wohnungen gehören der Genossenschaft der Lotsen.",
            "Während der Bauarbeiten verzögerten sich einige Lieferungen. Die Straße hinter den Speichern war elf "
            "Wochen lang gesperrt, sodass Lastwagen den Umweg über die Schleusenbrücke nehmen mussten.",
        ),
        Paragraph("Hafengebühren", SUBHEADING),
        *paragraphs(
            BODY,
            "Die Hafengebühren bleiben unverändert. Schiffe, die Landstrom beziehen, erhalten weiterhin einen Nachlass "
            "von einem Zehntel. Für Sportboote gilt die Liegeplatzverordnung vom vorigen Jahr.",
            "Rechnungen werden künftig innerhalb von vierzehn Tagen gestellt. Einsprüche nimmt die Geschäftsstelle "
            "schriftlich entgegen.",
        ),
        Paragraph("Ausblick", SUBHEADING),
        *paragraphs(
            BODY,
            "Im kommenden Jahr wird die Kaimauer des Binnenhafens erneuert. Größere Einschränkungen des "
            "Schiffsverkehrs sind nicht zu erwarten. Über den Baufortschritt berichten wir vierteljährlich an dieser "
            "Stelle.",
        ),
    ]
    fill(canvas, story, 22 * mm, 25 * mm, 166 * mm, 245 * mm)
    canvas.showPage()
    canvas.save()
    return out.getvalue()


def greek_page() -> bytes:
    """One page in Greek with an embedded font."""
    for path, name in zip(GREEK_FONTS, ("Greek", "Greek-Bold"), strict=True):
        if not path.exists():
            raise SystemExit(
                f"{path} is missing; install the DejaVu fonts (Debian: fonts-dejavu-core, fonts-dejavu-extra)"
            )
        pdfmetrics.registerFont(TTFont(name, str(path)))
    body = ParagraphStyle("greek", BODY, fontName="Greek")
    heading = ParagraphStyle("greek heading", HEADING, fontName="Greek-Bold")
    out = io.BytesIO()
    canvas = new_canvas(out, "Ανακοίνωση του λιμεναρχείου")
    story = [
        Paragraph("Ανακοίνωση του λιμεναρχείου", heading),
        Spacer(0, 8 * mm),
        *paragraphs(
            body,
            "Από την πρώτη Μαΐου τα πλοία της γραμμής αναχωρούν από τη νέα προβλήτα. Η παλιά προβλήτα θα μείνει "
            "κλειστή μέχρι το τέλος του καλοκαιριού.",
            "Οι επιβάτες παρακαλούνται να βρίσκονται στο λιμάνι μισή ώρα πριν από την αναχώρηση. Τα εισιτήρια "
            "πωλούνται στο γραφείο δίπλα στον φάρο, καθημερινά από τις επτά το πρωί.",
            "Όταν φυσούν ισχυροί άνεμοι, τα δρομολόγια αλλάζουν. Οι αλλαγές ανακοινώνονται στον πίνακα της εισόδου.",
        ),
    ]
    fill(canvas, story, 22 * mm, 25 * mm, 166 * mm, 245 * mm)
    canvas.setFillColor(BLUE)
    canvas.rect(22 * mm, 257 * mm, 40 * mm, 1.4 * mm, stroke=0, fill=1)
    canvas.showPage()
    canvas.save()
    return out.getvalue()


def encrypted_page() -> bytes:
    """One page that opens with `PASSWORD` only."""
    out = io.BytesIO()
    canvas = new_canvas(out, "Minutes", StandardEncryption(PASSWORD, ownerPassword="keeper", strength=128))
    text = "The minutes of this meeting are for those who were there. Whoever opens this page had the password."
    story = [Paragraph("Minutes, not for the public", HEADING), Spacer(0, 6 * mm), Paragraph(text, BODY)]
    fill(canvas, story, 22 * mm, 25 * mm, 166 * mm, 245 * mm)
    canvas.showPage()
    canvas.save()
    return out.getvalue()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[2] / "samples")
