"""`pagesight watch` as a process on a real Redis: what arrives becomes batches in the archive and messages."""

import json
import os
import signal
from pathlib import Path

import pytest
from redis import Redis

from pipeline.batches.messages import folder_id
from pipeline.core.models import Batch
from support.pagesight_runs import MakePagesight, Pagesight, Run, make_pdf
from support.redis_server import RedisServer

NOBODY = "http://127.0.0.1:1"
SETTLE_SECONDS = 0.5


@pytest.fixture
def inbox(make_pagesight: MakePagesight, redis_server: RedisServer) -> Pagesight:
    """A home whose files are watched. No cluster is needed for that."""
    return make_pagesight(NOBODY, redis_url=redis_server.url)


def start(inbox: Pagesight, *words: str) -> Run:
    """A watch that hears everything, and whose walk is queued, once this returns."""
    run = inbox.start("watch", inbox.files, "--settle", str(SETTLE_SECONDS), *words)
    url = inbox.environment["PAGESIGHT_REDIS_URL"]
    run.until(lambda: any(queued(url, lane) for lane in ("urgent", "normal")))
    return run


def batches(inbox: Pagesight) -> list[Batch]:
    archive = inbox.archive
    # The walk first: ids of one second are in no order.
    return sorted(
        [batch for name in archive.batches.names() if (batch := archive.batches[name].newest()) is not None],
        key=lambda batch: not batch.roots,
    )


def named(inbox: Pagesight, batch: Batch) -> list[str]:
    """Names of the files that a batch names itself."""
    chunk = inbox.archive.journal(batch.id).chunk(folder_id("", "", "") + ".0")
    return [] if chunk is None else [entry.url.rsplit("/", 1)[-1] for entry in chunk.entries]


def arrived(inbox: Pagesight) -> list[str]:
    return [name for batch in batches(inbox) for name in named(inbox, batch)]


def queued(url: str, lane: str = "normal") -> list[str]:
    """Ids of the batches of which a walk waits in a lane."""
    with Redis.from_url(url, decode_responses=True) as client:
        messages = client.lrange(f"pagesight:{lane}", 0, -1)
    return sorted(json.loads(message)["headers"]["kwargsrepr"].split("'")[3] for message in messages)  # type: ignore[union-attr]


def end(run: Run, number: int = signal.SIGINT) -> str:
    run.interrupt(number)
    ended = run.ended(60)
    assert ended.code == 0, ended.stderr
    return ended.stdout


def test_it_begins_with_a_walk_and_enqueues_what_arrives(inbox: Pagesight, redis_server: RedisServer) -> None:
    make_pdf(inbox.files / "before.pdf", 1, 1)
    run = start(inbox, "--collection", "post", "--language", "de", "--profile", "visual", "--lane", "urgent")
    make_pdf(inbox.files / "a.pdf", 1, 2)
    (inbox.files / "deep" / "er").mkdir(parents=True)
    make_pdf(inbox.files / "deep" / "er" / "b.pdf", 1, 3)
    run.until(lambda: len(arrived(inbox)) == 2)
    words = end(run)

    walk, *rest = batches(inbox)
    assert walk.roots == (inbox.files.as_uri(),)
    orders = {(batch.collection, batch.language, batch.profile, batch.lane) for batch in batches(inbox)}
    assert orders == {("post", "de", "visual", "urgent")}
    assert sorted(name for batch in rest for name in named(inbox, batch)) == ["a.pdf", "b.pdf"]
    assert queued(redis_server.url, "urgent") == sorted(batch.id for batch in batches(inbox))
    assert "2 files arrived" in words


def test_a_file_that_grows_is_enqueued_once_and_a_burst_together(inbox: Pagesight) -> None:
    run = start(inbox)
    with (inbox.files / "slow.pdf").open("wb") as slow:
        for number in range(12):
            slow.write(b"x" * 1000)
            slow.flush()
            (inbox.files / f"{number:02}.pdf").write_bytes(b"x")
            with pytest.raises(AssertionError):  # nothing is enqueued while it grows
                run.until(lambda: len(inbox.archive.batches.names()) > 1, seconds=SETTLE_SECONDS / 3)
    run.until(lambda: len(inbox.archive.batches.names()) == 2)
    end(run)

    assert named(inbox, batches(inbox)[1]) == [*(f"{number:02}.pdf" for number in range(12)), "slow.pdf"]


