"""The values that pass between the stages. All are frozen; the archived ones are pydantic models.

`page_number` is 1-based everywhere. Names end in their unit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.core.errors import OutcomeError
from pipeline.core.formats import MediaType

#: Form of the names of collections and schedules: usable in ids, folders and URLs.
SLUG = r"[a-z0-9][a-z0-9_-]{0,62}"


class Archived(BaseModel):
    """Base of all values that are archived as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Numbered(Archived):
    """A value with revisions, numbered from 1. Each revision is created once and never overwritten."""

    revision: int


class PageKind(StrEnum):
    """How a page was made."""

    BORN_DIGITAL = "born_digital"
    SCANNED = "scanned"
    MIXED = "mixed"
    """Drawn by a program, with a picture that covers a large part of it."""
    BLANK = "blank"


class LayerState(StrEnum):
    """Quality of a page's own text layer."""

    NONE = "none"
    SOUND = "sound"
    GARBAGE = "garbage"
    """Its characters differ from the visible ones."""
    INVISIBLE = "invisible"
    """A large part of it is not visible on the page, as with OCR under a scan or hidden words."""

    @property
    def reason(self) -> str | None:
        """The entry in `trust.reasons` for a layer that is not evidence of the page's content; None for others."""
        return f"layer_{self}" if self in (LayerState.GARBAGE, LayerState.INVISIBLE) else None


class PageStatus(StrEnum):
    """The result of processing a page."""

    DESCRIBED = "described"
    """A vision model described it."""
    TEXT_ONLY = "text_only"
    """It was read without a vision model: it has a text and measured properties."""
    BLANK = "blank"
    """It is empty; no model was called."""
    FAILED = "failed"
    """`error` gives the cause. A failure is never stored as an empty text."""


class DocumentStatus(StrEnum):
    """Status of a document, derived from the newest readings of its pages."""

    COMPLETE = "complete"
    PARTIAL = "partial"
    FAILED = "failed"
    WORKING = "working"


class TextSource(StrEnum):
    """Source of a reading's `text`."""

    MODEL = "model"
    LAYER = "layer"
    OCR = "ocr"


class AnswerKind(StrEnum):
    """Type of a question's answer."""

    TEXT = "text"
    CHOICE = "choice"
    """One of the words that the question lists."""
    YES_NO = "yes_no"
    NUMBER = "number"
    LIST = "list"


class Value(Archived):
    """The answer to a question of a profile, and its kind. The kind is the type of its field in a record."""

    kind: AnswerKind
    value: bool | float | str | tuple[str, ...]

    @property
    def words(self) -> str:
        """The answer as text."""
        match self.value:
            case bool(yes):
                return "yes" if yes else "no"
            case tuple(entries):
                return "\n".join(entries)
            case other:
                return str(other)


class Failure(Archived):
    """The cause of a failure, as records contain it under `error`."""

    type: str
    """An `OutcomeError.code`."""
    message: str
    remedy: str
    transient: bool = False
    attempts: int = 1

    @classmethod
    def of(cls, error: OutcomeError, attempts: int = 1) -> Failure:
        """Return the failure that an error describes."""
        return cls(
            type=error.code, message=str(error), remedy=error.remedy, transient=error.transient, attempts=attempts
        )


class FileState(Archived):
    """Identifies a version of a file. While it is unchanged, the bytes are not read again."""

    bytes: int
    mtime_ns: int
    inode: int | None = None
    """For a local file."""
    etag: str | None = None
    """For an object, with its quotes."""


class Root(Archived):
    """The folder beneath which a file is opened. A path that leads out of it is refused."""

    url: str
    """`file://` URL, as the folder was named. Of a file that was named by itself, the folder that contains it."""
    target: str | None = None
    """URL of the folder to which its links led when it was named; None if its path had no links."""


class Document(Archived):
    """Identifies the bytes of a file, with the metadata in them."""

    id: str
    """SHA-256 of the bytes, 64 hex digits."""
    bytes: int
    media_type: MediaType
    pages: int
    title: str | None = None
    members: int = 0
    """Number of files within an archive, a message or a PDF with attachments; each is a source of its own."""
    substituted_fonts: tuple[str, ...] = ()
    """Fonts that the document names and that were missing when it was converted to PDF."""
    pages_left_out: int = 0
    """Number of a spreadsheet's pages beyond the limit; `pages` does not count them."""


