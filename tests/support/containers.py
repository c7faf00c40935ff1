"""Containers for tests: archives, messages, PDFs that carry files."""

from __future__ import annotations

import io
import tarfile
import warnings
import zipfile
from collections.abc import Mapping
from email.message import EmailMessage

import pypdfium2 as pdfium
from py7zr import SevenZipFile

from support.rendering import drawn_pdf


def page(words: str) -> bytes:
    """A PDF of one page."""
    return drawn_pdf(lambda paper: paper.drawString(72, 700, words), invariant=1)


def zipped(members: Mapping[str, bytes] | list[tuple[str, bytes]]) -> bytes:
    """A ZIP archive; as a list of pairs a name may come twice."""
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore", UserWarning)
        for name, data in members.items() if isinstance(members, Mapping) else members:
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def tarred(members: Mapping[str, bytes], *others: tarfile.TarInfo, mode: str = "w:gz") -> bytes:
    """A tar, compressed as the mode says."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for info in others:
            archive.addfile(info)
    return buffer.getvalue()


def seven_zipped(members: Mapping[str, bytes], password: str | None = None, *, hide_names: bool = False) -> bytes:
    """A solid 7z archive."""
    buffer = io.BytesIO()
    with SevenZipFile(buffer, "w", password=password, header_encryption=hide_names) as archive:
        for name, data in members.items():
            archive.writestr(data, name)
    return buffer.getvalue()


def mail(subject: str, words: str, files: Mapping[str, bytes] | None = None, *, html: str | None = None) -> bytes:
    """A message; a file whose name ends with `.eml` is forwarded."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "Post <post@example.org>", "reader@example.org", subject
    message["Date"] = "Tue, 24 Nov 2026 10:00:00 +0000"
    message.set_content(words)
    if html is not None:
        message.add_alternative(html, subtype="html")
    for name, data in (files or {}).items():
        message.add_attachment(data, maintype="application", subtype="octet-stream", filename=name)
    return message.as_bytes()


def carrying(pdf: bytes, files: Mapping[str, bytes]) -> bytes:
    """A PDF that carries files."""
    document = pdfium.PdfDocument(pdf)
    for name, data in files.items():
        document.new_attachment(name).set_data(data)
    buffer = io.BytesIO()
    document.save(buffer)
    document.close()
    return buffer.getvalue()
