"""What `retry` makes of failures: files by name, and folders whose lists were damaged by listing them again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pipeline.archive import Archive, Store
from pipeline.batches.lifecycle import begin_batch
from pipeline.core.models import BatchEntry
from pipeline.core.settings import Settings
from pipeline.search import FailedPage
from workers.recovery.retry import Selection, retry

FOLDER, FILE = "file:///in/letters", "file:///in/torn.pdf"


def failure(url: str, error: str, attempts: int = 1) -> FailedPage:
    return FailedPage(
        id=url,
        collection="works",
        document_id=None,
        path=url.removeprefix("file://"),
        url=url,
        page_number=None,
        batch="b",
        type=error,
        message="",
        remedy="",
        transient=True,
        attempts=attempts,
    )


class Failures:
    """The index, with some failures."""

    def __init__(self, *found: FailedPage) -> None:
        self._found = found
        self.queries = self

    def failures(self, *, error: str | None, **_: object) -> Iterator[FailedPage]:
        return (failed for failed in self._found if error in (None, failed.type))


class Enqueued:
    """The fleet: notes what it is to enqueue."""

    def __init__(self) -> None:
        self.files: list[str] = []
        self.folders: list[str] = []

    def enqueue(self, _request: object, roots: Iterable[str], _shown: object) -> object:
        self.folders += roots
        return SimpleNamespace()

    def enqueue_sources(self, _request: object, entries: Iterable[BatchEntry], _shown: object, **_: Any) -> object:
        self.files += [entry.url for entry in entries]
        return SimpleNamespace()


def retried(folder: Path, selection: Selection, *found: FailedPage, again: bool) -> tuple[Enqueued, int]:
    """What is enqueued, and how many files and folders are reported."""
    archive = Archive(Store(str(folder)))
    begin_batch(archive, "works", None, "en", [])
    fleet, reported = Enqueued(), list[BatchEntry]()
    retry(
        cast(Any, fleet), archive, cast(Any, Failures(*found)), selection, Settings(), again, on_entry=reported.append
    )
    return fleet, len(reported)


@pytest.mark.parametrize("again", [True, False], ids=["by a person", "by a schedule"])
def test_a_folder_whose_list_was_damaged_is_listed_again(tmp_path: Path, again: bool) -> None:
    failures = failure(FOLDER, "list_damaged"), failure(FILE, "unreadable")
    fleet, reported = retried(tmp_path, Selection(), *failures, again=again)
    assert (fleet.folders, fleet.files, reported) == ([FOLDER], [FILE], 2)


def test_a_schedule_gives_a_folder_up_after_its_attempts_and_a_person_does_not(tmp_path: Path) -> None:
    given_up = failure(FOLDER, "list_damaged", attempts=5)
    assert retried(tmp_path / "a", Selection(), given_up, again=False)[0].folders == []
    assert retried(tmp_path / "b", Selection(), given_up, again=True)[0].folders == [FOLDER]


def test_a_selection_of_another_error_lists_no_folder(tmp_path: Path) -> None:
    failures = failure(FOLDER, "list_damaged"), failure(FILE, "unreadable")
    assert retried(tmp_path / "a", Selection(error="unreadable"), *failures, again=True)[0].folders == []
    assert retried(tmp_path / "b", Selection(error="list_damaged"), *failures, again=True)[0].files == []
