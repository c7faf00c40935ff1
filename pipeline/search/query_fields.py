"""The fields that a query can name, by short names and by the names of the record."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any

from pipeline.core.formats import MediaType
from pipeline.core.models import PageKind, PageStatus
from pipeline.search import filters

Clause = dict[str, Any]
_NUMBER = re.compile(r"[0-9]{1,9}")
_DATE = re.compile(r"([0-9]{4})(?:-([0-9]{1,2})(?:-([0-9]{1,2}))?)?")
#: Separates the ends of a range, each of which may be left out.
RANGE = ".."


class Form(StrEnum):
    """Form of the values of a field."""

    TEXT = "words"
    EXACT = "an exact value, or its beginning with *"
    NUMBER = "a number, or a range 3..7"
    DATE = "a year, month or day, or a range 2020..2024-05"
    YES_NO = "true or false"
    TYPE = "a format such as pdf, or a media type"
    DOCUMENT = "the beginning of a document's id, or a part of its name or path"


@dataclass(frozen=True, slots=True)
class QueryField:
    """A field of the query language."""

    name: str
    form: Form
    paths: tuple[str, ...]
    """Fields of the record. A value may be in any of them."""
    aliases: tuple[str, ...] = ()
    """Other names that a query may use."""
    values: tuple[str, ...] = ()
    """All values of the field; empty if they are not known."""

    def accepts(self, value: str) -> bool:
        """Whether a value has the field's form. Else the query's word is searched as it is.

        `file://…` is an address, and `status:open` on a page is text: neither is a condition that no page meets.
        """
        if value.startswith("//"):
            return False
        if self.values and not any(_matches(known, value.lower()) for known in self.values):
            return False
        return has_letters(value) if self.form is Form.TEXT else self.clause(value) is not None

    def clause(self, value: str) -> Clause | None:
        """Return the filter for a value of a field other than text, or None if the value has another form."""
        found = [_CLAUSES[self.form](path, value) for path in self.paths]
        clauses = [clause for clause in found if clause is not None]
        if len(clauses) < 2:
            return clauses[0] if clauses else None
        return {"bool": {"should": clauses, "minimum_should_match": 1}}


def _text(name: str, *paths: str) -> QueryField:
    return QueryField(name, Form.TEXT, paths)


FIELDS = (
    _text("text", "text", "text.joined", "layer_text", "layer_text.joined", "i18n.text.*"),
    _text("description", "description", "description.joined", "i18n.description.*"),
    _text("caption", "caption", "caption.joined", "i18n.caption.*"),
    _text("translation", "translation", "translation.joined", "i18n.translation.*"),
    QueryField("title", Form.TEXT, ("document.title", "document.title.joined", "i18n.title.*"), ("document.title",)),
    QueryField("name", Form.TEXT, ("document.name", "document.name.joined"), ("file", "filename", "document.name")),
    QueryField("path", Form.TEXT, ("document.path.words",), ("folder", "document.path")),
    QueryField("section", Form.TEXT, ("page.section",), ("page.section",)),
    QueryField("collection", Form.EXACT, ("collection",)),
    QueryField("batch", Form.EXACT, ("batch",)),
    QueryField("status", Form.EXACT, ("status",), values=tuple(PageStatus)),
    QueryField("kind", Form.EXACT, ("page.kind",), ("page.kind",), values=tuple(PageKind)),
    QueryField("type", Form.TYPE, ("document.media_type",), ("format", "document.media_type")),
    QueryField("language", Form.EXACT, ("language.text", "language.description"), ("lang",)),
    QueryField("document", Form.DOCUMENT, ("document.id",), ("id", "document.id")),
    QueryField("reader", Form.EXACT, ("model.name",), ("model", "model.name")),
    QueryField("profile", Form.EXACT, ("model.profile",), ("model.profile",)),
    QueryField("reason", Form.EXACT, ("trust.reasons",), ("trust.reasons",)),
    QueryField("suspect", Form.YES_NO, ("trust.suspect",), ("trust.suspect",)),
    QueryField("blank", Form.YES_NO, ("image.blank",), ("image.blank",)),
    QueryField("page", Form.NUMBER, ("page.number",), ("page.number",)),
    QueryField("pages", Form.NUMBER, ("document.pages",), ("document.pages",)),
    QueryField("date", Form.DATE, ("document.modified",), ("modified", "document.modified")),
    QueryField("taken", Form.DATE, ("image.original.captured_at",), ("captured", "image.original.captured_at")),
)


def find_field(name: str) -> QueryField | None:
    """Return the field with this name or alias, in any case, or None."""
    return _BY_NAME.get(name.lower())


_BY_NAME = {name: field for field in FIELDS for name in (field.name, *field.aliases)}


def has_letters(text: str) -> bool:
    """Whether the index has a word for a text: letters, marks, digits or pictures. Other signs are in no word."""
    return any(unicodedata.category(character)[0] in "LMN" or _is_picture(character) for character in text)


def _is_picture(character: str) -> bool:
    return unicodedata.category(character) == "So"


def _matches(known: str, value: str) -> bool:
    """Whether a value, or a beginning with a star, is a known value."""
    return known.startswith(value.rstrip("*")) if value.endswith("*") else known == value


def date_range(value: str) -> tuple[datetime | None, datetime | None] | None:
    """Return the beginning of a period and the moment after its end; None if the value is not a date or a range.

    `2020` is the year, `2020-05` the month, `2020..2021` both years, `..2020` all until the end of that year. Ends may
    be given in either order.
    """
    first, between, last = value.partition(RANGE)
    if not between:
        last = first
    begin, end = _period(first), _period(last)
    if (first and begin is None) or (last and end is None) or not (first or last):
        return None
    if begin and end and begin > end:
        begin, end = end, begin
    return (begin[0] if begin else None), (end[1] if end else None)


def _period(text: str) -> tuple[datetime, datetime] | None:
    found = _DATE.fullmatch(text)
    if found is None:
        return None
    year, month, day = (int(part) if part else None for part in found.groups())
    assert year is not None
    try:
        begin = date(year, month or 1, day or 1)
        end = _after(begin, month, day)
    except (ValueError, OverflowError):
        return None
    return _midnight(begin), _midnight(end)


def _after(begin: date, month: int | None, day: int | None) -> date:
    """Return the first day after the year, month or day that begins then."""
    if day is not None:
        return date.fromordinal(begin.toordinal() + 1)
    if month is not None and month < 12:
        return begin.replace(month=month + 1)
    return begin.replace(year=begin.year + 1, month=1)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


#: Usual suffixes of files that differ from the names of their formats.
_SUFFIXES = {"jpg": "jpeg", "tif": "tiff", "heic": "heif", "htm": "html", "j2k": "jp2", "djv": "djvu"}


def media_types(name: str) -> list[str]:
    """Return the media types that a short name such as `pdf`, or a media type, stands for."""
    wanted = name.lower().removeprefix(".")
    wanted = _SUFFIXES.get(wanted, wanted)
    return [member.value for member in MediaType if wanted in (member.value, member.name.lower(), _short(member))]


def _short(member: MediaType) -> str:
    return member.row.suffix.removeprefix(".") or member.value.rpartition("/")[2]


def _document(_path: str, value: str) -> Clause:
    return filters.document_matches(value)[0]


def _exact(path: str, value: str) -> Clause:
    if value.endswith("*"):
        return {"prefix": {path: {"value": value.rstrip("*"), "case_insensitive": True}}}
    return {"term": {path: {"value": value, "case_insensitive": True}}}


def _number(path: str, value: str) -> Clause | None:
    first, between, last = value.partition(RANGE)
    if not all(_NUMBER.fullmatch(part) for part in (first, last) if part) or not (first or last):
        return None
    if not between:
        return {"term": {path: int(first)}}
    if first and last:
        first, last = sorted((first, last), key=int)
    ends = {"gte": first, "lte": last}
    return {"range": {path: {end: int(number) for end, number in ends.items() if number}}}


def _date(path: str, value: str) -> Clause | None:
    found = date_range(value)
    if found is None:
        return None
    ends = {"gte": found[0], "lt": found[1]}
    return {"range": {path: {end: moment.isoformat() for end, moment in ends.items() if moment}}}


def _yes_no(path: str, value: str) -> Clause | None:
    known = {"true": True, "yes": True, "false": False, "no": False}.get(value.lower())
    return None if known is None else {"term": {path: known}}


def _type(path: str, value: str) -> Clause | None:
    found = media_types(value)
    return {"terms": {path: found}} if found else None


_CLAUSES: dict[Form, Callable[[str, str], Clause | None]] = {
    Form.EXACT: _exact,
    Form.NUMBER: _number,
    Form.DATE: _date,
    Form.YES_NO: _yes_no,
    Form.TYPE: _type,
    Form.DOCUMENT: _document,
}
