"""What the first bytes of a file tell of its format. Names decide nothing."""

from __future__ import annotations

import re
from collections.abc import Callable

import filetype

from pipeline.core.errors import UnknownFormat, UnsupportedFormat
from pipeline.core.models import Envelope, MediaType

#: `filetype` looks at 8 KiB at most.
HEAD_BYTES = 8192
#: Readers accept a PDF's header anywhere in the first 1024 bytes (Adobe's implementation note 13 to PDF 1.7, H.3).
PDF_HEADER_WITHIN = 1024

HeadType = MediaType | Envelope

_PREFIXES: dict[bytes, HeadType] = {
    b"%PDF-": MediaType.PDF,
    b"\x89PNG\r\n\x1a\n": MediaType.PNG,
    b"\xff\xd8\xff": MediaType.JPEG,
    b"MM\x00*": MediaType.TIFF,
    b"II+\x00": MediaType.TIFF,  # BigTIFF
    b"MM\x00+": MediaType.TIFF,
    b"GIF87a": MediaType.GIF,
    b"GIF89a": MediaType.GIF,
    b"\x00\x00\x00\x0cjP  \r\n\x87\n": MediaType.JP2,
    b"\xff\x4f\xff\x51": MediaType.JP2,  # a codestream without a file around it
    b"8BPS\x00\x01": MediaType.PSD,
    b"8BPS\x00\x02": MediaType.PSD,  # PSB
    b"{\\rtf": MediaType.RTF,
    b"\xd7\xcd\xc6\x9a": MediaType.WMF,  # Aldus's placeable header
    b"\x01\x00\x09\x00\x00\x03": MediaType.WMF,
    b"\x02\x00\x09\x00\x00\x03": MediaType.WMF,
    b"7z\xbc\xaf\x27\x1c": MediaType.SEVEN_ZIP,
    b"PK\x03\x04": Envelope.ZIP,
    b"PK\x05\x06": Envelope.ZIP,  # one without members
    b"PK\x07\x08PK\x03\x04": Envelope.ZIP,  # one that was to be split
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": Envelope.CFB,
    b"\x1f\x8b\x08": Envelope.GZIP,
    b"\xfd7zXZ\x00": Envelope.XZ,
}
#: Where `filetype` says one of these, it is less strict than we are.
_OURS = frozenset((*MediaType, *Envelope))
#: Sizes of the information header that follows a BMP's file header.
_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)
_HEIF_BRANDS = frozenset(b"heic heix heim heis hevc hevx hevm hevs mif1 msf1".split())
_AVIF_BRANDS = frozenset(b"avif avis".split())
_PNM = re.compile(rb"P[1-6](?:\s+#[^\n]*)*\s+\d")
#: A PDF that lost its first line: readers find its objects, or its trailer, all the same.
_PDF_BODY = re.compile(rb"(?:^|[\r\n])(?:\d+ \d+ obj\b|trailer\s*<<)")
#: What may stand before the first element of a page or a drawing, and between it and the document type.
_MISC = re.compile(r"(?:\s+|<\?.*?\?>|<!--.*?-->)*", re.DOTALL)
_DOCTYPE = re.compile(r"<!doctype\s+(\w+)[^>\[]*(?:\[[^\]]*\])?[^>]*>", re.IGNORECASE)
_ELEMENT = re.compile(r"<(?:[\w.-]+:)?(\w+)")
_HTML_ELEMENTS = frozenset("html head body title meta style script table div p a b br h1 h2 h3".split())
_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}
_HEADER_LINE = re.compile(rb"([!-9;-~]+)[ \t]*:")
_MAIL_DATE = re.compile(rb"\d{1,2} (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]* \d{2,4}")
#: Control characters that texts hold: tab, line feed, form feed, carriage return, escape.
_NOT_IN_TEXT = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")


def media_type_of(head: bytes) -> HeadType:
    """Return the format of a file that begins with `head`, up to `HEAD_BYTES`, or what it is packed in.

    Raises:
        UnsupportedFormat: of no kind that becomes pages; the message names the kind, where it is known.
        UnknownFormat: it is not.
    """
    for prefix, media_type in _PREFIXES.items():
        if head.startswith(prefix):
            return media_type
    for media_type, matches in _MATCHERS:
        if matches(head):
            return media_type
    raise _unsupported(head)


def _unsupported(head: bytes) -> UnsupportedFormat:
    kind = filetype.guess_mime(head)
    if kind is not None and kind not in _OURS:
        return UnsupportedFormat(f"files of type {kind} are not supported")
    if head.startswith(b"From "):
        return UnsupportedFormat("mailboxes of several messages (mbox) are not supported")
    if _markup(head).startswith("<"):
        kind = "XML and the like are" if head.lstrip().startswith(b"<?xml") else "text with marks is"
        return UnsupportedFormat(f"{kind} not supported")
    return UnknownFormat(f"{'plain text is' if _is_text(head) else 'files of no known type are'} not supported")


