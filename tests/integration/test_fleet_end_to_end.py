"""A batch queued and worked by real workers, as a person would have it done."""

from __future__ import annotations

import json
import signal

from pipeline.archive import source_id
from pipeline.search import BATCHES
from support.fleet_runs import Fleet, assert_sixty
from support.pagesight_runs import answered, make_pdf, make_picture
from support.standin import Standin


def test_sixty_pages_over_two_workers(sixty_queued: Fleet, standin: Standin):
    sixty_queued.start_workers(2)
    batch = sixty_queued.enqueue()
    assert_sixty(sixty_queued, batch, standin)
    (record,) = sixty_queued.pagesight.records(BATCHES).values()
    assert record["state"] == "done"
    assert record["lane"] == "normal"
    assert record["pages"] == {"described": 60}


def test_a_batch_queued_before_there_is_a_worker_is_worked_by_the_first_one(sixty_queued: Fleet, standin: Standin):
    batch = sixty_queued.enqueue()
    assert sixty_queued.batch(batch).state == "working"
    assert standin.counters()["requests"] == 0
    sixty_queued.start_worker()
    assert_sixty(sixty_queued, batch, standin)


def test_the_same_batch_twice_at_once_asks_once_and_both_end(sixty_queued: Fleet, standin: Standin):
    sixty_queued.start_workers(2)
    batches = [sixty_queued.enqueue() for _ in range(2)]
    for batch in batches:
        ended = sixty_queued.until_ended(batch)
        assert (ended.state, ended.pages) == ("done", {"described": 60}), sixty_queued.said()
    assert_sixty(sixty_queued, batches[0], standin)


def test_what_cannot_be_read_is_an_outcome_and_the_rest_goes_on(fleet: Fleet):
    files = fleet.pagesight.files
    make_pdf(files / "good.pdf", 2, 1)
    (files / "empty.pdf").touch()
    (files / "text.pdf").write_bytes(b"%PDF-1.7 and nothing more")
    (files / "away").symlink_to("/etc/hostname")
    (files / "below").mkdir()
    make_picture(files / "below" / "plate.png", 1)
    fleet.start_worker()
    ended = fleet.until_ended(fleet.enqueue())
    assert ended.documents == {"complete": 2, "failed": 3}
    assert ended.pages == {"described": 3}
    assert {name: failure["type"] for name, failure in fleet.pagesight.failures().items()} == {
        "empty.pdf": "empty",
        "text.pdf": "corrupt",
        "away": "outside_link",
    }
    fleet.pagesight.assert_archive_and_index_agree()
    fleet.assert_quiet()
    fleet.assert_nothing_left()


def test_fifty_identical_pages_over_two_workers_ask_once(fleet: Fleet, standin: Standin):
    standin.tell(latency_seconds=0.3)
    picture = make_picture(fleet.pagesight.files / "0.png", 1)
    for number in range(1, 50):
        # Another document each, with the same pixels: what follows the end of a PNG is nobody's.
        (fleet.pagesight.files / f"{number}.png").write_bytes(picture.read_bytes() + bytes([number]))
    fleet.start_workers(2)
    ended = fleet.until_ended(fleet.enqueue())
    assert ended.pages == {"described": 50}, fleet.said()
    assert standin.counters()["requests"] == 2
    fleet.pagesight.assert_archive_and_index_agree()
    fleet.assert_quiet()
    fleet.assert_nothing_left()


def test_messages_are_small_and_hold_no_secret(sixty_queued: Fleet, standin: Standin):
    sixty_queued.enqueue()
    messages = [
        message
        for lane in ("urgent", "normal", "backfill")
        for message in sixty_queued.redis.lrange(f"pagesight:{lane}", 0, -1)
    ]
    assert messages
    for message in messages:
        assert len(message) < 4096
        assert json.loads(message)["content-type"] == "application/json"
        assert standin.key not in message


def test_a_worker_that_is_told_to_end_hands_back_its_rest(sixty_queued: Fleet, standin: Standin):
    worker = sixty_queued.start_worker()
    batch = sixty_queued.enqueue()
    worker.until(lambda: answered(standin) >= 30)
    worker.process.send_signal(signal.SIGTERM)
    ended = worker.ended(60)
    assert ended.code == 0, ended.stderr
    assert sixty_queued.batch(batch).state == "working"
    assert answered(standin) == len(sixty_queued.pagesight.archived_answers())
    assert sixty_queued.queued()["unacked"] == 0
    assert sixty_queued.queued()["normal"] > 0
    sixty_queued.start_worker()
    assert_sixty(sixty_queued, batch, standin)


def test_a_file_that_is_replaced_while_it_is_queued_is_read_as_it_is_then(fleet: Fleet, standin: Standin):
    standin.tell(latency_seconds=0.3)
    book = make_pdf(fleet.pagesight.files / "book.pdf", 40, 1)
    fleet.pagesight.set(vlm_concurrency=4)
    fleet.start_worker()
    batch = fleet.enqueue()
    fleet.until(lambda: answered(standin) >= 20)
    replacement = make_pdf(fleet.pagesight.home / "other.pdf", 25, 2)
    replacement.replace(book)
    ended = fleet.until_ended(batch)
    assert ended.state == "done", fleet.said()
    assert ended.pages == {"described": 25}
    source = fleet.pagesight.archive.sources("default")[source_id(book.as_uri())].newest()
    assert source is not None
    assert source.document is not None
    assert source.document.pages == 25
    assert len(fleet.pagesight.page_records("book.pdf")) == 25
    fleet.pagesight.assert_archive_and_index_agree(complete=False)
    fleet.assert_quiet()
    fleet.assert_nothing_left()
