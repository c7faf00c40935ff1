"""An application with the configuration of the workers and one task that leaves a mark."""

from __future__ import annotations

from celery import Celery

from pipeline.core.settings import load
from workers.app import configuration
from workers.redis.connection import connect

settings = load()
app = Celery("configured")
often = {"task": "configured.mark", "schedule": 0.5, "options": {"queue": "normal"}}
app.conf.update({**configuration(settings), "imports": [], "beat_schedule": {"mark": often}})


@app.task(name="configured.mark")
def mark() -> None:
    """Leave a mark in Redis."""
    connect(settings).set("test:mark", 1)