class Conversion(Archived):
    """Report of a conversion to PDF. The PDF is archived beside it."""

    converter: str
    """Program and version."""
    sha256: str
    """Of the PDF."""
    pages: int
    """Number of pages of the PDF."""
    pages_left_out: int = 0
    """Number of a spreadsheet's printed pages beyond the limit."""
    hidden: tuple[int, ...] = ()
    """Numbers of hidden pages, as with hidden slides."""
    notes: dict[int, str] = {}
    """Text that belongs to a page and is not shown on it, by page number: a speaker's notes, the layer of a DjVu."""
    substituted_fonts: tuple[str, ...] = ()
    """Fonts that the document names and that this machine lacks."""
    title: str | None = None
    unlocked: bool = False
    """Whether a password opened the document."""
    seconds: float
    converted_at: datetime


class Source(Numbered):
    """A URL and the result of opening it: a document or an error, or neither after its collection was deleted."""

    collection: str
    url: str
    """`file://` URL or URL of an object. It is percent-encoded, so that every file name and key has a URL."""
    path: str
    """The same for display; invalid UTF-8 is shown as U+FFFD."""
    root: Root | None = None
    """The folder beneath which it is opened; None in buckets, and in archives of earlier versions."""
    state: FileState | None
    document: Document | None = None
    error: Failure | None = None
    limits: str | None = None
    """The limits in force, if one of them caused the error or left out pages."""
    passwords: str | None = None
    """A mark of the given passwords (`Passwords.mark`), if none of them opened the file."""
    mount: str | None = None
    """URL of the folder where its file system is mounted; None for the root file system and for an object."""
    batch: str
    observed_at: datetime


class DocumentInfo(Archived):
    """The document of a page, as its record describes it."""

    id: str
    name: str
    path: tuple[str, ...]
    """Paths of all sources with these bytes in the collection."""
    title: str | None
    media_type: MediaType
    bytes: int
    pages: int
    modified: datetime | None
    container: tuple[str, ...] = ()
    """Path of each file that contains it."""
    substituted_fonts: tuple[str, ...] = ()
    """Fonts that the file names and that were missing when it was rendered."""
    pages_left_out: int | None = None
    """Number of a spreadsheet's printed pages beyond the limit, which have no records; None if there are none."""
    ended_early: bool = False
    """Whether the document ended before all its pages were processed. Only one page needs to say so."""


class OriginalImage(Archived):
    """The picture as stored in the file. For a PDF page only `format` and `rotation` are known."""

    format: str
    mode: str | None = None
    width: int | None = None
    height: int | None = None
    dpi: float | None = None
    """Its horizontal resolution."""
    dpi_y: float | None = None
    """Its vertical resolution, if that differs: the page image has the proportions of the sheet."""
    rotation: int = 0
    """Clockwise degrees that were applied, from a PDF's /Rotate or an EXIF orientation."""
    orientation: int | None = None
    """The EXIF orientation tag, 1 to 8."""
    captured_at: datetime | None = None
    camera: str | None = None


class ImageInfo(Archived):
    """The page image in the archive: the raster that the model sees."""

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


#: Prefix of a reason in `Trust.reasons`: the question, whose name follows, was asked once, because further attempts did
#: not help the pages before.
NOT_CLIMBED = "not_climbed:"


class Trust(Archived):
    """How far a reading can be trusted."""

    text_source: TextSource | None = None
    agreement: float | None = None
    """Overlap of the text's words with the words of a sound layer, 0 to 1; None without a sound layer."""
    repetition: float = 0.0
    """Share of an answer that repeats earlier parts, 0 to 1: the largest of all answers."""
    truncated: bool = False
    """Whether an answer is cut off."""
    language_ok: bool | None = None
    """False if an answer that must be in the requested language is not; None if no answer must be."""
    suspect: bool = False
    reasons: tuple[str, ...] = ()

    @property
    def is_left_out(self) -> bool:
        """Whether further attempts at an answer were left out, so that reading the page again may help."""
        return any(reason.startswith(NOT_CLIMBED) for reason in self.reasons)


class Provenance(Archived):
    """The reader of a page, and the cost of reading it. A cached answer counts with its original cost."""

    name: str
    revision: str
    profile: str
    prompt_revision: str
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0
    attempts: int = 0
    rungs: tuple[str, ...] = ()
    """Rungs other than `first`, and fallbacks, as `<question>:<rung>`, in order."""
    described_at: datetime | None = None

    @model_validator(mode="before")
    @classmethod
    def _drop_twin(cls, data: Any) -> Any:
        """Drop a field that archives of earlier versions contain."""
        return {name: value for name, value in data.items() if name != "twin"} if isinstance(data, dict) else data


