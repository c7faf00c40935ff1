"""One delivered message: handled under the fleet's rules, then the messages that follow from it are published."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

import structlog

from pipeline.batches.handlers import BatchContext, MessageReport, handle_pages, handle_part, handle_project, quarantine
from pipeline.batches.listing import is_of_batch, walk_folder
from pipeline.batches.messages import Message, Pages, Part, Project, Walk, split, to_json
from pipeline.core.errors import ServiceRefused, ServiceUnavailable, SettingsError, Stopped
from pipeline.core.models import Batch
from pipeline.core.retry import ELASTICSEARCH_WAITS_SECONDS, CancelToken, retry_until_available
from pipeline.pages.roots import folder_of
from pipeline.services import own_folders
from pipeline.sources import Listing, PathFilter, list_folder
from workers.app import app, first_step_seconds
from workers.observability.logs import bound
from workers.observability.metrics import Ending
from workers.process import WorkerProcess
from workers.publishing import publish
from workers.recovery.poison import Death

#: Deaths of its worker after which a message is split into single pages.
SPLIT_DEATHS = 2
#: Deaths after which a single page is quarantined.
QUARANTINE_DEATHS = 3

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message in the hands of this process."""

    process: WorkerProcess
    message: Message
    lane: str
    tag: str
    """Delivery tag of the broker."""

    def handle(self) -> None:
        """Handle the message, and publish the messages that follow from it.

        Raises:
            Stopped: the process is to end and Redis is away. The message is not acknowledged, and is delivered again.
        """
        deaths = self._note(self.process.cancel, waiting=True)
        with bound(task=self.tag, message=self.message.id):
            try:
                self._publish(self._handled(deaths))
            except Exception:
                # Celery acknowledges the message even so. The batch stays open, and the sweep publishes its rest.
                log.exception("message failed", kind=type(self.message).__name__)
                raise
            finally:
                self._end()

    def _handled(self, deaths: list[Death]) -> list[Message]:
        """Return the messages that follow from this one; this one itself if it is handed back."""
        message, process = self.message, self.process
        if isinstance(message, Part | Pages) and len(deaths) >= SPLIT_DEATHS and not message.suspect:
            log.warning("split", deaths=len(deaths))
            chunk = process.archive.journal(message.batch).chunk(message.chunk)
            return [*split(message, len(chunk.entries))] if chunk else []
        cancel = self._cancel_token()
        try:
            with process.running.track(message, self.lane, cancel):
                process.fleet.hold(process.cancel)
                with self._gate(cancel):
                    self._note(cancel)
                    return retry_until_available(
                        lambda: self._dispatch(cancel, deaths), cancel, ELASTICSEARCH_WAITS_SECONDS
                    )
        except Stopped:
            pass
        except ServiceRefused as error:
            process.fleet.halt(error)
        except SettingsError as error:  # a setting of this machine, or of the batch: a person has to correct it
            process.fleet.halt(ServiceRefused("settings", str(error), remedy=error.remedy))
        return [message]

    def _cancel_token(self) -> CancelToken:
        """Return the token of this message. It ends at the time limit, or when the process, fleet or batch stops.

        A message that is cut off before its first page would come back as it was, and be cut off again.
        """
        process = self.process

        def is_cancelled() -> bool:
            return not process.fleet.is_running or process.batches.is_stopped(self.message)

        urgent = self.lane in ("control", "urgent")
        return process.cancel.within(
            process.settings.range_seconds,
            first_seconds=first_step_seconds(process.settings),
            urgent=urgent,
            cancelled=is_cancelled,
        )

    def _gate(self, cancel: CancelToken) -> AbstractContextManager[None]:
        is_suspect = isinstance(self.message, Part | Pages) and self.message.suspect
        return self.process.gate.alone(cancel) if is_suspect else self.process.gate.shared(cancel)

    def _dispatch(self, cancel: CancelToken, deaths: list[Death]) -> list[Message]:
        message, process = self.message, self.process
        if isinstance(message, Project):
            handle_project(message, process.services, cancel)
            return []
        batch = process.batches.enter(message.batch)
        if batch is None:
            return []
        if isinstance(message, Walk):
            if not is_of_batch(message, batch.roots):
                self._set_aside("its folder is not below a root of its batch")
                return []
            return list(walk_folder(message, process.archive, partial(self._list, batch)))
        with bound(batch=batch.id, collection=batch.collection):
            budget = process.batches.budget(batch)
            services = process.services.for_message(batch, cancel, budget.tokens)
            return self._process_pages(message, BatchContext(batch, services, MessageReport(), budget), deaths)

    def _process_pages(self, message: Part | Pages, context: BatchContext, deaths: list[Death]) -> list[Message]:
        ending: Ending = "failed"
        try:
            if message.suspect and len(deaths) >= QUARANTINE_DEATHS:
                follow = quarantine(message, _evidence(deaths), context)
            else:
                follow = handle_part(message, context) if isinstance(message, Part) else handle_pages(message, context)
            ending = "handed_back" if message in follow else "done"
        except Stopped:
            ending = "handed_back"
            raise
        except ServiceRefused:
            ending = "refused"
            raise
        finally:
            self.process.count(context.report, ending)
        return follow

    def _set_aside(self, cause: str) -> None:
        log.error("message is set aside", cause=cause)
        self.process.queues.set_aside(self.lane, str(to_json(self.message)), cause)

    def _list(self, batch: Batch, walk: Walk) -> Listing:
        folder = folder_of(batch, walk.root)
        listing = list_folder(walk.url, folder, walk.cursor, own_folders(self.process.settings))
        return PathFilter(batch.patterns).listing(listing)

    def _publish(self, messages: list[Message]) -> None:
        if self.process.batches.may_publish_for(self.message):
            publish(app, messages, self.lane, self.process.cancel)

    def _note(self, cancel: CancelToken, *, waiting: bool = False) -> list[Death]:
        """Note that this process has the message, and return the deaths that the message has caused."""
        return retry_until_available(
            lambda: self.process.poison.begin(self.message.id, self.tag, waiting=waiting),
            cancel,
            ELASTICSEARCH_WAITS_SECONDS,
        )

    def _end(self) -> None:
        try:
            self.process.poison.end(self.message.id)
        except ServiceUnavailable:
            log.warning("redis is away: the note of a message stays until its process ends")


def _evidence(deaths: list[Death]) -> str:
    words = "; ".join(f"{death.worker} at {death.since}" for death in deaths)
    return f"its process died {len(deaths)} times while it handled this page alone: {words}"
