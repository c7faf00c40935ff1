"""A message of a kind that only a newer version knows is set aside, and the messages after it are handled."""

from __future__ import annotations

import json

import pytest
from kombu import Connection

from support.fleet_runs import Fleet, assert_sixty
from support.standin import Standin
from workers.redis.queues import DEAD_LETTERS, KEY_PREFIX


@pytest.mark.timeout(600)
def test_an_unknown_message_is_set_aside_and_the_batch_ends(sixty_queued: Fleet, standin: Standin) -> None:
    fleet = sixty_queued
    options = {"global_keyprefix": KEY_PREFIX, "priority_steps": [0]}
    with Connection(fleet.server.url, transport_options=options) as connection:
        producer = connection.Producer(serializer="json")
        headers = {"id": "1", "task": "pagesight.dream", "lang": "py", "argsrepr": "[]", "kwargsrepr": "{}"}
        producer.publish([[], {"depth": 3}, {}], routing_key="normal", queue="normal", headers=headers)
    fleet.start_worker()
    batch = fleet.enqueue()

    fleet.until(lambda: fleet.redis.llen(DEAD_LETTERS) == 1)
    letter = json.loads(fleet.redis.lindex(DEAD_LETTERS, 0))
    assert (letter["lane"], "pagesight.dream" in letter["element"]) == ("normal", True)
    assert_sixty(fleet, batch, standin)
