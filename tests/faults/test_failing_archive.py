"""An archive of which one call in six fails: every page is there once, and no answer is paid for twice.

The calls fail at the operating system's functions that the archive uses, by chance with a seed: FAULT_SEED=…
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from support.failing_disk import FailingDisk, wait_briefly
from support.fleet_runs import Fleet, assert_all_there
from support.pagesight_runs import Pagesight, make_pdf, make_picture
from support.standin import Standin

ERRORS = (errno.EIO, errno.ENOSPC, errno.ESTALE)
SEED = int(os.environ.get("FAULT_SEED", "1"))
DOCUMENTS, PAGES = 3, 8

#: Executed by a worker when it starts.
FAILING = """
from pathlib import Path
from support.failing_disk import FailingDisk, ForGood, wait_briefly
from workers import fleet_archive
wait_briefly(ForGood())
fleet_archive.OBJECT_WAITS_SECONDS = (0.01,)
FailingDisk(Path({folder!r}), ForGood(), {seed}).errors = {errors}
"""


def write_eight_pages(files: Path) -> None:
    make_pdf(files / "book.pdf", 5, seed=1)
    make_pdf(files / "letter.pdf", 2, seed=2)
    make_picture(files / "plate.png", 3)


def test_a_run_goes_on_where_one_call_in_six_fails(
    pagesight: Pagesight, standin: Standin, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_eight_pages(pagesight.files)
    wait_briefly(monkeypatch)
    disk = FailingDisk(pagesight.archive_folder, monkeypatch, SEED)
    disk.errors = ERRORS
    ended = pagesight.index()
    disk.errors = ()

    assert disk.raised.total() > 50
    assert ended.code == 0, ended.stderr
    assert ended.json["pages"] == {"described": PAGES}
    assert ended.json["documents"] == {"complete": DOCUMENTS}
    counters = standin.counters()
    assert (counters["answered"], counters["asked_again"]) == (2 * PAGES, 0)
    assert len(pagesight.records()) == PAGES
    assert pagesight.archive.damaged == ()
    pagesight.assert_archive_and_index_agree()
    pagesight.assert_nothing_left()


def test_a_worker_goes_on_where_one_call_in_six_fails(fleet: Fleet, standin: Standin) -> None:
    write_eight_pages(fleet.pagesight.files)
    fleet.customise_workers(FAILING.format(folder=str(fleet.pagesight.archive_folder), seed=SEED, errors=ERRORS))
    worker = fleet.start_worker()
    batch = fleet.enqueue()
    fleet.until_ended(batch)
    assert "Waiting for the archive" in worker.stderr
    assert "halted" not in worker.stderr
    # The housekeeping's calls do not wait. A failed one may leave its temporary file: removing it can fail as well.
    assert_all_there(fleet, batch, standin, documents=DOCUMENTS, pages=PAGES, repeated=0, killed=True)
