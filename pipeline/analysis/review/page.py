"""Writes the HTML file: self-contained, with every text escaped.

A Content-Security-Policy allows only the file's own style and script, by their hashes, and embedded pictures. Text of a
page cannot become markup; even if it could, it could neither run nor load anything.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pipeline.analysis.review.candidates import NO_BATCH
from pipeline.analysis.review.reading import ReviewedPage
from pipeline.archive import Archive
from pipeline.core.errors import SettingsError
from pipeline.core.languages import english_name
from pipeline.core.models import Reading
from pipeline.projection.records import page_id

_NOT_TOLD = "not told"


@dataclass(frozen=True, slots=True)
class Review:
    """Content of the file."""

    title: str
    pages: Sequence[ReviewedPage]
    """In display order."""
    candidates: int
    """Pages that the sample was drawn from."""
    seed: int
    made_at: datetime
    version: str
    """Version of Pagesight."""


@dataclass(frozen=True, slots=True)
class _Column:
    """One reading of a page, as the template shows it."""

    reading: Reading
    identity: str
    """JSON that identifies the reading in an exported mark."""
    mark_key: str
    """Key of the mark in the browser's storage; another answer to the same page has another key."""


@dataclass(frozen=True, slots=True)
class _Sheet:
    """One page, as the template shows it."""

    first: Reading
    columns: tuple[_Column, ...]
    kind: str
    language: str
    suspect: bool


def write_review(review: Review, archive: Archive, output: Path) -> int:
    """Write the file atomically; return its size in bytes.

    Raises:
        SettingsError: the file cannot be written.
    """
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{output.name}.", dir=output.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                for piece in _pieces(review, archive):
                    file.write(piece)
            Path(temporary).replace(output)
        finally:
            Path(temporary).unlink(missing_ok=True)
        return output.stat().st_size
    except OSError as error:
        raise SettingsError(
            f"{output} cannot be written: {error.strerror}", remedy="Name another file by --output."
        ) from None


def _pieces(review: Review, archive: Archive) -> Iterable[str]:
    """Yield the file piece by piece, with one image in memory at a time."""
    style, script = _asset("review.css"), _asset("review.js")
    sheets = [_sheet(page) for page in review.pages]
    environment = Environment(
        loader=PackageLoader("pipeline.analysis.review", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["language"] = _language_name
    environment.filters["words"] = lambda name: str(name).replace("_", " ")
    return environment.get_template("review.html").generate(
        review=review,
        sheets=sheets,
        kinds=sorted(Counter(sheet.kind for sheet in sheets).items()),
        languages=sorted(Counter(sheet.language for sheet in sheets).items(), key=lambda one: _language_name(one[0])),
        suspects=sum(sheet.suspect for sheet in sheets),
        policy=_policy(style, script),
        style=Markup(style),
        script=Markup(script),
        image=partial(_data_uri, archive),
        export=json.dumps({"title": review.title, "version": review.version}),
    )


def _policy(style: str, script: str) -> str:
    return (
        f"default-src 'none'; img-src data:; style-src {_hash_of(style)}; script-src {_hash_of(script)}; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash_of(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _asset(name: str) -> str:
    return (files("pipeline.analysis.review") / "assets" / name).read_text(encoding="utf-8")


def _sheet(page: ReviewedPage) -> _Sheet:
    first = page.readings[0]
    return _Sheet(
        first=first,
        columns=tuple(map(_column, page.readings)),
        kind=first.page_kind or first.status.value,
        language=next((reading.text_language for reading in page.readings if reading.text_language), ""),
        suspect=page.suspect,
    )


def _column(reading: Reading) -> _Column:
    document = reading.document
    identity: dict[str, Any] = {
        "page": page_id(reading.collection, document.id, reading.page_number),
        "document_id": document.id,
        "document_name": document.name,
        "page_number": reading.page_number,
        "revision": None if reading.batch == NO_BATCH else reading.revision,
        "status": reading.status,
        "profile": reading.model.profile if reading.model else None,
        "model": reading.model.name if reading.model else None,
        "model_revision": reading.model.revision if reading.model else None,
        "suspect": reading.trust.suspect,
        "reasons": reading.trust.reasons,
    }
    shown = reading.model_dump_json(include={"description", "caption", "text", "translation", "values"})
    mark_key = hashlib.sha256(f"{json.dumps(identity)}{shown}".encode()).hexdigest()
    return _Column(reading, json.dumps(identity), mark_key)


def _data_uri(archive: Archive, reading: Reading) -> str | None:
    """Return the page image as a data URI, None without one."""
    data = archive.images.get(reading.image.key) if reading.image else None
    return None if data is None else f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"


def _language_name(tag: str | None) -> str:
    return english_name(tag) if tag else _NOT_TOLD
