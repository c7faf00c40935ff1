"""Text out of files, made fit to be stored: valid Unicode without control characters."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from typing import Any

#: Control characters except tab and newline, soft hyphens, lone surrogates, and the code points that are no characters.
_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\ud800-\udfff\ufffe\uffff]")


def clean_text(text: str) -> str:
    """Return text with `\\n` line ends that any UTF-8 encoder takes.

    PDFium puts U+0002 where a word was hyphenated at a line's end and joins the lines: without it, and without soft
    hyphens, the word is whole again and a search finds it.
    """
    return _UNFIT.sub("", text.replace("\r\n", "\n").replace("\r", "\n").replace("\u00ad\n", ""))


def clean_line(text: str, max_chars: int) -> str | None:
    """Return text as one line of at most `max_chars`, None when nothing is left of it."""
    return " ".join(clean_text(text).split())[:max_chars].strip() or None


def utf16(read: Callable[[Any, int], int]) -> str:
    """Read a string by PDFium's way: asked for the size in bytes first, UTF-16 with a NUL at its end."""
    size = read(None, 0)
    buffer = ctypes.create_string_buffer(size)
    read(buffer, size)
    return buffer.raw[: max(0, size - 2)].decode("utf-16-le", errors="ignore")
