"""The messages that a worker process handles at this moment, and the preemption of low lanes by urgent messages."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pipeline.batches.messages import Message, Pages, Part, Project
from pipeline.core.retry import CancelToken

#: Lanes whose messages give way to urgent ones.
LOW_LANES = ("normal", "backfill")


@dataclass(frozen=True, slots=True)
class Running:
    """A message that a thread handles."""

    message: Message
    lane: str
    cancel: CancelToken


class RunningMessages:
    """The messages in the hands of one process. Its threads share it."""

    def __init__(self) -> None:
        self._by_thread: dict[int, Running] = {}
        self._lock = threading.Lock()

    @contextmanager
    def track(self, message: Message, lane: str, cancel: CancelToken) -> Iterator[None]:
        """Count a message as running within the block."""
        thread = threading.get_ident()
        with self._lock:
            self._by_thread[thread] = Running(message, lane, cancel)
        try:
            yield
        finally:
            with self._lock:
                del self._by_thread[thread]

    def __len__(self) -> int:
        return len(self.snapshot())

    def snapshot(self) -> list[Running]:
        """Return the running messages."""
        with self._lock:
            return list(self._by_thread.values())

    def batches(self) -> set[str]:
        """Return the ids of the batches that have a running message."""
        return {each.message.batch for each in self.snapshot() if not isinstance(each.message, Project)}

    def batches_with_budgets(self) -> set[str]:
        """Return the ids of the batches whose running messages may spend tokens or pages."""
        return {each.message.batch for each in self.snapshot() if isinstance(each.message, Part | Pages)}

    def preempt(self, waiting: int, slots: int) -> None:
        """Stop one message of the low lanes for each urgent message that waits for a slot, while all slots are taken.

        A stopped message hands back the pages that it has not begun.
        """
        running = self.snapshot()
        if len(running) < slots:
            return
        low = [each for each in running if each.lane in LOW_LANES]
        stopping = sum(each.cancel.stopped for each in low)
        for each in [each for each in low if not each.cancel.stopped][: max(0, waiting - stopping)]:
            each.cancel.stop()
