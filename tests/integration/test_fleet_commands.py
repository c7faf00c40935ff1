"""What people see and command of the fleet. Where no worker is needed none runs: the queue is looked at instead."""

from __future__ import annotations

import base64
import csv
import io
import json
import signal
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.batches.fleet_state import halt
from pipeline.batches.messages import Message, Walk, folder_id, from_json
from pipeline.core.errors import ServiceRefused
from pipeline.core.models import Deletion, Reading
from pipeline.pages.revisions import add_path, bury
from pipeline.projection.records import page_id
from pipeline.search import BATCHES, DOCUMENTS, PAGES, SOURCES
from support.fleet_runs import Fleet, repair
from support.pagesight_runs import Pagesight, make_pdf, make_picture
from support.readings import full_source
from support.standin import Standin

#: A port that nobody listens on (discard).
NOBODY = "http://127.0.0.1:9"
NO_REDIS = "redis://127.0.0.1:9/0"


def messages(fleet: Fleet, lane: str = "normal") -> list[Message]:
    """What waits in a lane, oldest first."""
    found = []
    for text in reversed(fleet.redis.lrange(f"pagesight:{lane}", 0, -1)):  # type: ignore[arg-type]
        envelope = json.loads(text)
        _, fields, _ = json.loads(base64.b64decode(envelope["body"]))
        found.append(from_json(envelope["headers"]["task"].removeprefix("pagesight."), fields))
    return found


def entries(fleet: Fleet, batch_id: str) -> dict[str, tuple[int, ...] | None]:
    """The sources that a batch names itself, by file name, with their pages."""
    records = fleet.pagesight.archive.journal(batch_id)
    chunk = records.chunk(f"{folder_id('', '', '')}.0")
    assert chunk is not None
    return {entry.url.rsplit("/", 1)[-1]: entry.pages for entry in chunk.entries}


def delete_record(pagesight: Pagesight, alias: str, identifier: str) -> None:
    """Take a record away as if it had never been there: versions of deleted ones are remembered for a minute.

    A refresh forgets them only once the clock that the node reads for this, five times a second, has moved.
    """
    with pagesight.client() as client:
        client.indices.put_settings(index=alias, settings={"index.gc_deletes": "0ms"})
        client.delete(index=alias, id=identifier)
        time.sleep(0.5)
        client.indices.refresh(index=alias)


def _deletion(document: str) -> Deletion:
    return Deletion(collection="default", revision=1, document_id=document, purge=False, requested_at=datetime.now(UTC))


@pytest.fixture
def report(fleet: Fleet) -> Path:
    """A PDF of three pages."""
    return make_pdf(fleet.pagesight.files / "report.pdf", 3, seed=1)


@pytest.fixture
def filled(fleet: Fleet, report: Path) -> Fleet:
    """A PDF and a picture that were indexed without the fleet."""
    make_picture(fleet.pagesight.files / "plate.png", 2)
    assert fleet.pagesight.index().code == 0
    return fleet


# -- enqueue


def test_enqueue_prints_the_id_alone_and_looks_at_no_file(fleet: Fleet, report: Path):
    ended = fleet.pagesight.run("enqueue", fleet.pagesight.files, report, "--language", "de", "--lane", "urgent")
    assert ended.code == 0, ended.stderr
    batch = fleet.batch(ended.stdout.strip())
    assert (batch.state, batch.lane, batch.language, batch.collection) == ("working", "urgent", "de", "default")
    assert f"pagesight status {batch.id} --watch" in ended.stderr
    assert "pagesight worker" in ended.stderr  # none is alive
    root = fleet.pagesight.files.as_uri()
    assert messages(fleet, "urgent") == [Walk(batch.id, root, root)]  # the file lies below the folder
    assert fleet.pagesight.archive.sources("default").names() == []
    assert set(fleet.pagesight.records(BATCHES)) == {batch.id}


