"""Times of cron expressions, intervals and quiet hours. Arguments and results are in UTC; a zone gives their meaning.

Where clocks change, cron expressions follow the rules of Debian's cron, and each time occurs exactly once: a time that
the clocks skip occurs right after the gap, and a repeated one occurs the first time. Expressions whose minute or hour
begins with `*`, and intervals, follow elapsed time.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from cronsim import CronSim, CronSimError
from pydantic import BaseModel, ConfigDict, Field, model_validator

#: Intervals are counted from this Monday, so that all beats agree on their times.
_EPOCH = datetime(1970, 1, 5, tzinfo=UTC)
_MINUTE = timedelta(minutes=1)
#: Longest change of clocks.
_CHANGE = timedelta(hours=3)
_FIELDS = 5
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_DAY_MINUTES = 24 * 60


class QuietHours(BaseModel):
    """A part of each day, in minutes since midnight. One that ends before it starts spans midnight."""

    model_config = ConfigDict(frozen=True)

    start: int = Field(ge=0, lt=_DAY_MINUTES)
    end: int = Field(ge=0, le=_DAY_MINUTES)
    """The first minute after the quiet hours."""

    @model_validator(mode="before")
    @classmethod
    def _parsed(cls, given: Any) -> Any:
        if not isinstance(given, str):
            return given
        found = re.fullmatch(r"(\d\d?):(\d\d)-(\d\d?):(\d\d)", given.replace(" ", ""))
        if found is None or int(found[2]) > 59 or int(found[4]) > 59:
            raise ValueError(f"{given!r} are not quiet hours: write them like '08:00-18:00' or '22:00-06:00'")
        start, end = int(found[1]) * 60 + int(found[2]), int(found[3]) * 60 + int(found[4])
        if start == end:
            raise ValueError(f"{given!r} has no length")
        return {"start": start, "end": end}

    def __str__(self) -> str:
        return "-".join(f"{minutes // 60:02}:{minutes % 60:02}" for minutes in (self.start, self.end))

    def hold(self, minute: int) -> bool:
        """Whether a minute of the day is in them."""
        if self.start < self.end:
            return self.start <= minute < self.end
        return minute >= self.start or minute < self.end


def is_quiet(hours: tuple[QuietHours, ...], zone: ZoneInfo, now: datetime) -> bool:
    """Whether a moment is in the quiet hours of a zone."""
    local = now.astimezone(zone)
    return any(some.hold(local.hour * 60 + local.minute) for some in hours)


def are_always(hours: tuple[QuietHours, ...]) -> bool:
    """Whether quiet hours cover the whole day."""
    return all(any(some.hold(minute) for some in hours) for minute in range(_DAY_MINUTES))


def check_cron(expression: str) -> str:
    """Check a cron expression and return it.

    Raises:
        ValueError: it does not have five fields, or never matches.
    """
    if len(expression.split()) != _FIELDS:  # cronsim would take a sixth field for seconds
        raise ValueError(f"{expression!r} is not a cron expression: minute, hour, day, month and weekday")
    try:
        CronSim(expression, datetime.now(UTC))
    except CronSimError as error:
        raise ValueError(f"{expression!r} is not a cron expression: {error}") from None
    return expression


def cron_words(expression: str) -> str:
    """Return a cron expression in words."""
    return CronSim(expression, datetime.now(UTC)).explain()


def parse_interval(words: str) -> timedelta:
    """Parse an interval such as `15m`, `6h`, `1d` or `2w`.

    Raises:
        ValueError: it is not an interval.
    """
    found = re.fullmatch(r"(\d{1,5})([mhdw])", words)
    if found is None or not int(found[1]):
        raise ValueError(f"{words!r} is not an interval: write it like '15m', '6h', '1d' or '2w'")
    return int(found[1]) * _UNITS[found[2]]


def interval_words(every: timedelta) -> str:
    """Return an interval in words, in its largest whole unit."""
    unit = next(unit for unit in reversed(_UNITS) if every % _UNITS[unit] == timedelta(0))
    return f"{every // _UNITS[unit]}{unit}"


def parse_zone(name: str) -> ZoneInfo:
    """Return a time zone by its IANA name.

    Raises:
        ValueError: the name is unknown.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        near = difflib.get_close_matches(name, available_timezones(), n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else "write an IANA name such as 'Europe/Berlin'"
        raise ValueError(f"unknown time zone {name!r}: {hint}") from None


def newest_cron(expression: str, zone: ZoneInfo, now: datetime) -> datetime:
    """Return the last time of a cron expression at or before `now`."""
    minute = now.replace(second=0, microsecond=0) + _MINUTE
    # Searching backwards, the library misses times around a change of clocks: search forwards again from there.
    for near in CronSim(expression, minute.astimezone(zone), reverse=True):
        found = list(takewhile(lambda time: time <= now, _times(expression, zone, near.astimezone(UTC) - _CHANGE)))
        if found:
            return found[-1]
    raise AssertionError(f"{expression} never matched")


def next_cron(expression: str, zone: ZoneInfo, now: datetime) -> datetime:
    """Return the first time of a cron expression after `now`."""
    return next(time for time in _times(expression, zone, now) if time > now)


def _times(expression: str, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    return (time.astimezone(UTC) for time in CronSim(expression, after.astimezone(zone)))


def newest_interval(every: timedelta, now: datetime) -> datetime:
    """Return the last multiple of an interval at or before `now`."""
    return _EPOCH + (now - _EPOCH) // every * every
