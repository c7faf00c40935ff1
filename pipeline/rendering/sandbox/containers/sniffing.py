"""Formats of files whose first bytes show only an envelope. Runs in the sandbox process.

ZIP                  Office Open XML by the type of its main part, OpenDocument by `mimetype`, iWork by its parts;
                     every other ZIP is an archive
CFB                  by the names of its streams
gzip, bzip2, xz      a compressed tar, or one compressed file
"""

from __future__ import annotations

import io
import re
import tarfile
import zipfile
from collections.abc import Collection
from typing import BinaryIO

from pipeline.core.errors import CorruptFile, EncryptedFile, UnsupportedFormat
from pipeline.core.formats import Envelope, MediaType
from pipeline.core.signatures import is_tar
from pipeline.rendering.sandbox.containers.archives import (
    STREAMS,
    TAR_ERRORS,
    ZIP_ERRORS,
    is_system_file,
    open_zip,
)
from pipeline.rendering.sandbox.containers.compound import open_compound
from pipeline.rendering.sandbox.descriptors import reopen

_ODF = "application/vnd.oasis.opendocument."
#: Bytes that are read of a part to find the format; `[Content_Types].xml` of 10,000 slides has 2 MB.
_PART_BYTES = 4 << 20
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
#: The number of the message type TP.DocumentArchive, 10000, as field 1 of Google's Protocol Buffers: a document of
#: Pages begins with it; in the documents of the other two programs the field is 1.
_PAGES_DOCUMENT = b"\x08\x90\x4e"
_IWORK_PASSWORD = "the iWork document needs a password, which only Apple's own programs can use"
_UNSUPPORTED_STREAMS = {
    "VisioDocument": "Visio drawings",
    "Quill": "Publisher documents",
    "MatOST": "Works documents",
    "\u4840\u3f3f\u4577\u446c\u3b6a\u45e4\u4824": "Windows installers",
}


def format_of(descriptor: int, envelope: Envelope) -> MediaType:
    """Return the format of the file behind a descriptor, by what is in its envelope.

    Raises:
        UnsupportedFormat: files of this format become no pages; the message names the format where it is known.
        CorruptFile: it cannot be read as the file that its first bytes announce.
        EncryptedFile: only the program that wrote it can use its password.
    """
    with reopen(descriptor) as file:
        if envelope is Envelope.ZIP:
            return _in_zip(file)
        return _in_cfb(file) if envelope is Envelope.CFB else _in_stream(file, envelope)


def _in_zip(file: BinaryIO) -> MediaType:
    with open_zip(file) as archive:
        names = {name.replace("\\", "/") for name in archive.namelist()}
        found = _by_mimetype(archive, names) or _by_content_types(archive, names) or _iwork(archive, names)
        folder = _only_folder(names)
        if found is None and folder:
            found = _iwork(archive, {name.removeprefix(folder) for name in names}, folder)
    for name, what in _UNSUPPORTED_NAMES.items():
        if found is None and name in names:
            raise UnsupportedFormat(f"{what} are not supported")
    return found or MediaType.ZIP


def _by_mimetype(archive: zipfile.ZipFile, names: Collection[str]) -> MediaType | None:
    mimetype = _part(archive, "mimetype").strip().decode("latin-1") if "mimetype" in names else ""
    if not mimetype and "META-INF/manifest.xml" in names:
        found = re.search(rb"application/vnd\.oasis\.opendocument\.[a-z-]+", _part(archive, "META-INF/manifest.xml"))
        mimetype = found[0].decode() if found else ""
    for media_type in MediaType:
        # Suffixes follow in the types of templates and masters.
        if media_type.startswith(_ODF) and mimetype.startswith(media_type):
            return media_type
    if mimetype.startswith(_ODF) or mimetype == "application/epub+zip":
        raise UnsupportedFormat(f"files of type {mimetype[:100]} are not supported")
    return None


