"""Cuts iterables into lists."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def batched(values: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of up to `size` values. `itertools.batched` does the same from Python 3.12 on."""
    iterator = iter(values)
    while chunk := list(islice(iterator, size)):
        yield chunk
