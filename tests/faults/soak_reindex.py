"""`make soak`: 20,000 archived pages, re-indexed beside live traffic, killed ten times at random and run again.

ROUNDS and SEED, in the environment, choose other runs.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import pytest

from pipeline.core.retry import CancelToken
from pipeline.core.url_signing import Signer
from pipeline.pages.deletion import carry_out, request_deletion
from pipeline.projection.projector import Projector
from pipeline.search import State
from pipeline.search.index import Index
from support.page_archives import COLLECTION, PAGES, begin, document_name, fill, write_document
from support.pagesight_runs import MakePagesight
from support.reindexed import assert_holds_the_archive

DOCUMENTS = 1000
ROUNDS = int(os.environ.get("ROUNDS", "10"))
SEED = int(os.environ.get("SEED", "1"))


class Traffic:
    """A tenth more comes and 200 pages go: half of it while runs are killed, half of it on the way back."""

    def __init__(self, projector: Projector) -> None:
        self._projector = projector
        self.written = self.deleted = 0

    @contextmanager
    def going_on(self, documents: int, pause_seconds: float) -> Iterator[None]:
        """So many documents come during the block and, where it is too short, after it; each tenth time one goes."""
        with ThreadPoolExecutor(1) as thread:
            work = thread.submit(self._work, documents, pause_seconds)
            yield
            work.result()

    def _work(self, documents: int, pause_seconds: float) -> None:
        for _ in range(documents):
            write_document(self._projector, DOCUMENTS + self.written)
            self.written += 1
            if self.written % 10 == 0:
                document = document_name(self.deleted)
                carry_out(request_deletion(self._projector.archive, COLLECTION, document, purge=False), self._projector)
                self.deleted += 1
            time.sleep(pause_seconds)


def _is_at_work(index: Index, before: set[str]) -> bool:
    return not {generation.token for generation in index.generations.all()} <= {"", *before}


@pytest.mark.timeout(0)
def test_killed_at_random_moments_nothing_is_lost(
    bare_index: Index, elasticsearch_url: str, make_pagesight: MakePagesight
) -> None:
    chance = random.Random(SEED)
    pagesight = make_pagesight(elasticsearch_url)
    fill(begin(pagesight.archive_folder), DOCUMENTS)
    assert pagesight.start("reindex").ended(600).code == 0
    projector = Projector(pagesight.archive, bare_index, CancelToken(), Signer())
    whole = pagesight.start("reindex", "--json").ended(600).json["seconds"]
    traffic = Traffic(projector)
    with traffic.going_on(DOCUMENTS // 20, pause_seconds=whole / 4):
        for _ in range(ROUNDS):
            before = {generation.token for generation in bare_index.generations.all()}
            run = pagesight.start("reindex")
            run.until(partial(_is_at_work, bare_index, before))
            time.sleep(chance.uniform(0, whole))
            run.kill()
            assert sum(bare_index.queries.page_counts().values()) >= (DOCUMENTS - 10) * PAGES
        assert pagesight.start("reindex").ended(600).code == 0
    assert not any(generation.has(State.FILLING) for generation in bare_index.generations.all())
    assert_holds_the_archive(projector)
    with traffic.going_on(DOCUMENTS // 20, pause_seconds=whole / 50):
        assert pagesight.start("reindex", "--rollback").ended(600).code == 0
    assert_holds_the_archive(projector)
    assert (traffic.written, traffic.deleted) == (DOCUMENTS // 10, 10)
