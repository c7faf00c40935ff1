"""From archived values to Elasticsearch records. Pure functions; `mappings/` has a field for each key."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Set
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pipeline.archive import source_id
from pipeline.core.languages import base
from pipeline.core.models import (
    Batch,
    DocumentInfo,
    DocumentStatus,
    Failure,
    PageStatus,
    Reading,
    Run,
    Source,
    Tombstone,
)
from pipeline.core.times import moment_of
from pipeline.core.url_signing import Signer, UrlPrefix, page_path
from pipeline.projection.vectors import PageVector
from pipeline.sources import container_path

Record = dict[str, Any]


def page_id(collection: str, document: str, page_number: int) -> str:
    """Return a page record's `_id`, which sorts by page within a document."""
    return f"{collection}:{document}:{page_number:05d}"


def source_record_id(source: Source) -> str:
    """Return a source record's `_id`."""
    return f"{source.collection}:{source_id(source.url)}"


def document_record_id(collection: str, document: str) -> str:
    """Return a document record's `_id`."""
    return f"{collection}:{document}"


def page_record(reading: Reading, languages: Set[str], signer: Signer, indexed_at: datetime) -> Record:
    """Return the record of a page; `signer` signs the URLs of the page and its thumbnail.

    `languages` are the languages that the index analyses. Where the index knows the language, the text is copied to
    `i18n` in its own language, and description, caption and translation in the requested one.
    """
    text_language = reading.text_language
    text_languages = reading.text_languages or ((text_language,) if text_language else ())
    return _without_empty(
        {
            "collection": reading.collection,
            "batch": reading.batch,
            "document": _document(reading.document) | {"language": text_language},
            "page": {
                "number": reading.page_number,
                "label": reading.page_label,
                "kind": reading.page_kind.value if reading.page_kind else None,
                "section": reading.page_section,
                "hidden": reading.hidden,
            },
            "status": reading.status.value,
            "error": _error(reading.error),
            "description": reading.description,
            "caption": reading.caption,
            "text": reading.text,
            "translation": reading.translation,
            "layer_text": reading.layer_text,
            "answers": {name: _plain(answer.value) for name, answer in reading.values.items()},
            "i18n": {
                "text": _analysed(reading.text, text_languages, languages),
                "title": _analysed(reading.document.title, text_languages, languages),
                "description": _analysed(reading.description, (reading.description_language,), languages),
                "caption": _analysed(reading.caption, (reading.language,), languages),
                "translation": _analysed(reading.translation, (reading.language,), languages),
            },
            "language": {
                "requested": reading.language,
                "text": list(text_languages),
                "description": reading.description_language,
            },
            "image": reading.image.model_dump(mode="json") if reading.image else None,
            "exif": reading.exif,
            "trust": reading.trust.model_dump(mode="json"),
            "model": reading.model.model_dump(mode="json") if reading.model else None,
            "view": _view(reading, signer),
            "fingerprint": reading.fingerprint,
            "revision": reading.revision,
            "archived_at": reading.archived_at.isoformat(),
            "indexed_at": indexed_at.isoformat(),
        }
    )


def embedding_fields(vector: PageVector | None) -> Record:
    """Return the fields of a page's vector; none without one."""
    return {} if vector is None else {"embedding": {"model": vector.model, "words": list(vector.words)}}


def refused_record(reading: Reading, failure: Failure, signer: Signer, indexed_at: datetime) -> Record:
    """Return the substitute for a refused page record, with the fields that failures are found by."""
    return _without_empty(
        {
            "collection": reading.collection,
            "batch": reading.batch,
            "document": {"id": reading.document.id, "name": reading.document.name, "path": reading.document.path},
            "page": {"number": reading.page_number},
            "status": PageStatus.FAILED.value,
            "error": _error(failure),
            "view": _view(reading, signer),
            "revision": reading.revision,
            "archived_at": reading.archived_at.isoformat(),
            "indexed_at": indexed_at.isoformat(),
        }
    )


def source_record(source: Source, indexed_at: datetime) -> Record:
    """Return the record of a source: its URL, and what was found there."""
    state = source.state
    modified = moment_of(state.mtime_ns) if state else None
    return _without_empty(
        {
            "collection": source.collection,
            "url": source.url,
            "path": source.path,
            "state": "ok" if source.document and not source.error else "failed",
            "container": container_path(source.url),
            "document": {"id": source.document.id} if source.document else None,
            "members": source.document.members or None if source.document else None,
            "error": _error(source.error),
            "bytes": state.bytes if state else None,
            "modified": modified.isoformat() if modified else None,
            "batch": source.batch,
            "revision": source.revision,
            "observed_at": source.observed_at.isoformat(),
            "indexed_at": indexed_at.isoformat(),
        }
    )


def refused_source_record(source: Source, failure: Failure, indexed_at: datetime) -> Record:
    """Return the substitute for a source record that cannot be made, with the fields that failures are found by."""
    return _without_empty(
        {
            "collection": source.collection,
            "url": source.url,
            "path": source.path,
            "state": "failed",
            "document": {"id": source.document.id} if source.document else None,
            "error": _error(failure),
            "batch": source.batch,
            "revision": source.revision,
            "indexed_at": indexed_at.isoformat(),
        }
    )


