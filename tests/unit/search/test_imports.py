"""What a command imports of Elasticsearch's client, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

LIBRARIES = ("elasticsearch", "elastic_transport", "aiohttp", "requests", "httpx", "httpx2")


def imported(modules: str) -> set[str]:
    """The libraries that importing these modules imports."""
    code = f"import sys, {modules}; print(*sorted(set({LIBRARIES!r}) & set(sys.modules)))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_values_are_imported_without_the_client() -> None:
    assert imported("pipeline.search, pipeline.search.filters, pipeline.search.highlighting") == set()


def test_the_client_is_imported_without_http_libraries_that_it_does_not_use() -> None:
    assert imported("pipeline.search.index") == {"elasticsearch", "elastic_transport"}


def test_hidden_libraries_can_be_imported_afterwards() -> None:
    assert imported("pipeline.search.index, requests") == {"elasticsearch", "elastic_transport", "requests"}