class Reading(Numbered):
    """Everything that is known about a page. Readings are numbered in the archive and never overwritten."""

    kind: Literal["reading"] = "reading"
    collection: str
    document: DocumentInfo
    page_number: int
    page_label: str | None
    page_kind: PageKind | None = None
    page_section: str | None = None
    """The entry of the document's outline that the page belongs to."""
    hidden: bool = False
    """Whether the document keeps the page from being shown, as with a hidden slide."""
    fingerprint: str
    status: PageStatus
    error: Failure | None = None
    batch: str
    deletions_seen: int
    """Number of the newest deletion when its batch began. Deletions up to it do not apply to this reading."""
    language: str
    """Requested language as a BCP 47 tag."""
    description: str | None = None
    description_language: str | None = None
    caption: str | None = None
    """One short sentence in `language`, usable as alternative text."""
    text: str | None = None
    text_language: str | None = None
    """Language of most of `text`."""
    text_languages: tuple[str, ...] = ()
    """All languages of `text` by their share, largest first; () in archives of earlier versions."""
    translation: str | None = None
    """`text` translated to `language`, if it is in another language."""
    values: dict[str, Value] = {}
    """Usable answers to the profile's own questions, by name."""
    layer_text: str | None = None
    image: ImageInfo | None = None
    exif: dict[str, str] = {}
    trust: Trust = Trust()
    model: Provenance | None = None
    answers: tuple[str, ...] = ()
    """Keys of the archived answers from which this reading was built."""
    archived_at: datetime

    @property
    def is_in_doubt(self) -> bool:
        """Whether a person should check the page."""
        return self.trust.suspect or self.status is PageStatus.FAILED


class Tombstone(Numbered):
    """The revision that follows the reading of a deleted page."""

    kind: Literal["tombstone"] = "tombstone"
    collection: str
    document_id: str
    page_number: int
    deletion: int
    """Number of the deletion that applied to the page."""


class Deletion(Numbered):
    """A request to delete, numbered by collection. It applies to readings of batches that began before it."""

    collection: str
    document_id: str | None
    """None for the whole collection."""
    purge: bool
    requested_at: datetime


class Scope(StrEnum):
    """Level of rights of a token. A higher level includes the lower ones."""

    READ = "read"
    """Search, see pages and follow batches."""
    WRITE = "write"
    """Queue files, and pause, resume, cancel and retry batches."""
    ADMIN = "admin"
    """Everything else."""


class AccessToken(Numbered):
    """A token for `pagesight serve`. Revision 1 is its creation, revision 2 its revocation."""

    id: str
    """Random, and the beginning of the token's text."""
    name: str
    """Given by its maker, for people."""
    scope: Scope
    collections: tuple[str, ...] | None
    """Collections that it may see; None for every collection."""
    digest: str
    """SHA-256 of the whole token, in hexadecimal. The token has 256 random bits, so it needs no slow hash."""
    created_at: datetime
    expires_at: datetime | None = None
    """None for a token that never expires."""
    revoked_at: datetime | None = None


class Collection(Numbered):
    """A named set of documents with its own language and profile."""

    name: str
    language: str
    profile: str
    own_profile: dict[str, Any] | None = None
    """The user's own profile, as it was given last; None for a profile that is part of Pagesight."""


class Answer(Archived):
    """The answer to one question about one page image. It is archived under its key."""

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
    """The queues of batches. Workers empty them in this order."""

    URGENT = "urgent"
    NORMAL = "normal"
    BACKFILL = "backfill"


class Allowance(Archived):
    """Budget of a queued batch; None is unlimited."""

    tokens: int | None = None
    """Tokens sent and received."""
    pages: int | None = None
    """Processed pages, whatever their status."""


#: A budget without limits.
UNBOUNDED = Allowance()


class DocumentCost(Numbered):
    """What rendering the pages of a document has cost so far in one batch."""

    cpu_seconds: float = 0.0
    timeouts: int = 0
    """Pages that exceeded their own time limit."""


class BudgetReservation(Numbered):
    """The part of a queued batch's budget that its workers have reserved and not given back."""

    tokens: int = 0
    pages: int = 0


