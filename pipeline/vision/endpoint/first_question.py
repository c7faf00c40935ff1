"""The first question of a process to an endpoint: it finds a wrong setting before any page is paid for.

It is a short question about a real page image, with the largest `max_tokens` that the profile will ask for. One thread
asks, and the others wait for the answer. So an endpoint that refuses images, the size of the request, the context or a
parameter costs one or two calls, however many pages wait.

The answer is remembered for the process and no longer: a server can be started with other flags at any time, and one
short call per process costs less than a wrong memory.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from pipeline.core.retry import STOP_POLL_SECONDS, CancelToken
from pipeline.vision.endpoint.limits import refuse_if_stopped

FIRST_PROMPT = "Does this image show a page? Answer yes or no."


class FirstQuestion:
    """Remembers what an endpoint accepted. The threads of a process share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._accepted_tokens = 0

    def ensure_accepted(self, max_tokens: int, ask: Callable[[], object], cancel: CancelToken) -> None:
        """Return once a question with at least this `max_tokens` was accepted. `ask` asks it; its errors pass through.

        Raises:
            Stopped: the token was cancelled while another thread asked.
        """
        if max_tokens <= self._accepted_tokens:
            return
        while not self._lock.acquire(timeout=STOP_POLL_SECONDS):
            refuse_if_stopped(cancel)
        try:
            if max_tokens > self._accepted_tokens:
                ask()
                self._accepted_tokens = max_tokens
        finally:
            self._lock.release()
