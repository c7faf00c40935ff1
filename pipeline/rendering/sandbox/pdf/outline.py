"""The outline of a PDF, which its readers show as bookmarks. Runs in the sandbox process."""

from __future__ import annotations

import bisect
import ctypes
from collections.abc import Iterator
from functools import partial
from typing import Any

import pypdfium2.raw as pdfium_c

from pipeline.core.text import clean_line
from pipeline.rendering.text import utf16

#: Entries that are read: outlines of 100,000 entries exist, and outlines with cycles.
MAX_ENTRIES = 10_000
MAX_DEPTH = 16
MAX_TITLE_CHARS = 200
MAX_SECTION_CHARS = 500
SEPARATOR = " › "


class Outline:
    """Finds the entry to which a page of a document belongs."""

    def __init__(self, document: pdfium_c.FPDF_DOCUMENT) -> None:
        last = dict(_entries(document))
        self._pages = sorted(last)
        self._sections = [last[page] for page in self._pages]

    def section(self, index: int) -> str | None:
        """Return the titles that lead to the last entry at or before a page, 0-based; None if there is none."""
        count = bisect.bisect_right(self._pages, index)
        return self._sections[count - 1] if count else None


def _entries(document: pdfium_c.FPDF_DOCUMENT) -> Iterator[tuple[int, str]]:
    """Yield page, 0-based, and titles of each entry that leads to a page, in the outline's order."""
    seen: set[int] = set()
    pending: list[tuple[Any, tuple[str, ...]]] = [(pdfium_c.FPDFBookmark_GetFirstChild(document, None), ())]
    while pending and len(seen) < MAX_ENTRIES:
        entry, above = pending.pop()
        address = ctypes.cast(entry, ctypes.c_void_p).value
        if address is None or address in seen:
            continue
        seen.add(address)
        title = clean_line(utf16(partial(pdfium_c.FPDFBookmark_GetTitle, entry)), MAX_TITLE_CHARS)
        path = (*above, title) if title else above
        page = _page(document, entry)
        if page >= 0 and path:
            yield page, SEPARATOR.join(path)[:MAX_SECTION_CHARS].rstrip()
        pending.append((pdfium_c.FPDFBookmark_GetNextSibling(document, entry), above))
        if len(path) < MAX_DEPTH:
            pending.append((pdfium_c.FPDFBookmark_GetFirstChild(document, entry), path))


def _page(document: pdfium_c.FPDF_DOCUMENT, entry: Any) -> int:
    """Return the page that an entry leads to, by its destination or its action; -1 without a page."""
    destination = pdfium_c.FPDFBookmark_GetDest(document, entry)
    if not destination:
        action = pdfium_c.FPDFBookmark_GetAction(entry)
        if not action or pdfium_c.FPDFAction_GetType(action) != pdfium_c.PDFACTION_GOTO:
            return -1
        destination = pdfium_c.FPDFAction_GetDest(document, action)
    return int(pdfium_c.FPDFDest_GetDestPageIndex(document, destination)) if destination else -1
