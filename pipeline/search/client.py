"""The Elasticsearch client library. No other module imports it: a command that needs no cluster does not pay for it.

elastic-transport imports each HTTP library that is installed, and uses urllib3. The others are hidden from it during
the import, which then takes 0.23 s of CPU instead of 0.42 s (measured on CPython 3.11).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from threading import get_ident
from types import ModuleType

_UNUSED = frozenset({"aiohttp", "httpx", "requests"})


class _Hiding(MetaPathFinder):
    """Hides unused libraries from imports of the thread that created it. Other threads import them as usual."""

    def __init__(self) -> None:
        self._thread = get_ident()

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Raise `ModuleNotFoundError` for a hidden library; leave every other one to the next finder."""
        if name in _UNUSED and get_ident() == self._thread:
            raise ModuleNotFoundError(f"{name} is hidden from the Elasticsearch client", name=name)
        return None


@contextmanager
def _hidden() -> Iterator[None]:
    finder = _Hiding()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


with _hidden():
    import elastic_transport
    import elasticsearch
    from elastic_transport.client_utils import DEFAULT
    from elasticsearch import (
        ApiError,
        AuthorizationException,
        BadRequestError,
        Elasticsearch,
        NotFoundError,
        TransportError,
    )
    from elasticsearch.serializer import JsonSerializer

__all__ = [
    "DEFAULT",
    "ApiError",
    "AuthorizationException",
    "BadRequestError",
    "Elasticsearch",
    "JsonSerializer",
    "NotFoundError",
    "TransportError",
    "elastic_transport",
    "elasticsearch",
]
