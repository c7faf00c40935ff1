"""Services that go away while a fleet works: nothing is marked failed, nothing asked twice, nothing left in a queue."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from elasticsearch import Elasticsearch

from pipeline.local.elasticsearch import LocalNode
from pipeline.search.index import Index
from support.elasticsearch_node import making_nodes
from support.fleet_runs import Fleet, assert_sixty, repair
from support.pagesight_runs import answered
from support.standin import Standin

#: Longer than the budget of a range in these tests: ranges that wait hand back their rest in between.
AWAY_SECONDS = 12.0

pytestmark = pytest.mark.timeout(900)


@pytest.mark.slow
def test_redis_that_comes_back_empty_is_filled_again_by_repair(sixty_queued: Fleet, standin: Standin):
    restart_at = random.Random(47).randint(20, 60)
    sixty_queued.start_workers(2)
    batch = sixty_queued.enqueue()
    sixty_queued.until(lambda: answered(standin) >= restart_at)
    sixty_queued.server.restart(empty=True)
    sixty_queued.until(lambda: not any(sixty_queued.queued().values()))
    repair(sixty_queued)
    # What was in the workers' hands goes on without Redis having known of it.
    assert_sixty(sixty_queued, batch, standin)


@pytest.mark.slow
@pytest.mark.parametrize("redis_appendonly", [True])
def test_redis_that_is_away_is_waited_for(sixty_queued: Fleet, standin: Standin, redis_appendonly: bool):
    sixty_queued.start_workers(2)
    batch = sixty_queued.enqueue()
    sixty_queued.until(lambda: answered(standin) >= 30)
    sixty_queued.server.stop()
    time.sleep(AWAY_SECONDS)
    sixty_queued.server.start()
    # Leases that ended while it was away may let a call in flight be asked by another worker as well.
    assert_sixty(sixty_queued, batch, standin, repeated=8)


@pytest.fixture(scope="module")
def shared_node(elasticsearch_distribution: Path) -> Iterator[LocalNode]:
    """A node that the tests of this file may kill."""
    with making_nodes(elasticsearch_distribution) as make:
        yield make()


@pytest.fixture
def node(shared_node: LocalNode, sixty_queued: Fleet) -> LocalNode:
    """It runs, without indices, and the fleet writes to it."""
    url = shared_node.start()
    with Index(url) as index:
        index.drop()
    sixty_queued.pagesight.url = url
    sixty_queued.pagesight.set(elasticsearch_url=url)
    return shared_node


@pytest.mark.slow
def test_an_elasticsearch_that_is_killed_is_waited_for(sixty_queued: Fleet, node: LocalNode, standin: Standin):
    sixty_queued.start_workers(2)
    batch = sixty_queued.enqueue()
    sixty_queued.until(lambda: answered(standin) >= random.Random(53).randint(30, 90))
    pid = node.status().pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    time.sleep(AWAY_SECONDS)
    node.start()
    assert_sixty(sixty_queued, batch, standin)


@pytest.mark.slow
def test_an_elasticsearch_at_its_flood_stage_is_waited_for(sixty_queued: Fleet, node: LocalNode, standin: Standin):
    sixty_queued.start_workers(2)
    batch = sixty_queued.enqueue()
    sixty_queued.until(lambda: len(sixty_queued.pagesight.records()) >= 16)
    with Elasticsearch(sixty_queued.pagesight.url) as client:
        _flood(client, on=True)
        sixty_queued.until(lambda: answered(standin) == 120)
        assert sixty_queued.batch(batch).state == "working"
        _flood(client, on=False)
    assert_sixty(sixty_queued, batch, standin)


def _flood(client: Elasticsearch, *, on: bool) -> None:
    """Move the watermark below what the disk holds, or back; the server sets its read-only block by itself."""
    prefix = "cluster.routing.allocation.disk"
    names = ("watermark.low", "watermark.high", "watermark.flood_stage")
    settings: dict[str, str | None] = {f"{prefix}.{name}": "1%" if on else None for name in names}
    settings["cluster.info.update.interval"] = "10s" if on else None
    client.cluster.put_settings(persistent=settings)


@pytest.mark.slow
def test_a_model_that_is_cold_limits_and_hangs_is_waited_for(sixty_queued: Fleet, standin: Standin):
    sixty_queued.pagesight.set(vlm_read_seconds=5)
    standin.have("cold", times=20, retry_after="1")
    standin.have("limited", times=6, retry_after="1")
    standin.have("hanging", times=4)
    sixty_queued.start_workers(2)
    assert_sixty(sixty_queued, sixty_queued.enqueue(), standin)
    struck = Counter(request["fault"] for request in standin.requests())
    assert {kind: struck[kind] for kind in ("cold", "limited", "hanging")} == {"cold": 20, "limited": 6, "hanging": 4}


@pytest.mark.slow
def test_a_model_that_refuses_halts_the_fleet_until_it_is_resumed(sixty_queued: Fleet, standin: Standin):
    sixty_queued.start_workers(2)
    batch = sixty_queued.enqueue()
    sixty_queued.until(lambda: answered(standin) >= 30)
    standin.have("broke")
    pagesight = sixty_queued.pagesight
    sixty_queued.until(lambda: (fleet := pagesight.archive.fleet.newest()) is not None and fleet.state == "halted")
    sixty_queued.until(lambda: sixty_queued.queued()["unacked"] == 0)
    assert sixty_queued.queued()["normal"] > 0
    asked = standin.counters()["requests"]
    time.sleep(5)
    assert standin.counters()["requests"] == asked
    shown = pagesight.run("status")
    assert "halted" in shown.stdout.lower()
    assert "balance" in shown.stdout
    assert standin.key not in shown.stdout + shown.stderr

    standin.be_well()
    assert pagesight.run("resume").code == 0
    assert_sixty(sixty_queued, batch, standin)


def test_the_fleet_rests_while_it_is_paused(sixty_queued: Fleet, standin: Standin):
    standin.tell(latency_seconds=1)  # so that the command comes in the middle
    sixty_queued.start_worker()
    batch = sixty_queued.enqueue()
    sixty_queued.until(lambda: answered(standin) >= 10)
    assert sixty_queued.pagesight.run("pause").code == 0
    sixty_queued.until(lambda: sixty_queued.queued()["unacked"] == 0)
    asked = standin.counters()["requests"]
    time.sleep(3)
    assert standin.counters()["requests"] == asked < 120
    standin.tell(latency_seconds=0.1)
    assert sixty_queued.pagesight.run("resume").code == 0
    assert_sixty(sixty_queued, batch, standin)


@pytest.mark.slow
def test_a_worker_whose_clock_is_an_hour_off_does_not_work(sixty_queued: Fleet, standin: Standin):
    shifted = sixty_queued.pagesight.home / "shifted"
    shifted.mkdir()
    (shifted / "sitecustomize.py").write_text(
        "import time\n_right = time.time\ntime.time = lambda: _right() + 3600\n", encoding="utf-8"
    )
    batch = sixty_queued.enqueue()
    outputs = sixty_queued.pagesight.start_with({"PYTHONPATH": str(shifted)}, "worker")
    ended = outputs.ended(60)
    assert ended.code == 3
    assert "clock" in ended.stderr
    assert standin.counters()["requests"] == 0
    sixty_queued.start_worker()
    assert_sixty(sixty_queued, batch, standin)
