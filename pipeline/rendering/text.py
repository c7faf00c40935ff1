"""Makes text from files fit for storage: valid Unicode without control characters."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from typing import Any

#: Control characters except tab and newline, soft hyphens, lone surrogates, and the noncharacters.
_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\ud800-\udfff\ufffe\uffff]")


def clean_text(text: str) -> str:
    """Return text with `\\n` line ends that can be encoded as UTF-8.

    PDFium joins the lines of a hyphenated word with U+0002. It is removed, as soft hyphens are: then a search finds the
    whole word.
    """
    return _UNFIT.sub("", text.replace("\r\n", "\n").replace("\r", "\n").replace("\u00ad\n", ""))


def clean_line(text: str, max_chars: int) -> str | None:
    """Return text as one line of at most `max_chars`, None if the line would be empty."""
    return " ".join(clean_text(text).split())[:max_chars].strip() or None


def utf16(read: Callable[[Any, int], int]) -> str:
    """Read a string through one of PDFium's functions: a first call returns the size in bytes; the text is UTF-16."""
    size = read(None, 0)
    buffer = ctypes.create_string_buffer(size)
    read(buffer, size)
    return buffer.raw[: max(0, size - 2)].decode("utf-16-le", errors="ignore")
