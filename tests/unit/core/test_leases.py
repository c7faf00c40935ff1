"""Leases on answers, among threads and processes of one machine."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.core.errors import ServiceUnavailable, Stopped
from pipeline.core.leases import FileLeases
from pipeline.core.models import Answer
from pipeline.core.retry import CancelToken
from pipeline.vision.reader import AnswerCache
from support.vision import AnswersInMemory, LeasesInMemory, get_or_ask

HOLDER = """
import sys, time
from pathlib import Path
from pipeline.core.leases import FileLeases
with FileLeases(Path(sys.argv[1])).take("key"):
    print("held", flush=True)
    sys.stdin.read()
"""


def answer(content: str = "said", key: str = "key") -> Answer:
    return Answer(key=key, question="text", model="m", content=content, asked_at=datetime.now(UTC))


def test_a_key_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    leases, others = FileLeases(tmp_path), FileLeases(tmp_path)
    lease = leases.take("key")
    assert lease is not None
    with lease:
        assert others.take("key") is None
        assert leases.take("key") is None
        other_key = others.take("another")
        assert other_key is not None
        with other_key:
            pass
    again = others.take("key")
    assert again is not None
    with again:
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_lease_ends_with_its_holder(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert FileLeases(tmp_path).take("key") is None
        assert list(FileLeases(tmp_path).abandoned()) == []
        holder.kill()
    lease = FileLeases(tmp_path).take("key")
    assert lease is not None
    with lease:
        pass


def test_what_a_killed_holder_left_is_found_and_swept(tmp_path: Path) -> None:
    (tmp_path / "key").touch()
    leases = FileLeases(tmp_path)
    held = leases.take("another")
    assert held is not None
    with held:
        assert list(leases.abandoned()) == ["key"]
        assert [path.name for path in tmp_path.iterdir()] == ["another"]


def test_of_many_who_want_an_answer_one_asks(tmp_path: Path) -> None:
    store = AnswersInMemory()
    asked = []

    def ask() -> Answer:
        asked.append(1)
        return answer()

    def want(_: int) -> tuple[Answer, bool]:
        # Each with leases of its own, as separate processes have.
        return get_or_ask(AnswerCache(store, FileLeases(tmp_path)), "key", ask, CancelToken())

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(want, range(64)))

    assert len(asked) == 1
    assert {got.content for got, _ in found} == {"said"}
    assert [cached for _, cached in found].count(False) == 1
    assert list(tmp_path.iterdir()) == []


def test_one_who_fails_leaves_the_asking_to_the_next(tmp_path: Path) -> None:
    cache = AnswerCache(AnswersInMemory(), FileLeases(tmp_path))

    def fail() -> Answer:
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        get_or_ask(cache, "key", fail, CancelToken())
    assert get_or_ask(cache, "key", answer, CancelToken())[1] is False
    assert get_or_ask(cache, "key", fail, CancelToken())[0].content == "said"


def test_a_wait_for_anothers_answer_can_be_stopped(tmp_path: Path) -> None:
    cancel = CancelToken()
    lease = FileLeases(tmp_path).take("image")
    assert lease is not None
    with lease:
        threading.Timer(0.1, cancel.stop).start()
        with pytest.raises(Stopped, match="another caller asks about the same image"):
            get_or_ask(AnswerCache(AnswersInMemory(), FileLeases(tmp_path)), "key", answer, cancel)


class LeasesThatAreAwayTwice(LeasesInMemory):
    away = 2

    def take(self, key: str) -> AbstractContextManager[None] | None:
        if self.away:
            self.away -= 1
            raise ServiceUnavailable("redis", "connection refused")
        return super().take(key)


def test_leases_that_cannot_be_had_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.vision.reader.LEASE_WAITS_SECONDS", (0.001,))
    leases = LeasesThatAreAwayTwice()

    assert get_or_ask(AnswerCache(AnswersInMemory(), leases), "key", answer, CancelToken())[1] is False
    assert leases.away == 0


class CountedLeases(LeasesInMemory):
    taken = 0

    def take(self, key: str) -> AbstractContextManager[None] | None:
        self.taken += 1
        return super().take(key)


def test_all_that_is_asked_about_an_image_needs_one_lease_and_what_is_there_none() -> None:
    leases = CountedLeases()
    cache = AnswerCache(AnswersInMemory(), leases)

    def ask_twice() -> list[bool]:
        found = []
        with cache.for_image("image", CancelToken()) as answers:
            for key in ("first", "second"):
                found.append(answers.find(key) is not None)
                answers.save(answer(key=key))
        return found

    assert ask_twice() == [False, False]
    assert leases.taken == 1
    assert ask_twice() == [True, True]
    assert leases.taken == 1
