"""Everything Pagesight raises.

    PagesightError
    ├── SettingsError                 a setting or an argument is wrong             exit 2
    │   └── NotFound                  nothing has the name that was given
    ├── ServiceUnavailable            a service is unavailable: wait, nothing has failed
    │   ├── ServiceThrottled          it limits its callers: all callers pause
    │   └── ArchiveUnavailable        the archive's disk is full, read-only or fails: wait
    │       └── ArchiveMissing        the known archive is not at its location: wait until its disk is mounted
    ├── ServiceRefused                a service refuses every request: stop         exit 3
    │   └── Overtaken                 another process changed the indices first
    ├── Stopped                       the run was asked to stop
    ├── ArchiveDamaged                a file in the archive cannot be read; readers leave it out
    ├── RevisionTaken                 another writer archived this revision first
    └── OutcomeError                  one file or one page ends as `failed`
        ├── UnsupportedFormat         unsupported
        │   └── UnknownFormat
        ├── EmptyFile                 empty
        ├── CorruptFile               corrupt
        ├── EncryptedFile             encrypted
        ├── SourceVanished            vanished      (transient)
        ├── SourceChanged             changed       (transient)
        ├── SourceUnreadable          unreadable    (transient)
        ├── ListDamaged               list_damaged  (transient)
        ├── LinkOutOfTree             outside_link
        ├── LimitExceeded             limit
        ├── DocumentLimit             document_limit
        ├── RenderTimeout             render_timeout
        ├── RenderCrashed             render_crashed (transient)
        ├── RenderOutOfMemory         render_memory
        ├── Quarantined               quarantined
        ├── AnswerUnusable            answer_unusable (transient)
        ├── AnswerTimeout             answer_timeout  (transient)
        ├── AnswerRefused             answer_refused
        └── RecordRefused             record_refused

Records and `pagesight failures` show the `code` of an `OutcomeError` as `error.type`.
"""

from __future__ import annotations

from typing import ClassVar

from pipeline.core.masking import hide, masked


class PagesightError(Exception):
    """Root of the tree. `str(error)` names the cause in one line; `error.remedy` says what to do about it.

    Both are without secrets, wherever their words come from.
    """

    remedy: str = ""

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(masked(message))
        if remedy is not None:
            self.remedy = hide(remedy)


class SettingsError(PagesightError):
    """A setting, an option or an argument cannot be used."""


class NotFound(SettingsError):
    """No collection, document, page or batch has the name that was given."""