def test_without_redis_nothing_is_begun(fleet: Fleet, report: Path):
    for url, words in ((NO_REDIS, "Redis is away"), (None, "no Redis is configured")):
        fleet.pagesight.set(redis_url=url)
        ended = fleet.pagesight.run("enqueue", report)
        assert ended.code == 3
        assert words in ended.stderr
        assert "remedy: " in ended.stderr
        assert ended.stdout == ""
    assert fleet.pagesight.archive.batches.names() == []
    assert fleet.pagesight.archive.open_batches() == []


def test_without_elasticsearch_files_are_queued_all_the_same(fleet: Fleet, report: Path):
    fleet.pagesight.set(elasticsearch_url=NOBODY)
    ended = fleet.pagesight.run("enqueue", report)
    assert ended.code == 0, ended.stderr
    assert "cannot be reached" in ended.stderr
    assert len(messages(fleet)) == 1


WRONG = [
    ["enqueue"],
    ["enqueue", "no-such-folder"],
    ["enqueue", "files", "--lane", "slow"],
    ["enqueue", "files", "--collection", "No Slug"],
    ["enqueue", "files", "--language", "klingonese"],
    ["status", "nonesuch"],
    ["cancel", "nonesuch"],
    ["pause", "nonesuch"],
    ["resume", "nonesuch"],
    ["resume", "--max-pages", "9"],
    ["failures", "--error", "nonesuch"],
    ["failures", "--format", "xml"],
    ["retry", "--error", "nonesuch"],
    ["retry", "--collection", "nonesuch"],
    ["repair", "--collection", "nonesuch"],
]


def test_a_wrong_command_line_is_an_error_of_usage(fleet: Fleet):
    for words in WRONG:
        ended = fleet.pagesight.run(*words)
        assert ended.code == 2, (words, ended.stderr)
        assert ended.stdout == ""
        assert "Traceback" not in ended.stderr
    assert not any(fleet.queued().values())
    assert fleet.pagesight.archive.batches.names() == []


# -- status


def test_status_of_a_batch_that_nobody_works(fleet: Fleet, report: Path):
    batch = fleet.enqueue()
    ended = fleet.pagesight.run("status", batch, "--json")
    assert ended.code == 0
    assert ended.json["state"] == "working"
    assert ended.json["sources"] == {"found": 0, "all_found": False, "ended": 0, "under_way": 0}
    assert ended.json["eta_seconds"] is None
    assert ended.json["lanes"] == {"control": 0, "urgent": 0, "normal": 1, "backfill": 0}
    assert ended.json["workers"] == []
    shown = fleet.pagesight.run("status", batch).stdout
    assert "not known until all folders are listed" in shown
    assert "none running" in shown


def test_status_shows_fleet_batches_and_index(filled: Fleet):
    batch = filled.enqueue()
    ended = filled.pagesight.run("status", "--json")
    assert ended.code == 0, ended.stderr
    status = ended.json
    assert status["fleet"]["state"] == "running"
    assert [standing["id"] for standing in status["open"]] == [batch]
    assert [known["state"] for known in status["batches"]] == ["working", "done"]
    assert status["pages"]["described"] == 4
    assert status["away"] == []
    assert "4 described" in filled.pagesight.run("status").stdout


def test_who_is_away_is_named_and_the_rest_is_shown(filled: Fleet):
    batch = filled.enqueue()
    filled.pagesight.set(elasticsearch_url=NOBODY)
    without_index = filled.pagesight.run("status", "--json")
    assert without_index.code == 3
    assert "cannot be reached" in without_index.stderr
    assert [away["service"] for away in without_index.json["away"]] == ["elasticsearch"]
    assert without_index.json["pages"] is None
    assert without_index.json["lanes"]["normal"] == 1
    assert [standing["id"] for standing in without_index.json["open"]] == [batch]

    filled.pagesight.set(redis_url=NO_REDIS)
    with_nothing = filled.pagesight.run("status", "--json")
    assert with_nothing.code == 3
    assert {away["service"] for away in with_nothing.json["away"]} == {"elasticsearch", "redis"}
    assert [standing["id"] for standing in with_nothing.json["open"]] == [batch]
    assert batch in filled.pagesight.run("status").stdout
    assert filled.pagesight.run("status", batch).code == 3


