"""Matching functions for the first bytes of files. `pipeline.core.formats` says which format each one belongs to.

They run in the trusted process on bytes that anybody may have written. So each of them takes time linear in the length
of a bounded prefix: fixed bytes, loops that only advance, and patterns whose repetitions are bounded and cannot
backtrack into each other. Standard library only: sandbox processes import this module too.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from itertools import takewhile

#: Bytes at the beginning of a file that identification reads.
HEAD_BYTES = 8192
#: Readers accept a PDF's header anywhere in the first 1024 bytes (Adobe's implementation note 13 to PDF 1.7, H.3).
PDF_HEADER_WITHIN = 1024
_PDF_HEADER = b"%PDF-"
#: Sizes of the information header that follows a BMP's file header.
_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)
_HEIF_BRANDS = frozenset(b"heic heix heim heis hevc hevx hevm hevs mif1 msf1".split())
_AVIF_BRANDS = frozenset(b"avif avis".split())
#: An object or the trailer of a PDF that lost its first line: readers rebuild the file. All repetitions are bounded.
_PDF_BODY = re.compile(rb"(?:^|[\r\n])(?:\d{1,10} \d{1,5} obj\b|trailer\s{0,8}<<)")
_HTML_ELEMENTS = frozenset("html head body title meta style script table div p a b br h1 h2 h3".split())
_BYTE_ORDER_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}
_UTF8_MARK = b"\xef\xbb\xbf"
_FIELD_NAME = frozenset(range(ord("!"), ord("~") + 1))
_MAIL_DATE = re.compile(rb"\d{1,2} (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]{0,6} \d{2,4}")
_MAIL_FIELDS = frozenset((b"message-id", b"received", b"mime-version"))
#: Control characters other than those in texts: tab, line feed, form feed, carriage return, escape.
_NOT_IN_TEXT = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")


class Rank(IntEnum):
    """The order in which signatures are tried: one whose bytes may also occur in another format comes later."""

    START = 0
    """Fixed bytes at the beginning."""
    SHAPE = 1
    """Fixed bytes at other offsets, or several conditions."""
    WITHIN = 2
    """A header after any other bytes."""
    TEXT = 3
    """A text that follows a grammar."""
    REMAINS = 4
    """A file whose beginning was lost."""


@dataclass(frozen=True, slots=True)
class Signature:
    """How a format's files begin."""

    matches: Callable[[bytes], bool]
    """Gets up to `HEAD_BYTES` bytes."""
    rank: Rank = Rank.SHAPE


def starts(*prefixes: bytes) -> Signature:
    """Return the signature of files that begin with one of these bytes."""
    return Signature(lambda head: head.startswith(prefixes), Rank.START)


def is_text(head: bytes) -> bool:
    """Whether a head is text in UTF-8 or UTF-16. Its last character may be cut."""
    if head.startswith(tuple(_BYTE_ORDER_MARKS)):
        return True
    try:
        head.decode()
    except UnicodeDecodeError as error:
        if error.reason != "unexpected end of data":
            return False
    return not _NOT_IN_TEXT.search(head)


def is_little_endian_tiff(head: bytes) -> bool:
    """Whether it is a TIFF, but not one of Canon's raw photographs, whose first frame is a preview."""
    return head.startswith(b"II*\x00") and head[8:10] != b"CR"


def is_webp(head: bytes) -> bool:
    """Whether it is a WebP picture in its RIFF container."""
    return head.startswith(b"RIFF") and head[8:12] == b"WEBP"


def is_bmp(head: bytes) -> bool:
    """Whether it is a BMP, by its mark and a known size of its second header."""
    return head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADERS


def is_avif(head: bytes) -> bool:
    """Whether it is an ISO base media file with one of AVIF's brands."""
    return bool(_brands(head) & _AVIF_BRANDS)


def is_heif(head: bytes) -> bool:
    """Whether it is an ISO base media file with one of HEIF's brands and none of AVIF's."""
    brands = _brands(head)
    return bool(brands & _HEIF_BRANDS) and not brands & _AVIF_BRANDS


def _brands(head: bytes) -> set[bytes]:
    """Return the major and the compatible brands of an ISO base media file; none for another file."""
    if head[4:8] != b"ftyp":
        return set()
    box = head[: int.from_bytes(head[:4], "big")]
    return {head[8:12], *(box[at : at + 4] for at in range(16, len(box), 4))}


def is_pnm(head: bytes) -> bool:
    """Whether it is `P1` to `P6`, then white space and comments in any order, then a digit."""
    if len(head) < 2 or head[:1] != b"P" or head[1] not in b"123456":
        return False
    at, separated = 2, False
    while at < len(head):
        byte = head[at : at + 1]
        if separated and byte == b"#":
            at = head.find(b"\n", at)
            if at < 0:
                return False
        elif byte.isspace():
            at, separated = at + 1, True
        else:
            return separated and byte.isdigit()
    return False


def is_emf(head: bytes) -> bool:
    """Whether it is an enhanced metafile: the header's record type, and its mark at offset 40."""
    return head.startswith(b"\x01\x00\x00\x00") and head[40:44] == b" EMF"


def is_djvu(head: bytes) -> bool:
    """Whether it is a DjVu document of one page (`DJVU`) or several (`DJVM`)."""
    return head.startswith(b"AT&TFORM") and head[12:16] in (b"DJVU", b"DJVM")


