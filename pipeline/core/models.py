"""The values that pass between the stages. All are frozen; those that the archive keeps are pydantic models.

`page_number` is 1-based everywhere. Units stand in names.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, model_validator

from pipeline.core.errors import OutcomeError

#: What names of collections and schedules look like: fit for ids, folders and URLs.
SLUG = r"[a-z0-9][a-z0-9_-]{0,62}"


class Archived(BaseModel):
    """Base of everything that is written to the archive as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Numbered(Archived):
    """What changes in the archive does so by revisions, counted from 1, each created once and never overwritten."""

    revision: int


class Route(StrEnum):
    """What is done with a file to have its pages."""

    PDF = "pdf"
    IMAGE = "image"
    CONVERTED = "converted"
    """It is made into a PDF first, once for the fleet."""
    CONTAINER = "container"
    """It has no pages of its own; its members are sources themselves."""


class MediaType(StrEnum):
    """The formats that become pages, by their media types."""

    PDF = "application/pdf"

    PNG = "image/png"
    JPEG = "image/jpeg"
    TIFF = "image/tiff"
    WEBP = "image/webp"
    GIF = "image/gif"
    BMP = "image/bmp"
    JP2 = "image/jp2"
    HEIF = "image/heif"
    AVIF = "image/avif"
    PNM = "image/x-portable-anymap"
    PSD = "image/vnd.adobe.photoshop"

    PPTX = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
    DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
    XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    PROTECTED_OOXML = "application/x-ooxml-protected"
    """Any of the three behind a password: which one, only the password tells."""
    PPT = "application/vnd.ms-powerpoint"
    DOC = "application/msword"
    XLS = "application/vnd.ms-excel"
    ODP = "application/vnd.oasis.opendocument.presentation"
    ODT = "application/vnd.oasis.opendocument.text"
    ODS = "application/vnd.oasis.opendocument.spreadsheet"
    ODG = "application/vnd.oasis.opendocument.graphics"
    RTF = "application/rtf"
    KEYNOTE = "application/vnd.apple.keynote"
    PAGES = "application/vnd.apple.pages"
    NUMBERS = "application/vnd.apple.numbers"
    HTML = "text/html"
    SVG = "image/svg+xml"
    WMF = "image/wmf"
    EMF = "image/emf"
    DJVU = "image/vnd.djvu"

    ZIP = "application/zip"
    SEVEN_ZIP = "application/x-7z-compressed"
    TAR = "application/x-tar"
    GZIP = "application/gzip"
    """One compressed file; a compressed tar is a tar."""
    BZIP2 = "application/x-bzip2"
    XZ = "application/x-xz"
    EML = "message/rfc822"
    MSG = "application/vnd.ms-outlook"

    @property
    def route(self) -> Route:
        """What is done with files of this format."""
        return _ROUTES.get(self, Route.CONVERTED)


_ROUTES = {
    MediaType.PDF: Route.PDF,
    **dict.fromkeys(
        (
            MediaType.PNG,
            MediaType.JPEG,
            MediaType.TIFF,
            MediaType.WEBP,
            MediaType.GIF,
            MediaType.BMP,
            MediaType.JP2,
            MediaType.HEIF,
            MediaType.AVIF,
            MediaType.PNM,
            MediaType.PSD,
        ),
        Route.IMAGE,
    ),
    **dict.fromkeys(
        (
            MediaType.ZIP,
            MediaType.SEVEN_ZIP,
            MediaType.TAR,
            MediaType.GZIP,
            MediaType.BZIP2,
            MediaType.XZ,
            MediaType.EML,
            MediaType.MSG,
        ),
        Route.CONTAINER,
    ),
}


class Envelope(StrEnum):
    """What a file's head tells where only the inside tells its format. No document has one of these."""

    ZIP = "application/zip"
    CFB = "application/x-cfb"
    """Compound File Binary, also called OLE2: old office files, Outlook's messages, and encrypted new ones."""
    GZIP = "application/gzip"
    BZIP2 = "application/x-bzip2"
    XZ = "application/x-xz"


class PageKind(StrEnum):
    """How a page came to be."""

    BORN_DIGITAL = "born_digital"
    SCANNED = "scanned"
    MIXED = "mixed"
    """Drawn by a program, with a picture that takes a good part of it."""
    BLANK = "blank"