def test_who_never_had_a_fleet_misses_no_redis(filled: Fleet):
    filled.pagesight.set(redis_url=None)
    ended = filled.pagesight.run("status", "--json")
    assert (ended.code, ended.json["away"], ended.json["lanes"]) == (0, [], None)


def test_a_halt_is_loud_and_ends_the_wait(fleet: Fleet, report: Path):
    batch = fleet.enqueue()
    halt(fleet.pagesight.archive, ServiceRefused("jina-vlm", "the key \x1b[31m is refused", remedy="Set JINA_API_KEY."))
    ended = fleet.pagesight.run("status", batch)
    assert ended.code == 3
    assert "HALTED" in ended.stdout
    assert "Set JINA_API_KEY." in ended.stdout
    assert "\x1b" not in ended.stdout
    for words in (["status", batch, "--watch"], ["status", "--watch"], ["enqueue", "--wait", str(report)]):
        watched = fleet.pagesight.run(*words)
        assert watched.code == 3
        assert "remedy: Set JINA_API_KEY." in watched.stderr
    resumed = fleet.pagesight.run("resume")
    assert resumed.code == 0
    assert "the key" in resumed.stderr
    assert fleet.pagesight.run("status", batch).code == 0


def test_watching_ends_with_the_batch_and_says_how_it_went(fleet: Fleet, report: Path):
    fleet.start_worker()
    ended = fleet.pagesight.run("enqueue", fleet.pagesight.files, "--wait")
    assert ended.code == 0, ended.stderr
    batch = ended.stdout.strip()
    assert f"batch {batch} " in ended.stderr
    assert fleet.batch(batch).pages == {"described": 3}
    assert fleet.pagesight.run("status", batch, "--watch").code == 0

    (fleet.pagesight.files / "torn.pdf").write_bytes(b"%PDF-1.7 and nothing more")
    second = fleet.pagesight.run("enqueue", fleet.pagesight.files, "--wait", "--json")
    assert second.code == 1
    assert second.json["state"] == "done"
    assert second.json["documents"] == {"complete": 1, "failed": 1}
    assert second.json["sources"] == {"found": 2, "all_found": True, "ended": 2, "under_way": 0}
    assert fleet.pagesight.run("status", "--watch").code == 0  # nothing is open
    (worker,) = fleet.pagesight.run("status", "--json").json["workers"]
    assert worker["busy"] <= worker["slots"]
    fleet.assert_nothing_left()


def test_ctrl_c_ends_the_watching_and_not_the_batch(fleet: Fleet, report: Path):
    batch = fleet.enqueue()
    run = fleet.pagesight.start("status", batch, "--watch")
    run.until(lambda: batch in run.stderr)
    run.interrupt(signal.SIGINT)
    ended = run.ended(60)
    assert ended.code == 130, ended.stderr
    assert "Traceback" not in ended.stderr
    assert fleet.batch(batch).state == "working"


# -- commands


def test_a_batch_rests_goes_on_and_is_cancelled(fleet: Fleet, report: Path):
    batch = fleet.enqueue()
    assert fleet.pagesight.run("pause", batch, "--json").json["state"] == "paused"
    fleet.redis.delete("pagesight:normal")  # as the workers drop the messages of a batch that is paused
    assert fleet.pagesight.run("resume", batch, "--json").json["state"] == "working"
    root = fleet.pagesight.files.as_uri()
    assert messages(fleet) == [Walk(batch, root, root)]
    assert fleet.pagesight.records(BATCHES)[batch]["state"] == "working"

    assert fleet.pagesight.run("resume", batch).code == 0  # it goes on already, and nothing is published again
    assert len(messages(fleet)) == 1
    for _ in range(2):
        cancelled = fleet.pagesight.run("cancel", batch, "--json")
        assert (cancelled.code, cancelled.json["state"]) == (0, "cancelled")
    assert fleet.pagesight.records(BATCHES)[batch]["state"] == "cancelled"
    assert fleet.pagesight.archive.open_batches() == []
    assert fleet.pagesight.run("resume", batch).code == 2
    assert fleet.pagesight.run("status", batch).code == 1


