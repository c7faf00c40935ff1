"""The tables `[schedules.NAME]` of `pagesight.toml`: actions, times and options. Typed and closed."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from pipeline.core.errors import OutcomeError, SettingsError
from pipeline.core.file_patterns import parse_patterns
from pipeline.core.models import SLUG
from pipeline.core.schedules.times import (
    QuietHours,
    are_always,
    check_cron,
    cron_words,
    interval_words,
    is_quiet,
    newest_cron,
    newest_interval,
    next_cron,
    parse_interval,
    parse_zone,
)
from pipeline.core.stale_filter import Conditions, parse_conditions

#: Schedules that every fleet has; a table of the same name changes them.
BUILT_IN: Mapping[str, Mapping[str, Any]] = {
    "repair": {"action": "repair", "cron": "17 2 * * *"},
    "retry": {"action": "retry", "cron": "47 * * * *"},
}
#: Name under which each tick is recorded.
SWEEP = "sweep"


def _listed(given: Any) -> Any:
    return (given,) if isinstance(given, str) else given


def _interval(given: Any) -> Any:
    return parse_interval(given) if isinstance(given, str) else given


def _zone(given: Any) -> Any:
    return parse_zone(given) if isinstance(given, str) else given


def _whole_path(folder: str) -> str:
    """Refuse a relative path, which would name another folder on each worker."""
    if not folder.startswith("/") and "://" not in folder:
        raise ValueError(f"{folder!r} is neither an absolute path nor a URL")
    return folder


def _transient(code: str) -> str:
    """Refuse errors that no later attempt can resolve, since they would be retried for ever."""
    codes = sorted(kind.code for kind in OutcomeError.__subclasses__() if kind.transient)
    if code not in codes:
        raise ValueError(f"{code!r} is not a transient error; use one of {', '.join(codes)}")
    return code


def _patterns(given: tuple[str, ...]) -> tuple[str, ...]:
    try:
        parse_patterns(given)
    except SettingsError as error:
        raise ValueError(f"{error}. {error.remedy}") from None
    return given


CollectionName = Annotated[str, StringConstraints(pattern=f"^{SLUG}$")]
CollectionNames = Annotated[tuple[CollectionName, ...], BeforeValidator(_listed)]
Folder = Annotated[str, AfterValidator(_whole_path)]


class Schedule(BaseModel):
    """A repeated action."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    action: str
    enabled: bool = True
    cron: Annotated[str, AfterValidator(check_cron)] | None = None
    """Minute, hour, day of month, month and day of week, in `timezone`."""
    every: Annotated[timedelta, BeforeValidator(_interval)] | None = None
    """Interval; its multiples are counted from a Monday at midnight UTC."""
    timezone: Annotated[ZoneInfo, BeforeValidator(_zone)] = ZoneInfo("UTC")
    """Zone of the expression and of the quiet hours."""
    quiet: Annotated[tuple[QuietHours, ...], BeforeValidator(_listed)] = ()
    """Hours in which no run begins. A due run begins when they end."""

    @field_validator("quiet")
    @classmethod
    def _some_time_is_left(cls, quiet: tuple[QuietHours, ...]) -> tuple[QuietHours, ...]:
        if quiet and are_always(quiet):
            raise ValueError("these hours leave no time to run in")
        return quiet

    @model_validator(mode="after")
    def _one_way_to_say_when(self) -> Schedule:
        if (self.cron is None) == (self.every is None):
            raise ValueError("say when: either `cron` or `every`")
        return self

    @property
    def when(self) -> str:
        """Its times, in words."""
        words = f"every {interval_words(self.every)}" if self.every else cron_words(self.cron or "")
        quiet = f", not {' and '.join(map(str, self.quiet))}" if self.quiet else ""
        return words + quiet + (f" ({self.timezone.key})" if self.cron or self.quiet else "")

    def newest_time(self, now: datetime) -> datetime:
        """Return its last time at or before `now`."""
        return newest_interval(self.every, now) if self.every else newest_cron(self.cron or "", self.timezone, now)

    def next_time(self, now: datetime) -> datetime:
        """Return its first time after `now`."""
        if self.every:
            return newest_interval(self.every, now) + self.every
        return next_cron(self.cron or "", self.timezone, now)

    def is_quiet(self, now: datetime) -> bool:
        """Whether a moment is in its quiet hours."""
        return is_quiet(self.quiet, self.timezone, now)