def _is_text(head: bytes) -> bool:
    """Whether a head is text in UTF-8 or UTF-16. Its last character may be cut."""
    if head.startswith(tuple(_MARKS)):
        return True
    try:
        head.decode()
    except UnicodeDecodeError as error:
        if error.reason != "unexpected end of data":
            return False
    return not _NOT_IN_TEXT.search(head)


def _is_tiff(head: bytes) -> bool:
    # Canon's raw photographs look like TIFFs, and their first frame is a preview.
    return head.startswith(b"II*\x00") and head[8:10] != b"CR"


def _is_bmp(head: bytes) -> bool:
    return head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADERS


def _brands(head: bytes) -> set[bytes]:
    """Return the brands of an ISO base media file: the major one and those that it is compatible with."""
    if head[4:8] != b"ftyp":
        return set()
    box = head[: int.from_bytes(head[:4], "big")]
    return {head[8:12], *(box[at : at + 4] for at in range(16, len(box), 4))}


def _is_emf(head: bytes) -> bool:
    return head.startswith(b"\x01\x00\x00\x00") and head[40:44] == b" EMF"


def _is_djvu(head: bytes) -> bool:
    return head.startswith(b"AT&TFORM") and head[12:16] in (b"DJVU", b"DJVM")


def _is_pdf(head: bytes) -> bool:
    return b"%PDF-" in head[: PDF_HEADER_WITHIN + 5]


def _is_bare_pdf(head: bytes) -> bool:
    return bool(_PDF_BODY.search(head[:PDF_HEADER_WITHIN]))


def _is_svg(head: bytes) -> bool:
    return _root(head)[1] == "svg"


def _is_html(head: bytes) -> bool:
    document_type, element = _root(head)
    return document_type == "html" or (not document_type and element in _HTML_ELEMENTS)


def _root(head: bytes) -> tuple[str, str]:
    """Return the document type that marked-up text names, and its first element without namespace; "" for neither."""
    text = _markup(head)
    misc = _MISC.match(text)
    document_type = _DOCTYPE.match(text, misc.end() if misc else 0)
    if document_type:
        misc = _MISC.match(text, document_type.end())
    element = _ELEMENT.match(text, misc.end() if misc else 0)
    return (document_type[1].lower() if document_type else ""), (element[1].lower() if element else "")


def _markup(head: bytes) -> str:
    """Return a head as text, as far as looking for ASCII marks goes; "" where it begins with none."""
    encoding = next((encoding for mark, encoding in _MARKS.items() if head.startswith(mark)), "latin-1")
    text = head.decode(encoding, "ignore")
    return text if text.lstrip().startswith("<") else ""


def _is_mail(head: bytes) -> bool:
    """Whether a head is the header of a message as RFC 5322 has it, or more than a plain text is likely to imitate.

    Every line up to the first empty one is a field or goes on one. There is a sender, and one of: a date as mail has
    it, an identifier, a way that it came, MIME's version.
    """
    lines = head.split(b"\n")
    whole = lines[:-1] if len(head) >= HEAD_BYTES else lines
    fields: dict[bytes, bytes] = {}
    for line in whole:
        if not line.strip(b"\r"):
            break
        if line[:1] in (b" ", b"\t") and fields:
            continue
        field = _HEADER_LINE.match(line)
        if field is None:
            return False
        fields.setdefault(field[1].lower(), line)
    if b"from" not in fields:
        return False
    return bool(
        fields.keys() & {b"message-id", b"received", b"mime-version"} or _MAIL_DATE.search(fields.get(b"date", b""))
    )


_MATCHERS: tuple[tuple[HeadType, Callable[[bytes], bool]], ...] = (
    (MediaType.TIFF, _is_tiff),
    (Envelope.BZIP2, lambda head: head.startswith(b"BZh") and head[4:10] == b"1AY&SY"),
    (MediaType.WEBP, lambda head: head.startswith(b"RIFF") and head[8:12] == b"WEBP"),
    (MediaType.BMP, _is_bmp),
    (MediaType.AVIF, lambda head: bool(_brands(head) & _AVIF_BRANDS)),
    (MediaType.HEIF, lambda head: bool(_brands(head) & _HEIF_BRANDS)),
    (MediaType.PNM, lambda head: bool(_PNM.match(head))),
    (MediaType.EMF, _is_emf),
    (MediaType.DJVU, _is_djvu),
    (MediaType.TAR, lambda head: head[257:262] == b"ustar"),
    (MediaType.PDF, _is_pdf),
    (MediaType.EML, _is_mail),
    (MediaType.SVG, _is_svg),
    (MediaType.HTML, _is_html),
    (MediaType.PDF, _is_bare_pdf),
)
