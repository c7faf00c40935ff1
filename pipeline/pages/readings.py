"""The reading of a page: from the rendered page, or the reason why it could not be rendered, to a finished reading."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

from pipeline.archive import Archive, image_stem
from pipeline.core.errors import OutcomeError
from pipeline.core.languages import detect_languages
from pipeline.core.models import (
    Archived,
    DocumentInfo,
    Failure,
    ImageInfo,
    PageSlice,
    PageStatus,
    Provenance,
    Reading,
    RenderedPage,
    Trust,
    WorkUnit,
)
from pipeline.core.times import moment_of
from pipeline.pages.recipe import Recipe
from pipeline.pages.revisions import containing
from pipeline.vision.reader import PageAnswers, Reader


def document_info(part: PageSlice) -> DocumentInfo:
    """Return the document information for the records of a slice."""
    source, document = part.source, part.document
    return DocumentInfo(
        id=document.id,
        name=PurePosixPath(source.path).name,
        path=(source.path,),
        title=document.title,
        media_type=document.media_type,
        bytes=document.bytes,
        pages=document.pages,
        modified=moment_of(source.state.mtime_ns) if source.state else None,
        container=containing(source),
        substituted_fonts=document.substituted_fonts,
        pages_left_out=document.pages_left_out or None,
    )


def failed_reading(base: Reading, recipe: Recipe, error: OutcomeError, before: Failure | None) -> Reading:
    """Return the reading of a failed page. `before` is its failure in the previous run, if it failed there."""
    attempts = before.attempts + 1 if before and before.type == error.code else 1
    failure = Failure.of(error, attempts)
    fingerprint = recipe.fingerprint(base.document.id, base.page_number, failure)
    return base.model_copy(update={"status": PageStatus.FAILED, "error": failure, "fingerprint": fingerprint})


def rendered_reading(base: Reading, page: RenderedPage, archive: Archive, render_revision: int) -> Reading:
    """Archive a page's image; return its reading so far: blank, with everything that is known without a reader."""
    stem = image_stem(page.page_number, render_revision, page.pixels_sha256)
    key, thumbnail_key = archive.images.save(base.document.id, stem, page.jpeg, page.thumbnail)
    image = ImageInfo(
        **_shared_fields(page, ImageInfo),
        width=page.width_px,
        height=page.height_px,
        sha256=page.pixels_sha256,
        bytes=len(page.jpeg),
        key=key,
        thumbnail_key=thumbnail_key,
    )
    return base.model_copy(
        update={
            **_shared_fields(page, Reading),
            "page_label": page.label,
            "page_section": page.section,
            "page_kind": page.kind,
            # Searchable like a text layer, and never used as evidence of what the page shows.
            "layer_text": "\n\n".join(filter(None, (page.layer_text, page.notes))) or None,
            "image": image,
            "trust": _doubt(page),
        }
    )


def read_reading(base: Reading, found: PageAnswers, reader: Reader) -> Reading:
    """Return the finished reading of a page."""
    languages = detect_languages(found.text)
    return base.model_copy(
        update={
            **_shared_fields(found, Reading),
            "status": PageStatus.DESCRIBED if reader.describes else PageStatus.TEXT_ONLY,
            "description_language": found.description_language if found.description else None,
            "text_language": next(iter(languages), None),
            "text_languages": languages,
            "values": dict(found.values),
            "trust": _trust(base.trust, found),
            "model": _provenance(found, reader),
            "answers": tuple(answer.key for answer in found.answers),
        }
    )


def new_reading(part: PageSlice, page_number: int, work: WorkUnit, recipe: Recipe) -> Reading:
    """Return the first reading of a page, before it is rendered."""
    return Reading(
        collection=work.collection,
        document=document_info(part),
        page_number=page_number,
        page_label=None,
        revision=1,
        fingerprint=recipe.fingerprint(part.document.id, page_number),
        status=PageStatus.BLANK,
        batch=work.batch,
        deletions_seen=work.deletions_seen,
        language=recipe.language,
        archived_at=datetime.now(UTC),
    )


def _shared_fields(source: RenderedPage | PageAnswers, model: type[Archived]) -> dict[str, Any]:
    """Return the values of a rendered page, or of a reader, for the model's fields of the same names."""
    return {field.name: getattr(source, field.name) for field in fields(source) if field.name in model.model_fields}


def _doubt(page: RenderedPage) -> Trust:
    """Return the trust of a rendered page before it is read. An unusable text layer does not make a page suspect."""
    if page.facts.placeholder:
        return Trust(suspect=True, reasons=("xfa_placeholder",))
    # Words without ink: hidden on purpose, or a font is missing. The page counts as blank, but is suspect.
    if page.blank and page.layer_text:
        return Trust(suspect=True, reasons=("text_without_ink",))
    reason = page.facts.layer.reason
    return Trust() if reason is None else Trust(reasons=(reason,))


def _trust(before: Trust, found: PageAnswers) -> Trust:
    return Trust(
        **_shared_fields(found, Trust),
        suspect=before.suspect or bool(found.doubts),
        reasons=(*before.reasons, *found.doubts),
    )


def _provenance(found: PageAnswers, reader: Reader) -> Provenance:
    return Provenance(
        **_shared_fields(found, Provenance),
        name=reader.name,
        revision=found.read_by or reader.revision,
        profile=reader.profile,
        prompt_revision=reader.prompt_revision,
        tokens_in=sum(answer.tokens_in for answer in found.answers),
        tokens_out=sum(answer.tokens_out for answer in found.answers),
        seconds=sum(answer.seconds for answer in found.answers),
        attempts=sum(answer.attempts for answer in found.answers),
        described_at=max((answer.asked_at for answer in found.answers), default=None),
    )
