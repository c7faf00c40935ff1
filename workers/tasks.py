"""The tasks, without stage logic: each parses its message and hands it to a `Delivery`.

A message is acknowledged when its task returns. By then the messages that follow from it are in the queue.
"""

from __future__ import annotations

from typing import Any

from celery import Task
from celery.exceptions import Reject

from pipeline.batches.messages import from_json
from pipeline.core.errors import Stopped
from workers import lifecycle  # noqa: F401  its receivers of Celery's signals
from workers.app import app
from workers.delivery import Delivery
from workers.observability import logs  # noqa: F401  its receivers of Celery's signals
from workers.process import WorkerProcess
from workers.schedules import beat, ticks


def _deliver(task: Task, kind: str, fields: dict[str, Any]) -> None:
    delivery = task.request.delivery_info
    try:
        Delivery(WorkerProcess.current(), from_json(kind, fields), delivery["routing_key"], delivery_tag(task)).handle()
    except Stopped as error:  # Redis was away; if it is back, the message returns to its queue unchanged
        raise Reject(str(error), requeue=True) from error


def delivery_tag(task: Task) -> str:
    """Return the tag under which Redis keeps the message of a task."""
    return str(task.request.properties["delivery_tag"])


@app.task(name="pagesight.walk", bind=True)
def walk(task: Task, **fields: Any) -> None:
    """List a directory, or one page of a bucket."""
    _deliver(task, "walk", fields)


@app.task(name="pagesight.part", bind=True)
def part(task: Task, **fields: Any) -> None:
    """Register up to 16 sources, and process the pages of small ones."""
    _deliver(task, "part", fields)


@app.task(name="pagesight.pages", bind=True)
def pages(task: Task, **fields: Any) -> None:
    """Process up to 16 pages of a document."""
    _deliver(task, "pages", fields)


@app.task(name="pagesight.project", bind=True)
def project(task: Task, **fields: Any) -> None:
    """Bring records up to date with the archive."""
    _deliver(task, "project", fields)


@app.task(name=ticks.TASK, bind=True)
def tick(task: Task, **_fields: Any) -> None:
    """Sweep, and run the schedules that are due. Fields of a newer version's tick are ignored."""
    beat.receive(WorkerProcess.current(), task.request.get(ticks.CLOCK_OFFSET))