def test_commands_reach_the_archive_while_elasticsearch_is_away(fleet: Fleet, report: Path):
    batch = fleet.enqueue()
    fleet.pagesight.set(elasticsearch_url=NOBODY)
    for command, state in (("pause", "paused"), ("resume", "working"), ("cancel", "cancelled")):
        ended = fleet.pagesight.run(command, batch)
        assert ended.code == 0, ended.stderr
        assert "not in the index yet" in ended.stderr
        assert fleet.batch(batch).state == state


def test_a_batch_is_not_resumed_into_a_redis_that_is_away(fleet: Fleet, report: Path):
    batch = fleet.enqueue()
    assert fleet.pagesight.run("pause", batch).code == 0
    fleet.pagesight.set(redis_url=NO_REDIS)
    assert fleet.pagesight.run("resume", batch).code == 3
    assert fleet.batch(batch).state == "paused"


def test_the_fleet_rests_and_goes_on(fleet: Fleet):
    assert fleet.pagesight.run("pause", "--json").json["state"] == "paused"
    assert "paused since" in fleet.pagesight.run("status").stdout
    assert fleet.pagesight.run("resume", "--json").json["state"] == "running"
    assert fleet.pagesight.archive.fleet.newest().state == "running"  # type: ignore[union-attr]


def test_batches_are_listed_from_the_archive_newest_first(filled: Fleet):
    batch = filled.enqueue("--collection", "works", str(filled.pagesight.files))
    filled.pagesight.set(elasticsearch_url=NOBODY, redis_url=None)
    found = filled.pagesight.run("batches", "--json").json["batches"]
    assert [(known["collection"], known["lane"], known["state"]) for known in found] == [
        ("works", "normal", "working"),
        ("default", None, "done"),
    ]
    assert found[1]["pages"] == {"described": 4}
    assert found[1]["ended_at"] is not None
    only = filled.pagesight.run("batches", "--collection", "works", "--json").json["batches"]
    assert [known["id"] for known in only] == [batch]
    assert len(filled.pagesight.run("batches", "--limit", "1", "--json").json["batches"]) == 1
    assert "default" in filled.pagesight.run("batches").stdout


# -- failures and retry


@pytest.fixture
def failed(fleet: Fleet, report: Path, standin: Standin) -> Fleet:
    """One of three pages was refused by the endpoint; two files cannot be read, one of them in another collection."""
    pagesight = fleet.pagesight
    (pagesight.files / "=torn.pdf").write_bytes(b"%PDF-1.7 and nothing more")
    standin.have("status", status=400, times=1)
    assert pagesight.index().code == 1
    (pagesight.home / "empty.png").touch()
    assert pagesight.index(pagesight.home / "empty.png", "--collection", "works").code == 1
    return fleet


def test_failures_are_filtered(failed: Fleet):
    def found(*words: str) -> set[tuple[str, str]]:
        ended = failed.pagesight.run("failures", "--json", *words)
        assert ended.code == 0, ended.stderr
        return {(failure["path"].rsplit("/", 1)[-1], failure["type"]) for failure in ended.json["failures"]}

    page, torn, empty = ("report.pdf", "answer_refused"), ("=torn.pdf", "corrupt"), ("empty.png", "empty")
    assert found() == {page, torn, empty}
    assert found("--collection", "works") == {empty}
    assert found("--error", "corrupt") == {torn}
    assert found("--document", "REPORT") == {page}
    assert found("--document", "torn") == {torn}
    assert found("--document", failed.pagesight.archive.documents("default")[0][:8]) == {page}
    assert found("--page", "4") == set()
    archive = failed.pagesight.archive
    batches = {archive.batches[name].newest().collection: name for name in archive.batches.names()}
    assert found("--batch", batches["default"]) == {page, torn}
    assert found("--batch", batches["works"]) == {empty}


