"""Times as files and services report them. They can be outside the years 1 to 9999 that dates have."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment_of(nanoseconds: int) -> datetime | None:
    """Return the time at this number of nanoseconds after 1970, to the microsecond; None outside years 1 to 9999."""
    try:
        return _EPOCH + timedelta(microseconds=nanoseconds // 1000)
    except OverflowError:
        return None


def nanoseconds_of(moment: datetime) -> int:
    """Return the nanoseconds from 1970 to a time. A time without zone is in UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(microseconds=1) * 1000
