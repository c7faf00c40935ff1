"""Random faults at random moments, for `make soak`: too long for every run of the tests, and never the same twice.

Whatever happens, the same command run again in peace ends with every page there once, and no archived answer asked for
again. SEED=… repeats one; ROUNDS=… makes it longer.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable

import pytest

from support.pagesight_runs import Pagesight, Run, answered, asked_although_archived
from support.standin import Standin

ROUNDS = int(os.environ.get("ROUNDS", "20"))
SEED = int(os.environ.get("SEED", str(time.time_ns() % 1_000_000)))
CALLS = 120


def killed(chance: random.Random, run: Run, _: Pagesight) -> None:
    run.kill()


def interrupted(chance: random.Random, run: Run, _: Pagesight) -> None:
    run.interrupt(chance.choice([signal.SIGINT, signal.SIGTERM]))


def interrupted_twice(chance: random.Random, run: Run, _: Pagesight) -> None:
    run.interrupt()
    time.sleep(chance.random() / 10)
    run.interrupt()


def sandbox_killed(chance: random.Random, run: Run, _: Pagesight) -> None:
    for sandbox in run.sandboxes()[:1]:
        sandbox.kill()


def another_run_beside_it(chance: random.Random, _: Run, pagesight: Pagesight) -> None:
    other = pagesight.start_index()
    if chance.random() < 0.5:
        time.sleep(chance.random() * 3)
        if other.going_on:
            other.kill()
    other.ended()


def deleted_beside_it(chance: random.Random, _: Run, pagesight: Pagesight) -> None:
    purge = ["--purge"] if chance.random() < 0.5 else []
    # 2: so early that there is no collection yet.
    ended = pagesight.run("delete", "--collection", "default", "--yes", *purge)
    assert ended.code in (0, 2), ended.stderr
    assert "Traceback" not in ended.stderr


FAULTS: list[Callable[[random.Random, Run, Pagesight], None]] = [
    killed,
    killed,
    interrupted,
    interrupted_twice,
    sandbox_killed,
    another_run_beside_it,
    deleted_beside_it,
]


@pytest.mark.parametrize("seed", range(SEED, SEED + ROUNDS))
def test_random_faults(sixty: Pagesight, standin: Standin, seed: int) -> None:
    chance = random.Random(seed)
    deleted = False
    for _ in range(chance.randint(1, 4)):
        run = sixty.start_index()
        begun = answered(standin)
        wait_for = begun + chance.randint(0, 60)
        while run.going_on and answered(standin) < wait_for:
            run.family()
            time.sleep(0.01)
        fault = chance.choice(FAULTS)
        deleted |= fault is deleted_beside_it
        if run.going_on:
            fault(chance, run, sixty)
        run.ended()
    archived = sixty.archived_answers()
    standin.reset_counters()

    ended = sixty.index()

    assert ended.code == 0, ended.stderr
    assert ended.json["pages"] == {"described": 60}
    assert asked_although_archived(sixty, archived, standin.requests()) == []
    assert deleted or standin.counters()["requests"] == CALLS - len(archived)
    assert len(sixty.records()) == 60
    sixty.assert_archive_and_index_agree()
    sixty.assert_nothing_left(killed=True)