def test_failures_as_csv_hold_no_formula(failed: Fleet):
    ended = failed.pagesight.run("failures", "--collection", "default", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(ended.stdout)))
    assert {row["type"] for row in rows} == {"corrupt", "answer_refused"}
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row.values())
    as_json = failed.pagesight.run("failures", "--format", "json", "--collection", "default").json
    assert len(as_json["failures"]) == len(rows)


def test_exactly_what_failed_is_enqueued_again(failed: Fleet):
    (page,) = failed.pagesight.run("failures", "--error", "answer_refused", "--json").json["failures"]
    ended = failed.pagesight.run("retry", "--json", "--lane", "backfill")
    assert ended.code == 0, ended.stderr
    assert (ended.json["pages"], ended.json["files"]) == (1, 2)
    by_collection = {batch["collection"]: batch["id"] for batch in ended.json["batches"]}
    assert entries(failed, by_collection["default"]) == {
        "report.pdf": (page["page_number"],),
        "%3Dtorn.pdf": None,
    }
    assert entries(failed, by_collection["works"]) == {"empty.png": None}
    assert messages(failed, "backfill") == [Walk(batch, "", "") for batch in by_collection.values()]
    assert all(failed.batch(batch).again for batch in by_collection.values())


def test_nothing_to_retry_is_no_error(failed: Fleet):
    for words in (["--error", "quarantined"], ["--page", "9"], ["--batch", "nonesuch"]):
        ended = failed.pagesight.run("retry", *words)
        assert ended.code == 0, ended.stderr
        assert "Nothing that failed matches" in ended.stdout
    assert not any(failed.queued().values())
    assert len(failed.pagesight.archive.batches.names()) == 2


def test_only_the_page_that_failed_is_asked_again(failed: Fleet, standin: Standin):
    asked = standin.counters()["requests"]
    failed.start_worker()
    (batch,) = failed.pagesight.run("retry", "--error", "answer_refused", "--json").json["batches"]
    ended = failed.until_ended(batch["id"])
    assert (ended.documents, ended.pages) == ({"complete": 1}, {"described": 1})
    assert standin.counters()["requests"] - asked <= 2  # two questions; what was answered is not asked again
    assert failed.pagesight.run("retry", "--error", "answer_refused", "--json").json["batches"] == []
    failed.pagesight.assert_archive_and_index_agree()
    failed.assert_nothing_left()


def test_a_page_is_retried_where_its_document_still_lies(failed: Fleet):
    files = failed.pagesight.files
    copy = files / "another.pdf"
    copy.write_bytes((files / "report.pdf").read_bytes())
    assert failed.pagesight.index(copy).code == 1  # the page that failed is not asked again
    (files / "report.pdf").unlink()
    (batch,) = failed.pagesight.run("retry", "--error", "answer_refused", "--json").json["batches"]
    assert set(entries(failed, batch["id"])) == {"another.pdf"}


# -- repair


def test_where_nothing_differs_nothing_is_done(filled: Fleet):
    assert repair(filled)["totals"] == {}
    ended = filled.pagesight.run("repair")
    assert ended.code == 0
    assert "No differences" in ended.stdout
    assert not any(filled.queued().values())


