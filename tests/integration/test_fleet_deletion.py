"""What is deleted while its batch is worked stays away, and the batch ends all the same."""

from __future__ import annotations

import pytest

from pipeline.core.models import Reading
from pipeline.core.retry import CancelToken
from pipeline.core.url_signing import Signer
from pipeline.pages.deletion import carry_out, request_deletion
from pipeline.projection.projector import Projector
from pipeline.search import DOCUMENTS, PAGES, SOURCES
from pipeline.search.index import Index
from support.fleet_runs import CALLS, Fleet, assert_sixty
from support.pagesight_runs import answered
from support.standin import Standin

#: Questions about the small documents, which come first.
SMALL_CALLS = 60
IN_FLIGHT = 6


@pytest.fixture
def at_work(sixty_queued: Fleet, standin: Standin) -> tuple[Fleet, str]:
    """A fleet and its batch, of which some pages of the long document have been read; calls hang, until `go_on`."""
    standin.tell(latency_seconds=0.7)
    sixty_queued.pagesight.set(vlm_concurrency=IN_FLIGHT, vlm_read_seconds=60)
    sixty_queued.start_worker()
    batch = sixty_queued.enqueue()
    sixty_queued.until(lambda: answered(standin) >= SMALL_CALLS + 14)
    standin.tell(latency_seconds=0)
    standin.have("hanging")
    sixty_queued.until(lambda: sum(asked["fault"] == "hanging" for asked in standin.requests()) == IN_FLIGHT)
    assert 0 < len(book_pages(sixty_queued)) < 30
    return sixty_queued, batch


def go_on(standin: Standin) -> None:
    standin.be_well()
    standin.release()


def book_pages(fleet: Fleet) -> list[Reading]:
    """What is archived of the long document."""
    live = (reading for reading in fleet.pagesight.newest() if isinstance(reading, Reading))
    return [reading for reading in live if reading.document.name == "book.pdf"]


@pytest.mark.slow
@pytest.mark.parametrize("purge", [False, True], ids=["kept", "purged"])
def test_of_a_collection_that_is_deleted_meanwhile_nothing_comes_back(
    at_work: tuple[Fleet, str], standin: Standin, purge: bool
) -> None:
    fleet, batch = at_work
    pagesight = fleet.pagesight
    words = ["delete", "--collection", "default", "--yes", *(["--purge"] if purge else [])]
    assert pagesight.run(*words).code == 0
    go_on(standin)
    ended = fleet.until_ended(batch)
    assert ended.state == "done", fleet.said()
    assert ended.documents["deleted"] > 0
    assert sum(ended.documents.values()) == 11
    fleet.assert_quiet()
    asked = answered(standin)
    assert asked < CALLS
    for alias in (PAGES, DOCUMENTS, SOURCES):
        assert pagesight.records(alias) == {}
    if purge:
        assert pagesight.archived_answers() == set()
        assert list(pagesight.archive_folder.glob("images/*/*/*")) == []
    pagesight.assert_archive_and_index_agree()

    # Only a new request lifts it, and answers that were not purged are not asked for again.
    standin.reset_counters()
    again = fleet.until_ended(fleet.enqueue())
    assert again.pages == {"described": 60}, fleet.said()
    assert standin.counters()["answered"] == (CALLS if purge else CALLS - asked)
    pagesight.assert_archive_and_index_agree()
    fleet.assert_nothing_left()


@pytest.mark.slow
def test_a_document_that_is_deleted_meanwhile_stays_away_and_the_others_land(
    at_work: tuple[Fleet, str], index: Index, standin: Standin
) -> None:
    fleet, batch = at_work
    pagesight = fleet.pagesight
    book = book_pages(fleet)[0].document.id
    deletion = request_deletion(pagesight.archive, "default", book, False)
    carry_out(deletion, Projector(pagesight.archive, index, CancelToken(), Signer()))
    go_on(standin)
    ended = fleet.until_ended(batch)
    assert ended.documents == {"complete": 10, "deleted": 1}, fleet.said()
    assert ended.pages == {"described": 30, "deleted": 30}
    fleet.assert_quiet()
    assert len(pagesight.records()) == 30
    assert pagesight.page_records("book.pdf") == []
    pagesight.assert_archive_and_index_agree()
    assert answered(standin) < CALLS
    assert_sixty(fleet, fleet.enqueue(), standin)
