"""Putting messages into the queues."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count

from celery import Celery
from kombu.exceptions import OperationalError

from pipeline.batches.messages import Message, kind_of, to_json
from pipeline.core.errors import ServiceUnavailable
from pipeline.core.retry import CancelToken, retry_until_available
from pipeline.local.redis import SERVICE
from workers.redis.connection import REDIS_WAITS_SECONDS

TASK = "pagesight.{kind}"


def publish(app: Celery, messages: Iterable[Message], lane: str, cancel: CancelToken) -> int:
    """Put messages into a lane, and return their number. Wait while Redis is away. Memory stays flat.

    Raises:
        Stopped: the token ended while Redis was away. Some messages may be in the queue.
    """
    published = count()
    with app.producer_pool.acquire(block=True) as producer:
        for message in messages:

            def send(message: Message = message) -> None:
                try:
                    app.send_task(
                        TASK.format(kind=kind_of(message)), kwargs=to_json(message), queue=lane, producer=producer
                    )
                except OperationalError as error:
                    raise ServiceUnavailable(SERVICE, f"the broker is away: {error}") from error

            retry_until_available(send, cancel, REDIS_WAITS_SECONDS)
            next(published)
    return next(published)