def test_renames_and_moves_count_as_arrivals_and_temporary_names_do_not_stay(inbox: Pagesight, tmp_path: Path) -> None:
    (tmp_path / "tree" / "below").mkdir(parents=True)
    (tmp_path / "tree" / "below" / "c.pdf").write_bytes(b"x")
    run = start(inbox)
    (inbox.files / "a.pdf.part").write_bytes(b"x")
    (inbox.files / "a.pdf.part").rename(inbox.files / "a.pdf")
    (tmp_path / "tree").rename(inbox.files / "tree")
    run.until(lambda: len(arrived(inbox)) == 2)
    (inbox.files / "a.pdf").rename(inbox.files / "b.pdf")
    run.until(lambda: len(arrived(inbox)) == 3)
    words = end(run)

    assert arrived(inbox) == ["a.pdf", "c.pdf", "b.pdf"]
    assert "gone" in words


def test_while_redis_is_away_what_arrives_is_remembered(inbox: Pagesight, redis_server: RedisServer) -> None:
    run = start(inbox)
    redis_server.stop()
    for name in ("a.pdf", "b.pdf"):
        make_pdf(inbox.files / name, 1, 1)
        run.until(lambda: "waiting for redis" in run.stderr.lower())
    redis_server.start()
    run.until(lambda: len(arrived(inbox)) == 2)
    end(run, signal.SIGTERM)

    assert arrived(inbox) == ["a.pdf", "b.pdf"]
    assert queued(redis_server.url) == [batches(inbox)[1].id]


def test_it_may_begin_while_redis_is_away(inbox: Pagesight, redis_server: RedisServer) -> None:
    redis_server.stop()
    run = inbox.start("watch", inbox.files, "--settle", str(SETTLE_SECONDS))
    run.until(lambda: "waiting for redis" in run.stderr.lower())
    assert inbox.archive.batches.names() == []
    redis_server.start()
    run.until(lambda: len(inbox.archive.batches.names()) == 1)
    end(run)


def test_a_name_that_is_no_utf8_does_not_end_it(inbox: Pagesight) -> None:
    run = start(inbox)
    Path(os.fsdecode(os.fsencode(inbox.files) + b"/\xff.pdf")).write_bytes(b"x")
    make_pdf(inbox.files / "a.pdf", 1, 1)
    run.until(lambda: len(inbox.archive.batches.names()) == 2, seconds=60)  # another walk, which finds both
    make_pdf(inbox.files / "b.pdf", 1, 2)
    run.until(lambda: "b.pdf" in arrived(inbox))
    end(run)


def test_polling_finds_the_same(inbox: Pagesight) -> None:
    make_pdf(inbox.files / "before.pdf", 1, 1)
    run = start(inbox, "--poll")
    make_pdf(inbox.files / "a.pdf", 1, 1)
    run.until(lambda: bool(arrived(inbox)), seconds=60)
    end(run)

    assert arrived(inbox) == ["a.pdf"]


def test_a_folder_that_goes_ends_it_loudly(inbox: Pagesight) -> None:
    run = start(inbox)
    inbox.files.rmdir()
    ended = run.ended(60)

    assert ended.code == 3
    assert "the folder is gone" in ended.stderr
    inbox.files.mkdir()


def test_its_summary_for_programs_is_one_object(inbox: Pagesight) -> None:
    run = start(inbox, "--json")
    make_pdf(inbox.files / "a.pdf", 1, 1)
    run.until(lambda: len(arrived(inbox)) == 1)

    assert json.loads(end(run)) == {"batches": 2, "files": 1, "gone": 0, "left": 0}


@pytest.mark.parametrize("words", [("nowhere",), ("s3://bucket/in/",), ("file.pdf",)])
def test_only_a_folder_of_this_machine_can_be_watched(inbox: Pagesight, words: tuple[str, ...]) -> None:
    make_pdf(inbox.home / "file.pdf", 1, 1)

    assert inbox.run("watch", *words).code == 2
