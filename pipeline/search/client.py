"""Import the Elasticsearch client without the HTTP libraries that it supports and Pagesight does not use.

`elastic_transport` imports aiohttp, requests and httpx if they are installed, which takes longer than the rest of the
client. Pagesight's client uses urllib3. This module is imported before every other one of its package.
"""

from __future__ import annotations

import sys

_UNUSED = ("aiohttp", "requests", "httpx")


def _import_client() -> None:
    """Import `elasticsearch` while the unused libraries look as if they were not installed."""
    hidden = [name for name in _UNUSED if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # an import of it raises ImportError
    try:
        import elasticsearch  # noqa: F401
    finally:
        for name in hidden:
            del sys.modules[name]


_import_client()
