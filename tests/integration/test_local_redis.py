"""The local Redis' life, for real."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError, ResponseError

from pipeline.core.errors import ServiceRefused
from pipeline.local import redis as local_redis
from pipeline.local.redis import DISABLED_COMMANDS, LocalRedis, find_redis_server

MakeRedis = Callable[..., LocalRedis]


@pytest.fixture
def make_redis(redis_executable: Path, tmp_path: Path) -> Iterator[MakeRedis]:
    """Makes local servers, each in a home of its own unless one is named; they are stopped at the end."""
    made: list[LocalRedis] = []

    def make(home: str = "home") -> LocalRedis:
        made.append(LocalRedis(tmp_path / home))
        return made[-1]

    yield make
    for redis in made:
        redis.stop()


def port(url: str) -> int:
    return int(url.rpartition(":")[2].removesuffix("/0"))


def taking(number: int) -> socket.socket:
    """Listen on a port as soon as whoever holds it lets go."""
    while True:
        try:
            return socket.create_server(("127.0.0.1", number))
        except OSError:
            time.sleep(0.05)


def test_it_starts_once_keeps_what_it_holds_and_ends_when_told(make_redis: MakeRedis) -> None:
    redis = make_redis('a home with "quotes" and ü')
    url = redis.start()
    status = redis.status()
    assert (status.running, status.url) == (True, url)
    assert redis.start() == url
    assert redis.status().pid == status.pid

    with Redis.from_url(url) as client:
        client.lpush("queue", "message")
        for name in DISABLED_COMMANDS:
            with pytest.raises(ResponseError, match="unknown command"):
                client.execute_command(name, "GET", "dir")
    assert redis.stop()
    assert not redis.stop()
    assert redis.status() == type(status)(None, None, status.folder)
    socket.create_server(("127.0.0.1", port(url))).close()  # nobody listens there any more

    assert redis.start() == url
    with Redis.from_url(url) as client:
        assert client.lrange("queue", 0, -1) == [b"message"]


def test_it_listens_on_the_loopback_interface_only(make_redis: MakeRedis) -> None:
    number = port(make_redis().start())
    listening = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    addresses = {words[1] for words in listening if words[3] == "0A" and words[1].endswith(f":{number:04X}")}
    assert addresses == {f"0100007F:{number:04X}"}


def test_it_asks_for_a_password_that_no_other_user_can_read(make_redis: MakeRedis, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        redis = make_redis()
        url = redis.start()
    finally:
        os.umask(before)
    with Redis(port=port(url)) as stranger, pytest.raises(AuthenticationError):
        stranger.ping()

    pid = redis.status().pid
    password = urlsplit(url).password
    assert password is not None
    assert password.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
    kept = [tmp_path / "home", *(tmp_path / "home").rglob("*")]
    assert [f"{path} {path.stat().st_mode:o}" for path in kept if path.stat().st_mode & 0o077] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to change the user")
def test_root_runs_it_under_a_user_of_its_own(make_redis: MakeRedis, tmp_path: Path) -> None:
    redis = make_redis()
    with Redis.from_url(redis.start()) as client:
        client.lpush("queue", "message")
    pid, folder = redis.status().pid, tmp_path / "home" / "redis"
    status = Path(f"/proc/{pid}/status").read_text()
    (uids,) = (line.split()[1:] for line in status.splitlines() if line.startswith("Uid:"))
    assert len(set(uids)) == 1
    assert int(uids[0]) == (folder / "data").stat().st_uid
    assert int(uids[0]) not in {0, 1000}
    assert "Groups:\t \n" in status
    # What decides where keys go stays root's.
    assert {path.stat().st_uid for path in (folder, *folder.iterdir()) if path.name != "data"} == {0}


def test_its_password_is_shown_to_programs_only(make_redis: MakeRedis, tmp_path: Path) -> None:
    url = make_redis(".").start()
    password = str(urlsplit(url).password)
    for words in (("redis", "start"), ("redis", "status"), ("doctor",)):
        shown = told(tmp_path, *words)
        assert "redis" in shown.lower()
        assert password not in shown
    assert pagesight(tmp_path, "redis", "status")["url"] == url


def test_two_starts_at_once_yield_one_server(make_redis: MakeRedis) -> None:
    first, second = make_redis(), make_redis()
    with ThreadPoolExecutor(2) as pool:
        urls = set(pool.map(LocalRedis.start, (first, second)))
    assert len(urls) == 1
    assert first.status().pid == second.status().pid


def test_two_homes_have_two_servers(make_redis: MakeRedis) -> None:
    assert make_redis("one").start() != make_redis("other").start()


def test_one_that_was_killed_starts_again_on_another_port_if_its_own_is_taken(make_redis: MakeRedis) -> None:
    redis = make_redis()
    url = redis.start()
    with Redis.from_url(url) as client:
        client.set("kept", 1)
        time.sleep(1.5)  # it writes to its disk every second
    pid = redis.status().pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    while redis.status().running:
        time.sleep(0.05)
    with taking(port(url)):
        other = redis.start()
    assert other != url
    with Redis.from_url(other) as client:
        assert client.get("kept") == b"1"


def test_one_that_cannot_start_shows_its_last_words(make_redis: MakeRedis) -> None:
    redis = make_redis()
    redis.start()
    redis.stop()
    for kept in redis.status().folder.rglob("appendonly*"):
        if kept.is_file():
            kept.write_bytes(b"no such format\n" * 20)
    with pytest.raises(ServiceRefused, match=r"AOF|append only file"):
        redis.start()
    assert not redis.status().running


def test_a_home_without_a_server_has_none_to_stop(tmp_path: Path) -> None:
    assert not LocalRedis(tmp_path).stop()
    assert list(tmp_path.iterdir()) == []


def server_that_says(folder: Path, words: str) -> None:
    program = folder / "redis-server"
    program.write_text(f"#!/bin/sh\necho '{words}'\n")
    program.chmod(0o755)


def test_the_system_s_server_comes_first_unless_it_is_too_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundled = tmp_path / "bundled"
    monkeypatch.setattr(local_redis, "_bundled", lambda: bundled)
    path = {"PATH": f"{tmp_path}:/bin:/usr/bin"}
    server_that_says(tmp_path, "Redis server v=7.2.4 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64")
    assert find_redis_server(path) == tmp_path / "redis-server"
    server_that_says(tmp_path, "Redis server v=6.0.16 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64")
    assert find_redis_server(path) == bundled

    monkeypatch.setattr(local_redis, "_bundled", lambda: None)
    with pytest.raises(ServiceRefused, match=r"older than 6\.2") as caught:
        find_redis_server(path)
    assert "apt-get install redis-server" in caught.value.remedy


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts it under another user id")
def test_a_server_in_a_folder_of_root_is_started_all_the_same(
    make_redis: MakeRedis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    shutil.copy2(find_redis_server(), private / "redis-server")
    monkeypatch.setattr(local_redis, "find_redis_server", lambda: private / "redis-server")

    with Redis.from_url(make_redis().start()) as client:
        assert client.ping()


def told(home: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", "from pipeline.cli.app import main; main()", *words],
        env=os.environ | {"PAGESIGHT_HOME": str(home)},
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def pagesight(home: Path, *words: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", "from pipeline.cli.app import main; main()", *words, "--json"],
        env=os.environ | {"PAGESIGHT_HOME": str(home)},
        cwd=home,
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(json.loads(done.stdout))


def test_the_commands_start_show_and_stop_it(make_redis: MakeRedis, tmp_path: Path) -> None:
    make_redis(".")  # stops it if the test does not
    assert pagesight(tmp_path, "redis", "status")["running"] is False
    url = pagesight(tmp_path, "redis", "start")["url"]
    status = pagesight(tmp_path, "redis", "status")
    assert (status["running"], status["url"], status["folder"]) == (True, url, str(tmp_path / "redis"))
    assert pagesight(tmp_path, "redis", "stop") == {"stopped": True}
    assert pagesight(tmp_path, "redis", "stop") == {"stopped": False}