class LayerState(StrEnum):
    """What a page's own text layer is worth."""

    NONE = "none"
    SOUND = "sound"
    GARBAGE = "garbage"
    """Its characters are not those that the page shows."""
    INVISIBLE = "invisible"
    """A good part of it cannot be seen on the page: OCR under a scan, or words that were hidden."""

    @property
    def reason(self) -> str | None:
        """What `trust.reasons` holds where a layer is no evidence of what is on its page."""
        return f"layer_{self}" if self in (LayerState.GARBAGE, LayerState.INVISIBLE) else None


class PageStatus(StrEnum):
    """How a page ended."""

    DESCRIBED = "described"
    """A vision model described it."""
    TEXT_ONLY = "text_only"
    """It was read without a vision model: text, and what can be measured."""
    BLANK = "blank"
    """Nothing is on it; nobody was asked."""
    FAILED = "failed"
    """`error` says why. A failure is never an empty text."""


class DocumentStatus(StrEnum):
    """How a document stands, derived from the newest readings of its pages."""

    COMPLETE = "complete"
    PARTIAL = "partial"
    FAILED = "failed"
    WORKING = "working"


class TextSource(StrEnum):
    """Where a reading's `text` comes from."""

    MODEL = "model"
    LAYER = "layer"
    OCR = "ocr"


class AnswerKind(StrEnum):
    """What a question is answered with."""

    TEXT = "text"
    CHOICE = "choice"
    """One of the words that the question names."""
    YES_NO = "yes_no"
    NUMBER = "number"
    LIST = "list"


class Value(Archived):
    """What a profile's own question was answered with, and its kind: the type of its field in a record."""

    kind: AnswerKind
    value: bool | float | str | tuple[str, ...]

    @property
    def words(self) -> str:
        """The answer as people read it."""
        match self.value:
            case bool(yes):
                return "yes" if yes else "no"
            case tuple(entries):
                return "\n".join(entries)
            case other:
                return str(other)


class Failure(Archived):
    """A named reason, as records show it under `error`."""

    type: str
    """An `OutcomeError.code`."""
    message: str
    remedy: str
    transient: bool = False
    attempts: int = 1

    @classmethod
    def of(cls, error: OutcomeError, attempts: int = 1) -> Failure:
        """Return an error as records show it."""
        return cls(
            type=error.code, message=str(error), remedy=error.remedy, transient=error.transient, attempts=attempts
        )


class FileState(Archived):
    """What must stay the same for a file's bytes to be trusted without reading them again."""

    bytes: int
    mtime_ns: int
    inode: int | None = None
    """Of a local file."""
    etag: str | None = None
    """Of an object, with its quotes."""


class Document(Archived):
    """A file's bytes, and what they say of themselves."""

    id: str
    """SHA-256 of the bytes, 64 hex digits."""
    bytes: int
    media_type: MediaType
    pages: int
    title: str | None = None
    members: int = 0
    """Files within it, each a source of its own: of an archive, a message, or a PDF with attachments."""
    substituted_fonts: tuple[str, ...] = ()
    """Fonts that it names and that were not there when it was made into a PDF."""
    pages_left_out: int = 0
    """Pages that a spreadsheet has beyond those that a limit allows: nothing of them is in `pages`."""


class Conversion(Archived):
    """What making a document into a PDF told. The PDF lies beside it in the archive."""

    converter: str
    """Program and version."""
    sha256: str
    """Of the PDF."""
    pages: int
    pages_left_out: int = 0
    """Printed pages of a spreadsheet that it would have had without a limit."""
    hidden: tuple[int, ...] = ()
    """Numbers of the pages that the document does not show: hidden slides."""
    notes: dict[int, str] = {}
    """Text that belongs to a page and is not on it, by page number: a speaker's notes, the layer of a DjVu."""
    substituted_fonts: tuple[str, ...] = ()
    """Fonts that the document names and this machine does not have."""
    title: str | None = None
    unlocked: bool = False
    """Whether a password opened the document."""
    seconds: float
    converted_at: datetime


class Source(Numbered):
    """Where a file lies, and what was found there: a document or an error; neither once its collection was deleted."""

    collection: str
    url: str
    """`file://` URL or that of an object, percent-encoded: every name and every key has one."""
    path: str
    """The same for people; bytes that are no UTF-8 are shown as U+FFFD."""
    state: FileState | None
    document: Document | None = None
    error: Failure | None = None
    limits: str | None = None
    """The limits in force, where one of them decided (`OutcomeError.by_limit`)."""
    passwords: str | None = None
    """A mark of the passwords that were given, where none of them opened the file."""
    batch: str
    observed_at: datetime


