"""What a file is of which the head tells only what it is packed in. Runs in the sandbox process.

ZIP      office files by the type of their main part, OpenDocument by `mimetype`, iWork by its parts; else an archive
CFB      by the names of the streams in it
gzip, bzip2, xz      a tar, or one compressed file
"""

from __future__ import annotations

import io
import re
import tarfile
import zipfile
from collections.abc import Callable, Collection
from typing import BinaryIO

import olefile

from pipeline.core.errors import CorruptFile, EncryptedFile, UnsupportedFormat
from pipeline.rendering.sandbox.containers.archives import STREAMS, TAR_ERRORS, ZIP_ERRORS, open_zip, opened

_PPTX = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
_DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
_XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_ODF = "application/vnd.oasis.opendocument."
#: What a part that is read to know a format may hold; `[Content_Types].xml` of 10,000 slides has 2 MB.
_PART_BYTES = 4 << 20
#: Types of main parts (ECMA-376-1, and Microsoft's MS-OFFMACRO2 and MS-XLSB), by what the file is.
_MAIN_PARTS = (
    (
        _PPTX,
        rb"presentationml\.(?:presentation|slideshow|template)\.main\+xml"
        rb"|ms-powerpoint\.(?:presentation|slideshow|template|addin)\.macroEnabled\.main\+xml",
    ),
    (
        _DOCX,
        rb"wordprocessingml\.(?:document|template)\.main\+xml"
        rb"|ms-word\.(?:document|template)\.macroEnabled(?:Template)?\.main\+xml",
    ),
    (
        _XLSX,
        rb"spreadsheetml\.(?:sheet|template)\.main\+xml"
        rb"|ms-excel\.(?:sheet|template|addin)\.macroEnabled\.main\+xml|ms-excel\.sheet\.binary\.macroEnabled\.main",
    ),
)
#: Where these lie in files whose `[Content_Types].xml` cannot be understood.
_MAIN_NAMES = {"ppt/presentation.xml": _PPTX, "word/document.xml": _DOCX, "xl/workbook.xml": _XLSX}
_UNSUPPORTED_PACKAGES = {
    b"ms-visio.": "Visio drawings",
    b"xps-fixeddocument": "XPS documents",
    b"oxps": "XPS documents",
}
_UNSUPPORTED_NAMES = {
    "META-INF/MANIFEST.MF": "Java archives",
    "AndroidManifest.xml": "Android packages",
    "FixedDocSeq.fdseq": "XPS documents",
}
#: Prefixes of OpenDocument types; templates, masters and the like follow them.
_ODF_KINDS = ("presentation", "text", "spreadsheet", "graphics")
_KEYNOTE, _PAGES, _NUMBERS = (f"application/vnd.apple.{name}" for name in ("keynote", "pages", "numbers"))
#: The number of the message type TP.DocumentArchive, 10000, as field 1 of Google's Protocol Buffers: it stands at the
#: beginning of the document of Pages, and is 1 in those of the others.
_PAGES_DOCUMENT = b"\x08\x90\x4e"
_IWORK_PASSWORD = "the iWork document wants a password, which only Apple's own programs can make use of"
_CFB_STREAMS = (
    ("EncryptedPackage", "application/x-ooxml-protected"),
    ("__properties_version1.0", "application/vnd.ms-outlook"),
    ("PowerPoint Document", "application/vnd.ms-powerpoint"),
    ("WordDocument", "application/msword"),
    ("Workbook", "application/vnd.ms-excel"),
    ("Book", "application/vnd.ms-excel"),
)
_UNSUPPORTED_STREAMS = {
    "VisioDocument": "Visio drawings",
    "Quill": "Publisher documents",
    "MatOST": "Works documents",
    "\u4840\u3f3f\u4577\u446c\u3b6a\u45e4\u4824": "Windows installers",
}


def kind_of(descriptor: int, envelope: str) -> str:
    """Return the media type of the file behind a descriptor.

    Raises:
        UnsupportedFormat: of no kind that becomes pages; the message names the kind where it is known.
        CorruptFile: it cannot be read as what its head says.
        EncryptedFile: it wants a password that nothing here can make use of.
    """
    with opened(descriptor) as file:
        return _KINDS[envelope](file) if envelope in _KINDS else _in_stream(file, envelope)


