"""A Redis that becomes a replica for a time, as in a fail-over: workers go on afterwards."""

from __future__ import annotations

import time

import pytest

from support.fleet_runs import Fleet, assert_sixty
from support.standin import Standin

#: Long enough for each worker to meet the errors of a read-only server.
REPLICA_SECONDS = 5.0


@pytest.mark.parametrize("stale", ["yes", "no"])
def test_workers_wait_for_a_redis_that_is_a_replica(sixty_queued: Fleet, standin: Standin, stale: str) -> None:
    """Without stale data the server answers MASTERDOWN, and with it READONLY."""
    fleet = sixty_queued
    workers = fleet.start_workers(2)
    batch = fleet.enqueue()
    fleet.until(lambda: standin.counters()["answered"] > 5)
    fleet.redis.config_set("replica-serve-stale-data", stale)
    fleet.redis.replicaof("127.0.0.1", 1)
    time.sleep(REPLICA_SECONDS)
    fleet.redis.replicaof("NO", "ONE")
    fleet.until_ended(batch)
    assert all(worker.going_on for worker in workers)
    assert_sixty(fleet, batch, standin)
