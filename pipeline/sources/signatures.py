"""Identification by the first bytes of a file. File names decide nothing.

`pipeline.core.formats` holds the formats that become pages; this module names the others in the error.
"""

from __future__ import annotations

from pipeline.core.errors import UnknownFormat, UnsupportedFormat
from pipeline.core.formats import HeadType, find_format
from pipeline.core.signatures import is_text, markup

#: Formats that become no pages, by bytes at an offset; the first match counts. The marks come from each format's
#: specification, or of the program that writes it.
_UNSUPPORTED: tuple[tuple[int, bytes, str], ...] = (
    (0, b"II*\x00", "image/x-canon-cr2"),
    (4, b"ftypcrx ", "image/x-canon-cr3"),
    (0, b"\xff\x0a", "image/jxl"),
    (0, b"\x00\x00\x00\x0cJXL \r\n\x87\n", "image/jxl"),
    (0, b"\x00\x00\x01\x00", "image/x-icon"),
    (0, b"II\xbc\x01", "image/vnd.ms-photo"),
    (0, b"gimp xcf", "image/x-xcf"),
    (0, b"AC10", "image/vnd.dwg"),
    (128, b"DICM", "application/dicom"),
    (4, b"ftypqt  ", "video/quicktime"),
    (4, b"ftypM4A ", "audio/mp4"),
    (4, b"ftyp3g", "video/3gpp"),
    (4, b"ftyp", "video/mp4"),
    (8, b"WAVE", "audio/x-wav"),
    (8, b"AVI ", "video/x-msvideo"),
    (8, b"AIF", "audio/x-aiff"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"\xff\xfb", "audio/mpeg"),
    (0, b"\xff\xf3", "audio/mpeg"),
    (0, b"\xff\xf1", "audio/aac"),
    (0, b"\xff\xf9", "audio/aac"),
    (0, b"OggS", "audio/ogg"),
    (0, b"fLaC", "audio/x-flac"),
    (0, b"MThd", "audio/midi"),
    (0, b"#!AMR", "audio/amr"),
    (0, b"\x1aE\xdf\xa3", "video/x-matroska"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "video/x-ms-asf"),
    (0, b"\x00\x00\x01\xba", "video/mpeg"),
    (0, b"\x00\x00\x01\xb3", "video/mpeg"),
    (0, b"FLV\x01", "video/x-flv"),
    (0, b"wOFF", "font/woff"),
    (0, b"wOF2", "font/woff2"),
    (0, b"OTTO\x00", "font/otf"),
    (0, b"\x00\x01\x00\x00\x00", "font/ttf"),
    (0, b"Rar!\x1a\x07", "application/vnd.rar"),
    (0, b"MSCF\x00\x00\x00\x00", "application/vnd.ms-cab-compressed"),
    (0, b"\x28\xb5\x2f\xfd", "application/zstd"),
    (0, b"\x04\x22\x4d\x18", "application/x-lz4"),
    (0, b"LZIP\x01", "application/x-lzip"),
    (0, b"\x89LZO\x00\r\n\x1a\n", "application/x-lzop"),
    (0, b"\x1f\x9d", "application/x-compress"),
    (2, b"-lh", "application/x-lha"),
    (0, b"!<arch>\n", "application/x-unix-archive"),
    (0, b"\xed\xab\xee\xdb", "application/x-rpm"),
    (0, b"MZ", "application/x-msdownload"),
    (0, b"\x7fELF", "application/x-executable"),
    (0, b"\xca\xfe\xba\xbe", "application/java-vm"),
    (0, b"\x00asm", "application/wasm"),
    (0, b"SQLite format 3\x00", "application/vnd.sqlite3"),
    (0, b"!BDN", "application/vnd.ms-outlook-pst"),
    (0, b"\x78\x9f\x3e\x22", "application/vnd.ms-tnef"),
    (0, b"\xffWPC", "application/vnd.wordperfect"),
    (0, b"ITSF", "application/vnd.ms-htmlhelp"),
    (60, b"BOOKMOBI", "application/x-mobipocket-ebook"),
    (0, b"\xc5\xd0\xd3\xc6", "application/postscript"),
    (0, b"%!PS", "application/postscript"),
)
#: A file that is text may have a shorter mark, or one at another offset, by chance.
_DISTINCT_BYTES = 4


def media_type_of(head: bytes) -> HeadType:
    """Return the format of a file that begins with `head`, up to `HEAD_BYTES` bytes, or the envelope around it.

    Raises:
        UnsupportedFormat: files of this format become no pages; the message names the format.
        UnknownFormat: the format is not known.
    """
    found = find_format(head)
    if found is None:
        raise _unsupported(head)
    return found


def _unsupported(head: bytes) -> UnsupportedFormat:
    named = _name_unsupported(head)
    if named is not None:
        return UnsupportedFormat(f"files of type {named} are not supported")
    if head.startswith(b"From "):
        return UnsupportedFormat("mailboxes of several messages (mbox) are not supported")
    if markup(head):
        kind = "XML and the like are" if head.lstrip().startswith(b"<?xml") else "text with marks is"
        return UnsupportedFormat(f"{kind} not supported")
    return UnknownFormat(f"{'plain text is' if is_text(head) else 'files of no known type are'} not supported")


def _name_unsupported(head: bytes) -> str | None:
    text = is_text(head)
    for offset, mark, media_type in _UNSUPPORTED:
        if head.startswith(mark, offset) and ((offset == 0 and len(mark) >= _DISTINCT_BYTES) or not text):
            return media_type
    return None
