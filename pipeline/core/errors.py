"""Everything Pagesight raises.

    PagesightError
    ├── SettingsError                 a setting or an argument is wrong             exit 2
    ├── ServiceUnavailable            a service is away: wait, nothing has failed
    │   └── ServiceThrottled          it limits its callers: everyone pauses
    ├── ServiceRefused                a service says no: stop loudly                exit 3
    │   └── Overtaken                 another process changed the indices first
    ├── Stopped                       the run was asked to stop
    ├── RevisionTaken                 another writer archived this revision first
    └── OutcomeError                  why one file or one page ends as `failed`
        ├── UnsupportedFormat         unsupported
        │   └── UnknownFormat
        ├── EmptyFile                 empty
        ├── CorruptFile               corrupt
        ├── EncryptedFile             encrypted
        ├── SourceVanished            vanished      (transient)
        ├── SourceChanged             changed       (transient)
        ├── SourceUnreadable          unreadable    (transient)
        ├── LinkOutOfTree             outside_link
        ├── LimitExceeded             limit
        ├── RenderTimeout             render_timeout
        ├── RenderCrashed             render_crashed (transient)
        ├── RenderOutOfMemory         render_memory
        ├── Quarantined               quarantined
        ├── AnswerUnusable            answer_unusable (transient)
        ├── AnswerTimeout             answer_timeout  (transient)
        ├── AnswerRefused             answer_refused
        └── RecordRefused             record_refused

The `code` of an `OutcomeError` is what records and `pagesight failures` show as `error.type`.
"""

from __future__ import annotations

from typing import ClassVar


class PagesightError(Exception):
    """Root of the tree. `str(error)` names the cause in one line, `error.remedy` what a person can do about it."""

    remedy: str = ""

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message)
        if remedy is not None:
            self.remedy = remedy


class SettingsError(PagesightError):
    """A setting, an option or an argument cannot be used."""


class ServiceUnavailable(PagesightError):
    """A service is cold, busy or away. Callers wait as `pipeline.core.retry` says; nothing is marked failed.

    `retry_after_seconds` is what the service itself asked for, where it did. `suspect_request` is true where the
    request rather than the service may be at fault: a timeout, or a connection closed in the middle of an answer.
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
    """A service is asked too much at once. Not only this caller waits, but all of them."""


class ServiceRefused(PagesightError):
    """A service answers, and says no to everything we could ask: bad key, no balance, unknown model, missing alias."""

    def __init__(self, service: str, message: str, *, remedy: str) -> None:
        super().__init__(message, remedy=remedy)
        self.service = service


class Overtaken(ServiceRefused):
    """The indices are no longer as they were: another process has shown or deleted some meanwhile."""


class Stopped(PagesightError):
    """The run was asked to stop while it waited."""


class RevisionTaken(PagesightError):
    """The revision to be archived exists already. Read it, then stop or take the next number."""


class OutcomeError(PagesightError):
    """Why one file or one page ends as `failed`; the rest of the run goes on.

    `transient` errors are tried again by the next run, five times at most; the others are final until their input
    or the limit that stopped them changes.
    """

    code: ClassVar[str]
    transient: ClassVar[bool] = False
    #: True where a limit of the settings decided: another limit makes another attempt worth while.
    by_limit: ClassVar[bool] = False


class UnsupportedFormat(OutcomeError):
    """The bytes are of a kind that this version does not turn into pages."""

    code = "unsupported"
    remedy = "Convert the file to PDF, PNG, JPEG or TIFF and index that."


class UnknownFormat(UnsupportedFormat):
    """The bytes are of no kind that is known at all."""


class EmptyFile(OutcomeError):
    """The file holds no bytes."""

    code = "empty"
    remedy = "Copy the file again from where it came from."


class CorruptFile(OutcomeError):
    """The bytes claim a format and do not keep to it."""

    code = "corrupt"
    remedy = "Open the file in its own program and save it anew, or copy it again from where it came from."


class EncryptedFile(OutcomeError):
    """The file wants a password, and none that was given opens it."""

    code = "encrypted"
    remedy = (
        "Give its password by PAGESIGHT_PASSWORDS, PAGESIGHT_PASSWORDS_FILE or PAGESIGHT_PASSWORDS_COMMAND, or index a "
        "copy without one."
    )


class SourceVanished(OutcomeError):
    """The file was there when its folder was listed and is there no more."""

    code = "vanished"
    transient = True
    remedy = "Index the folder again once its files are at rest."


class SourceChanged(OutcomeError):
    """The file changed while it was read."""

    code = "changed"
    transient = True
    remedy = "Index the file again once nothing writes to it."


class SourceUnreadable(OutcomeError):
    """The file or folder may not be read, or its disk fails."""

    code = "unreadable"
    transient = True
    remedy = "Give the user who runs Pagesight the right to read it, or check the disk."


class LinkOutOfTree(OutcomeError):
    """A symbolic link leads out of the folder that is indexed, or nowhere."""

    code = "outside_link"
    remedy = "Name the link's target on the command line if its content is wanted."


class LimitExceeded(OutcomeError):
    """The file is beyond a limit of the settings: bytes, pages, pixels, or what a container may hold."""

    code = "limit"
    by_limit = True
    remedy = "Raise the limit that the message names, or split the file."


class RenderTimeout(OutcomeError):
    """Rendering the page took longer than the limit allows."""

    code = "render_timeout"
    by_limit = True
    remedy = "Raise PAGESIGHT_PAGE_SECONDS if the page is a genuine one."


class RenderCrashed(OutcomeError):
    """The decoder crashed on the page, inside the sandbox."""

    code = "render_crashed"
    transient = True
    remedy = "Run the same command again; if it stays so, open the file in its own program and save it anew."


class RenderOutOfMemory(OutcomeError):
    """Rendering the page wanted more memory than the limit allows."""

    code = "render_memory"
    by_limit = True
    remedy = "Raise PAGESIGHT_SANDBOX_MEMORY_MB if the page is a genuine one."


class Quarantined(OutcomeError):
    """The process that worked on it alone died, several times over."""

    code = "quarantined"
    remedy = "See the evidence in the message and the workers' logs; `pagesight retry --error quarantined` tries again."


class AnswerUnusable(OutcomeError):
    """The model's answer could not be understood, several times over."""

    code = "answer_unusable"
    transient = True
    remedy = "Run the same command again; if it stays so, look at the endpoint's own log."


class AnswerTimeout(OutcomeError):
    """The model answered other pages, but not this one."""

    code = "answer_timeout"
    transient = True
    remedy = "Run the same command again."


class AnswerRefused(OutcomeError):
    """The model's endpoint refuses this one request."""

    code = "answer_refused"
    remedy = "Look at the endpoint's words in the message."


class RecordRefused(OutcomeError):
    """Elasticsearch refuses this one record. The reading is safe in the archive."""

    code = "record_refused"
    remedy = "Compare the index's mapping with `mappings/`; after mending it run `pagesight reindex`."


def outcome_error(code: str, message: str) -> OutcomeError:
    """Return the error of this code, as it was before it became a record."""
    (kind,) = (kind for kind in OutcomeError.__subclasses__() if kind.code == code)
    return kind(message)
