"""Two runs over the whole corpus, in two orders: `pagesight index` as it walks, `pagesight inspect` shuffled.

Both are dear, since they render every file. All tests of the corpus share them. Of files that `index` has converted,
`inspect` gets the PDF: each file is converted once, by what the product converts with.
"""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from pipeline.archive import Archive
from pipeline.core.formats import MediaType
from pipeline.core.models import Conversion, Reading, RenderedPage
from pipeline.core.retry import CancelToken
from pipeline.documents.conversion import CONVERSION_REVISION, Converter
from pipeline.documents.opening import Opener, OpenPages
from pipeline.sources import containers_of, source_path
from support.corpus import CORPUS, WORDS
from support.pagesight_runs import Ended, Pagesight
from support.rendering import sandboxes

INDEX_SECONDS = 900.0
POLL_SECONDS = 0.25

#: Document and page number.
PageKey = tuple[str, int]
#: What two runs have to agree on: the pixels of a page, and the text in its file.
Shown = tuple[str, str | None]


class IndexedCorpus:
    """The corpus after `pagesight index`."""

    def __init__(self, pagesight: Pagesight) -> None:
        self.pagesight = pagesight
        run = pagesight.start_index(CORPUS)
        self.parent_peak_bytes = 0
        while run.going_on:
            self.parent_peak_bytes = max(self.parent_peak_bytes, peak_bytes(run.process.pid))
            run.family()
            time.sleep(POLL_SECONDS)
        self.ended: Ended = run.ended(INDEX_SECONDS)
        self.requests = pagesight.standin.requests() if pagesight.standin else []
        self.failed: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.failures = pagesight.run("failures", "--json").json["failures"]
        for failure in self.failures:
            self.failed[_name(failure["path"])].append(failure)
        self.pages: dict[str, int] = defaultdict(int)
        for record in pagesight.records().values():
            for path in record["document"]["path"]:
                self.pages[_name(path)] += record["status"] != "failed"

    def word(self, file: str) -> str:
        """What became of a file, as the manifest calls it."""
        failures = self.failed[file]
        if not failures:
            return "ok"
        if self.pages[file]:
            return "ok-partial"
        return WORDS.get(failures[0]["type"], failures[0]["type"])

    def shown(self) -> dict[PageKey, Shown]:
        """The pages that were rendered."""
        return {
            (reading.document.id, reading.page_number): (reading.image.sha256, reading.layer_text)
            for reading in self.pagesight.newest()
            if isinstance(reading, Reading) and reading.image is not None
        }

    def files(self) -> Iterator[Path]:
        """The files that are sources, and no members of others."""
        sources = self.pagesight.archive.sources("default")
        for identifier in sources.names():
            source = sources[identifier].newest()
            if source is not None and not containers_of(source.url):
                yield source_path(source.url)


@dataclass(slots=True)
class InspectedCorpus:
    """What `pagesight inspect` tells of the corpus, and the pages that it rendered for that."""

    told: dict[str, Any] = field(default_factory=dict)
    pages: dict[PageKey, RenderedPage] = field(default_factory=dict)
    """Without their pictures, which are checked at once."""
    faults: list[str] = field(default_factory=list)
    sandbox_peak_bytes: int = 0

    def shown(self) -> dict[PageKey, Shown]:
        return {
            key: (page.pixels_sha256, "\n\n".join(filter(None, (page.layer_text, page.notes))) or None)
            for key, page in self.pages.items()
        }

    def pages_of(self, file: str) -> list[RenderedPage]:
        """The pages of a file of the corpus that could be rendered, in order."""
        document = _digest(CORPUS / file)
        return [page for (owner, _), page in sorted(self.pages.items()) if owner == document]

    def record(self, file: str) -> dict[str, Any]:
        """What is told of a file of the corpus."""
        (found,) = [one for one in self.told["files"] if one["path"] == str(CORPUS / file)]
        return dict(found)

    def note(self, document: str, page: RenderedPage) -> None:
        self.faults += [f"{document}, page {page.page_number}: {fault}" for fault in faults_of(page)]
        self.pages[document, page.page_number] = replace(page, jpeg=b"", thumbnail=b"")


def inspect_shuffled(pagesight: Pagesight, files: list[Path]) -> InspectedCorpus:
    """Run `pagesight inspect` over these files in an order of chance, and look at each page that it renders.

    What `pagesight` has archived as converted is not converted again.
    """
    found = InspectedCorpus()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Opener, "open", _watched(Opener.open, found))
        patch.setattr(Converter, "get", _from_archive(Converter.get, pagesight.archive))
        found.told = json.loads(pagesight.run("inspect", "--json", *_shuffled(files)).stdout)
    return found


def _from_archive(converts: Any, archive: Archive) -> Any:
    """Return `Converter.get` for documents of which some are converted in an archive."""

    def get(converter: Converter, document_id: str, *given: Any) -> tuple[BinaryIO, Conversion]:
        conversion = archive.conversions.get(document_id, CONVERSION_REVISION)
        pdf = archive.conversions.open(document_id, CONVERSION_REVISION, pytest.fail) if conversion else None
        return (pdf, conversion) if pdf and conversion else converts(converter, document_id, *given)

    return get


def _watched(opens: Any, found: InspectedCorpus) -> Any:
    """Return `Opener.open` with eyes for what is rendered."""

    @contextmanager
    def open_(
        opener: Opener, file: BinaryIO, document_id: str, path: str, media_type: MediaType, cancel: CancelToken
    ) -> Iterator[OpenPages]:
        with opens(opener, file, document_id, path, media_type, cancel) as opened:
            yield _Watched(opened, document_id, found)  # type: ignore[misc]
            peaks = (peak_bytes(child.pid) for child in sandboxes())
            found.sandbox_peak_bytes = max(found.sandbox_peak_bytes, *peaks)

    return open_


class _Watched:
    """An open document that shows its pages to the test as well."""

    def __init__(self, opened: OpenPages, document: str, found: InspectedCorpus) -> None:
        self._opened = opened
        self._document = document
        self._found = found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._opened, name)

    def render(self, page_number: int, **options: Any) -> RenderedPage:
        page = self._opened.render(page_number, **options)
        self._found.note(self._document, page)
        return page


def faults_of(page: RenderedPage) -> Iterator[str]:
    """What a rendered page may not be, whatever its file."""
    width, height = page.width_px, page.height_px
    texts = (page.layer_text, page.label, page.notes, *page.exif, *page.exif.values(), page.original.camera)
    checks = {
        "too large": 0 < width * height <= 1_003_520,
        "too narrow": max(width, height) <= 200 * min(width, height),
        "not a JPEG": page.jpeg.startswith(b"\xff\xd8"),
        "no WebP thumbnail": page.thumbnail.startswith(b"RIFF"),
        "odd share of ink": 0 <= page.facts.ink_share <= 1,
        "NUL in a text": not any("\0" in text for text in texts if text),
        "a text that is not Unicode": all(text.encode("utf-8", "ignore").decode() == text for text in texts if text),
    }
    return (fault for fault, is_well in checks.items() if not is_well)


def peak_bytes(pid: int) -> int:
    """Return the largest memory that a process has had; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def _shuffled(files: list[Path]) -> list[Path]:
    """The files in an order of chance; those with the same bytes keep theirs, since the first is the document."""
    same: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(files):
        same[_digest(path)].append(path)
    groups = list(same.values())
    return list(chain.from_iterable(random.Random(3).sample(groups, len(groups))))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _name(path: str) -> str:
    return path.removeprefix(f"{CORPUS}/")
