"""Reads PDFium's strings."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any


def utf16(read: Callable[[Any, int], int]) -> str:
    """Read a string through one of PDFium's functions: a first call returns the size in bytes; the text is UTF-16."""
    size = read(None, 0)
    buffer = ctypes.create_string_buffer(size)
    read(buffer, size)
    return buffer.raw[: max(0, size - 2)].decode("utf-16-le", errors="ignore")
