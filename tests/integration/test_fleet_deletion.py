"""What is deleted while its batch is worked stays away, and the batch ends all the same."""

from __future__ import annotations

import pytest

from pipeline.search import DOCUMENTS, PAGES, SOURCES
from support.fleet_runs import CALLS, Fleet, assert_sixty
from support.pagesight_runs import answered
from support.standin import Standin


def at_work(fleet: Fleet) -> str:
    """A batch of which the long document and others have been read in part."""
    fleet.start_worker()
    batch = fleet.enqueue()
    fleet.until(lambda: len(fleet.pagesight.page_records("book.pdf")) >= 5)
    return batch


def book_of(fleet: Fleet) -> str:
    return str(fleet.pagesight.page_records("book.pdf")[0]["document"]["id"])


@pytest.mark.parametrize("purge", [False, True], ids=["kept", "purged"])
def test_of_a_collection_that_is_deleted_meanwhile_nothing_comes_back(
    sixty_queued: Fleet, standin: Standin, purge: bool
) -> None:
    pagesight = sixty_queued.pagesight
    batch = at_work(sixty_queued)
    words = ["delete", "--collection", "default", "--yes", *(["--purge"] if purge else [])]
    assert pagesight.run(*words).code == 0
    ended = sixty_queued.until_ended(batch, seconds=60)
    assert ended.state == "done", sixty_queued.said()
    assert ended.documents["deleted"] > 0
    assert sum(ended.documents.values()) == 11
    sixty_queued.assert_quiet()
    asked = standin.counters()["requests"]
    assert asked < CALLS
    for alias in (PAGES, DOCUMENTS, SOURCES):
        assert pagesight.records(alias) == {}
    if purge:
        assert pagesight.archived_answers() == set()
        assert list(pagesight.archive_folder.glob("images/*/*/*")) == []
    pagesight.assert_archive_and_index_agree()

    # Only a new request lifts it, and answers that were not purged are not asked for again.
    standin.reset_counters()
    again = sixty_queued.until_ended(sixty_queued.enqueue())
    assert again.pages == {"described": 60}, sixty_queued.said()
    assert standin.counters()["answered"] == (CALLS if purge else CALLS - asked)
    pagesight.assert_archive_and_index_agree()
    sixty_queued.assert_nothing_left()


def test_a_document_that_is_deleted_meanwhile_stays_away_and_the_others_land(
    sixty_queued: Fleet, standin: Standin
) -> None:
    pagesight = sixty_queued.pagesight
    batch = at_work(sixty_queued)
    book = book_of(sixty_queued)
    assert pagesight.run("delete", book, "--yes").code == 0
    ended = sixty_queued.until_ended(batch, seconds=60)
    assert ended.documents == {"complete": 10, "deleted": 1}, sixty_queued.said()
    assert ended.pages == {"described": 30, "deleted": 30}
    sixty_queued.assert_quiet()
    assert len(pagesight.records()) == 30
    assert pagesight.page_records("book.pdf") == []
    pagesight.assert_archive_and_index_agree()
    assert answered(standin) < CALLS
    assert_sixty(sixty_queued, sixty_queued.enqueue(), standin)
