"""Workers that are killed, and pages that kill them: everything lands once, and only the guilty page is given up."""

from __future__ import annotations

import random
import signal
import threading

import pytest

from pipeline.core.models import Reading
from support.fleet_runs import Fleet, assert_sixty
from support.pagesight_runs import answered, make_pdf
from support.standin import Standin

#: A death is noticed within half a minute, and some of these tests need five of them.
pytestmark = pytest.mark.timeout(900)
#: Calls that a worker may have in flight when it is killed.
IN_FLIGHT = 8


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_nothing_but_the_calls_in_flight(sixty_queued: Fleet, standin: Standin):
    kill_at = random.Random(41).randint(30, 90)
    first = sixty_queued.start_worker()
    batch = sixty_queued.enqueue()
    first.until(lambda: answered(standin) >= kill_at)
    first.kill()
    assert first.left_over() == []
    sixty_queued.start_worker()
    assert_sixty(sixty_queued, batch, standin, repeated=IN_FLIGHT, killed=True)


@pytest.mark.slow
def test_another_worker_takes_over_from_one_whose_whole_group_is_killed(sixty_queued: Fleet, standin: Standin):
    kill_at = random.Random(43).randint(30, 90)
    first, _ = sixty_queued.start_workers(2)
    batch = sixty_queued.enqueue()
    first.until(lambda: answered(standin) >= kill_at)
    sixty_queued.kill_group(first)
    assert_sixty(sixty_queued, batch, standin, repeated=IN_FLIGHT, killed=True)


@pytest.mark.slow
def test_a_page_that_kills_its_process_each_time_is_quarantined_alone(fleet: Fleet, standin: Standin):
    make_pdf(fleet.pagesight.files / "book.pdf", 20, 1)
    scout = fleet.pagesight.run("index", "--json", fleet.pagesight.files, "--collection", "scout")
    assert scout.code == 0, scout.stderr
    guilty = _image_of_page(fleet, 7)
    standin.reset_counters()
    standin.have("deadly", images=[guilty])
    fleet.pagesight.set(vlm_model_revision="2")  # nothing of the scout's answers is used
    restarting = threading.Event()
    supervisor = threading.Thread(target=_supervise, args=(fleet, restarting))
    fleet.start_worker()
    supervisor.start()
    try:
        ended = fleet.until_ended(fleet.enqueue(), seconds=600)
    finally:
        restarting.set()
        supervisor.join()
    assert ended.state == "done", fleet.said()
    assert ended.pages == {"described": 19, "failed": 1}
    failures = fleet.pagesight.failures()
    assert list(failures) == ["book.pdf:7"]
    assert failures["book.pdf:7"]["type"] == "quarantined"
    assert "3 times" in failures["book.pdf:7"]["message"]
    fleet.pagesight.assert_archive_and_index_agree()
    fleet.assert_quiet()
    fleet.assert_nothing_left(killed=True)


#: Executed by a worker when it starts: a file whose reading freezes the interpreter, and one death is enough each time.
#: It freezes after a moment, in which the worker notes what else it has taken. The rest would come back with the
#: visibility timeout.
FREEZING = """
import re, time
from pipeline.sources import beneath
from workers import delivery
delivery.SPLIT_DEATHS = delivery.QUARANTINE_DEATHS = 1
opened = beneath._open_without_links
def freezing(path, flags):
    if path.name == "frozen.pdf" and flags == beneath.READ:
        time.sleep(2)
        re.match("(a+)+$", "a" * 64 + "b")
    return opened(path, flags)
beneath._open_without_links = freezing
"""


@pytest.mark.slow
def test_a_file_that_freezes_its_worker_is_quarantined_and_the_rest_ends(fleet: Fleet, standin: Standin):
    """The watchdog ends the worker that handles the file among others, then the one that handles it alone."""
    fleet.pagesight.set(worker_silence_seconds=5)
    fleet.customise_workers(FREEZING)
    make_pdf(fleet.pagesight.files / "frozen.pdf", 1, 1)
    make_pdf(fleet.pagesight.files / "letter.pdf", 2, 2)
    restarting = threading.Event()
    supervisor = threading.Thread(target=_supervise, args=(fleet, restarting))
    fleet.start_worker()
    supervisor.start()
    try:
        ended = fleet.until_ended(fleet.enqueue())
    finally:
        restarting.set()
        supervisor.join()
    assert ended.documents == {"complete": 1, "failed": 1}, fleet.said()
    assert ended.pages == {"described": 2}
    assert [failure["type"] for failure in fleet.pagesight.failures().values()] == ["quarantined"]
    *frozen, _ = fleet.workers
    assert [worker.process.returncode for worker in frozen] == [-signal.SIGPROF] * 2
    assert all("freezing" in worker.stderr for worker in frozen)
    fleet.pagesight.assert_archive_and_index_agree()
    fleet.assert_quiet()
    fleet.assert_nothing_left(killed=True)


def _image_of_page(fleet: Fleet, page: int) -> str:
    import hashlib

    (reading,) = [
        reading
        for reading in fleet.pagesight.newest("scout")
        if isinstance(reading, Reading) and reading.page_number == page
    ]
    assert reading.image is not None
    image = fleet.pagesight.archive.images.get(reading.image.key)
    assert image is not None
    return hashlib.sha256(image).hexdigest()


def _supervise(fleet: Fleet, ending: threading.Event) -> None:
    """Start a worker again whenever it died, as a service manager would."""
    while not ending.wait(0.5):
        if not fleet.workers[-1].going_on:
            fleet.start_worker()