def is_tar(head: bytes) -> bool:
    """Whether its first member's header carries the mark of POSIX or GNU tar."""
    return head[257:262] == b"ustar"


def is_bzip2(head: bytes) -> bool:
    """Whether it is a bzip2 stream: its mark, and the mark of its first block."""
    return head.startswith(b"BZh") and head[4:10] == b"1AY&SY"


def has_pdf_header(head: bytes) -> bool:
    """Whether a PDF's header follows other bytes."""
    return _PDF_HEADER in head[: PDF_HEADER_WITHIN + len(_PDF_HEADER)]


def has_pdf_body(head: bytes) -> bool:
    """Whether it is a PDF without its first line."""
    return bool(_PDF_BODY.search(head[:PDF_HEADER_WITHIN]))


def is_svg(head: bytes) -> bool:
    """Whether the root element is `svg`, with or without a namespace."""
    return _root(head)[1] == "svg"


def is_html(head: bytes) -> bool:
    """Whether the document type is `html`, or there is none and the first element is one of HTML's."""
    document_type, element = _root(head)
    return document_type == "html" or (not document_type and element in _HTML_ELEMENTS)


def markup(head: bytes) -> str:
    """Return a head as text if it begins with `<`, else "". Only its ASCII characters are reliable."""
    encoding = next((encoding for mark, encoding in _BYTE_ORDER_MARKS.items() if head.startswith(mark)), "latin-1")
    text = head.decode(encoding, "ignore")
    return text if text.lstrip().startswith("<") else ""


def _root(head: bytes) -> tuple[str, str]:
    """Return the document type that marked-up text names, and its first element without namespace; "" for neither."""
    text = markup(head)
    at = _skip_misc(text, 0)
    document_type, at = _document_type(text, at)
    return document_type, _element(text, _skip_misc(text, at))


def _skip_misc(text: str, at: int) -> int:
    """Return the position after white space, comments and processing instructions."""
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        end = _end_of(text, at, "<?", "?>") or _end_of(text, at, "<!--", "-->")
        if not end:
            break
        at = end
    return at


def _end_of(text: str, at: int, opening: str, closing: str) -> int:
    """Return the position after what begins here and ends with `closing`, 0 if nothing like it begins or ends."""
    if not text.startswith(opening, at):
        return 0
    end = text.find(closing, at + len(opening))
    return end + len(closing) if end >= 0 else 0


def _document_type(text: str, at: int) -> tuple[str, int]:
    """Return the name in a document type declaration and the position after it; "" and `at` where there is none."""
    keyword = "<!doctype"
    start = at + len(keyword)
    if text[at:start].lower() != keyword or not text[start : start + 1].isspace():
        return "", at
    while text[start : start + 1].isspace():
        start += 1
    name = _word(text, start)
    end, bracket = text.find(">", start), text.find("[", start)
    if 0 <= bracket < end:  # an internal subset, which may hold `>`
        end = text.find(">", max(text.find("]", bracket), bracket))
    return (name.lower(), end + 1) if name and end >= 0 else ("", at)


def _element(text: str, at: int) -> str:
    """Return the local name of the start tag at a position, in lower case; "" where there is none."""
    if not text.startswith("<", at):
        return ""
    prefix = _word(text, at + 1, ".-")
    colon = at + 1 + len(prefix)
    local = _word(text, colon + 1) if prefix and text.startswith(":", colon) else ""
    return (local or _word(text, at + 1)).lower()


def _word(text: str, at: int, more: str = "") -> str:
    """Return the letters and digits from a position on, and the characters `_` and `more` between them."""
    end = at
    while end < len(text) and (text[end].isalnum() or text[end] == "_" or text[end] in more):
        end += 1
    return text[at:end]


def mail_start(head: bytes) -> int:
    """Return the offset of a message's first field: after a byte order mark, empty lines, and mbox's `From ` line."""
    at = len(_UTF8_MARK) if head.startswith(_UTF8_MARK) else 0
    while head[at : at + 1] in (b"\r", b"\n"):
        at += 1
    if head.startswith((b"From ", b">From "), at) and not head[at:].partition(b" ")[2].lstrip(b" \t").startswith(b":"):
        return head.find(b"\n", at) + 1 or len(head)
    return at


def is_mail(head: bytes) -> bool:
    """Whether it begins with the header of a message (RFC 5322, RFC 6532), with more of it than a text would imitate.

    Every line up to the first empty one is a field or continues one. `From` is there, and one of: a date in the format
    of mail, an identifier, a `Received` field, MIME's version. Values may have any encoding.
    """
    lines = head[mail_start(head) :].split(b"\n")
    whole = lines[:-1] if len(head) >= HEAD_BYTES else lines
    fields: dict[bytes, bytes] = {}
    for line in takewhile(lambda line: line.strip(b"\r"), whole):
        if line[:1] in (b" ", b"\t") and fields:
            continue
        name, colon, _ = line.partition(b":")
        name = name.rstrip(b" \t")
        if not (colon and name and _FIELD_NAME.issuperset(name)):
            return False
        fields.setdefault(name.lower(), line)
    return b"from" in fields and bool(fields.keys() & _MAIL_FIELDS or _MAIL_DATE.search(fields.get(b"date", b"")))
