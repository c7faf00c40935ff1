"""The one table of formats: each format that becomes pages is one row, and everything else follows from the rows.

Identification takes the signatures, the sandbox and the conversion take the decoders, and LibreOffice the suffixes. To
add an image format that Pillow decodes, add a row. Standard library only: sandbox processes import this module too.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pipeline.core import signatures
from pipeline.core.signatures import Rank, Signature, starts


class Route(StrEnum):
    """How a file becomes pages."""

    PDF = "pdf"
    IMAGE = "image"
    CONVERTED = "converted"
    """It is converted to a PDF first, once per fleet."""
    CONTAINER = "container"
    """It has no pages of its own; its members are sources themselves."""


#: Decoders of converted documents.
LIBREOFFICE, DJVULIBRE = "LibreOffice", "DjVuLibre"


@dataclass(frozen=True, slots=True)
class Format:
    """A row of the table."""

    media_type: str
    route: Route
    decoder: str
    """Of a picture: Pillow's name of the format. Of a converted document: the program. Of a container: its reader in
    `pipeline.rendering.sandbox.containers`."""
    signatures: tuple[Signature, ...] = ()
    """None where only the inside of an `Envelope` shows the format."""
    suffix: str = ""
    """Of the copy that LibreOffice opens: it recognises some formats by their names."""
    main_types: bytes = b""
    """Of Office Open XML: pattern of the content type of the main part (ECMA-376-1, MS-OFFMACRO2, MS-XLSB)."""
    main_part: str = ""
    """Of Office Open XML: its usual path, for packages whose content types cannot be parsed."""
    streams: tuple[str, ...] = ()
    """Of compound files: a stream at the top level that only this format has."""


def _image(media_type: str, decoder: str, *found_by: Signature) -> Format:
    return Format(media_type, Route.IMAGE, decoder, found_by)


def _office(
    media_type: str,
    suffix: str,
    *found_by: Signature,
    main_types: bytes = b"",
    main_part: str = "",
    streams: tuple[str, ...] = (),
) -> Format:
    return Format(media_type, Route.CONVERTED, LIBREOFFICE, found_by, suffix, main_types, main_part, streams)


def _container(media_type: str, decoder: str, *found_by: Signature, streams: tuple[str, ...] = ()) -> Format:
    return Format(media_type, Route.CONTAINER, decoder, found_by, streams=streams)


class MediaType(StrEnum):
    """The formats that become pages, by their media types."""

    row: Format

    def __new__(cls, row: Any) -> MediaType:
        """Make a member of a row; its value is the media type, by which `MediaType("image/png")` finds it."""
        member = str.__new__(cls, row.media_type)
        member._value_ = row.media_type
        member.row = row
        return member

    PDF = Format(
        "application/pdf",
        Route.PDF,
        "PDFium",
        (
            starts(b"%PDF-"),
            Signature(signatures.has_pdf_header, Rank.WITHIN),
            Signature(signatures.has_pdf_body, Rank.REMAINS),
        ),
    )

    PNG = _image("image/png", "PNG", starts(b"\x89PNG\r\n\x1a\n"))
    JPEG = _image("image/jpeg", "JPEG", starts(b"\xff\xd8\xff"))
    TIFF = _image(
        "image/tiff",
        "TIFF",
        starts(b"MM\x00*", b"II+\x00", b"MM\x00+"),  # the latter two are BigTIFF
        Signature(signatures.is_little_endian_tiff),
    )
    WEBP = _image("image/webp", "WEBP", Signature(signatures.is_webp))
    GIF = _image("image/gif", "GIF", starts(b"GIF87a", b"GIF89a"))
    BMP = _image("image/bmp", "BMP", Signature(signatures.is_bmp))
    JP2 = _image(
        "image/jp2",
        "JPEG2000",
        starts(b"\x00\x00\x00\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"),  # the latter is a codestream without a file
    )
    HEIF = _image("image/heif", "HEIF", Signature(signatures.is_heif))
    AVIF = _image("image/avif", "AVIF", Signature(signatures.is_avif))
    PNM = _image("image/x-portable-anymap", "PPM", Signature(signatures.is_pnm))
    PSD = _image("image/vnd.adobe.photoshop", "PSD", starts(b"8BPS\x00\x01", b"8BPS\x00\x02"))  # the latter is a PSB

    PPTX = _office(
        "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        ".pptx",
        main_types=rb"presentationml\.(?:presentation|slideshow|template)\.main\+xml"
        rb"|ms-powerpoint\.(?:presentation|slideshow|template|addin)\.macroEnabled\.main\+xml",
        main_part="ppt/presentation.xml",
    )
    DOCX = _office(
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        ".docx",
        main_types=rb"wordprocessingml\.(?:document|template)\.main\+xml"
        rb"|ms-word\.(?:document|template)\.macroEnabled(?:Template)?\.main\+xml",
        main_part="word/document.xml",
    )
    XLSX = _office(
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        ".xlsx",
        main_types=rb"spreadsheetml\.(?:sheet|template)\.main\+xml"
        rb"|ms-excel\.(?:sheet|template|addin)\.macroEnabled\.main\+xml|ms-excel\.sheet\.binary\.macroEnabled\.main",
        main_part="xl/workbook.xml",
    )
    #: Any of the three behind a password: which one is known once it is open, and LibreOffice looks for itself.
    PROTECTED_OOXML = _office("application/x-ooxml-protected", ".docx", streams=("EncryptedPackage",))
    #: `PP40` is the stream of PowerPoint 4 and 95, some of which LibreOffice opens.
    PPT = _office("application/vnd.ms-powerpoint", ".ppt", streams=("PowerPoint Document", "PP40"))
    DOC = _office("application/msword", ".doc", streams=("WordDocument",))
    XLS = _office("application/vnd.ms-excel", ".xls", streams=("Workbook", "Book"))
    ODP = _office("application/vnd.oasis.opendocument.presentation", ".odp")
    ODT = _office("application/vnd.oasis.opendocument.text", ".odt")
    ODS = _office("application/vnd.oasis.opendocument.spreadsheet", ".ods")
    ODG = _office("application/vnd.oasis.opendocument.graphics", ".odg")
    RTF = _office("application/rtf", ".rtf", starts(b"{\\rtf"))
    KEYNOTE = _office("application/vnd.apple.keynote", ".key")
    PAGES = _office("application/vnd.apple.pages", ".pages")
    NUMBERS = _office("application/vnd.apple.numbers", ".numbers")
    #: XML of Word and Excel 2003, and OpenDocument as one XML file.
    WORD_2003 = _office("application/vnd.ms-word+xml", ".xml", Signature(signatures.is_word_2003, Rank.TEXT))
    EXCEL_2003 = _office("application/vnd.ms-excel+xml", ".xml", Signature(signatures.is_excel_2003, Rank.TEXT))
    FLAT_ODT = _office(
        "application/vnd.oasis.opendocument.text-flat-xml", ".fodt", Signature(signatures.is_flat_text, Rank.TEXT)
    )
    FLAT_ODS = _office(
        "application/vnd.oasis.opendocument.spreadsheet-flat-xml",
        ".fods",
        Signature(signatures.is_flat_sheet, Rank.TEXT),
    )
    FLAT_ODP = _office(
        "application/vnd.oasis.opendocument.presentation-flat-xml",
        ".fodp",
        Signature(signatures.is_flat_presentation, Rank.TEXT),
    )
    FLAT_ODG = _office(
        "application/vnd.oasis.opendocument.graphics-flat-xml",
        ".fodg",
        Signature(signatures.is_flat_drawing, Rank.TEXT),
    )
    HTML = _office("text/html", ".html", Signature(signatures.is_html, Rank.TEXT))
    SVG = _office("image/svg+xml", ".svg", Signature(signatures.is_svg, Rank.TEXT))
    WMF = _office(
        "image/wmf",
        ".wmf",
        # Aldus's placeable header, and the standard header in memory and on disk.
        starts(b"\xd7\xcd\xc6\x9a", b"\x01\x00\x09\x00\x00\x03", b"\x02\x00\x09\x00\x00\x03"),
    )
    EMF = _office("image/emf", ".emf", Signature(signatures.is_emf))
    DJVU = Format("image/vnd.djvu", Route.CONVERTED, DJVULIBRE, (Signature(signatures.is_djvu),), ".djvu")

    ZIP = _container("application/zip", "zip")
    SEVEN_ZIP = _container("application/x-7z-compressed", "7z", starts(b"7z\xbc\xaf\x27\x1c"))
    TAR = _container("application/x-tar", "tar", Signature(signatures.is_tar))
    #: One compressed file; a compressed tar is a tar.
    GZIP = _container("application/gzip", "gzip")
    BZIP2 = _container("application/x-bzip2", "bzip2")
    XZ = _container("application/x-xz", "xz")
    EML = _container("message/rfc822", "eml", Signature(signatures.is_mail, Rank.TEXT))
    MSG = _container("application/vnd.ms-outlook", "msg", streams=("__properties_version1.0",))

    @property
    def route(self) -> Route:
        """How files of this format become pages."""
        return self.row.route


class Envelope(StrEnum):
    """A file whose inside decides the format. No document has one of these as its format."""

    signature: Signature

    def __new__(cls, value: str, signature: Any = None) -> Envelope:
        """Make a member of a media type and the signature of its files; a call with the media type alone finds it."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.signature = signature
        return member

    #: With members, without any, and one that was prepared to be split.
    ZIP = "application/zip", starts(b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08PK\x03\x04")
    #: Compound File Binary, also called OLE2: old office files, Outlook's messages, and encrypted new office files.
    CFB = "application/x-cfb", starts(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
    GZIP = "application/gzip", starts(b"\x1f\x8b\x08")
    BZIP2 = "application/x-bzip2", Signature(signatures.is_bzip2)
    XZ = "application/x-xz", starts(b"\xfd7zXZ\x00")


HeadType = MediaType | Envelope


def _ranked() -> tuple[tuple[Signature, HeadType], ...]:
    rows: list[tuple[Signature, HeadType]] = [(found, kind) for kind in MediaType for found in kind.row.signatures]
    rows += [(envelope.signature, envelope) for envelope in Envelope]
    return tuple(sorted(rows, key=lambda row: row[0].rank))


_SIGNATURES = _ranked()


def find_format(head: bytes) -> HeadType | None:
    """Return the format or the envelope of a file by its first `HEAD_BYTES` bytes, None if no row matches."""
    return next((kind for signature, kind in _SIGNATURES if signature.matches(head)), None)
