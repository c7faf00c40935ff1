"""Messages: RFC 5322 files, by the standard library, and Outlook's, by olefile. Runs in the sandbox process.

The first member of a message is its text, `message.html`, below sender, recipients, date and subject; each attached
file is a further member. A message attached to an Outlook message becomes a folder.
"""

from __future__ import annotations

import codecs
import email
import html
import io
import mimetypes
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from email.header import decode_header, make_header
from email.message import Message
from typing import IO, Any, BinaryIO

import olefile

from pipeline.core.errors import CorruptFile, OutcomeError, UnsupportedFormat
from pipeline.core.signatures import HEAD_BYTES, mail_start
from pipeline.core.text import clean_line
from pipeline.rendering.code_pages import TEXT, decode_text, guess
from pipeline.rendering.protocol import RenderLimits
from pipeline.rendering.sandbox.containers.archives import (
    ZIP_ERRORS,
    Container,
    as_corrupt,
    member_name,
    require_expansion_limit,
    require_member_limit,
)
from pipeline.rendering.sandbox.containers.compound import open_compound
from pipeline.rendering.sandbox.containers.members import Member, Sink
from pipeline.rendering.sandbox.descriptors import reopen

BODY = "message.html"
#: Errors of `email` and olefile about damaged files.
_ERRORS = (*ZIP_ERRORS, AttributeError, TypeError, RecursionError, LookupError, AssertionError)
_MAX_HEADER_CHARS = 5_000
_MAX_LINE_BYTES = 1 << 16
#: Encoded words (RFC 2047) with only white space between them.
_ENCODED_WORDS = re.compile(r"=\?[^?\s]+\?[bqBQ]\?[^?]*\?=(?:\s+=\?[^?\s]+\?[bqBQ]\?[^?]*\?=)*")
#: The line before a message in a mailbox: sender, and a date as C's `asctime` writes it.
_SEPARATOR = re.compile(
    rb"From \S{1,500} {1,8}(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) [A-Z][a-z]{2} [ 0-3]?\d \d\d:\d\d.{0,20} \d{4}"
)
_DECLARED_CHARSET = re.compile(rb"<meta\b[^>]{0,200}?\bcharset\s{0,8}=\s{0,8}[\"']?([\w.:-]{1,40})", re.IGNORECASE)
_SHOWN = ("From", "To", "Cc", "Date", "Subject")
#: HTML bodies declare their encoding; here they are UTF-8 already.
_OTHER_CHARSET = re.compile(r"<meta\b[^>]*\bcharset\b[^>]*>", re.IGNORECASE)
#: Depth to which messages in Outlook messages are opened; deeper ones are listed as unsupported.
_MAX_DEPTH = 5
_FILETIME_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)

_Read = Callable[[], bytes]


class MailContainer(Container):
    """A message. Its members are small enough to be built in memory."""

    def __init__(self, parts: Sequence[tuple[Member, _Read]], descriptor: int, limits: RenderLimits) -> None:
        require_member_limit(len(parts), limits)
        require_expansion_limit(sum(member.bytes for member, _ in parts), descriptor, limits)
        self._reads = [read for _, read in parts]
        self.resources = ExitStack()
        """Resources to be released at the end."""
        super().__init__(member for member, _ in parts)

    def extract(self, first: int, sink: Sink) -> None:
        """Send the members from number `first` on to the sink, until it declines one."""
        with as_corrupt("the message is damaged", _ERRORS):
            super().extract(first, sink)

    def close(self) -> None:
        """Free its memory and its resources."""
        self._reads = []
        self.resources.close()

    def _open(self, index: int) -> IO[bytes]:
        return io.BytesIO(self._reads[index]())


def open_eml(descriptor: int, limits: RenderLimits) -> MailContainer:
    """Read a message in the format of RFC 5322.

    Raises:
        CorruptFile: it cannot be parsed.
        LimitExceeded: its attachments are too many or too large.
        UnsupportedFormat: it is a mailbox of several messages.
    """
    with reopen(descriptor) as file, as_corrupt("the message is damaged", _ERRORS):
        file.seek(mail_start(file.read(HEAD_BYTES)))
        _require_one_message(file)
        message = email.message_from_binary_file(file)
        fields, bodies = _Fields(message), _Bodies()
        files: list[tuple[Member, _Read]] = []
        for name, read in _files(message, fields, bodies):
            files.append(_part(name or f"part-{len(files) + 1}", read))
        readable = fields.of(message)
        shown = {name: _decoded(readable.get(name)) for name in _SHOWN}
        return MailContainer([_body(shown, bodies.texts), *files], descriptor, limits)