class Sync(Schedule):
    """Runs `pagesight sync`."""

    action: Literal["sync"] = "sync"
    folders: Annotated[tuple[Folder, ...], BeforeValidator(_listed), Field(min_length=1)]
    """Absolute paths, or URLs of folders in buckets."""
    collection: CollectionName = "default"
    include: Annotated[tuple[str, ...], BeforeValidator(_listed), AfterValidator(_patterns)] = ()
    """Only files that match one of these patterns in gitignore's syntax."""
    exclude: Annotated[tuple[str, ...], BeforeValidator(_listed), AfterValidator(_patterns)] = ()
    """No files, folders and members that match one of these patterns."""
    delete: bool = False
    """Whether vanished files are deleted; never more than `pagesight sync` deletes without asking."""


class Retry(Schedule):
    """Retries transient failures."""

    action: Literal["retry"] = "retry"
    error: Annotated[str, AfterValidator(_transient)] | None = None
    """Code of the errors; all transient ones when None."""
    collection: CollectionName | None = None


class Repair(Schedule):
    """Runs `pagesight repair`."""

    action: Literal["repair"] = "repair"
    collections: CollectionNames = ()
    """All collections when empty."""


class Redescribe(Schedule):
    """Runs `pagesight redescribe` with a daily budget of tokens."""

    action: Literal["redescribe"] = "redescribe"
    budget_tokens: int = Field(ge=1)
    """Tokens per day, in the schedule's zone, for which runs enqueue pages."""
    where: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()

    @field_validator("where")
    @classmethod
    def _are_conditions(cls, where: tuple[str, ...]) -> tuple[str, ...]:
        try:
            parse_conditions(where)
        except SettingsError as error:
            raise ValueError(f"{error}. {error.remedy}") from None
        return where

    @property
    def conditions(self) -> Conditions:
        """Conditions for stale pages."""
        return parse_conditions(self.where)


class Reindex(Schedule):
    """Runs `pagesight reindex`."""

    action: Literal["reindex"] = "reindex"
    collections: CollectionNames = ()
    """All collections when empty."""
    keep: int = Field(default=1, ge=0)
    """Old indices to keep for a rollback."""


class Prune(Schedule):
    """Deletes old indices."""

    action: Literal["prune"] = "prune"
    keep: int = Field(default=1, ge=0)
    """Old indices to keep."""


TABLES: Mapping[str, type[Schedule]] = {
    "sync": Sync,
    "retry": Retry,
    "repair": Repair,
    "redescribe": Redescribe,
    "reindex": Reindex,
    "prune": Prune,
}


def parse_schedules(tables: Mapping[str, Any]) -> dict[str, Schedule]:
    """Return the schedules of a fleet by name: the built-in ones and those in the tables.

    A table without an action changes the built-in schedule of its name.

    Raises:
        SettingsError: a table is invalid; the message says what to write instead.
    """
    parsed = {}
    for name in sorted({*BUILT_IN, *tables}):
        given = tables.get(name, {})
        if not isinstance(given, Mapping):
            raise SettingsError(f"schedules.{name} is not a table", remedy=f"Write it as `[schedules.{name}]`.")
        parsed[name] = _parse(name, _completed(name, given))
    return parsed


def _completed(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    if "action" in given:
        return dict(given)
    own = dict(BUILT_IN.get(name, {}))
    if "every" in given:
        own.pop("cron", None)
    return own | dict(given)


def _parse(name: str, given: dict[str, Any]) -> Schedule:
    prefix = f"schedules.{name}"
    if not re.fullmatch(SLUG, name):
        raise SettingsError(
            f"{name!r} cannot be a schedule's name",
            remedy="Use up to 63 lower-case letters, digits, - and _, beginning with a letter or digit.",
        )
    if name == SWEEP:
        raise SettingsError(f"{prefix}: this name is reserved for the ticks", remedy="Choose another name.")
    action = str(given.get("action", ""))
    if action not in TABLES:
        what = f"unknown action {action!r}" if action else "an action is missing"
        there_are = f"Use one of {', '.join(TABLES)}."
        raise SettingsError(f"{prefix}: {what}", remedy=_nearest(action, TABLES, there_are))
    table = TABLES[action]
    known = [field for field in table.model_fields if field != "name"]
    for key in given:
        if key not in known:
            raise SettingsError(
                f"unknown key {prefix}.{key}", remedy=_nearest(key, known, f"Use one of {', '.join(known)}.")
            )
    try:
        return table.model_validate({**given, "name": name})
    except ValidationError as error:
        words = "; ".join(map(_explained, error.errors(include_url=False)))
        raise SettingsError(
            f"{prefix}: {words}", remedy="docs/operations.md describes the keys of schedules."
        ) from None


def _nearest(word: str, known: Mapping[str, Any] | list[str], otherwise: str) -> str:
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"Did you mean {near[0]}?" if near else otherwise


def _explained(problem: ErrorDetails) -> str:
    key = ".".join(map(str, problem["loc"]))
    words = problem["msg"].removeprefix("Value error, ")
    return f"{key}: {words}" if key else words
