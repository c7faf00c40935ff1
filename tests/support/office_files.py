"""Small slides, sheets and texts made by hand for the conversion tests, and those among them that reach out."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.core.formats import MediaType

_RELATIONS = "http://schemas.openxmlformats.org/package/2006/relationships"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_P = "http://schemas.openxmlformats.org/presentationml/2006/main"
_A = "http://schemas.openxmlformats.org/drawingml/2006/main"
_W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_OOXML = "application/vnd.openxmlformats-officedocument"
_ODF = "urn:oasis:names:tc:opendocument:xmlns"
_NAMESPACES = " ".join(
    f'xmlns:{prefix}="{_ODF}:{name}:1.0"'
    for prefix, name in {
        "office": "office",
        "text": "text",
        "draw": "drawing",
        "presentation": "presentation",
        "style": "style",
        "table": "table",
        "svg": "svg-compatible",
        "number": "datastyle",
    }.items()
)


@dataclass(frozen=True)
class Slide:
    text: str
    notes: str = ""
    hidden: bool = False


def zipped(parts: Mapping[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as package:
        for name, content in parts.items():
            # OpenDocument's type is read off the file's first bytes.
            way = zipfile.ZIP_STORED if name == "mimetype" else zipfile.ZIP_DEFLATED
            package.writestr(name, content, way)
    return buffer.getvalue()


def odf(kind: str, body: str, styles: str = "") -> bytes:
    """An OpenDocument file: `presentation`, `text` or `spreadsheet`, and what is in its body."""
    media_type = f"application/vnd.oasis.opendocument.{kind}"
    entries = "".join(
        f'<manifest:file-entry manifest:full-path="{path}" manifest:media-type="{kind_of}"/>'
        for path, kind_of in (("/", media_type), ("content.xml", "text/xml"))
    )
    return zipped(
        {
            "mimetype": media_type,
            "META-INF/manifest.xml": f'<manifest:manifest xmlns:manifest="{_ODF}:manifest:1.0" manifest:version="1.2">'
            f"{entries}</manifest:manifest>",
            "content.xml": f'<office:document-content {_NAMESPACES} xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'office:version="1.2">{styles}<office:body><office:{kind}>{body}</office:{kind}></office:body>'
            "</office:document-content>",
        }
    )


def odp(*slides: Slide) -> bytes:
    styles = (
        '<office:automatic-styles><style:style style:name="hidden" style:family="drawing-page">'
        '<style:drawing-page-properties presentation:visibility="hidden"/></style:style></office:automatic-styles>'
    )
    return odf("presentation", "".join(_odp_page(number, slide) for number, slide in enumerate(slides, 1)), styles)


def _odp_page(number: int, slide: Slide) -> str:
    place = 'svg:x="2cm" svg:y="2cm" svg:width="20cm" svg:height="3cm"'
    style = ' draw:style-name="hidden"' if slide.hidden else ""
    notes = (
        f'<presentation:notes><draw:frame presentation:class="notes" {place}>'
        f"<draw:text-box><text:p>{slide.notes}</text:p></draw:text-box></draw:frame></presentation:notes>"
    )
    return (
        f'<draw:page draw:name="p{number}"{style}><draw:frame {place}><draw:text-box><text:p>{slide.text}</text:p>'
        f"</draw:text-box></draw:frame>{notes if slide.notes else ''}</draw:page>"
    )


def ods(rows: int) -> bytes:
    """A sheet of so many rows of text, about 45 of which make a page."""
    cells = "".join(
        f'<table:table-row><table:table-cell office:value-type="string"><text:p>row {row}</text:p></table:table-cell>'
        "</table:table-row>"
        for row in range(1, rows + 1)
    )
    return odf("spreadsheet", f'<table:table table:name="rows">{cells}</table:table>')


def narrow_ods(rows: Sequence[Sequence[object]]) -> bytes:
    """A sheet whose columns are 8 mm wide: texts, numbers and dates as they are written, and empty cells for None."""
    styles = (
        '<office:automatic-styles><style:style style:name="narrow" style:family="table-column">'
        '<style:table-column-properties style:column-width="8mm"/></style:style>'
        '<number:date-style style:name="iso"><number:year number:style="long"/><number:text>-</number:text>'
        '<number:month number:style="long"/><number:text>-</number:text><number:day number:style="long"/>'
        '</number:date-style><style:style style:name="date" style:family="table-cell" style:data-style-name="iso"/>'
        '<number:number-style style:name="two"><number:number number:decimal-places="2" number:min-integer-digits="1"/>'
        '</number:number-style><style:style style:name="number" style:family="table-cell" style:data-style-name="two"/>'
        "</office:automatic-styles>"
    )
    lines = "".join(f"<table:table-row>{''.join(map(_cell, row))}</table:table-row>" for row in rows)
    column = '<table:table-column table:style-name="narrow" table:number-columns-repeated="8"/>'
    return odf("spreadsheet", f'<table:table table:name="rows">{column}{lines}</table:table>', styles)


def _cell(value: object) -> str:
    if value is None:
        return "<table:table-cell/>"
    if re.fullmatch(r"\d{4}-\d\d-\d\d", str(value)):
        return f'<table:table-cell table:style-name="date" office:value-type="date" office:date-value="{value}"/>'
    if re.fullmatch(r"[\d.]+", str(value)):
        return f'<table:table-cell table:style-name="number" office:value-type="float" office:value="{value}"/>'
    return f'<table:table-cell office:value-type="string"><text:p>{value}</text:p></table:table-cell>'


def pptx(*slides: Slide) -> bytes:
    """A presentation without masters and layouts, which PowerPoint would mind and LibreOffice does not."""
    numbered = list(enumerate(slides, 1))
    ids = "".join(f'<p:sldId id="{255 + number}" r:id="rId{number}"/>' for number, _ in numbered)
    parts = {
        "ppt/presentation.xml": f'<p:presentation xmlns:p="{_P}" xmlns:r="{_OFFICE}"><p:sldIdLst>{ids}</p:sldIdLst>'
        '<p:sldSz cx="9144000" cy="6858000"/><p:notesSz cx="6858000" cy="9144000"/></p:presentation>',
        "ppt/_rels/presentation.xml.rels": relations(
            *((f"rId{number}", "slide", f"slides/slide{number}.xml") for number, _ in numbered)
        ),
    }
    types = {"ppt/presentation.xml": "presentationml.presentation.main"}
    for number, slide in numbered:
        path = f"ppt/slides/slide{number}.xml"
        parts[path] = _sld(slide.text, "sld", ' show="0"' if slide.hidden else "", "")
        types[path] = "presentationml.slide"
        if slide.notes:
            notes = f"ppt/notesSlides/notesSlide{number}.xml"
            parts[f"ppt/slides/_rels/slide{number}.xml.rels"] = relations(
                ("rId1", "notesSlide", f"../notesSlides/notesSlide{number}.xml")
            )
            parts[notes] = _sld(slide.notes, "notes", "", '<p:ph type="body" idx="1"/>')
            types[notes] = "presentationml.notesSlide"
    return ooxml("ppt/presentation.xml", parts, types)


def _sld(text: str, element: str, attributes: str, placeholder: str) -> str:
    return (
        f'<p:{element} xmlns:p="{_P}" xmlns:a="{_A}"{attributes}><p:cSld><p:spTree><p:nvGrpSpPr>'
        '<p:cNvPr id="1" name=""/><p:cNvGrpSpPr/><p:nvPr/></p:nvGrpSpPr><p:grpSpPr/><p:sp><p:nvSpPr>'
        f'<p:cNvPr id="2" name="words"/><p:cNvSpPr/><p:nvPr>{placeholder}</p:nvPr></p:nvSpPr><p:spPr><a:xfrm>'
        '<a:off x="600000" y="600000"/><a:ext cx="7000000" cy="1000000"/></a:xfrm><a:prstGeom prst="rect"/></p:spPr>'
        f"<p:txBody><a:bodyPr/><a:p><a:r><a:t>{text}</a:t></a:r></a:p></p:txBody></p:sp></p:spTree></p:cSld>"
        f"</p:{element}>"
    )


def docx(paragraphs: str, related: str = "") -> bytes:
    body = (
        f'<w:document xmlns:w="{_W}" xmlns:r="{_OFFICE}" xmlns:a="{_A}" '
        'xmlns:wp="http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing" '
        'xmlns:pic="http://schemas.openxmlformats.org/drawingml/2006/picture">'
        f"<w:body>{paragraphs}</w:body></w:document>"
    )
    parts = {"word/document.xml": body} | ({"word/_rels/document.xml.rels": related} if related else {})
    return ooxml("word/document.xml", parts, {"word/document.xml": "wordprocessingml.document.main"})


def paragraph(text: str, font: str = "") -> str:
    properties = f'<w:rPr><w:rFonts w:ascii="{font}" w:hAnsi="{font}"/></w:rPr>' if font else ""
    return f"<w:p><w:r>{properties}<w:t>{text}</w:t></w:r></w:p>"


def relations(*targets: tuple[str, str, str], external: bool = False) -> str:
    mode = ' TargetMode="External"' if external else ""
    found = "".join(
        f'<Relationship Id="{name}" Type="{_OFFICE}/{kind}" Target="{target}"{mode}/>' for name, kind, target in targets
    )
    return f'<Relationships xmlns="{_RELATIONS}">{found}</Relationships>'


def ooxml(main: str, parts: Mapping[str, str], types: Mapping[str, str]) -> bytes:
    overrides = "".join(
        f'<Override PartName="/{path}" ContentType="{_OOXML}.{kind}+xml"/>' for path, kind in types.items()
    )
    content_types = (
        '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Default Extension="xml" ContentType="application/xml"/>{overrides}</Types>'
    )
    return zipped(
        {"[Content_Types].xml": content_types, "_rels/.rels": relations(("rId1", "officeDocument", main)), **parts}
    )


def reaching_out(server: str, picture: str, text: str) -> dict[MediaType, bytes]:
    """Documents that show pictures and texts of others: by HTTP from a server, and from this machine, by their URLs."""
    frames = "".join(_frame(url, place) for place, url in enumerate((f"{server}/picture.png", picture)))
    html = (
        f'<html><head><link rel="stylesheet" href="{server}/style.css"></head><body>words<img src="{server}/a.png">'
        f'<img src="{picture}"><iframe src="{text}"></iframe><object data="{text}"></object></body></html>'
    )
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="400" height="300">'
        f'<image xlink:href="{server}/a.png" width="99" height="99"/><text y="280">words</text>'
        f'<image xlink:href="{picture}" x="200" width="99" height="99"/></svg>'
    )
    entity = f'<!DOCTYPE svg [<!ENTITY text SYSTEM "{text}"><!ENTITY net SYSTEM "{server}/entity">]>'
    rtf = "".join(
        r'{\field{\*\fldinst INCLUDEPICTURE "%s" \\d}{\fldrslt x}}' % url  # noqa: UP031, RTF is made of braces
        for url in (f"{server}/a.png", picture.removeprefix("file://"))
    )
    section = f'<text:section text:name="s"><text:section-source xlink:href="{text}"/><text:p>x</text:p></text:section>'
    return {
        MediaType.HTML: html.encode(),
        MediaType.SVG: (entity + svg.replace("words", "words &text; &net;")).encode(),
        MediaType.RTF: (r"{\rtf1 words " + rtf + "}").encode(),
        MediaType.ODT: odf("text", f"<text:p>words{frames}</text:p>{section}"),
        MediaType.ODP: odf("presentation", f'<draw:page draw:name="p">{frames}</draw:page>'),
        MediaType.DOCX: docx(
            paragraph("words") + _linked_picture("rId1") + _linked_picture("rId2"),
            relations(("rId1", "image", f"{server}/a.png"), ("rId2", "image", picture), external=True),
        ),
    }


def _frame(url: str, place: int) -> str:
    return (
        f'<draw:frame draw:name="{place}" text:anchor-type="as-char" svg:x="2cm" svg:y="{2 + 5 * place}cm" '
        f'svg:width="5cm" svg:height="3cm"><draw:image xlink:href="{url}" xlink:type="simple" xlink:show="embed" '
        'xlink:actuate="onLoad"/></draw:frame>'
    )


def _linked_picture(relation: str) -> str:
    return (
        '<w:p><w:r><w:drawing><wp:inline><wp:extent cx="1800000" cy="1080000"/><wp:docPr id="1" name="a"/><a:graphic>'
        '<a:graphicData uri="http://schemas.openxmlformats.org/drawingml/2006/picture"><pic:pic><pic:nvPicPr>'
        f'<pic:cNvPr id="1" name="a"/><pic:cNvPicPr/></pic:nvPicPr><pic:blipFill><a:blip r:link="{relation}"/>'
        '<a:stretch><a:fillRect/></a:stretch></pic:blipFill><pic:spPr><a:xfrm><a:off x="0" y="0"/>'
        '<a:ext cx="1800000" cy="1080000"/></a:xfrm><a:prstGeom prst="rect"><a:avLst/></a:prstGeom></pic:spPr>'
        "</pic:pic></a:graphicData></a:graphic></wp:inline></w:drawing></w:r></w:p>"
    )