def open_msg(descriptor: int, limits: RenderLimits) -> MailContainer:
    """Read an Outlook message (MS-OXMSG).

    Raises:
        CorruptFile: it cannot be parsed.
        LimitExceeded: its attachments are too many or too large.
    """
    with ExitStack() as held:
        # olefile's objects form reference cycles, which would keep the file open until the garbage collector runs.
        file = held.enter_context(reopen(descriptor))
        with as_corrupt("the message is damaged", _ERRORS):
            parts = list(_OutlookMessage(open_compound(file), [], _TOP_HEADER_BYTES).parts("", 0))
            container = MailContainer(parts, descriptor, limits)
        container.resources = held.pop_all()
        return container


def _require_one_message(file: BinaryIO) -> None:
    """Raise `UnsupportedFormat` for a mailbox. What begins with mbox's line is one message if no other one follows."""
    start = file.tell()
    file.seek(0)
    if file.read(start).lstrip(b"\xef\xbb\xbf\r\n>").startswith(b"From "):
        before = b""
        for line in iter(lambda: file.readline(_MAX_LINE_BYTES), b""):
            if not before.strip() and _SEPARATOR.match(line):
                raise UnsupportedFormat("mailboxes of several messages (mbox) are not supported")
            before = line
    file.seek(start)


class _Bodies:
    """The texts of a message, in the order of its parts."""

    def __init__(self) -> None:
        self.texts: list[tuple[str, bool]] = []

    def add(self, text: str, *, is_html: bool) -> None:
        if text.strip():
            self.texts.append((text, is_html))


class _Fields:
    """The fields of a message's parts as text, also those that name no encoding (RFC 6532, and older programs).

    All values of a message that are not UTF-8 have one encoding: probably that of its text.
    """

    def __init__(self, message: Message) -> None:
        values = (value for part in message.walk() for _, value in _raw_fields(part))
        legacy = [value for value in values if not _is_utf8(value)]
        self._encoding = guess(legacy, TEXT, _charset_of_text(message)) if legacy else "utf-8"

    def of(self, part: Message) -> Message:
        """Return the fields of a part, without its content."""
        readable = Message()
        for name, value in _raw_fields(part):
            readable[name] = value.decode("utf-8" if _is_utf8(value) else self._encoding, "replace")
        return readable

    def name(self, part: Message) -> str | None:
        """Return the file name of a part."""
        name = self.of(part).get_filename()
        return _decoded(name) or None if name else None


def _raw_fields(part: Message) -> list[tuple[str, bytes]]:
    return [(name, str(value).encode("utf-8", "surrogateescape")) for name, value in part.raw_items()]


def _charset_of_text(part: Message) -> str | None:
    """Return the first encoding that a text in a message declares; ASCII and UTF-8 do not count."""
    charsets = (child.get_content_charset() for child in part.walk() if child.get_content_maintype() == "text")
    return next((charset for charset in charsets if charset and _is_single_legacy(charset)), None)


def _files(part: Message, fields: _Fields, bodies: _Bodies) -> Iterator[tuple[str | None, _Read]]:
    """Yield the files in a part, and add its texts to the bodies."""
    kind = part.get_content_type()
    if kind == "message/rfc822" and part.is_multipart():
        inner = part.get_payload(0)
        assert isinstance(inner, Message)
        yield fields.name(part) or f"{_decoded(fields.of(inner).get('Subject')) or 'message'}.eml", inner.as_bytes
    elif kind == "message/delivery-status":
        bodies.add(part.as_string(), is_html=False)
    elif part.is_multipart():
        for child in _chosen(part):
            yield from _files(child, fields, bodies)
    elif kind in ("text/plain", "text/html") and not fields.name(part) and not _is_attached(part):
        bodies.add(_text_of(part), is_html=kind == "text/html")
    else:
        yield fields.name(part) or _named_by_kind(kind), lambda: _bytes_of(part)


def _chosen(part: Message) -> list[Message]:
    """Return the children of a multipart; of alternative forms of a text only one: HTML, else the first."""
    children = [child for child in part.get_payload() if isinstance(child, Message)]
    if part.get_content_type() != "multipart/alternative":
        return children
    texts = [child for child in children if child.get_content_maintype() in ("text", "multipart")]
    rich = [child for child in texts if any(leaf.get_content_type() == "text/html" for leaf in child.walk())]
    best = rich[-1:] or texts[:1]
    return [
        child for child in children if child in best or child not in texts or child.get_content_subtype() == "calendar"
    ]


def _is_attached(part: Message) -> bool:
    return part.get_content_disposition() == "attachment"


def _named_by_kind(kind: str) -> str | None:
    suffix = mimetypes.guess_extension(kind)
    return f"part{suffix}" if suffix else None