@dataclass(slots=True)
class DocumentTally:
    """Collects a document's record from the newest readings of its pages."""

    revision: int = 0
    """The record's version: the sum of the pages' revisions, which only grows."""
    _newest: Reading | None = None
    _statuses: Counter[PageStatus] = field(default_factory=Counter)
    _languages: Counter[str] = field(default_factory=Counter)
    _ended_early: bool = False

    def add(self, reading: Reading | Tombstone) -> None:
        """Count a page."""
        self.revision += reading.revision
        if isinstance(reading, Tombstone):
            return
        self._statuses[reading.status] += 1
        self._ended_early |= reading.document.ended_early
        if reading.text_language:
            self._languages[reading.text_language] += 1
        if self._newest is None or reading.archived_at > self._newest.archived_at:
            self._newest = reading

    def record(self, indexed_at: datetime) -> Record | None:
        """Return the record, None without remaining pages."""
        newest = self._newest
        if newest is None:
            return None
        statuses = self._all_statuses(newest.document.pages)
        language = next((name for name, _ in self._languages.most_common(1)), None)
        return _without_empty(
            {
                "collection": newest.collection,
                "document": _document(newest.document) | {"language": language},
                "status": document_status(statuses, newest.document.pages).value,
                "pages": {status.value: statuses[status] for status in PageStatus} | {"total": newest.document.pages},
                "batch": newest.batch,
                "revision": self.revision,
                "indexed_at": indexed_at.isoformat(),
            }
        )

    def _all_statuses(self, pages: int) -> Counter[PageStatus]:
        """Count the pages of a document that ended early as failed where they have no reading."""
        missing = max(0, pages - self._statuses.total()) if self._ended_early else 0
        return self._statuses + Counter({PageStatus.FAILED: missing})


def document_status(counts: Counter[PageStatus], pages: int) -> DocumentStatus:
    """Return the status of a document with `pages` pages; without pages, as a container, it is complete."""
    if counts.total() < pages:
        return DocumentStatus.WORKING
    if pages and counts[PageStatus.FAILED] == pages:
        return DocumentStatus.FAILED
    return DocumentStatus.PARTIAL if counts[PageStatus.FAILED] else DocumentStatus.COMPLETE


#: Fields of batches that records do not have: they matter to Pagesight alone.
_NOT_IN_BATCH_RECORDS = {
    "deletions_seen",
    "roots",
    "folders",
    "patterns",
    "again",
    "downgrade",
    "epoch",
    "own_profile",
    "passed_over",
    "descriptions_kept",
    "not_climbed",
}


def batch_record(batch: Batch, indexed_at: datetime) -> Record:
    """Return the record of a batch."""
    # The calls of a queued batch are counted by several processes, and their sum is not archived.
    counted = {"model_calls", "cached_answers", "tokens"} if batch.lane else set()
    record = batch.model_dump(mode="json", exclude=_NOT_IN_BATCH_RECORDS | counted)
    return _without_empty(record | {"indexed_at": indexed_at.isoformat()})


def run_record(run: Run, indexed_at: datetime) -> Record:
    """Return the record of a schedule's run."""
    record = run.model_dump(mode="json", exclude={"error", "remedy"})
    error = {"message": run.error, "remedy": run.remedy}
    return _without_empty(record | {"error": error, "indexed_at": indexed_at.isoformat()})


def run_record_id(run: Run) -> str:
    """Return a run record's `_id`: its schedule and its due time, with the microseconds of a run begun by hand."""
    fraction = f".{run.due_at:%f}" if run.due_at.microsecond else ""
    return f"{run.schedule}:{run.due_at:%Y%m%dT%H%M%S}{fraction}Z"


def _document(info: DocumentInfo) -> Record:
    return info.model_dump(mode="json", exclude={"ended_early"})


def _view(reading: Reading, signer: Signer) -> Record:
    page = page_path(reading.collection, reading.document.id, reading.page_number)
    return {
        "page": signer.signed(UrlPrefix.PAGES, page),
        "thumbnail": signer.signed(UrlPrefix.IMAGES, reading.image.thumbnail_key) if reading.image else None,
    }


def _error(failure: Failure | None) -> Record | None:
    return failure.model_dump(mode="json") if failure else None


def _analysed(text: str | None, written_in: Iterable[str | None], languages: Set[str]) -> Record | None:
    """Return a text by each language that it is written in and that the index analyses.

    Accents are composed (NFC), as stemmers need them. Names of files and some text layers have them apart.
    """
    composed = unicodedata.normalize("NFC", text) if text else None
    return (
        {base(tag): composed for tag in written_in if tag is not None and base(tag) in languages} if composed else None
    )


def _plain(value: bool | float | str | tuple[str, ...]) -> bool | float | str | list[str]:
    return list(value) if isinstance(value, tuple) else value


def _without_empty(value: Record) -> Record:
    """Drop empty fields, so that `exists` queries find only known values. Zero, False and "" are known values."""
    kept: Record = {}
    for key, entry in value.items():
        if isinstance(entry, dict):
            entry = _without_empty(entry)
        if entry or not (entry is None or isinstance(entry, (dict, list, tuple))):
            kept[key] = entry
    return kept
