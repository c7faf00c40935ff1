"""Tokens from the archive, remembered for some seconds so that a page with many images reads each token once."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from pipeline.archive import Archive
from pipeline.core.models import AccessToken
from pipeline.verbs.tokens import valid_token

#: Seconds after which a token is read again: a revocation takes effect within them.
SECONDS_KEPT = 10.0


class TokenReader:
    """Looks tokens up. Threads share it."""

    def __init__(self, archive: Archive, clock: Callable[[], float] = time.monotonic) -> None:
        self._archive = archive
        self._clock = clock
        self._valid: dict[str, tuple[float, AccessToken]] = {}
        """Valid tokens by text, with the time until which they are believed."""
        self._exists = False
        self._looked_at = -SECONDS_KEPT

    def find(self, text: str) -> AccessToken | None:
        """Return the valid token with this text, or None."""
        now = self._clock()
        until, known = self._valid.get(text, (now, None))
        if known is not None and now < until:
            return known
        token = valid_token(self._archive, text, datetime.now(UTC))
        if token is None:
            self._valid.pop(text, None)
        else:
            self._valid[text] = (now + SECONDS_KEPT, token)
        return token

    def any(self) -> bool:
        """Whether any token was ever made. From then on, every request needs one."""
        now = self._clock()
        if not self._exists and now - self._looked_at >= SECONDS_KEPT:
            self._exists, self._looked_at = bool(self._archive.tokens.names()), now
        return self._exists