def _bytes_of(part: Message) -> bytes:
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_single_legacy(charset: str) -> bool:
    try:
        return codecs.lookup(charset).name not in ("utf-8", "ascii")
    except LookupError:
        return False


def _text_of(part: Message) -> str:
    data = _bytes_of(part)
    declared = _DECLARED_CHARSET.search(data[:HEAD_BYTES]) if part.get_content_type() == "text/html" else None
    return _decode(data, part.get_content_charset() or (declared[1].decode() if declared else None))


def _decode(data: bytes, charset: str | None) -> str:
    for encoding in (charset, "utf-8"):
        try:
            if encoding:
                return data.decode(encoding)
        except (LookupError, UnicodeDecodeError):
            continue
    return decode_text(data)


def _decoded(value: Any) -> str:
    """Return a header's text: encoded words decoded, on one line."""
    raw = str(value or "")[:_MAX_HEADER_CHARS]
    return clean_line(_ENCODED_WORDS.sub(lambda found: _decoded_words(found[0]), raw), _MAX_HEADER_CHARS) or ""


def _decoded_words(words: str) -> str:
    """Return the text of neighbouring encoded words; of those whose encoding is wrong or unknown, by a guess."""
    try:
        return str(make_header(decode_header(words)))
    except (*_ERRORS, email.errors.MessageError):
        pass
    try:
        return "".join(_decode(data, None) for data, _ in decode_header(words) if isinstance(data, bytes))
    except (*_ERRORS, email.errors.MessageError):
        return words


def _part(name: str, read: _Read) -> tuple[Member, _Read]:
    try:
        return Member(member_name(name), len(read())), read
    except _ERRORS as error:
        return Member(member_name(name), 0, CorruptFile(f"the attachment is damaged: {error}"[:200])), read


def _body(fields: dict[str, str], texts: Sequence[tuple[str, bool]], folder: str = "") -> tuple[Member, _Read]:
    page = _page(fields, texts).encode("utf-8", "replace")
    return Member(folder + BODY, len(page)), lambda: page


def _page(fields: dict[str, str], texts: Sequence[tuple[str, bool]]) -> str:
    rows = "".join(
        f"<tr><th align='left' valign='top'>{name}</th><td>{html.escape(text)}</td></tr>\n"
        for name, text in fields.items()
        if text
    )
    bodies = "<hr>\n".join(
        _OTHER_CHARSET.sub("", text) if is_html else f"<p>{'<br>'.join(html.escape(text).splitlines())}</p>\n"
        for text, is_html in texts
    )
    title = html.escape(fields.get("Subject", ""))
    return (
        f'<!DOCTYPE html>\n<html><head><meta charset="utf-8"><title>{title}</title></head>\n'
        f"<body>\n<table>\n{rows}</table>\n<hr>\n{bodies}</body></html>\n"
    )


#: Bytes before the entries of a property stream: of a message that is a file, of one within another, of an attachment.
_TOP_HEADER_BYTES, _INNER_HEADER_BYTES, _ATTACHMENT_HEADER_BYTES = 32, 24, 8
_PROPERTIES = "__properties_version1.0"
#: Property ids (MS-OXPROPS).
_SUBJECT, _SENDER, _SENDER_ADDRESS, _SENDER_SMTP = 0x0037, 0x0C1A, 0x0C1F, 0x5D01
_DISPLAY_TO, _DISPLAY_CC, _SUBMITTED, _DELIVERED = 0x0E04, 0x0E03, 0x0039, 0x0E06
_PLAIN_BODY, _HTML_BODY, _RTF_BODY, _CODE_PAGE, _BODY_CODE_PAGE = 0x1000, 0x1013, 0x1009, 0x3FFD, 0x3FDE
_ATTACHED, _LONG_NAME, _SHORT_NAME, _SHOWN_NAME = 0x3701, 0x3707, 0x3704, 0x3001
_UTF8_CODE_PAGE = 65001


