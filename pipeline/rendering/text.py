"""Text out of files, made fit to be stored: valid Unicode without control characters."""

from __future__ import annotations

import re

#: Control characters except tab and newline, lone surrogates, and the two code points that are no characters.
_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def clean_text(text: str) -> str:
    """Return text with `\\n` line ends that any UTF-8 encoder takes.

    PDFium puts U+0002 where a word was hyphenated at a line's end and joins the lines: without it the word is whole
    again and a search finds it.
    """
    return _UNFIT.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def clean_line(text: str, max_chars: int) -> str | None:
    """Return text as one line of at most `max_chars`, None when nothing is left of it."""
    return " ".join(clean_text(text).split())[:max_chars].strip() or None
