"""The files embedded in a PDF, also in a portfolio, by PDFium. Runs in the sandbox process."""

from __future__ import annotations

import ctypes
import io
from typing import IO

import pypdfium2.raw as pdfium_c

from pipeline.core.errors import CorruptFile
from pipeline.rendering.protocol import RenderLimits
from pipeline.rendering.sandbox.containers.archives import Container, member_name, require_member_limit
from pipeline.rendering.sandbox.containers.members import Member
from pipeline.rendering.text import utf16


def count_attachments(document: pdfium_c.FPDF_DOCUMENT) -> int:
    """Return the number of files embedded in an open document."""
    count: int = pdfium_c.FPDFDoc_GetAttachmentCount(document)
    return max(0, count)


class Attachments(Container):
    """The files in the name tree /EmbeddedFiles of a document, which must stay open meanwhile."""

    def __init__(self, document: pdfium_c.FPDF_DOCUMENT, limits: RenderLimits) -> None:
        """List them. The size of each is only known after decompression.

        Raises:
            LimitExceeded: the limit of members is exceeded.
        """
        self._document = document
        count = count_attachments(document)
        require_member_limit(count, limits)
        super().__init__(self._member(index) for index in range(count))

    def close(self) -> None:
        """Do nothing: the document's owner closes it."""

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
