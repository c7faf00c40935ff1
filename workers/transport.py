"""Kombu's Redis transport, corrected for lost connections.

When a channel closes, Kombu 5.7 puts its messages back into their queues, also while a thread still handles them: they
would be handled twice. It also does so while Redis is away, and later acknowledges such messages through the closed
channel. Both ended the worker (`'NoneType' object has no attribute 'client'`).
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
    """A channel that gives back its messages when the worker ends, and only then."""

    @property
    def do_restore(self) -> bool:  # type: ignore[override]
        """Whether closing the channel puts its unacknowledged messages back."""
        return state.should_stop is not None or state.should_terminate is not None

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:
        """Acknowledge a message, also one that was delivered before the connection was lost."""
        if self.closed:
            _remove(delivery_tag)
        else:
            super().basic_ack(delivery_tag, multiple)  # type: ignore[no-untyped-call]


class Transport(redis.Transport):
    """The transport that the setting `broker_transport` names."""

    Channel = Channel


def _remove(delivery_tag: str) -> None:
    """Remove a message from Kombu's deliveries. If Redis is away, it is delivered again later, which is safe."""
    try:
        with translated(), connect(load()) as client, client.pipeline() as pipe:
            pipe.zrem(UNACKED_INDEX, delivery_tag)
            pipe.hdel(UNACKED, delivery_tag)
            pipe.execute()
    except PagesightError as error:
        log.warning("a message could not be acknowledged", cause=str(error))
