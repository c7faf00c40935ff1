"""Scores a collection's newest readings against texts that people transcribed.

folder of texts ─▶ match by the documents' names ─▶ read the archive ─▶ score ─▶ by language and format
"""

from __future__ import annotations

import statistics
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.analysis.text_metrics import character_error_rate, word_recall
from pipeline.archive import Archive
from pipeline.core.errors import SettingsError
from pipeline.core.formats import MediaType
from pipeline.core.languages import base, detect_language
from pipeline.core.models import PageStatus, Reading

SUFFIX = ".txt"


@dataclass(frozen=True, slots=True)
class Scored:
    """Score of a text that was read against the expected one."""

    file: str
    """Name of the file with the expected text."""
    document: str
    """The document's name."""
    document_id: str
    media_type: MediaType
    page: int | None
    """None for the whole document."""
    pages: int
    """Pages whose text was scored."""
    failed: int
    """Number of them that failed, and so have no text."""
    language: str | None
    """Language of the expected text, if it can be detected."""
    language_read: str | None
    """Language of the text that was read."""
    recall: float | None
    """Share of the expected words that were read; None without expected words."""
    error_rate: float | None
    """Character error rate; None without expected characters."""

    @property
    def language_agrees(self) -> bool | None:
        """Whether both languages are the same; None if the expected one cannot be detected."""
        if self.language is None:
            return None
        return self.language_read is not None and base(self.language) == base(self.language_read)


@dataclass(frozen=True, slots=True)
class Unmatched:
    """An expected text without a reading."""

    file: str
    reason: str


@dataclass(frozen=True, slots=True)
class Group:
    """Means over some texts with equal weight."""

    language: str | None
    """None if it cannot be detected, and for all texts."""
    media_type: MediaType | None
    """None for all texts."""
    texts: int
    pages: int
    recall: float | None
    error_rate: float | None
    language_agrees: float | None
    """Share of texts whose language was read, among those with a detected language."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Scores of a folder."""

    scored: tuple[Scored, ...]
    unmatched: tuple[Unmatched, ...]

    @property
    def groups(self) -> list[Group]:
        """Means by language and format, sorted by name."""
        members: dict[tuple[str | None, MediaType], list[Scored]] = defaultdict(list)
        for one in self.scored:
            members[one.language, one.media_type].append(one)
        ordered = sorted(members.items(), key=lambda member: (member[0][0] or "~", member[0][1]))
        return [_group(language, media_type, scored) for (language, media_type), scored in ordered]

    @property
    def total(self) -> Group:
        """Means over all texts."""
        return _group(None, None, self.scored)


def evaluate(folder: Path, archive: Archive, collection: str) -> Evaluation:
    """Score the newest readings of a collection against the `.txt` files of a folder, in the order of their names.

    A file is named as the document with `.txt` behind it, or with `.<page>.txt` for one page. A document that is called
    exactly so comes before a page of another one.

    Raises:
        SettingsError: the folder cannot be read, or a file in it is not valid UTF-8.
    """
    documents = _documents_by_name(archive, collection)
    scored: list[Scored] = []
    unmatched: list[Unmatched] = []
    for path in _expected_files(folder):
        found = _match(path.name, documents, archive, collection)
        if isinstance(found, Unmatched):
            unmatched.append(found)
        else:
            page, readings = found
            scored.append(_score(path.name, _read_text(path), page, readings))
    return Evaluation(tuple(scored), tuple(unmatched))


def _expected_files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == SUFFIX and path.is_file())
    except OSError as error:
        raise SettingsError(
            f"{folder} cannot be read: {error.strerror}", remedy="Name the folder that holds the expected texts."
        ) from None


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}", remedy="Save it as UTF-8.") from None


def _documents_by_name(archive: Archive, collection: str) -> dict[str, list[str]]:
    """Return the ids of the documents that have pages, by name."""
    names: dict[str, list[str]] = defaultdict(list)
    for document in archive.documents(collection):
        first = next(_live(archive, collection, document), None)
        if first is not None:
            names[_key(first.document.name)].append(document)
    return names


def _match(
    file: str, documents: dict[str, list[str]], archive: Archive, collection: str
) -> tuple[int | None, list[Reading]] | Unmatched:
    """Return the page, None for all pages, and the newest readings."""
    name, page = file.removesuffix(SUFFIX), None
    if _key(name) not in documents:
        stem, _, number = name.rpartition(".")
        if number.isascii() and number.isdecimal() and _key(stem) in documents:
            name, page = stem, int(number)
    ids = documents.get(_key(name), [])
    if len(ids) != 1:
        return Unmatched(file, f"{len(ids)} documents have this name" if ids else "no document has this name")
    readings = [one for one in _live(archive, collection, ids[0]) if page in (None, one.page_number)]
    return (page, readings) if readings else Unmatched(file, f"page {page} of the document was not read")


def _live(archive: Archive, collection: str, document: str) -> Iterator[Reading]:
    """Yield the newest readings of a document's pages that were not deleted, by page number."""
    return (reading for reading in archive.readings(collection, document).newest() if isinstance(reading, Reading))


def _score(file: str, expected: str, page: int | None, readings: list[Reading]) -> Scored:
    text = "\n".join(reading.text or "" for reading in readings)
    document = readings[0].document
    return Scored(
        file=file,
        document=document.name,
        document_id=document.id,
        media_type=document.media_type,
        page=page,
        pages=len(readings),
        failed=sum(reading.status is PageStatus.FAILED for reading in readings),
        language=detect_language(expected),
        language_read=detect_language(text),
        recall=word_recall(expected, text),
        error_rate=character_error_rate(expected, text),
    )


def _group(language: str | None, media_type: MediaType | None, scored: Iterable[Scored]) -> Group:
    members = list(scored)
    return Group(
        language=language,
        media_type=media_type,
        texts=len(members),
        pages=sum(one.pages for one in members),
        recall=_mean(one.recall for one in members),
        error_rate=_mean(one.error_rate for one in members),
        language_agrees=_mean(one.language_agrees for one in members),
    )


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.mean(known) if known else None


def _key(name: str) -> str:
    """Normalise a name: file systems store accents composed or decomposed."""
    return unicodedata.normalize("NFC", name)
