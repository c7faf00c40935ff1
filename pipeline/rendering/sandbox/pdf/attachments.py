"""The files that a PDF carries, a portfolio's among them, by PDFium. Runs in the sandbox process."""

from __future__ import annotations

import ctypes
import io
from typing import IO

import pypdfium2.raw as pdfium_c

from pipeline.core.errors import CorruptFile
from pipeline.rendering.protocol import RenderLimits
from pipeline.rendering.sandbox.containers.archives import Packed, member_name, require_few
from pipeline.rendering.sandbox.containers.members import Member
from pipeline.rendering.text import utf16


def count_attachments(document: pdfium_c.FPDF_DOCUMENT) -> int:
    """Return how many files an open document carries."""
    count: int = pdfium_c.FPDFDoc_GetAttachmentCount(document)
    return max(0, count)


class Attachments(Packed):
    """The files in the name tree /EmbeddedFiles of a document, which stays open as long as they are wanted."""

    def __init__(self, document: pdfium_c.FPDF_DOCUMENT, limits: RenderLimits) -> None:
        """Look at them; the size of each one is known once it is expanded.

        Raises:
            LimitExceeded: there are too many.
        """
        self._document = document
        count = count_attachments(document)
        require_few(count, limits)
        super().__init__(self._member(index) for index in range(count))

    def close(self) -> None:
        """Leave the document to its owner."""

    def _member(self, index: int) -> Member:
        attachment = pdfium_c.FPDFDoc_GetAttachment(self._document, index)
        name = member_name(_name(attachment))
        size = _size(attachment)
        return Member(name, size or 0, None if size is not None else CorruptFile("the attachment cannot be read"))

    def _open(self, index: int) -> IO[bytes]:
        attachment = pdfium_c.FPDFDoc_GetAttachment(self._document, index)
        size = _size(attachment) or 0
        buffer = ctypes.create_string_buffer(size)
        if not pdfium_c.FPDFAttachment_GetFile(attachment, buffer, size, ctypes.c_ulong()):
            raise CorruptFile("the attachment cannot be read")
        return io.BytesIO(buffer.raw)


def _size(attachment: pdfium_c.FPDF_ATTACHMENT) -> int | None:
    size = ctypes.c_ulong()
    return size.value if pdfium_c.FPDFAttachment_GetFile(attachment, None, 0, size) else None


def _name(attachment: pdfium_c.FPDF_ATTACHMENT) -> str:
    characters = ctypes.POINTER(pdfium_c.FPDF_WCHAR)
    return utf16(
        lambda buffer, size: pdfium_c.FPDFAttachment_GetName(attachment, ctypes.cast(buffer, characters), size)
    )
