"""A document is converted once for the fleet: real archive, leases and cache, and a converter that counts."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import pytest

from pipeline.archive import Archive, Store
from pipeline.core.child_process import TimeLimit
from pipeline.core.errors import CorruptFile, SourceChanged, Stopped
from pipeline.core.formats import MediaType
from pipeline.core.leases import FileLeases
from pipeline.core.models import Conversion
from pipeline.core.retry import CancelToken
from pipeline.core.threads import PrioritySemaphore
from pipeline.documents.conversion import CONVERSION_REVISION, ArchivedConversions, Converter
from pipeline.rendering.conversion.confinement import ConversionLimits
from pipeline.sources import SourceCache

DOCUMENT = hashlib.sha256(b"slides").hexdigest()
PDF = b"%PDF- of a document"


class CountingConverter(Converter):
    """Makes a PDF out of nothing, after a while; of a spreadsheet of 30 pages as many as its limit allows."""

    def __init__(self, sheet_pages: int = 50, fails: bool = False) -> None:
        super().__init__(ConversionLimits(TimeLimit(60, 60), 1024, sheet_pages), PrioritySemaphore(2))
        self.runs = 0
        self.fails = fails
        self.go_on = threading.Event()
        self.go_on.set()

    __setattr__ = object.__setattr__  # it counts, though what it stands for is frozen

    def get(self, document_id: str, file: BinaryIO, *_: object) -> tuple[BinaryIO, Conversion]:
        self.runs += 1
        self.go_on.wait(10)
        if self.fails:
            raise CorruptFile("damaged")
        pages = min(30, self.limits.sheet_pages)
        pdf = PDF + bytes([self.runs])
        return io.BytesIO(pdf), Conversion(
            converter="counting",
            sha256=hashlib.sha256(pdf).hexdigest(),
            pages=pages,
            pages_left_out=30 - pages,
            notes={2: "said"},
            seconds=1,
            converted_at=datetime.now(UTC),
        )


class Worker:
    """One process of a fleet that shares an archive."""

    def __init__(self, folder: Path, converter: CountingConverter | None = None) -> None:
        self.converter = converter or CountingConverter()
        self.archive = Archive(Store(str(folder / "archive")))
        self.conversions = ArchivedConversions(
            self.archive,
            FileLeases(folder / "leases"),
            SourceCache(folder / "cache", 1 << 20),
            self.converter,
        )

    def get(self, cancel: CancelToken | None = None, content: bytes = b"slides") -> tuple[bytes, Conversion]:
        given = (DOCUMENT, io.BytesIO(content), MediaType.PPTX, tuple)
        pdf, conversion = self.conversions.get(*given, cancel or CancelToken())
        with pdf:
            pdf.seek(0)
            return pdf.read(), conversion


def test_two_who_want_the_same_document_have_it_converted_once(tmp_path: Path) -> None:
    workers = [Worker(tmp_path), Worker(tmp_path)]
    for worker in workers:
        worker.converter.go_on.clear()
    with ThreadPoolExecutor(4) as threads:
        results = [threads.submit(worker.get) for worker in workers * 2]
        for worker in workers:
            threading.Timer(0.2, worker.converter.go_on.set).start()
        found = [result.result() for result in results]
    assert sum(worker.converter.runs for worker in workers) == 1
    assert len({pdf for pdf, _ in found}) == 1
    assert len({conversion.converted_at for _, conversion in found}) == 1

    later = Worker(tmp_path)
    assert later.get() == found[0]
    assert later.converter.runs == 0


def test_a_failure_is_not_kept_and_leaves_no_lease(tmp_path: Path) -> None:
    worker = Worker(tmp_path, CountingConverter(fails=True))
    with pytest.raises(CorruptFile):
        worker.get()
    worker.converter.fails = False
    assert worker.get()[1].pages == 30
    assert worker.converter.runs == 2


def test_bytes_that_are_not_the_documents_are_not_kept_as_its_pdf(tmp_path: Path) -> None:
    worker = Worker(tmp_path)
    with pytest.raises(SourceChanged):
        worker.get(content=b"other slides")
    assert worker.archive.conversions.get(DOCUMENT, CONVERSION_REVISION) is None


def test_who_waits_for_another_gives_up_with_its_patience(tmp_path: Path) -> None:
    worker, cancel = Worker(tmp_path), CancelToken()
    with FileLeases(tmp_path / "leases").take(f"conversion-{DOCUMENT}") or pytest.fail("the lease is taken"):
        threading.Timer(0.2, cancel.stop).start()
        with pytest.raises(Stopped):
            worker.get(cancel)
    assert worker.converter.runs == 0


def remove_pdf(folder: Path) -> None:
    next(folder.glob("archive/conversions/*/*/*.pdf")).unlink()


def remove_what_was_told(folder: Path) -> None:
    next(folder.glob("archive/conversions/*/*/*.json")).unlink()


@pytest.mark.parametrize("damage", [remove_pdf, remove_what_was_told])
def test_half_of_a_conversion_counts_as_none(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    first = Worker(tmp_path).get()
    damage(tmp_path)
    again = Worker(tmp_path)
    assert again.get() != first
    assert again.converter.runs == 1
    assert Worker(tmp_path).get() == again.get()


def test_a_spreadsheet_is_converted_anew_once_less_of_it_would_be_left_out(tmp_path: Path) -> None:
    assert Worker(tmp_path, CountingConverter(sheet_pages=10)).get()[1].pages_left_out == 20
    for limit, runs, left_out in ((10, 0, 20), (5, 0, 20), (20, 1, 10), (30, 1, 0), (40, 0, 0), (10, 0, 0)):
        worker = Worker(tmp_path, CountingConverter(limit))
        assert worker.get()[1].pages_left_out == left_out
        assert worker.converter.runs == runs


def test_a_purge_takes_the_pdf_along(tmp_path: Path) -> None:
    worker = Worker(tmp_path)
    worker.get()
    worker.archive.purge_content(DOCUMENT)
    assert worker.archive.conversions.get(DOCUMENT, CONVERSION_REVISION) is None
    assert not [path for path in (tmp_path / "archive" / "conversions").rglob("*") if path.is_file()]