class FilePatterns(Archived):
    """Patterns in gitignore's syntax, which choose files by their paths below roots."""

    roots: tuple[str, ...] = ()
    """URLs of the files, folders and buckets that were named."""
    include: tuple[str, ...] = ()
    """Only files that match one of these; all when empty."""
    exclude: tuple[str, ...] = ()
    """No files, folders and members that match one of these."""


class Batch(Numbered):
    """One request to process sources. Revision 1 is its start, a later revision its end."""

    id: str
    collection: str
    language: str
    sources: tuple[str, ...]
    deletions_seen: int
    """Number of the collection's newest deletion at the start of the batch."""
    profile: str = "standard"
    own_profile: dict[str, Any] | None = None
    """The collection's profile at the start of the batch, so that all workers use the same prompts."""
    state: str
    """Of a queued batch: `working`, `paused`, `cancelled` or `done`. Of a run in one process: `working`, `done`,
    `interrupted` (by a person), `halted` (by a service that refused), `exhausted` (a budget is used up) or `killed`."""
    lane: Lane | None = None
    """Its queue; None for a run in one process."""
    cause: str | None = None
    """Why it does not continue by itself: an exhausted budget, or a service that refused."""
    budget: Allowance = UNBOUNDED
    """Budget of a queued batch, counted from its start."""
    roots: tuple[str, ...] = ()
    """URLs that a queued batch lists recursively."""
    folders: tuple[Root, ...] = ()
    """The folder beneath which the files of each local root are opened."""
    patterns: FilePatterns | None = None
    """Which files below its roots, and within its sources, it looks at; None for all."""
    again: bool = False
    """Whether all failures are retried, whatever their cause."""
    downgrade: bool = False
    """Whether pages that a model described may be read without one."""
    epoch: str | None = None
    """Epoch of the broker when its messages were published."""
    started_at: datetime
    ended_at: datetime | None = None
    documents: dict[str, int] = {}
    pages: dict[str, int] = {}
    passed_over: int = 0
    """Files and folders that were listed and are litter, or that patterns leave out."""
    descriptions_kept: int = 0
    """Pages that stay as a model described them, because no model is configured now."""
    model_calls: int = 0
    cached_answers: int = 0
    not_climbed: int = 0
    """Questions that were asked once, because further attempts did not help other pages; of a run in one process."""
    tokens: int = 0
    seconds: float = 0.0


class BatchEntry(Archived):
    """A source that a queued batch is to process."""

    url: str
    error: Failure | None = None
    """The error that was found when its folder or container was listed."""
    pages: tuple[int, ...] | None = None
    """Only these pages; None for all."""
    root: Root | None = None
    """The folder beneath which it is opened; None for the one of its archived source."""


class Chunk(Archived):
    """Up to 500 sources of a queued batch. It is archived before any message refers to it."""

    entries: tuple[BatchEntry, ...]


class Folder(Archived):
    """One listing: a directory, or one page of a bucket's listing. It is archived after its chunks."""

    root: str
    url: str
    cursor: str
    """Cursor at which this page of the listing begins; "" for the first."""
    sources: tuple[int, ...]
    """Number of entries in each of its chunks."""
    folders: tuple[str, ...]
    """URLs of its subdirectories."""
    next_cursor: str
    """Cursor of the next page of the listing; "" at its end."""
    passed_over: int = 0
    """Files and folders in it that are litter, or that patterns leave out."""


class MemberListing(Archived):
    """The files within the sources of a part, or within one of its sources.

    It is archived after its chunks and before the part ends.
    """

    sources: tuple[int, ...]
    """Number of entries in each of its chunks."""
    passed_over: int = 0
    """Files within the sources that are litter, or that patterns leave out."""


class PendingDocument(Archived):
    """A document that had due pages when its part was registered."""

    entry: int
    document: str
    pages: int
    due: tuple[int, ...]
    known: dict[int, int]
    """Newest revision of each due page that had a reading."""


class PartState(Archived):
    """Records that the sources of a part are registered, and which documents have messages of their own."""

    documents: tuple[PendingDocument, ...]


class Outcome(Archived):
    """Results of the sources of a part or a chunk, counted."""

    documents: dict[str, int]
    """By `DocumentStatus`, or `deleted`: deleted by a person, or its file was removed, while it was processed."""
    pages: dict[str, int]
    """By `PageStatus`, or `deleted`."""
    descriptions_kept: int = 0
    """How many of these pages stay as a model described them, because no model is configured now."""


class VanishedFiles(Archived):
    """Number of vanished files that a queued batch forgot before it ended."""

    sources: int


