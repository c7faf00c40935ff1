"""Vectors: checked when they arrive, and packed for the archive as base64 of little-endian 32-bit floats."""

from __future__ import annotations

import base64
import binascii
import math
import sys
from array import array
from collections.abc import Iterable

Vector = tuple[float, ...]


def checked(values: Iterable[float], dimensions: int) -> Vector:
    """Return a vector of length 1 in the direction of these values.

    Raises:
        ValueError: there are more or fewer of them, or one is not finite, or all are zero.
    """
    vector = tuple(map(float, values))
    if len(vector) != dimensions:
        raise ValueError(f"a vector of {len(vector)} dimensions instead of {dimensions}")
    length = math.sqrt(sum(value * value for value in vector))
    if not math.isfinite(length) or length == 0:
        raise ValueError("a vector without a direction")
    return tuple(value / length for value in vector)


def pack(vector: Vector) -> str:
    """Return a vector as text for the archive."""
    return base64.b64encode(_little_endian(array("f", vector)).tobytes()).decode()


def unpack(text: str, dimensions: int) -> Vector | None:
    """Return the vector of a packed text, or None if it is damaged or has other dimensions."""
    try:
        values = array("f", base64.b64decode(text, validate=True))
        return checked(_little_endian(values), dimensions)
    except (binascii.Error, ValueError):
        return None


def _little_endian(values: array[float]) -> array[float]:
    if sys.byteorder == "big":
        values.byteswap()
    return values