def _in_zip(file: BinaryIO) -> str:
    with open_zip(file) as archive:
        names = {name.replace("\\", "/") for name in archive.namelist()}
        kind = _by_mimetype(archive, names) or _by_content_types(archive, names) or _iwork(archive, names)
    for name, what in _UNSUPPORTED_NAMES.items():
        if kind is None and name in names:
            raise UnsupportedFormat(f"{what} are not supported")
    return kind or "application/zip"


def _by_mimetype(archive: zipfile.ZipFile, names: Collection[str]) -> str | None:
    mimetype = _part(archive, "mimetype").strip().decode("latin-1") if "mimetype" in names else ""
    if not mimetype and "META-INF/manifest.xml" in names:
        found = re.search(rb"application/vnd\.oasis\.opendocument\.[a-z-]+", _part(archive, "META-INF/manifest.xml"))
        mimetype = found[0].decode() if found else ""
    for kind in _ODF_KINDS:
        if mimetype.startswith(_ODF + kind):
            return _ODF + kind
    if mimetype.startswith(_ODF) or mimetype == "application/epub+zip":
        raise UnsupportedFormat(f"files of type {mimetype[:100]} are not supported")
    return None


def _by_content_types(archive: zipfile.ZipFile, names: Collection[str]) -> str | None:
    if "[Content_Types].xml" in names:
        types = _part(archive, "[Content_Types].xml").replace(b"\0", b"")  # UTF-16 occurs
        for kind, main_parts in _MAIN_PARTS:
            if re.search(main_parts, types):
                return kind
        for mark, what in _UNSUPPORTED_PACKAGES.items():
            if mark in types:
                raise UnsupportedFormat(f"{what} are not supported")
    return next((kind for name, kind in _MAIN_NAMES.items() if name in names), None)


def _iwork(archive: zipfile.ZipFile, names: Collection[str]) -> str | None:
    if ".iwpv2" in names or ".iwph" in names:
        raise EncryptedFile(_IWORK_PASSWORD)
    if "index.apxl" in names or "index.apxl.gz" in names:
        return _KEYNOTE
    if "index.xml" in names and "buildVersionHistory.plist" in names:
        head = _part(archive, "index.xml")[:2000]
        if not head.startswith(b"<"):
            raise EncryptedFile(_IWORK_PASSWORD)
        return _NUMBERS if b"<ls:document" in head else _PAGES if b"<sl:document" in head else None
    if "Index/Document.iwa" in names:
        if any(name.startswith(("Index/MasterSlide", "Index/TemplateSlide", "Index/Slide")) for name in names):
            return _KEYNOTE
        return _PAGES if _PAGES_DOCUMENT in _part(archive, "Index/Document.iwa")[:64] else _NUMBERS
    if "Index.zip" in names:
        with open_zip(io.BytesIO(_part(archive, "Index.zip", 256 << 20))) as inner:
            return _iwork(inner, {*inner.namelist()} - {"Index.zip"})
    return None


def _part(archive: zipfile.ZipFile, name: str, size: int = _PART_BYTES) -> bytes:
    """Read the beginning of a part; b"" where it cannot be read, which is for its decoder to say."""
    try:
        with archive.open(name) as part:
            return part.read(size)
    except ZIP_ERRORS:
        return b""


def _in_cfb(file: BinaryIO) -> str:
    try:
        with olefile.OleFileIO(file) as storage:
            names = {entry[0] for entry in storage.listdir(streams=True, storages=True)}
    except (OSError, ValueError, IndexError, AttributeError, RecursionError, TypeError) as error:
        raise CorruptFile(f"the compound file is damaged: {error}"[:200]) from error
    for name, kind in _CFB_STREAMS:
        if name in names:
            return kind
    what = next(
        (what for name, what in _UNSUPPORTED_STREAMS.items() if name in names), "compound files of no known kind"
    )
    raise UnsupportedFormat(f"{what} are not supported")


def _in_stream(file: BinaryIO, envelope: str) -> str:
    with STREAMS[envelope](file) as stream:
        try:
            header = stream.read(tarfile.BLOCKSIZE)
        except TAR_ERRORS as error:
            raise CorruptFile(f"the compressed file is damaged: {error}"[:200]) from error
    return "application/x-tar" if header[257:262] == b"ustar" else envelope


_KINDS: dict[str, Callable[[BinaryIO], str]] = {"application/zip": _in_zip, "application/x-cfb": _in_cfb}
