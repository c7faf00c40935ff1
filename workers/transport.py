"""Kombu's Redis transport, mended in what happens when its connection is lost.

Kombu 5.7 puts the messages of a channel that closes back into their queues, also those that are being worked on: they
would be worked twice. And it asks Redis for that while Redis is away, or, when such a message is acknowledged later,
through the channel that is closed; either ended the worker (seen: `'NoneType' object has no attribute 'client'`).
"""

from __future__ import annotations

import structlog
from celery.worker import state
from kombu.transport import redis

from pipeline.core.errors import PagesightError
from pipeline.core.settings import load
from workers.redis.connection import connect, translated
from workers.redis.queues import UNACKED, UNACKED_INDEX

log = structlog.get_logger()


class Channel(redis.Channel):
    """A channel that gives back what it holds when its worker ends, and only then."""

    @property
    def do_restore(self) -> bool:  # type: ignore[override]
        """Whether closing the channel puts its unacknowledged messages back."""
        return state.should_stop is not None or state.should_terminate is not None

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:
        """Acknowledge a message, also one that came before the connection was lost."""
        if self.closed:
            _forget(delivery_tag)
        else:
            super().basic_ack(delivery_tag, multiple)  # type: ignore[no-untyped-call]


class Transport(redis.Transport):
    """What `broker_transport` names."""

    Channel = Channel


def _forget(delivery_tag: str) -> None:
    """Take a message out of the hands of workers. Where Redis is away, the message comes once more, which is safe."""
    try:
        with translated(), connect(load()) as client, client.pipeline() as pipe:
            pipe.zrem(UNACKED_INDEX, delivery_tag)
            pipe.hdel(UNACKED, delivery_tag)
            pipe.execute()
    except PagesightError as error:
        log.warning("a message could not be acknowledged", cause=str(error))
