"""Names of members that archives write in the code pages of their countries."""

from __future__ import annotations

import gzip
import io
import os
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable

import pytest

from pipeline.core.formats import MediaType
from pipeline.rendering.sandbox.containers.archives import Container, open_archive
from support.rendering import LIMITS

NAMES = {
    "cp437": ["Prüfung/Größe.pdf", "März.pdf"],
    "cp850": ["Declaração/São João.pdf", "Ações.pdf"],
    "cp852": ["umowa zakład.pdf", "Zażółć/gęślą jaźń.pdf"],
    "cp866": ["Отчет за март.pdf", "ДОГОВОР/Акт.pdf"],
    "cp932": ["請求書/見積り.pdf", "表.pdf"],
    "gb18030": ["合同/审计报告.pdf", "发票.pdf"],
    "cp949": ["계약서/보고서.pdf"],
    "cp1252": ["Procès-verbal/été.pdf", "Größe – neu.pdf"],
    "utf-8": ["Größe.pdf", "Отчет.pdf", "請求書.pdf"],
}


def zip_of(names: list[bytes], extra: Callable[[bytes], bytes] = lambda _name: b"") -> bytes:
    """A ZIP archive whose names are exactly these bytes, without the mark of UTF-8."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number, name in enumerate(names):
            info = zipfile.ZipInfo("ABC"[number] * len(name))
            info.extra = extra(name)
            archive.writestr(info, b"%PDF-")
    data = buffer.getvalue()
    for number, name in enumerate(names):
        data = data.replace(b"ABC"[number : number + 1] * len(name), name)
    return data


def opened(data: bytes, media_type: MediaType) -> Container:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        return open_archive(os.dup(file.fileno()), media_type, LIMITS, ())


def listed(data: bytes, media_type: MediaType) -> list[str]:
    container = opened(data, media_type)
    try:
        return [member.name for member in container.listing]
    finally:
        container.close()


@pytest.mark.parametrize("encoding", NAMES)
def test_all_names_of_an_archive_together_tell_their_code_page(encoding: str) -> None:
    names = NAMES[encoding]
    raw = [name.encode(encoding) for name in names]
    assert listed(zip_of(raw), MediaType.ZIP) == names


def test_the_field_for_unicode_paths_comes_first_while_it_fits_the_name() -> None:
    def field(name: bytes, checked: bytes | None = None) -> bytes:
        data = struct.pack("<BL", 1, zlib.crc32(name if checked is None else checked)) + "請求書.pdf".encode()
        return b"\x01\x00\x02\x00??" + struct.pack("<HH", 0x7075, len(data)) + data

    assert listed(zip_of([b"_____.pdf"], field), MediaType.ZIP) == ["請求書.pdf"]
    renamed = zip_of(["März-2.pdf".encode("cp437")], lambda name: field(name, b"the name before"))
    assert listed(renamed, MediaType.ZIP) == ["März-2.pdf"]


@pytest.mark.parametrize("encoding", ["cp1252", "utf-8", "cp1251"])
def test_names_in_a_tar_and_in_gzip_are_read_alike(encoding: str) -> None:
    names = ["Договор аренды.pdf", "Отчет за март.pdf"] if encoding == "cp1251" else ["Größe.pdf", "Prüfung.pdf"]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT, encoding=encoding) as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name))
    assert listed(buffer.getvalue(), MediaType.TAR) == names
    packed = gzip.compress(b"%PDF-")
    named = packed[:3] + b"\x08" + packed[4:10] + names[0].encode(encoding) + b"\0" + packed[10:]
    assert listed(named, MediaType.GZIP) == names[:1]
