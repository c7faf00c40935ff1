import bz2
import gzip
import hashlib
import io
import lzma
import os
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from pipeline.core.errors import (
    EmptyFile,
    LimitExceeded,
    SourceChanged,
    SourceVanished,
    UnsupportedFormat,
)
from pipeline.core.formats import Envelope, MediaType
from pipeline.core.signatures import HEAD_BYTES
from pipeline.sources import file_state, identify, media_type_of, open_unchanged
from support.corpus import CORPUS, manifest


def picture(format: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, format, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("head", "media_type"),
    [
        (b"%PDF-1.7\n", MediaType.PDF),
        (b"\n" * 1000 + b"%PDF-1.4\n", MediaType.PDF),  # readers accept rubbish before the header
        (picture("PNG"), MediaType.PNG),
        (picture("PNG", save_all=True, append_images=[Image.new("RGB", (8, 8), "red")]), MediaType.PNG),  # animated
        (picture("JPEG"), MediaType.JPEG),
        (picture("TIFF"), MediaType.TIFF),
        (picture("TIFF", big_tiff=True), MediaType.TIFF),
        (picture("WEBP"), MediaType.WEBP),
        (picture("GIF"), MediaType.GIF),
        (picture("BMP"), MediaType.BMP),
        (picture("PPM"), MediaType.PNM),
        (b"P4\n# by a scanner\n8 8\n", MediaType.PNM),
        (picture("JPEG2000"), MediaType.JP2),
        (b"\xff\x4f\xff\x51\x00\x2f", MediaType.JP2),  # the codestream alone
        (picture("AVIF"), MediaType.AVIF),
        (b"\x00\x00\x00\x18ftypmif1\x00\x00\x00\x00mif1heic", MediaType.HEIF),
        (b"\x00\x00\x00\x18ftypmif1\x00\x00\x00\x00mif1avif", MediaType.AVIF),
        (b"8BPS\x00\x01", MediaType.PSD),
        (b"AT&TFORM\x00\x00\x01\x0bDJVUINFO", MediaType.DJVU),
        (b"AT&TFORM\x00\x00\x01\x0bDJVMDIRM", MediaType.DJVU),
        (b"\xd7\xcd\xc6\x9a\x00\x00", MediaType.WMF),
        (b"\x01\x00\x00\x00" + bytes(36) + b" EMF", MediaType.EMF),
        (b"{\\rtf1\\ansi hello}", MediaType.RTF),
        (b"<!DOCTYPE html>\n<html>", MediaType.HTML),
        (b"\xef\xbb\xbf\n<!-- by hand --><HTML lang=en>", MediaType.HTML),
        ("\ufeff<html><body>".encode("utf-16-le"), MediaType.HTML),
        (
            b'<?xml version="1.0"?>\n<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN" "x">\n<html>',
            MediaType.HTML,
        ),
        (b'<svg xmlns="http://www.w3.org/2000/svg">', MediaType.SVG),
        (b'<?xml version="1.0"?><!-- x -->\n<!DOCTYPE svg [<!ENTITY a "b">]>\n<s:svg xmlns:s="x">', MediaType.SVG),
        (b"From: a@example.org\r\nDate: Tue, 24 Nov 2026 10:00:00 +0000\r\n\r\nhello", MediaType.EML),
        (b"Received: from x\n\tby y\nFrom: a\nSubject: b\n\nhello", MediaType.EML),
        (b"7z\xbc\xaf\x27\x1c\x00\x04", MediaType.SEVEN_ZIP),
        (tarfile.TarInfo("a.pdf").tobuf(), MediaType.TAR),
        (b"%\xe2\xe3\xcf\xd3\n1 0 obj\n<<\n/Type /Catalog>>", MediaType.PDF),  # its first line got lost
        (b"PK\x03\x04" + bytes(100), Envelope.ZIP),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", Envelope.CFB),
        (gzip.compress(b"x", mtime=0), Envelope.GZIP),
        (bz2.compress(b"x"), Envelope.BZIP2),
        (lzma.compress(b"x"), Envelope.XZ),
    ],
)
def test_a_format_is_known_by_its_bytes(head: bytes, media_type: MediaType | Envelope) -> None:
    assert media_type_of(head[:8192]) is media_type