class DocumentInfo(Archived):
    """What a record says of its page's document."""

    id: str
    name: str
    path: tuple[str, ...]
    """Every source of these bytes in the collection."""
    title: str | None
    media_type: MediaType
    bytes: int
    pages: int
    modified: datetime | None
    container: tuple[str, ...] = ()
    """Path of every file that it is a member of."""
    substituted_fonts: tuple[str, ...] = ()
    """Fonts that the file names and that were not there when it was made into pages."""
    pages_left_out: int | None = None
    """Printed pages of a spreadsheet beyond the limit, which are in no record; None where there are none."""


class OriginalImage(Archived):
    """The picture in the file as it came; for a PDF page only `format` and `rotation` are known."""

    format: str
    mode: str | None = None
    width: int | None = None
    height: int | None = None
    dpi: float | None = None
    rotation: int = 0
    """Degrees clockwise that were applied: a PDF's /Rotate or an EXIF orientation."""
    orientation: int | None = None
    """The EXIF orientation tag, 1 to 8."""
    captured_at: datetime | None = None
    camera: str | None = None


class ImageInfo(Archived):
    """The page image: the raster that the model saw, as the archive keeps it."""

    width: int
    height: int
    bytes: int
    dpi: float | None
    sha256: str
    """Of the raw RGB pixels before encoding."""
    phash: str
    """64-bit difference hash, 16 hex digits."""
    blank: bool
    key: str
    thumbnail_key: str
    original: OriginalImage


class Trust(Archived):
    """What is known of how far a reading can be believed."""

    text_source: TextSource | None = None
    agreement: float | None = None
    """Overlap of the text's words with those of a sound layer, 0 to 1; None where there is none to tell."""
    repetition: float = 0.0
    """The largest share of an answer that repeats itself, 0 to 1."""
    truncated: bool = False
    """Whether an answer is cut off."""
    language_ok: bool | None = None
    """Whether what was to be in the language asked for is; None where nothing was."""
    suspect: bool = False
    reasons: tuple[str, ...] = ()


class Provenance(Archived):
    """Who read the page, and what it took. Cached answers count with what they cost when they were asked."""

    name: str
    revision: str
    profile: str
    prompt_revision: str
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0
    attempts: int = 0
    rungs: tuple[str, ...] = ()
    """How answers that could not be trusted were asked for again: `<question>:<rung>`, in order."""
    described_at: datetime | None = None

    @model_validator(mode="before")
    @classmethod
    def _drop_twin(cls, data: Any) -> Any:
        """Leave out a field that archives of earlier versions have."""
        return {name: value for name, value in data.items() if name != "twin"} if isinstance(data, dict) else data


class Reading(Numbered):
    """All that is known of a page. Numbered in the archive, never overwritten."""

    kind: Literal["reading"] = "reading"
    collection: str
    document: DocumentInfo
    page_number: int
    page_label: str | None
    page_kind: PageKind | None = None
    page_section: str | None = None
    """The entry of the document's outline that the page belongs to."""
    hidden: bool = False
    """Whether the document keeps the page from being shown: a hidden slide."""
    fingerprint: str
    status: PageStatus
    error: Failure | None = None
    batch: str
    deletions_seen: int
    """The newest deletion that its batch knew: older ones, however late they are carried out, are not for it."""
    language: str
    """BCP 47 tag that was asked for."""
    description: str | None = None
    description_language: str | None = None
    caption: str | None = None
    """One short sentence in `language`: an alternative text."""
    text: str | None = None
    text_language: str | None = None
    translation: str | None = None
    """`text` in `language`, where it is in another one."""
    values: dict[str, Value] = {}
    """Answers to the profile's own questions, by name; one that could not be understood is not among them."""
    layer_text: str | None = None
    image: ImageInfo | None = None
    exif: dict[str, str] = {}
    trust: Trust = Trust()
    model: Provenance | None = None
    answers: tuple[str, ...] = ()
    """Keys of the archived answers that this reading rests on."""
    archived_at: datetime

    @property
    def is_in_doubt(self) -> bool:
        """Whether a person had better look at the page."""
        return self.trust.suspect or self.status is PageStatus.FAILED


