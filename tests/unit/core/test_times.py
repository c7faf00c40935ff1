"""Times of files, also those that no date can hold."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from pipeline.core.times import moment_of, nanoseconds_of

SECOND = 10**9


@pytest.mark.parametrize(
    ("nanoseconds", "moment"),
    [
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
        (-1, datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)),
        (1_700_000_000_123_456_789, datetime(2023, 11, 14, 22, 13, 20, 123456, tzinfo=UTC)),
        (253_402_300_800 * SECOND - 1, datetime.max.replace(tzinfo=UTC)),
        (-62_135_596_800 * SECOND, datetime.min.replace(tzinfo=UTC)),
        (253_402_300_800 * SECOND, None),
        (-62_135_596_800 * SECOND - 1, None),
        (2**63 * SECOND, None),
        (-(2**63) * SECOND, None),
    ],
)
def test_a_time_that_no_date_can_hold_is_none(nanoseconds: int, moment: datetime | None) -> None:
    assert moment_of(nanoseconds) == moment


@pytest.mark.parametrize("year", [1, 1969, 2026, 9999])
def test_nanoseconds_lead_back_to_their_time(year: int) -> None:
    naive = datetime(year, 12, 31, 23, 59, 59, 7)
    assert moment_of(nanoseconds_of(naive)) == naive.replace(tzinfo=UTC)
    east = naive.replace(tzinfo=timezone(timedelta(hours=14)))
    assert nanoseconds_of(naive) - nanoseconds_of(east) == 14 * 3600 * SECOND