def test_every_record_that_differs_is_found_and_mended(filled: Fleet):
    pagesight = filled.pagesight
    archive = pagesight.archive
    report = pagesight.page_records("report.pdf")
    plate = pagesight.page_records("plate.png")[0]["document"]["id"]
    document = report[0]["document"]["id"]
    (source, *_) = pagesight.records(SOURCES)
    (batch,) = pagesight.records(BATCHES)
    delete_record(pagesight, PAGES, page_id("default", document, 2))
    delete_record(pagesight, DOCUMENTS, f"default:{document}")
    delete_record(pagesight, SOURCES, source)
    delete_record(pagesight, BATCHES, batch)
    first = next(archive.readings("default", document).newest([1]))
    assert isinstance(first, Reading)
    elsewhere = full_source(failed=False).model_copy(update={"path": "/elsewhere/report.pdf"})
    add_path(archive, first, elsewhere)
    archive.deletions["default"].append(lambda _: _deletion(plate))
    (picture,) = archive.readings("default", plate).newest()
    bury(archive, "default", plate, 1, picture, _deletion(plate))

    listed = repair(filled, "--dry-run")
    kinds = {(found["kind"], found["what"]) for found in listed["differences"]}
    assert kinds == {
        ("record_missing", "page"),
        ("record_behind", "page"),
        ("record_missing", "document"),
        ("record_missing", "source"),
        ("record_missing", "batch"),
        ("record_of_deleted", "page"),
        ("record_of_deleted", "document"),
    }
    assert not any(filled.queued().values())
    assert repair(filled)["totals"] == listed["totals"]
    queued = messages(filled, "backfill")
    assert {name for message in queued for name in message.documents} == {document, plate}  # type: ignore[union-attr]
    assert {name for message in queued for name in message.sources} == {source.split(":")[1]}  # type: ignore[union-attr]
    assert batch in pagesight.records(BATCHES)  # written at once

    for _ in range(2):  # what is queued already is not queued again
        again = repair(filled)
        assert again["published"] == 0
        assert set(again["totals"]) == {"record_missing", "record_behind", "record_of_deleted"}
    assert messages(filled, "backfill") == queued

    filled.start_worker()
    filled.assert_quiet()
    assert repair(filled)["totals"] == {}
    pagesight.assert_archive_and_index_agree()
    filled.assert_nothing_left()


def test_a_page_with_a_damaged_reading_is_read_again_by_a_worker_without_a_call(filled: Fleet, standin: Standin):
    pagesight = filled.pagesight
    document = pagesight.page_records("report.pdf")[0]["document"]["id"]
    damaged = sorted((pagesight.archive_folder / "readings" / "default" / document).glob("2.*.json"))[-1]
    damaged.write_bytes(damaged.read_bytes()[:100])
    asked = standin.counters()["requests"]

    repaired = repair(filled)
    assert repaired["totals"] == {"page_damaged": 1}
    filled.start_worker()
    ended = filled.until_ended(repaired["batches"][0])
    assert (ended.state, ended.pages) == ("done", {"described": 1})
    filled.assert_quiet()
    assert repair(filled)["totals"] == {}
    assert standin.counters()["requests"] == asked  # the answers were archived
    pagesight.assert_archive_and_index_agree()
    filled.assert_nothing_left()


def test_what_was_mended_and_lost_again_is_mended_again(filled: Fleet):
    record = page_id("default", filled.pagesight.page_records("report.pdf")[0]["document"]["id"], 1)
    filled.start_worker()
    for _ in range(2):
        delete_record(filled.pagesight, PAGES, record)
        assert repair(filled)["totals"] == {"record_missing": 1}
        filled.assert_quiet()
        assert repair(filled)["totals"] == {}
    filled.assert_nothing_left()


def test_records_that_the_archive_does_not_know_are_only_reported(filled: Fleet):
    pagesight = filled.pagesight
    record = {key: value for key, value in pagesight.page_records("plate.png")[0].items() if key != "_version"}
    foreign = record | {"document": record["document"] | {"id": "e" * 64}}
    beyond = record | {"page": {"number": 2}}
    with pagesight.client() as client:
        client.index(index=PAGES, id=page_id("default", "e" * 64, 1), document=foreign, refresh=True)
        client.index(index=PAGES, id=page_id("default", record["document"]["id"], 2), document=beyond, refresh=True)
    for _ in range(2):
        found = repair(filled)
        assert found["totals"] == {"record_unknown": 2}
        assert found["published"] == 0
    assert len(pagesight.records()) == 6
    assert not any(filled.queued().values())


def _kill_in_the_middle(fleet: Fleet, standin: Standin) -> None:
    """A run in one process of which some pages are read and others are not."""
    make_pdf(fleet.pagesight.files / "book.pdf", 40, seed=4)
    standin.tell(latency_seconds=0.3)
    run = fleet.pagesight.start_index()
    run.until(lambda: len(fleet.pagesight.newest()) >= 4)
    run.kill()
    run.ended()
    standin.tell(latency_seconds=0)