class Tombstone(Numbered):
    """The reading of a page that was deleted: a revision like any other."""

    kind: Literal["tombstone"] = "tombstone"
    collection: str
    document_id: str
    page_number: int
    deletion: int
    """Number of the archived deletion that this page fell under."""


class Deletion(Numbered):
    """A request to delete. Numbered by collection; a batch lifts only those that it knew when it began."""

    collection: str
    document_id: str | None
    """None: the whole collection."""
    purge: bool
    requested_at: datetime


class Collection(Numbered):
    """A named set of documents with its own language and profile."""

    name: str
    language: str
    profile: str
    own_profile: dict[str, Any] | None = None
    """The profile as it was when it was last named; None for one that comes with Pagesight."""


class Answer(Archived):
    """What was said to one question about one page image; the archive keeps it under its key."""

    key: str
    question: str
    model: str
    content: str
    truncated: bool = False
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0
    attempts: int = 1
    asked_at: datetime


class Lane(StrEnum):
    """The queues that batches go through; workers empty the first ones first."""

    URGENT = "urgent"
    NORMAL = "normal"
    BACKFILL = "backfill"


class Allowance(Archived):
    """What a queued batch may come to; None is any number."""

    tokens: int | None = None
    """Sent and received."""
    pages: int | None = None
    """Pages that are worked, whatever becomes of them."""


#: No bound at all.
UNBOUNDED = Allowance()


class BudgetReservation(Numbered):
    """How much of a queued batch's allowance its workers have drawn and not given back."""

    tokens: int = 0
    pages: int = 0


class Batch(Numbered):
    """One request to process sources. Revision 1 is its beginning, a later one its end."""

    id: str
    collection: str
    language: str
    sources: tuple[str, ...]
    deletions_seen: int
    """The newest deletion of the collection when the batch began."""
    profile: str = "standard"
    own_profile: dict[str, Any] | None = None
    """The collection's when the batch began: so every worker asks the same, whatever files it has."""
    state: str
    """`working`, `done`, `interrupted` by a person, `halted` by a service that refused, `exhausted` where a budget was
    used up, or `killed`; of a queued batch `working`, `paused`, `cancelled` or `done`."""
    lane: Lane | None = None
    """The queue it goes through; None for a run in one process."""
    cause: str | None = None
    """Why it does not go on by itself: the budget that is used up, or the service that refused."""
    budget: Allowance = UNBOUNDED
    """What a queued batch may come to, from its beginning on."""
    roots: tuple[str, ...] = ()
    """URLs that a queued batch walks."""
    again: bool = False
    """Whether what failed is tried again whatever the reason."""
    epoch: str | None = None
    """Which life of the broker its messages were published in."""
    started_at: datetime
    ended_at: datetime | None = None
    documents: dict[str, int] = {}
    pages: dict[str, int] = {}
    model_calls: int = 0
    cached_answers: int = 0
    tokens: int = 0
    seconds: float = 0.0


class BatchEntry(Archived):
    """A source that a queued batch is to process."""

    url: str
    error: Failure | None = None
    """Why nothing can be had there, where the walk saw it already."""
    pages: tuple[int, ...] | None = None
    """Only these pages; None: all."""


class Chunk(Archived):
    """Up to 500 sources of a queued batch, archived before any message names them."""

    entries: tuple[BatchEntry, ...]


class Folder(Archived):
    """One listing of a walk: a directory, or one page of a bucket's listing. Archived once its chunks are."""

    root: str
    url: str
    cursor: str
    """Where in the listing this page begins; "" for the first."""
    sources: tuple[int, ...]
    """Number of entries of each of its chunks."""
    folders: tuple[str, ...]
    """URLs of the directories found in it."""
    next_cursor: str
    """Where the listing goes on; "" at its end."""


class MemberListing(Archived):
    """What lies within the sources of a part, or one of them. Archived once its chunks are, before the part can end."""

    sources: tuple[int, ...]
    """Number of entries of each of its chunks."""


class PendingDocument(Archived):
    """A document of which pages were due when its part was registered."""

    entry: int
    document: str
    pages: int
    due: tuple[int, ...]
    known: dict[int, int]
    """Newest revision of each due page that had one."""


