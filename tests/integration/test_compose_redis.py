"""The users that `tools/compose/make-secrets.sh` gives Redis: each does its work, and nothing beyond it."""

from __future__ import annotations

import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery
from redis import Redis
from redis.exceptions import NoPermissionError

from pipeline.core.settings import Settings, load
from pipeline.search.index import Index
from support.fleet_runs import READ_SECONDS, Fleet
from support.pagesight_runs import MakePagesight, make_pdf
from support.redis_server import RedisServer
from support.standin import Standin
from workers.app import configuration
from workers.redis.connection import connect
from workers.redis.queues import EPOCH, RedisQueues

SCRIPT = Path(__file__).parents[2] / "tools" / "compose" / "make-secrets.sh"


class ComposeRedis(RedisServer):
    """A server with the users of Compose."""

    def url_of(self, user: str, secrets: Path) -> str:
        settings = tomllib.loads((secrets / f"{user}.toml").read_text(encoding="utf-8"))
        return str(settings["redis_url"]).replace("redis:6379", f"127.0.0.1:{self.port}")


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    subprocess.run([SCRIPT, tmp_path / "secrets"], check=True, capture_output=True)
    return tmp_path / "secrets"


@pytest.fixture
def server(redis_executable: Path, secrets: Path, tmp_path: Path) -> Iterator[ComposeRedis]:
    acl = secrets / "redis.acl"
    text = acl.read_text(encoding="utf-8")
    off = "user default off resetpass\n"
    assert off in text
    # The tests find out by a ping without a password that the server answers.
    acl.write_text(text.replace(off, "user default on nopass -@all +ping\n"), encoding="utf-8")
    folder = tmp_path / "redis"
    folder.mkdir()
    server = ComposeRedis(redis_executable, folder, options=["--aclfile", str(acl)])
    server.start()
    yield server
    server.stop()


def _settings(server: ComposeRedis, user: str, secrets: Path) -> Settings:
    return load().model_copy(update={"redis_url": server.url_of(user, secrets)})


def test_a_worker_s_user_works_a_batch(
    server: ComposeRedis,
    secrets: Path,
    make_pagesight: MakePagesight,
    index: Index,
    elasticsearch_url: str,
    standin: Standin,
) -> None:
    fleet = Fleet(make_pagesight(elasticsearch_url, standin, vlm_read_seconds=READ_SECONDS), server)
    fleet.pagesight.set(redis_url=server.url_of("worker", secrets))
    make_pdf(fleet.pagesight.files / "book.pdf", 2, seed=1)
    batch_id = fleet.enqueue()
    worker = fleet.start_worker()
    assert fleet.until_ended(batch_id).state == "done", fleet.said()
    assert "NOPERM" not in worker.stderr
    assert "permission" not in worker.stderr.lower()
    status = fleet.pagesight.run("status", "--json")
    assert status.json["away"] == []
    assert len(status.json["workers"]) == 1
    fleet.stop_all()


def test_a_beat_s_user_sends_a_tick_that_the_worker_s_user_sees(server: ComposeRedis, secrets: Path) -> None:
    beat, worker = (_settings(server, user, secrets) for user in ("beat", "worker"))
    with connect(beat) as client:
        assert RedisQueues(client).epoch()
    with Celery("beat", set_as_current=False) as app:
        app.conf.update({**configuration(beat), "imports": []})
        app.send_task("pagesight.tick", queue="control")
    with connect(worker) as client:
        assert RedisQueues(client).depths()["control"] == 1


@pytest.mark.parametrize(
    ("user", "command"),
    [
        ("beat", "GET pagesight:archive"),
        ("beat", "LPUSH pagesight:urgent x"),
        ("beat", "LRANGE pagesight:control 0 -1"),
        ("beat", "DEL pagesight:epoch"),
        ("beat", "EVAL return 0"),
        ("beat", "SUBSCRIBE all"),
        *[
            (user, command)
            for user in ("beat", "worker", "health")
            for command in ("FLUSHALL", "CONFIG GET *", "ACL LIST", "SHUTDOWN", "MONITOR", "KEYS *", "REPLICAOF NO ONE")
        ],
        ("health", f"GET {EPOCH}"),
        ("health", "SET a b"),
    ],
)
def test_no_user_does_more_than_its_work(server: ComposeRedis, secrets: Path, user: str, command: str) -> None:
    known = {"health": f"redis://health:health@127.0.0.1:{server.port}/0"}
    url = known.get(user) or server.url_of(user, secrets)
    with Redis.from_url(url) as client, pytest.raises(NoPermissionError):
        client.execute_command(*command.split())
