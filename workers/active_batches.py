"""The batches whose messages a worker process handles: whether they are live, their budgets, their end."""

from __future__ import annotations

import threading

import structlog

from pipeline.archive import Archive
from pipeline.batches.budget import BatchBudget, is_out_of_budget
from pipeline.batches.ending import end_if_done
from pipeline.batches.listing import is_live
from pipeline.batches.messages import Message, Project
from pipeline.batches.progress import BatchLedger
from pipeline.core.errors import ServiceRefused, ServiceUnavailable, Stopped
from pipeline.core.models import Batch
from pipeline.pages.page_services import PageServices
from workers.running import RunningMessages

#: How often a process checks whether its batches have ended.
CLOSE_SECONDS = 2.0

log = structlog.get_logger()


class ActiveBatches:
    """The batches of one process. Its threads share it."""

    def __init__(self, services: PageServices, running: RunningMessages, archive: Archive) -> None:
        """Follow the batches of a process. Calls of `archive` do not wait, so the housekeeping goes on."""
        self._services = services
        self._archive = archive
        self._running = running
        self._stopped: set[str] = set()
        """Batches with running messages that were paused, cancelled or ended."""
        self._entered: set[str] = set()
        """Batches whose end this process has not seen yet."""
        self._budgets: dict[str, BatchBudget] = {}
        self._lock = threading.Lock()

    def enter(self, batch_id: str) -> Batch | None:
        """Return a batch whose message is to be handled, or None where the batch is paused or over."""
        batch = self.live(batch_id)
        if batch is not None:
            self._entered.add(batch_id)
        return batch

    def live(self, batch_id: str) -> Batch | None:
        """Return a batch that is to go on, or None. The archive is read: `refresh` may be some seconds old."""
        batch = self._archive.batches[batch_id].newest()
        live = is_live(batch)
        # Running messages of a batch whose budget is used up finish the pages that the budget has paid for.
        goes_on = live or (batch is not None and is_out_of_budget(batch))
        (self._stopped.discard if goes_on else self._stopped.add)(batch_id)
        return batch if live else None

    def is_stopped(self, message: Message) -> bool:
        """Whether the batch of a running message was paused, cancelled or ended, as of the last refresh."""
        return not isinstance(message, Project) and message.batch in self._stopped

    def may_publish_for(self, message: Message) -> bool:
        """Whether messages that follow from this one belong into a queue. Messages of a stopped batch do not."""
        if isinstance(message, Project) or message.batch not in self._stopped:
            return True
        try:
            return self.live(message.batch) is not None
        except ServiceUnavailable:  # the archive is missing: the message is dropped later if its batch is over
            return True

    def refresh(self) -> None:
        """Read the state of each batch that has a running message."""
        running = self._running.batches()
        for batch_id in running | self._stopped:
            self.live(batch_id)
        self._stopped &= running

    def budget(self, batch: Batch) -> BatchBudget:
        """Return the budget that this process has reserved of a batch's budget."""
        with self._lock:
            return self._budgets.setdefault(batch.id, BatchBudget(self._services.archive, batch))

    def close_idle_budgets(self) -> None:
        """Give back the unused reservations of batches without a running message."""
        with self._lock:  # also while the running messages are listed: a message that begins now takes a new budget
            idle = self._budgets.keys() - self._running.batches_with_budgets()
            closing = [self._budgets.pop(batch_id) for batch_id in idle]
        for budget in closing:
            budget.close()

    def close_until(self, ending: threading.Event) -> None:
        """Archive the end of entered batches, every few seconds until the event is set."""
        ledgers: dict[str, BatchLedger] = {}
        while not ending.wait(CLOSE_SECONDS):
            try:
                self.close_idle_budgets()
                for batch_id in list(self._entered):
                    self._close(batch_id, ledgers)
            except Stopped:
                return
            except (ServiceUnavailable, ServiceRefused) as error:
                log.warning("batches cannot be closed now", cause=str(error))

    def _close(self, batch_id: str, ledgers: dict[str, BatchLedger]) -> None:
        archive = self._services.archive  # its calls wait: a scan of many calls would seldom pass a disk that fails
        batch = archive.batches[batch_id].newest()
        if batch is None or not is_live(batch):
            if batch is not None and is_out_of_budget(batch):
                self._project(batch)
            self._entered.discard(batch_id)
            ledgers.pop(batch_id, None)
            return
        ledger = ledgers.setdefault(batch_id, BatchLedger(archive, batch))
        ended = end_if_done(ledger, self._services)
        if ended is not None:
            log.info("batch ended", batch=batch_id)
            self._project(ended)

    def _project(self, batch: Batch) -> None:
        """Write the record of a batch, and make its pages visible to searches."""
        self._services.projector.batch(batch)
        self._services.projector.refresh()
