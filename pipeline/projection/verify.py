"""Checks that records of unchanged pages, sources and documents are in the index, a few hundred at a time.

A run that was killed between archive and index leaves records missing. The next run finds and writes them here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from pipeline.core.models import Reading, Source
from pipeline.projection.projector import CHUNK, Projector
from pipeline.projection.records import document_record_id, page_id, source_record_id
from pipeline.search import DOCUMENTS, PAGES, SOURCES


@dataclass(slots=True)
class Verification:
    """Collects expected records, and writes missing or older ones in chunks. For one thread."""

    projector: Projector
    _pages: dict[str, Reading] = field(default_factory=dict)
    _sources: dict[str, Source] = field(default_factory=dict)
    _documents: dict[str, tuple[Reading, int]] = field(default_factory=dict)

    def source(self, source: Source) -> None:
        """Expect the record of a source."""
        self._sources[source_record_id(source)] = source
        self._flush_full()

    def pages(self, readings: Iterable[Reading]) -> None:
        """Expect the records of some readings."""
        for reading in readings:
            self._pages[page_id(reading.collection, reading.document.id, reading.page_number)] = reading
            self._flush_full()

    def document(self, readings: list[Reading]) -> None:
        """Expect the record of a document, given the newest readings of its pages."""
        if readings:
            first = readings[0]
            key = document_record_id(first.collection, first.document.id)
            self._documents[key] = (first, sum(reading.revision for reading in readings))
            self._flush_full()

    def flush(self) -> None:
        """Compare the expected records with the index, and write the differing ones.

        Raises:
            ServiceRefused: Elasticsearch refuses.
            Stopped: the run was cancelled while Elasticsearch was unavailable.
        """
        projector = self.projector
        behind = projector.behind(PAGES, {key: reading.revision for key, reading in self._pages.items()})
        projector.pages(self._pages[key] for key in behind)
        behind = projector.behind(SOURCES, {key: source.revision for key, source in self._sources.items()})
        projector.sources(self._sources[key] for key in behind)
        behind = projector.behind(DOCUMENTS, {key: version for key, (_, version) in self._documents.items()})
        for key in behind:
            reading, _ = self._documents[key]
            projector.documents(reading.collection, [reading.document.id])
        self._pages.clear()
        self._sources.clear()
        self._documents.clear()

    def _flush_full(self) -> None:
        if max(len(self._pages), len(self._sources), len(self._documents)) >= CHUNK:
            self.flush()
