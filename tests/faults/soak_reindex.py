"""`make soak`: 20,000 archived pages, re-indexed beside live traffic, killed ten times at random and run again.

ROUNDS and SEED, in the environment, choose other runs.
"""

from __future__ import annotations

import os
import random
import threading
import time
from functools import partial

import pytest

from pipeline.deletion import carry_out, request_deletion
from pipeline.projection import Projector
from pipeline.retry import Patience
from pipeline.search import Index, State
from pipeline.signing import Signer
from support.page_archives import COLLECTION, PAGES, archive_document, begin, document_name, fill
from support.pagesight_runs import MakePagesight
from support.reindexed import assert_holds_the_archive

DOCUMENTS = 1000
ROUNDS = int(os.environ.get("ROUNDS", "10"))
SEED = int(os.environ.get("SEED", "1"))


class Traffic:
    """A tenth more comes and 200 pages go, spread over the whole of the rounds."""

    def __init__(self, projector: Projector) -> None:
        self._projector = projector
        self.written = self.deleted = 0

    def work(self, ended: threading.Event) -> None:
        while self.written < DOCUMENTS // 10 and not ended.wait(0.5):
            number = DOCUMENTS + self.written
            self._projector.pages(archive_document(self._projector.archive, number))
            self._projector.documents(COLLECTION, [document_name(number)])
            self.written += 1
            if self.written % 10 == 0:
                document = document_name(self.deleted)
                carry_out(request_deletion(self._projector.archive, COLLECTION, document, purge=False), self._projector)
                self.deleted += 1


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
    projector = Projector(pagesight.archive, bare_index, Patience(), Signer())
    traffic, ended = Traffic(projector), threading.Event()
    thread = threading.Thread(target=traffic.work, args=(ended,))
    thread.start()
    try:
        for _ in range(ROUNDS):
            before = {generation.token for generation in bare_index.generations.all()}
            run = pagesight.start("reindex")
            run.until(partial(_is_at_work, bare_index, before))
            time.sleep(chance.uniform(0, 20))
            run.kill()
            assert sum(bare_index.queries.page_counts().values()) >= (DOCUMENTS - 10) * PAGES
        assert pagesight.start("reindex").ended(600).code == 0
    finally:
        ended.set()
        thread.join()
    assert not any(generation.has(State.FILLING) for generation in bare_index.generations.all())
    assert_holds_the_archive(projector)
    assert pagesight.start("reindex", "--rollback").ended(600).code == 0
    assert_holds_the_archive(projector)
    assert (traffic.written, traffic.deleted) == (DOCUMENTS // 10, 10)
