"""Readings with every field filled, for tests of what is made of them."""

from __future__ import annotations

from datetime import UTC, datetime

from pipeline.core.formats import MediaType
from pipeline.core.models import (
    Allowance,
    AnswerKind,
    Batch,
    Document,
    DocumentInfo,
    Failure,
    FileState,
    ImageInfo,
    OriginalImage,
    PageKind,
    PageStatus,
    Provenance,
    Reading,
    Run,
    Source,
    TextSource,
    Trust,
    Value,
)

NOW = datetime(2026, 11, 24, 6, 0, tzinfo=UTC)
FAILURE = Failure(type="answer_timeout", message="no answer", remedy="Run again.", transient=True, attempts=2)


def full_reading() -> Reading:
    """A reading in which nothing is None; no page is like that, but its record has every field."""
    return Reading(
        collection="works",
        document=DocumentInfo(
            id="d" * 64,
            name="a.pdf",
            path=("/in/a.pdf", "/in/b.zip/a.pdf"),
            title="Jahresbericht",
            media_type=MediaType.PDF,
            bytes=1000,
            pages=3,
            modified=NOW,
            container=("/in/b.zip",),
            substituted_fonts=("Garamond",),
            pages_left_out=12,
        ),
        page_number=2,
        page_label="ii",
        page_kind=PageKind.MIXED,
        page_section="Häuser",
        revision=7,
        fingerprint="f" * 64,
        status=PageStatus.DESCRIBED,
        error=FAILURE,
        batch="b1",
        deletions_seen=0,
        language="en",
        description="A bar chart.",
        description_language="en",
        caption="Bars of three colours.",
        text="Die Häuser am Kai",
        text_language="de",
        translation="The houses on the quay",
        values={
            "document_type": Value(kind=AnswerKind.CHOICE, value="invoice"),
            "has_signature": Value(kind=AnswerKind.YES_NO, value=False),
            "invoice_total": Value(kind=AnswerKind.NUMBER, value=0.0),
            "parties": Value(kind=AnswerKind.LIST, value=("Harbour & Sons", "Orchard")),
            "remarks": Value(kind=AnswerKind.TEXT, value="Paid."),
        },
        layer_text="Die Häuser",
        image=ImageInfo(
            width=842,
            height=1191,
            bytes=80_000,
            dpi=101.8,
            sha256="c" * 64,
            phash="0" * 16,
            blank=False,
            key="images/dd/d/2.1.jpg",
            thumbnail_key="images/dd/d/2.1.webp",
            original=OriginalImage(
                format="JPEG",
                mode="RGB",
                width=4000,
                height=3000,
                dpi=300.0,
                dpi_y=150.0,
                rotation=90,
                orientation=6,
                captured_at=NOW,
                camera="Lantern Pocket 2",
            ),
        ),
        exif={"ISOSpeedRatings": "200"},
        trust=Trust(
            text_source=TextSource.MODEL,
            agreement=0.9,
            repetition=0.1,
            truncated=True,
            language_ok=True,
            suspect=True,
            reasons=("cut_off:text",),
        ),
        model=Provenance(
            name="jina-vlm",
            revision="1",
            profile="standard",
            prompt_revision="abc",
            tokens_in=3500,
            tokens_out=200,
            seconds=4.5,
            attempts=2,
            rungs=("text:temperature_0.3",),
            described_at=NOW,
        ),
        answers=("k1", "k2"),
        archived_at=NOW,
    )


def full_source(*, failed: bool) -> Source:
    """A source with a document, or one that failed."""
    document = Document(id="d" * 64, bytes=1000, media_type=MediaType.PDF, pages=3, title=None, members=1)
    return Source(
        collection="works",
        url="file:///in/a.pdf",
        path="/in/a.pdf",
        state=FileState(bytes=1000, mtime_ns=NOW.timestamp().__int__() * 10**9, inode=5),
        document=None if failed else document,
        error=FAILURE if failed else None,
        batch="b1",
        revision=1,
        observed_at=NOW,
    )


def full_batch() -> Batch:
    """A batch that ended, with a count for each status."""
    return Batch(
        id="b1",
        collection="works",
        language="en",
        sources=("/in",),
        deletions_seen=0,
        revision=2,
        state="done",
        cause="the budget of 9 pages is used up",
        budget=Allowance(tokens=9, pages=9),
        started_at=NOW,
        ended_at=NOW,
        documents={"complete": 1, "partial": 1, "failed": 1, "working": 1, "deleted": 1},
        pages={"described": 1, "text_only": 1, "blank": 1, "failed": 1, "deleted": 1},
        model_calls=2,
        cached_answers=3,
        tokens=400,
        seconds=1.5,
    )


#: Everything that some schedule counts.
COUNTS = (
    "batches sources pages messages differences new changed moved vanished deleted stale tokens written refused pruned"
).split()


def full_run() -> Run:
    """A run that ended, with every count and an error; no run is like that, but its record has every field."""
    return Run(
        schedule="repair",
        action="repair",
        due_at=NOW,
        worker="host:1",
        revision=2,
        started_at=NOW,
        ended_at=NOW,
        outcome="failed",
        counts={name: number for number, name in enumerate(COUNTS, 1)},
        error="no space",
        remedy="Free some.",
        seconds=1.5,
    )