def _by_content_types(archive: zipfile.ZipFile, names: Collection[str]) -> MediaType | None:
    ooxml = [media_type for media_type in MediaType if media_type.row.main_part]
    if "[Content_Types].xml" in names:
        types = _part(archive, "[Content_Types].xml").replace(b"\0", b"")  # UTF-16 occurs
        for media_type in ooxml:
            if re.search(media_type.row.main_types, types):
                return media_type
        for mark, what in _UNSUPPORTED_PACKAGES.items():
            if mark in types:
                raise UnsupportedFormat(f"{what} are not supported")
    return next((media_type for media_type in ooxml if media_type.row.main_part in names), None)


def _only_folder(names: Collection[str]) -> str:
    """Return the folder that everything in an archive is in, with a slash; "" where there is none."""
    paths = [name for name in names if not is_system_file(name)]
    tops = {path.partition("/")[0] for path in paths if "/" in path}
    return f"{tops.pop()}/" if len(tops) == 1 and all("/" in path for path in paths) else ""


def _iwork(archive: zipfile.ZipFile, names: Collection[str], folder: str = "") -> MediaType | None:
    """Return the kind of iWork document that an archive or a folder in it is, by the names there."""
    if ".iwpv2" in names or ".iwph" in names:
        raise EncryptedFile(_IWORK_PASSWORD)
    if "index.apxl" in names or "index.apxl.gz" in names:
        return MediaType.KEYNOTE
    if "index.xml" in names and "buildVersionHistory.plist" in names:
        return _iwork_of_2009(_part(archive, folder + "index.xml")[:2000])
    if "Index/Document.iwa" in names:
        if any(name.startswith(("Index/MasterSlide", "Index/TemplateSlide", "Index/Slide")) for name in names):
            return MediaType.KEYNOTE
        is_pages = _PAGES_DOCUMENT in _part(archive, folder + "Index/Document.iwa")[:64]
        return MediaType.PAGES if is_pages else MediaType.NUMBERS
    if "Index.zip" in names:
        with open_zip(io.BytesIO(_part(archive, folder + "Index.zip", 256 << 20))) as inner:
            return _iwork(inner, {*inner.namelist()} - {"Index.zip"})
    return None


def _iwork_of_2009(index: bytes) -> MediaType | None:
    if not index.startswith(b"<"):
        raise EncryptedFile(_IWORK_PASSWORD)
    if b"<ls:document" in index:
        return MediaType.NUMBERS
    return MediaType.PAGES if b"<sl:document" in index else None


def _part(archive: zipfile.ZipFile, name: str, size: int = _PART_BYTES) -> bytes:
    """Read the beginning of a part, b"" if it cannot be read: its decoder reports that."""
    try:
        with archive.open(name) as part:
            return part.read(size)
    except ZIP_ERRORS:
        return b""


def _in_cfb(file: BinaryIO) -> MediaType:
    try:
        with open_compound(file) as storage:
            names = {entry[0] for entry in storage.listdir(streams=True, storages=True)}
    except (OSError, ValueError, IndexError, AttributeError, RecursionError, TypeError) as error:
        raise CorruptFile(f"the compound file is damaged: {error}"[:200]) from error
    for media_type in MediaType:
        if not names.isdisjoint(media_type.row.streams):
            return media_type
    what = next(
        (what for name, what in _UNSUPPORTED_STREAMS.items() if name in names), "compound files of no known kind"
    )
    raise UnsupportedFormat(f"{what} are not supported")


def _in_stream(file: BinaryIO, envelope: Envelope) -> MediaType:
    with STREAMS[envelope](file) as stream:
        try:
            header = stream.read(tarfile.BLOCKSIZE)
        except TAR_ERRORS as error:
            raise CorruptFile(f"the compressed file is damaged: {error}"[:200]) from error
    return MediaType.TAR if is_tar(header) else MediaType(envelope)
