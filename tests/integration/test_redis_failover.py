"""A Redis that becomes a replica for a time, as in a fail-over: workers go on afterwards."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from support.fleet_runs import Fleet, assert_sixty
from support.redis_server import RedisServer
from support.standin import Standin
from support.tcp_switch import TcpSwitch, tcp_switch

#: Long enough for each worker to meet the errors of a read-only server.
REPLICA_SECONDS = 5.0


@pytest.mark.parametrize("stale", ["yes", "no"])
def test_workers_wait_for_a_redis_that_is_a_replica(sixty_queued: Fleet, standin: Standin, stale: str) -> None:
    """Without stale data the server answers MASTERDOWN, and with it READONLY."""
    fleet = sixty_queued
    workers = fleet.start_workers(2)
    batch = fleet.enqueue()
    fleet.until(lambda: standin.counters()["answered"] > 5)
    # Workers exchange no events of Celery, by which others could have them run tasks.
    assert (fleet.redis.pubsub_numpat(), fleet.redis.pubsub_channels()) == (0, [])
    fleet.redis.config_set("replica-serve-stale-data", stale)
    fleet.redis.replicaof("127.0.0.1", 1)
    time.sleep(REPLICA_SECONDS)
    fleet.redis.replicaof("NO", "ONE")
    fleet.until_ended(batch)
    assert all(worker.going_on for worker in workers)
    assert_sixty(fleet, batch, standin)


@pytest.fixture
def replica(redis_server: RedisServer, redis_executable: Path, tmp_path: Path) -> Iterator[RedisServer]:
    """A replica that has everything that the primary has."""
    server = RedisServer(redis_executable, tmp_path, options=["--replicaof", "127.0.0.1", str(redis_server.port)])
    server.start()
    yield server
    server.stop()


@pytest.fixture
def switch(redis_server: RedisServer) -> Iterator[TcpSwitch]:
    with tcp_switch(redis_server.port) as switch:
        yield switch


def test_workers_follow_the_name_of_the_primary_to_another_server(
    sixty_queued: Fleet, standin: Standin, redis_server: RedisServer, replica: RedisServer, switch: TcpSwitch
) -> None:
    """As by Sentinel: the replica is promoted, and the former primary becomes its replica. No connection closes."""
    fleet = sixty_queued
    fleet.pagesight.set(redis_url=switch.url)
    old, new = (redis.Redis.from_url(server.url, decode_responses=True) for server in (redis_server, replica))
    fleet.until(lambda: new.info("replication")["master_link_status"] == "up")
    workers = fleet.start_workers(2)
    batch = fleet.enqueue()
    fleet.until(lambda: standin.counters()["answered"] > 5)
    new.replicaof("NO", "ONE")
    switch.target = replica.port
    old.replicaof("127.0.0.1", replica.port)
    fleet.server = replica
    fleet.until_ended(batch)
    assert all(worker.going_on for worker in workers)
    assert_sixty(fleet, batch, standin)