@pytest.mark.parametrize(
    ("head", "named"),
    [
        (b"plain text", "plain text"),
        ("wörter".encode(), "plain text"),
        ("\ufeffwords".encode("utf-16"), "plain text"),
        (b"\x7fELF" + bytes(100), "executable"),
        (b"\n" * 1030 + b"%PDF-1.4\n", "plain text"),
        (b"\x00\x01\x02\x03 nothing", "no known type"),
        (b"II*\x00\x10\x00\x00\x00CR\x02\x00", "canon"),  # a raw photograph, whose first frame is a preview
        (b"%!PS-Adobe-3.0\n", "postscript"),
        (b"BM is how this text begins", "plain text"),
        (b"P5 is a road", "plain text"),
        (b"From: Bob\nTo: Alice\nSubject: lunch\n\nAt noon?", "plain text"),  # a memo
        (b"From a@example.org Tue Nov 24 10:00:00 2026\nStatus: RO\n\nhello", "mbox"),  # no fields of a message
        (b"Dear Sir,\nFrom: x\nMessage-ID: <b>\n", "plain text"),
        (b'<?xml version="1.0"?><invoice>', "XML"),
        (b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom", "video/mp4"),
        (b"<!doctype " + b"[]" * 4000, "marks"),
        (b"<!---->" * 1000 + b"words", "marks"),
    ],
)
def test_another_format_is_refused_by_name(head: bytes, named: str) -> None:
    with pytest.raises(UnsupportedFormat, match=named):
        media_type_of(head)


#: What a head tells of what the manifest calls so; of the unknown ones three begin like a PDF that lost its header.
HEADS = {
    "avif": {MediaType.AVIF},
    "bmp": {MediaType.BMP},
    "djvu": {MediaType.DJVU},
    "doc": {Envelope.CFB},
    "docx": {Envelope.ZIP},
    "gif": {MediaType.GIF},
    "heif": {MediaType.HEIF},
    "iwork": {Envelope.ZIP},
    "jp2": {MediaType.JP2},
    "jpeg": {MediaType.JPEG},
    "odp": {Envelope.ZIP},
    "odt": {Envelope.ZIP},
    "ooxml-encrypted": {Envelope.CFB},
    "pdf": {MediaType.PDF},
    "png": {MediaType.PNG},
    "ppt": {Envelope.CFB},
    "pptx": {Envelope.ZIP},
    "psd": {MediaType.PSD},
    "rtf": {MediaType.RTF},
    "tiff": {MediaType.TIFF},
    "webp": {MediaType.WEBP},
    "wmf": {MediaType.WMF},
    "xlsx": {Envelope.ZIP},
    "zip": {Envelope.ZIP},
    "unknown": {MediaType.PDF, None},
}


def test_heads_of_real_files_tell_what_they_are() -> None:
    def told(file: Path) -> MediaType | Envelope | None:
        with file.open("rb") as opened:
            try:
                return media_type_of(opened.read(HEAD_BYTES))
            except UnsupportedFormat:
                return None

    entries = [entry for entry in manifest() if entry["format"] != "empty"]
    wrong = {entry["file"]: told(CORPUS / entry["file"]) for entry in entries}
    assert {
        file: kind
        for (file, kind), entry in zip(wrong.items(), entries, strict=True)
        if kind not in HEADS[entry["format"]]
    } == {}


def test_of_what_becomes_no_pages_only_the_head_is_read(tmp_path: Path) -> None:
    path = tmp_path / "film.pdf"
    path.write_bytes(b"\x00\x00\x00\x18ftypmp42" + bytes(10 << 20))
    state = file_state(path)
    with path.open("rb", buffering=0) as file:
        with pytest.raises(UnsupportedFormat):
            identify(file, state, max_bytes=1 << 30)  # type: ignore[arg-type]
        assert file.tell() == HEAD_BYTES


def test_a_document_is_its_hash(tmp_path: Path) -> None:
    data = b"%PDF-1.7\n" + os.urandom(3 << 20)
    path = tmp_path / "misnamed.txt"
    path.write_bytes(data)
    state = file_state(path)

    with open_unchanged(path, state) as file:
        found = identify(file, state, max_bytes=10 << 20)
        assert file.tell() == 0

    assert found.document_id == hashlib.sha256(data).hexdigest()
    assert found.media_type is MediaType.PDF


def test_an_empty_file_and_one_above_the_limit_are_outcomes(tmp_path: Path) -> None:
    empty, large = tmp_path / "empty.pdf", tmp_path / "large.pdf"
    empty.write_bytes(b"")
    large.write_bytes(b"%PDF-" + bytes(100))

    with open_unchanged(empty, file_state(empty)) as file, pytest.raises(EmptyFile):
        identify(file, file_state(empty), max_bytes=50)
    with open_unchanged(large, file_state(large)) as file, pytest.raises(LimitExceeded, match=r"105 bytes.*allows 50"):
        identify(file, file_state(large), max_bytes=50)


def test_a_file_that_changes_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "growing.pdf"
    path.write_bytes(b"%PDF-1.7")
    state = file_state(path)

    with open_unchanged(path, state) as file:
        with path.open("ab") as more:
            more.write(b"more")
        with pytest.raises(SourceChanged):
            identify(file, state, max_bytes=1 << 20)


def test_a_file_that_was_replaced_is_noticed(tmp_path: Path) -> None:
    path, other = tmp_path / "a.pdf", tmp_path / "b.pdf"
    path.write_bytes(b"%PDF-1.7")
    state = file_state(path)
    other.write_bytes(b"%PDF-1.7")
    other.replace(path)

    with pytest.raises(SourceChanged):
        open_unchanged(path, state)


def test_a_file_that_is_gone_or_became_something_else_is_an_outcome(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(b"%PDF-1.7")
    state = file_state(path)
    path.unlink()

    with pytest.raises(SourceVanished):
        open_unchanged(path, state)
    os.mkfifo(path)
    with pytest.raises(UnsupportedFormat):
        open_unchanged(path, state)
    path.unlink()
    path.mkdir()
    with pytest.raises(UnsupportedFormat):
        open_unchanged(path, state)