class ServiceUnavailable(PagesightError):
    """A service is cold, busy or unavailable. Callers wait as `pipeline.core.retry` says; nothing is marked as failed.

    `retry_after_seconds` is the service's `Retry-After`, if it sent one. `suspect_request` is true where the request
    may be at fault rather than the service: after a timeout, or a connection closed in the middle of an answer.
    """

    def __init__(
        self,
        service: str,
        message: str,
        *,
        retry_after_seconds: float | None = None,
        suspect_request: bool = False,
        remedy: str | None = None,
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.service = service
        self.retry_after_seconds = retry_after_seconds
        self.suspect_request = suspect_request


class ServiceThrottled(ServiceUnavailable):
    """A service gets too many requests at once (backpressure). All callers wait, not only this one."""


class ArchiveUnavailable(ServiceUnavailable):
    """The archive cannot be read or written now: its disk is full, read-only, fails or is away."""

    remedy = "Free space, or mend or mount the disk: the work goes on by itself."

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__("archive", message, remedy=remedy)


class ArchiveMissing(ArchiveUnavailable):
    """The archive that was at this location before is not there: its disk is not mounted, or another one is."""


class ServiceRefused(PagesightError):
    """A service refuses every request: the key is bad, the balance is used up, the model or alias is unknown."""

    def __init__(self, service: str, message: str, *, remedy: str) -> None:
        super().__init__(message, remedy=remedy)
        self.service = service


class Overtaken(ServiceRefused):
    """Another process switched or deleted indices in the meantime."""


class Stopped(PagesightError):
    """The run was asked to stop while it waited."""


class ArchiveDamaged(PagesightError):
    """A file in the archive is empty, cut, garbage or of another kind. `name` is its name within the archive."""

    remedy = "Restore that file from a backup; `pagesight archive check` lists all damaged files."

    def __init__(self, name: str, cause: str, *, remedy: str | None = None) -> None:
        super().__init__(f"{name} in the archive is damaged: {cause}", remedy=remedy)
        self.name = name


class RevisionTaken(PagesightError):
    """The revision already exists in the archive. Read it, then stop or take the next number."""


class OutcomeError(PagesightError):
    """One file or one page ends as `failed`; the rest of the run continues.

    The next run retries `transient` errors, five times at most. Other errors are final until their input changes, or
    the limit that caused them.
    """

    code: ClassVar[str]
    transient: ClassVar[bool] = False
    #: True if a limit in the settings caused the error, so that another limit may lead to another result.
    by_limit: ClassVar[bool] = False


class UnsupportedFormat(OutcomeError):
    """This version does not make pages of this format."""

    code = "unsupported"
    remedy = "Convert the file to PDF, PNG, JPEG or TIFF and index that."


class UnknownFormat(UnsupportedFormat):
    """The format of the bytes is unknown."""


class EmptyFile(OutcomeError):
    """The file is empty."""

    code = "empty"
    remedy = "Copy the file again from its origin."


class CorruptFile(OutcomeError):
    """The bytes begin like a format and violate it."""

    code = "corrupt"
    remedy = "Open the file in its own program and save it again, or copy it again from its origin."


class EncryptedFile(OutcomeError):
    """The file needs a password, and none of the given ones opens it."""

    code = "encrypted"
    remedy = (
        "Give its password by PAGESIGHT_PASSWORDS, PAGESIGHT_PASSWORDS_FILE or PAGESIGHT_PASSWORDS_COMMAND, or index a "
        "copy without one."
    )


class SourceVanished(OutcomeError):
    """The file was listed with its folder, and does not exist now."""

    code = "vanished"
    transient = True
    remedy = "Index the folder again when its files no longer change."


class SourceChanged(OutcomeError):
    """The file changed while it was read."""

    code = "changed"
    transient = True
    remedy = "Index the file again when no program writes to it."


class SourceUnreadable(OutcomeError):
    """Access to the file or folder is denied, or its disk fails."""

    code = "unreadable"
    transient = True
    remedy = "Give the user who runs Pagesight the right to read it, or check the disk."


class ListDamaged(OutcomeError):
    """The archive's list of some files of a folder was damaged before their batch had processed them."""

    code = "list_damaged"
    transient = True
    remedy = "Index the folder again, or use `pagesight retry --error list_damaged`: pages that were read are kept."


class LinkOutOfTree(OutcomeError):
    """A symbolic link leads out of the indexed folder, or to no file."""

    code = "outside_link"
    remedy = "To index the content, name the link's target on the command line."


class LimitExceeded(OutcomeError):
    """The file exceeds a limit in the settings: bytes, pages, pixels, or the content of a container."""

    code = "limit"
    by_limit = True
    remedy = "Raise the limit that the message names, or split the file."


class DocumentLimit(OutcomeError):
    """The pages of a document cost more than a document may, so the rest of them is not processed."""

    code = "document_limit"
    by_limit = True
    remedy = (
        "If the document is genuine, raise PAGESIGHT_DOCUMENT_SECONDS, then run the same command or "
        "`pagesight retry --error document_limit`."
    )


class RenderTimeout(OutcomeError):
    """Rendering the page took more CPU time, or more time by the clock, than the limits allow."""

    code = "render_timeout"
    by_limit = True
    remedy = "Raise PAGESIGHT_PAGE_SECONDS if the page is genuine."


class RenderCrashed(OutcomeError):
    """The decoder crashed on the page, inside the sandbox."""

    code = "render_crashed"
    transient = True
    remedy = "Run the same command again; if the error remains, open the file in its own program and save it again."


class RenderOutOfMemory(OutcomeError):
    """Rendering the page needed more memory than the limit allows."""

    code = "render_memory"
    by_limit = True
    remedy = "Raise PAGESIGHT_SANDBOX_MEMORY_MB if the page is genuine."


class Quarantined(OutcomeError):
    """The process that handled it died several times, with no other work in hand."""

    code = "quarantined"
    remedy = "Read the message and the workers' logs; `pagesight retry --error quarantined` tries again."


class AnswerUnusable(OutcomeError):
    """The model's answer was unusable, several times in a row."""

    code = "answer_unusable"
    transient = True
    remedy = "Run the same command again; if the error remains, look at the endpoint's own log."


class AnswerTimeout(OutcomeError):
    """The model answered other pages, but not this one."""

    code = "answer_timeout"
    transient = True
    remedy = "Run the same command again."


class AnswerRefused(OutcomeError):
    """The model's endpoint refuses this request, and answers others."""

    code = "answer_refused"
    remedy = "Read the endpoint's answer in the message."


class RecordRefused(OutcomeError):
    """The record cannot be made, or the index refuses it, and accepts others. The reading is safe in the archive."""

    code = "record_refused"
    remedy = "Compare the index's mapping with `mappings/`; after correcting it run `pagesight reindex`."


def outcome_error(code: str, message: str) -> OutcomeError:
    """Return the error with this code, as it was before it was recorded."""
    (kind,) = (kind for kind in OutcomeError.__subclasses__() if kind.code == code)
    return kind(message)