class _OutlookMessage:
    """A message in a storage of a compound file, and its properties."""

    def __init__(self, storage: olefile.OleFileIO[str], path: list[str], header_bytes: int) -> None:
        self._storage = storage
        self._path = path
        self._fixed = self._properties(path, header_bytes)

    def parts(self, folder: str, depth: int) -> Iterator[tuple[Member, _Read]]:
        """Yield the text of the message and its attached files; attached messages become folders."""
        rich = self._rich_text()
        yield _body(self._fields(), self._texts(), folder)
        if rich is not None:
            yield _part(f"{folder}message.rtf", lambda: rich)
        for number, path in enumerate(self._attachments(), 1):
            name = self._attachment_name(path) or f"part-{number}"
            inner = [*path, f"__substg1.0_{_ATTACHED:04X}000D"]
            if self._storage.exists([*inner, _PROPERTIES]) and depth < _MAX_DEPTH:
                message = _OutlookMessage(self._storage, inner, _INNER_HEADER_BYTES)
                yield from message.parts(f"{folder}{member_name(name).replace('/', '_')}/", depth + 1)
            elif self._storage.exists(inner):
                refused: OutcomeError = UnsupportedFormat(
                    "objects of other programs within a message are not supported"
                )
                yield Member(member_name(folder + name), 0, refused), bytes
            else:
                yield _part(folder + name, lambda path=path: self._binary(path, _ATTACHED) or b"")  # type: ignore[misc]

    def _fields(self) -> dict[str, str]:
        sender = self._text(_SENDER)
        address = self._text(_SENDER_SMTP) or self._text(_SENDER_ADDRESS)
        if "@" in address and address != sender:
            sender = f"{sender} <{address}>".strip()
        moment = self._fixed.get(_SUBMITTED) or self._fixed.get(_DELIVERED)
        return {
            "From": sender,
            "To": self._text(_DISPLAY_TO),
            "Cc": self._text(_DISPLAY_CC),
            "Date": _filetime(moment) if moment else "",
            "Subject": self._text(_SUBJECT),
        }

    def _texts(self) -> list[tuple[str, bool]]:
        page = self._binary(self._path, _HTML_BODY)
        if page is not None:
            return [(_decode(page, _encoding(self._fixed.get(_BODY_CODE_PAGE))), True)]
        page_text = self._long_text(_HTML_BODY)
        if page_text:
            return [(page_text, True)]
        plain = self._long_text(_PLAIN_BODY)
        return [(plain, False)] if plain.strip() else []

    def _rich_text(self) -> bytes | None:
        """Return the body in Rich Text Format if the message has no other body."""
        compressed = None if self._texts() else self._binary(self._path, _RTF_BODY)
        if compressed is None:
            return None
        import compressed_rtf

        return bytes(compressed_rtf.decompress(compressed))

    def _attachments(self) -> list[list[str]]:
        depth = len(self._path)
        return [
            path
            for path in self._storage.listdir(streams=False, storages=True)
            if len(path) == depth + 1 and path[:depth] == self._path and path[-1].startswith("__attach_version1.0_#")
        ]

    def _attachment_name(self, path: list[str]) -> str:
        names = (self._text(number, path) for number in (_LONG_NAME, _SHORT_NAME, _SHOWN_NAME))
        return next(filter(None, names), "")

    def _text(self, number: int, path: list[str] | None = None) -> str:
        return clean_line(self._long_text(number, path), _MAX_HEADER_CHARS) or ""

    def _long_text(self, number: int, path: list[str] | None = None) -> str:
        path = self._path if path is None else path
        wide = self._stream(path, number, "001F")
        if wide is not None:
            return wide.decode("utf-16-le", "replace").rstrip("\0")
        narrow = self._stream(path, number, "001E") or b""
        return _decode(narrow, _encoding(self._fixed.get(_CODE_PAGE))).rstrip("\0")

    def _binary(self, path: list[str], number: int) -> bytes | None:
        return self._stream(path, number, "0102")

    def _stream(self, path: list[str], number: int, kind: str) -> bytes | None:
        name = [*path, f"__substg1.0_{number:04X}{kind}"]
        if not self._storage.exists(name):
            return None
        with self._storage.openstream(name) as stream:
            return bytes(stream.read())

    def _properties(self, path: list[str], header_bytes: int) -> dict[int, int]:
        """Return the values of fixed size, by property id: 16 bytes each, type, id, flags, value."""
        name = [*path, _PROPERTIES]
        if not self._storage.exists(name):
            return {}
        with self._storage.openstream(name) as stream:
            data = stream.read()[header_bytes:]
        return {
            int.from_bytes(data[at + 2 : at + 4], "little"): int.from_bytes(data[at + 8 : at + 16], "little")
            for at in range(0, len(data) - 15, 16)
        }


def _encoding(code_page: int | None) -> str | None:
    if not code_page:
        return None
    return "utf-8" if code_page == _UTF8_CODE_PAGE else f"cp{code_page & 0xFFFFFFFF}"


def _filetime(moment: int) -> str:
    """Return a time as people read it; it is kept as tenths of microseconds since 1601."""
    try:
        return f"{_FILETIME_EPOCH + timedelta(microseconds=moment // 10):%a, %d %b %Y %H:%M:%S +0000}"
    except OverflowError:
        return ""
