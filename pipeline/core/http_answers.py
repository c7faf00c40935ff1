"""Rules that all clients of models share: bounds of a server's words and waits, keys, and hosts of this machine."""

from __future__ import annotations

import ipaddress
import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

#: Longest excerpt of a server's message in an error.
WORDS_MAX_CHARACTERS = 500
#: Upper bound of a wait that a server requests: one probe per hour costs nothing.
RETRY_AFTER_MAX_SECONDS = 3600.0


def is_loopback(host: str) -> bool:
    """Whether a host is this machine. Proxies of the environment do not apply to its services."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_usable_key(key: str) -> bool:
    """Whether a key can be sent. Another one is refused early: an HTTP library's error would quote it."""
    return key.isascii() and key.isprintable() and " " not in key


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of `Retry-After`, a number or a date (RFC 9110, 10.2.3); None if it cannot be parsed."""
    value = headers.get("Retry-After", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        seconds = _seconds_until(value, headers.get("Date"))
    return None if math.isnan(seconds) else min(max(seconds, 0.0), RETRY_AFTER_MAX_SECONDS)


def _seconds_until(date: str, sent_at: str | None) -> float:
    # If the server sends its own date, both dates are the server's, and a wrong clock here does not matter.
    try:
        until = parsedate_to_datetime(date).timestamp()
        return until - (parsedate_to_datetime(sent_at).timestamp() if sent_at else time.time())
    except (ValueError, OverflowError):
        return math.nan
