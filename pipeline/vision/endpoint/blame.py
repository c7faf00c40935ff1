"""Decides whether a refusal concerns one page or every request of this process.

A page's failure is the page's own as long as other pages are answered. Where none was answered since the last failure,
a trivial question decides: a blank page with the same limit of tokens. If the endpoint refuses that as well, it would
refuse every page, and the run halts with the server's words. If it does not answer that usably either, the run waits:
what stands between may come back by itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from pipeline.core.errors import AnswerRefused, AnswerUnusable, ServiceRefused, ServiceUnavailable
from pipeline.vision.endpoint.http_errors import SERVICE, remedy_by_words

#: Pages that fail one after the other with the same words before the endpoint is to blame although it answers the
#: trivial question: what is too large for it is a real page. Only until the process has had an answer about a page.
SAME_FAILURES = 4

#: For this many seconds, a refusal of every request stands for the calls of other threads. They wait for the first
#: question, or begin before the run has ended. No endpoint is mended and resumed within this time.
REFUSAL_SECONDS = 1.0

PageFailure = AnswerRefused | AnswerUnusable


class Blame:
    """The failures and answers of one endpoint in this process. Its threads share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._has_answered = False
        self._same = 0
        self._words = ""
        self._failed_last = False
        self._refusal: ServiceRefused | None = None
        self._refused_at = 0.0

    def note_refusal(self, refusal: ServiceRefused) -> None:
        """Note that the endpoint refuses every request. A refusal that is still remembered stays."""
        if not self._remembers_refusal():
            self._refusal, self._refused_at = refusal, time.monotonic()

    def raise_refusal(self) -> None:
        """Raise a refusal of every request that was noted a moment ago, so that no further call is made.

        Raises:
            ServiceRefused: the endpoint refuses every request.
        """
        refusal = self._refusal
        if refusal is not None and self._remembers_refusal():
            raise ServiceRefused(refusal.service, str(refusal), remedy=refusal.remedy) from refusal

    def _remembers_refusal(self) -> bool:
        return self._refusal is not None and time.monotonic() - self._refused_at < REFUSAL_SECONDS

    def answered(self) -> None:
        """Note an answer about a page."""
        self._has_answered, self._failed_last, self._same = True, False, 0

    def failed(self, failure: PageFailure, ask_trivial: Callable[[], object]) -> None:
        """Return if the failure is the page's own.

        Args:
            failure: of a request about a page.
            ask_trivial: sends the trivial question.

        Raises:
            ServiceRefused: the endpoint refuses every request.
            ServiceUnavailable: nothing that it answers can be used.
            ServiceUnavailable, Stopped: as `ask_trivial` raises them.
        """
        with self._lock:
            # Without digits: servers put times, sizes and the ids of requests into their words.
            words = "".join(char for char in str(failure) if not char.isdigit())
            self._same = self._same + 1 if words == self._words else 1
            self._words = words
            is_first_after_an_answer = self._has_answered and not self._failed_last
            self._failed_last = True
            if is_first_after_an_answer:
                return
            try:
                ask_trivial()
            except AnswerRefused as again:
                raise _refused(again, "A trivial question about a blank page is refused as well.") from failure
            except AnswerUnusable as again:
                text = f"{again}. The answer to a trivial question is not usable either."
                raise ServiceUnavailable(SERVICE, text, remedy=again.remedy) from failure
            if not self._has_answered and self._same >= SAME_FAILURES:
                note = f"{self._same} pages ended this way, one after the other, and none was answered."
                raise _refused(failure, note) from failure


def _refused(failure: PageFailure, note: str) -> ServiceRefused:
    own = failure.remedy if failure.remedy != type(failure).remedy else ""
    return ServiceRefused(SERVICE, f"{failure}. {note}", remedy=own or remedy_by_words(str(failure)))
