"""Schedules: repeated actions, their times, and which of them are due. Pure functions without I/O."""

from pipeline.core.schedules.runs import ATTEMPTS, SILENT_SECONDS, claim_now, due, ended_by_death, has_died, next_start
from pipeline.core.schedules.tables import (
    Prune,
    Redescribe,
    Reindex,
    Repair,
    Retry,
    Schedule,
    Sync,
    parse_schedules,
)
from pipeline.core.schedules.times import newest_cron, next_cron

__all__ = [
    "ATTEMPTS",
    "SILENT_SECONDS",
    "Prune",
    "Redescribe",
    "Reindex",
    "Repair",
    "Retry",
    "Schedule",
    "Sync",
    "claim_now",
    "due",
    "ended_by_death",
    "has_died",
    "newest_cron",
    "next_cron",
    "next_start",
    "parse_schedules",
]