class FleetState(Numbered):
    """Whether workers may process messages: `running`, `paused` by a person, or `halted` by a service that refused."""

    state: Literal["running", "paused", "halted"]
    service: str | None = None
    cause: str | None = None
    remedy: str | None = None
    since: datetime


class Run(Numbered):
    """One run of a schedule. All runs of a schedule are one chain of revisions.

    A revision without an outcome claims a run or reports its progress. Later revisions record the run's end, then
    another attempt or the next run.
    """

    schedule: str
    action: str
    due_at: datetime
    attempt: int = 1
    """Number of the claim, from 1. An interrupted run is claimed again."""
    worker: str
    """The process that claimed it."""
    started_at: datetime
    ended_at: datetime | None = None
    outcome: Literal["done", "failed", "interrupted"] | None = None
    """None while it is in progress; `interrupted` if its time ran out or its process ended."""
    counts: dict[str, int] = {}
    """Counts of the items that it found and processed, by their names under `counts` in the record."""
    error: str | None = None
    remedy: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class PageSlice:
    """Pages of one document that are to be processed."""

    source: Source
    document: Document
    page_numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class WorkUnit:
    """The unit of work: up to 16 pages that are processed together."""

    collection: str
    batch: str
    language: str
    deletions_seen: int
    slices: tuple[PageSlice, ...]


@dataclass(frozen=True, slots=True)
class PageFacts:
    """Measures of a page by the renderer, for the local reader and for checks. Shares of the page are 0 to 1."""

    ink_share: float
    """Pixels that differ clearly from the page's ground colour."""
    picture_share: float | None
    """Area under a PDF's image objects; None for other files."""
    colours: tuple[str, ...]
    """Names of the dominant colours, most frequent first: keys of the local reader's message catalogues."""
    is_vector: bool
    """True for a page drawn by a program rather than photographed or scanned."""
    layer: LayerState = LayerState.NONE
    placeholder: bool = False
    """True for a page that only asks to open another program, as the only page of a dynamic XFA form."""
    glyph_px: float | None = None
    """Height of a typical letter on the page image, in pixels: of an x in prose, of a digit in a table.
    It is measured in a sound text layer, else in the ink. None if neither shows lines of text."""


#: A picture with less than this share of the page counts as an emblem and not as an illustration.
MIXED_PICTURE_SHARE = 0.1


#: Width or height of an image.
Pixels = Annotated[int, Field(ge=1, le=1 << 16)]
SHA256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


@dataclass(frozen=True, slots=True, kw_only=True)
class PageProperties:
    """Everything that the sandbox reports about a page, without images. `pipeline.rendering.replies` validates it."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    label: str | None = None
    section: str | None = None
    """The entry of the document's outline that the page belongs to."""
    width_px: Pixels
    height_px: Pixels
    dpi: float | None
    pixels_sha256: SHA256
    """Of the raw RGB pixels before encoding, with their size."""
    phash: Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
    blank: bool
    layer_text: str | None = None
    """The file's own text layer; None where it has none."""
    original: OriginalImage
    exif: dict[str, str] = field(default_factory=dict)
    facts: PageFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedPage(PageProperties):
    """A page as the sandbox returns it."""

    page_number: int
    jpeg: bytes
    """At most 1,003,520 pixels, quality 90."""
    thumbnail: bytes
    """WebP, long edge 320 px."""
    hidden: bool = False
    notes: str | None = None
    """Text that belongs to the page and is not shown on it: a speaker's notes."""
    rgb: bytes | None = None
    """Raw RGB pixels, rows top down, only on request."""

    @property
    def kind(self) -> PageKind:
        """How the page was made, derived from its measures."""
        if self.blank:
            return PageKind.BLANK
        if not self.facts.is_vector:
            return PageKind.SCANNED
        drawn = (self.facts.picture_share or 0) < MIXED_PICTURE_SHARE
        return PageKind.BORN_DIGITAL if drawn else PageKind.MIXED


@dataclass(frozen=True, slots=True)
class RenderedCrop:
    """A part of a page as the sandbox returns it, rendered at a higher resolution than the page image."""

    page_number: int
    box: tuple[float, float, float, float]
    """Left, top, right and bottom edge as shares of the page, 0 to 1."""
    jpeg: bytes
    """At most 1,003,520 pixels, quality 90; never more pixels than the picture in the file."""
    width_px: int
    height_px: int
    pixels_sha256: str
    """Of the raw RGB pixels before encoding, with their size."""
