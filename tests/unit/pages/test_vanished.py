"""Vanished files: which paths are forgotten, and that a million found URLs need little memory."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from pipeline.archive import Archive, Store, source_id
from pipeline.core.models import Failure, Root, Source
from pipeline.pages.page_services import PageServices
from pipeline.pages.vanished import FoundUrls, forget_vanished, vanished_sources
from pipeline.sources import SourceFiles
from support.memory_index import MemoryIndex

ROOT = "file:///in"
CORRUPT = Failure(type="corrupt", message="no pages", remedy="Copy it again.")


def test_found_urls_are_found_whatever_the_order_in_which_they_are_added_and_looked_up() -> None:
    found = FoundUrls()
    urls = [f"{ROOT}/{number}.pdf" for number in range(1000)]
    for url in urls[::2]:
        found.add(url)
    assert [url in found for url in urls] == [True, False] * 500
    found.add(urls[1])
    assert urls[1] in found
    assert urls[3] not in found


class Files:
    """Files of which only some are there."""

    def __init__(self, *there: str) -> None:
        self._there = there
        self.asked: list[str] = []

    def is_gone(self, url: str, _root: Root | None) -> bool:
        self.asked.append(url)
        return url not in self._there


def known(archive: Archive, url: str, mount: str | None = None) -> None:
    source = Source(
        collection="works",
        url=url,
        path=url,
        state=None,
        error=CORRUPT,
        mount=mount,
        batch="1",
        revision=1,
        observed_at=datetime.now(UTC),
    )
    archive.sources("works")[source_id(url)].append(lambda _: source)


def error(archive: Archive, url: str) -> Failure | None:
    source = archive.sources("works")[source_id(url)].newest()
    assert source is not None
    return source.error


@pytest.mark.parametrize("times", [1, 2])
def test_only_what_was_not_found_and_is_gone_is_forgotten_and_twice_is_as_good_as_once(
    tmp_path: Path, times: int
) -> None:
    archive, index = Archive(Store(str(tmp_path))), MemoryIndex()
    urls = {name: f"{ROOT}/{name}.pdf" for name in ("found", "hidden", "gone", "unknown")}
    for name in ("found", "hidden", "gone"):
        known(archive, urls[name])
    index.queries = SimpleNamespace(source_urls_below=lambda _url, collection: sorted(urls.values()))  # type: ignore[assignment]
    files = Files(urls["hidden"])
    services = cast(PageServices, SimpleNamespace(archive=archive, projector=index.projector(archive), files=files))
    found = FoundUrls()
    found.add(urls["found"])
    forgotten = [forget_vanished(ROOT, found, "works", services, None) for _ in range(times)]
    assert forgotten == [1, 0][:times]
    assert urls["found"] not in files.asked
    assert {name: error(archive, urls[name]) for name in ("found", "hidden", "gone")} == {
        "found": CORRUPT,
        "hidden": CORRUPT,
        "gone": None,
    }


def test_nothing_is_forgotten_of_a_disk_that_is_not_mounted(tmp_path: Path) -> None:
    archive, files = Archive(Store(str(tmp_path))), cast(SourceFiles, Files())
    urls = [f"{ROOT}/disk/1.pdf", f"{ROOT}/2.pdf", f"{ROOT}/3.pdf"]
    for url, mount in zip(urls, (f"{ROOT}/disk", None, "file:///"), strict=True):
        known(archive, url, mount)
    assert [source.url for source in vanished_sources(archive, files, "works", urls)] == urls[1:]