def test_pages_that_were_never_read_are_queued_once(fleet: Fleet, standin: Standin):
    _kill_in_the_middle(fleet, standin)
    document = fleet.pagesight.archive.documents("default")[0]
    read = set(fleet.pagesight.archive.readings("default", document).newest_revisions())
    assert 0 < len(read) < 40
    found = repair(fleet)
    (missing,) = [difference for difference in found["differences"] if difference["kind"] == "page_missing"]
    assert set(missing["pages"]) == set(range(1, 41)) - read
    (batch,) = found["batches"]
    assert entries(fleet, batch) == {"book.pdf": tuple(missing["pages"])}
    for _ in range(2):  # the batch is open: it is going to
        again = repair(fleet)
        assert "page_missing" not in again["totals"]
        assert again["batches"] == []
        assert again["published"] == 0
    assert messages(fleet, "backfill").count(Walk(batch, "", "")) == 1

    fleet.start_worker()
    assert fleet.until_ended(batch).state == "done"
    fleet.assert_quiet()
    fleet.until(lambda: fleet.pagesight.records(BATCHES)[batch]["state"] == "done")
    assert repair(fleet)["differences"] == []
    fleet.pagesight.assert_archive_and_index_agree()
    fleet.assert_nothing_left(killed=True)


def test_what_a_person_cancelled_is_not_revived(fleet: Fleet, standin: Standin):
    _kill_in_the_middle(fleet, standin)
    batch = fleet.enqueue()
    assert fleet.pagesight.run("cancel", batch).code == 0
    fleet.server.restart()
    found = repair(fleet)
    assert "page_missing" not in found["totals"]
    assert "batch_lost" not in found["totals"]
    assert found["batches"] == []


def test_a_deleted_document_is_not_revived(fleet: Fleet, standin: Standin):
    _kill_in_the_middle(fleet, standin)
    assert "page_missing" in repair(fleet, "--dry-run")["totals"]
    assert fleet.pagesight.run("repair").code == 1
    fleet.redis.flushall()
    for batch in fleet.pagesight.archive.open_batches():
        assert fleet.pagesight.run("cancel", batch).code == 0
    fleet.pagesight.run("reindex")
    assert fleet.pagesight.run("delete", "book.pdf", "--yes").code == 0
    assert repair(fleet)["batches"] == []


def test_a_batch_that_redis_lost_is_published_again_once(fleet: Fleet, report: Path):
    batch = fleet.enqueue()
    assert repair(fleet)["totals"] == {}
    fleet.server.restart()
    assert repair(fleet, "--dry-run")["totals"] == {"batch_lost": 1}
    assert messages(fleet) == []
    found = repair(fleet)
    assert (found["totals"], found["published"]) == ({"batch_lost": 1}, 1)
    for _ in range(2):
        assert repair(fleet)["totals"] == {}
    root = fleet.pagesight.files.as_uri()
    assert messages(fleet) == [Walk(batch, root, root)]


def test_repairing_during_a_backfill_adds_nothing(sixty_queued: Fleet, standin: Standin):
    standin.tell(latency_seconds=0.3)
    sixty_queued.start_worker("--in-flight", "2")
    batch = sixty_queued.enqueue("--lane", "backfill", str(sixty_queued.pagesight.files))
    for pages in (5, 20, 40):
        sixty_queued.until(lambda pages=pages: standin.counters()["answered"] > 2 * pages)  # type: ignore[misc]
        found = repair(sixty_queued)
        assert (found["totals"], found["published"], found["batches"]) == ({}, 0, [])
    assert sixty_queued.until_ended(batch).pages == {"described": 60}
    assert repair(sixty_queued)["totals"] == {}
    sixty_queued.assert_quiet()
    sixty_queued.assert_nothing_left()


def test_repair_needs_its_services(filled: Fleet):
    filled.pagesight.set(redis_url=NO_REDIS)
    assert filled.pagesight.run("repair").code == 3
    filled.pagesight.set(redis_url=filled.server.url, elasticsearch_url=NOBODY)
    ended = filled.pagesight.run("repair", "--dry-run")
    assert ended.code == 3
    assert "remedy: " in ended.stderr
