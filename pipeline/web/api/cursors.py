"""Cursors: where the next part of a long list begins, as text that a caller hands back unchanged."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence

from pipeline.core.errors import SettingsError

#: Length of a cursor that is read: sort values are names of at most 1,024 characters, ids and numbers.
MAX_CHARACTERS = 16_384


def encode(values: Sequence[str | int | float | None] | None) -> str | None:
    """Return the cursor for sort values; None at the end of the list."""
    if values is None:
        return None
    return base64.urlsafe_b64encode(json.dumps(list(values)).encode()).decode().rstrip("=")


def decode(cursor: str | None, length: int) -> list[str | int | float | None] | None:
    """Return the sort values of a cursor with this number of values; None for the beginning.

    Raises:
        SettingsError: it was not made by `encode`.
    """
    if cursor is None:
        return None
    try:
        values = json.loads(base64.urlsafe_b64decode(cursor[:MAX_CHARACTERS] + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        values = None
    if not isinstance(values, list) or len(values) != length or not all(map(_is_plain, values)):
        raise SettingsError("the cursor cannot be used", remedy="Hand on `next` of the answer before, unchanged.")
    return values


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, (str, int, float))