class PartState(Archived):
    """That a batch has registered sources of a part, and what was then still to be worked in messages of its own."""

    documents: tuple[PendingDocument, ...]


class Outcome(Archived):
    """How the sources of a part or of a chunk ended, counted by source."""

    documents: dict[str, int]
    """By `DocumentStatus`, or `deleted`."""
    pages: dict[str, int]
    """By `PageStatus`, or `deleted`."""


class FleetState(Numbered):
    """Whether the workers may work: `running`, `paused` by a person, or `halted` by a service that refused."""

    state: Literal["running", "paused", "halted"]
    service: str | None = None
    cause: str | None = None
    remedy: str | None = None
    since: datetime


class Run(Numbered):
    """One run of a schedule. All runs of a schedule are one chain of revisions.

    One without an outcome claims a run or tells what it has come to so far; its end follows, then another attempt or
    the next run.
    """

    schedule: str
    action: str
    due_at: datetime
    attempt: int = 1
    """Which claim of it this is: one that was interrupted is claimed again."""
    worker: str
    """The process that claimed it."""
    started_at: datetime
    ended_at: datetime | None = None
    outcome: Literal["done", "failed", "interrupted"] | None = None
    """None while it goes on; `interrupted` when its time, or its process, came to an end before it did."""
    counts: dict[str, int] = {}
    """What it found and did, by the names that the record has under `counts`."""
    error: str | None = None
    remedy: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class PageSlice:
    """Pages of one document that are to be worked."""

    source: Source
    document: Document
    page_numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class WorkUnit:
    """Up to 16 pages worked together: the unit of work."""

    collection: str
    batch: str
    language: str
    deletions_seen: int
    slices: tuple[PageSlice, ...]


@dataclass(frozen=True, slots=True)
class PageFacts:
    """What the renderer measured of a page, for the local reader and for checks. Shares are 0 to 1 of the page."""

    ink_share: float
    """Pixels that differ clearly from the page's ground colour."""
    picture_share: float | None
    """Area under a PDF's image objects; None where the file does not tell."""
    colours: tuple[str, ...]
    """Names of the dominant colours, most first: keys of the local reader's message catalogues."""
    is_vector: bool
    """True for a page drawn by a program rather than photographed or scanned."""
    layer: LayerState = LayerState.NONE
    placeholder: bool = False
    """True for a page that only asks for another program: the one page that a dynamic XFA form has."""
    glyph_px: float | None = None
    """How high the body of a typical letter is on the page image, in pixels: of an x in prose, of a digit in a table.
    From a sound text layer, else from the ink; None where neither shows lines of text."""


#: A page with less of it under pictures has an emblem rather than an illustration.
MIXED_PICTURE_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class RenderedPage:
    """A page as the sandbox hands it over."""

    page_number: int
    label: str | None
    section: str | None
    hidden: bool
    jpeg: bytes
    """At most 1,003,520 pixels, quality 90."""
    thumbnail: bytes
    """WebP, long edge 320 px."""
    width_px: int
    height_px: int
    dpi: float | None
    pixels_sha256: str
    phash: str
    blank: bool
    layer_text: str | None
    """The file's own text layer; None where it has none."""
    notes: str | None
    """What the document says beside the page, and not on it: a speaker's notes."""
    original: OriginalImage
    exif: dict[str, str]
    facts: PageFacts
    rgb: bytes | None = None
    """Raw RGB pixels, rows top down, only where they were asked for."""

    @property
    def kind(self) -> PageKind:
        """How the page came to be, by what was measured of it."""
        if self.blank:
            return PageKind.BLANK
        if not self.facts.is_vector:
            return PageKind.SCANNED
        drawn = (self.facts.picture_share or 0) < MIXED_PICTURE_SHARE
        return PageKind.BORN_DIGITAL if drawn else PageKind.MIXED


@dataclass(frozen=True, slots=True)
class RenderedCrop:
    """A part of a page as the sandbox hands it over, rendered sharper than the page image shows it."""

    page_number: int
    box: tuple[float, float, float, float]
    """Where it lies: left, top, right, bottom, in shares of the page, 0 to 1."""
    jpeg: bytes
    """At most 1,003,520 pixels, quality 90; of a picture file never more than its own."""
    width_px: int
    height_px: int
    pixels_sha256: str
    """Of the raw RGB pixels before encoding, with their size."""
