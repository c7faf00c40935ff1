"""Kombu's Redis transport, with our connections, and corrected for lost ones.

Kombu takes TLS and UNIX sockets from the scheme of the broker's URL, which it does not see when another transport is
named. Each channel therefore connects with the parameters of `workers.redis.connection`, like every other client.

When a channel closes, Kombu 5.7 puts its messages back into their queues, also while a thread still handles them: they
would be handled twice. It also does so while Redis is away, and later acknowledges such messages through the closed
channel. Both ended the worker (`'NoneType' object has no attribute 'client'`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import structlog
from celery import current_app
from celery.worker import state
from kombu.transport import redis
from redis import exceptions

from pipeline.core.errors import PagesightError
from pipeline.core.settings import load
from workers.redis.connection import RedisEndpoint, connect, is_of_wrong_type, translated
from workers.redis.dead_letters import problem, problem_of_taken, set_aside, set_aside_keys_of_wrong_type
from workers.redis.queues import UNACKED, UNACKED_INDEX

#: Key of the transport options with the `RedisEndpoint`.
ENDPOINT = "endpoint"
#: Cause of a dead letter.
WRONG_TYPE = "a key of the queues has another type"

log = structlog.get_logger()


class _MessagesOnly(redis.PrefixedStrictRedis):
    """Kombu's client. It takes from the lanes what is a message, and sets everything else aside.

    Kombu and Celery end the worker at some elements that are not messages.
    """

    def parse_response(self, connection: Any, command_name: str, **options: Any) -> Any:
        """Return the answer to a command; to `BRPOP` without a message, the same as for empty lanes."""
        try:
            answer = super().parse_response(connection, command_name, **options)  # type: ignore[no-untyped-call]
        except exceptions.ResponseError as error:
            if command_name != "BRPOP" or not is_of_wrong_type(error):
                raise
            _set_aside("", "", WRONG_TYPE)
            return None
        if command_name != "BRPOP" or not answer:
            return answer
        lane, element = answer
        lane = lane.decode() if isinstance(lane, bytes) else lane
        cause = problem(element, lane, current_app.tasks)
        if cause is None:
            return answer
        _set_aside(lane, element, cause)
        return None


class QoS(redis.QoS):
    """The messages that a channel's worker has taken. Entries that are not messages are not put back."""

    def append(self, message: Any, delivery_tag: str) -> None:
        """Note that this worker has taken a message."""
        _with_right_types(partial(super().append, message, delivery_tag))

    def ack(self, delivery_tag: str) -> None:
        """Remove a message that was handled."""
        _with_right_types(partial(super().ack, delivery_tag))

    def restore_visible(self, *args: Any, **options: Any) -> None:
        """Put back the messages whose visibility timeout has passed."""
        _with_right_types(partial(super().restore_visible, *args, **options))

    def restore_by_tag(self, tag: str, client: Any = None, leftmost: bool = False) -> None:
        """Put a message back into its lane."""
        with self.channel.conn_or_acquire(client) as connected:
            entry = connected.hget(self.unacked_key, tag)
            cause = problem_of_taken(entry) if entry is not None else None
            if cause is not None:
                _set_aside("unacked", entry, cause)
                self._remove_from_indices(tag).execute()  # type: ignore[no-untyped-call]
                return
        super().restore_by_tag(tag, client, leftmost)  # type: ignore[no-untyped-call]


class Channel(redis.Channel):
    """A channel that gives back its messages when the worker ends, and only then."""

    QoS = QoS

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

    def _get_client(self) -> Any:
        """Return the class of this channel's clients."""
        return partial(_MessagesOnly, global_keyprefix=self.global_keyprefix)

    def _size(self, queue: str) -> int:
        """Return how many messages wait in a queue."""
        return int(_with_right_types(partial(super()._size, queue)))

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        """Return the parameters of this channel's connections."""
        named: RedisEndpoint = self.connection.client.transport_options[ENDPOINT]
        parameters = named.parameters() | {
            "max_connections": self.max_connections,
            "health_check_interval": self.health_check_interval,
        }
        if asynchronous:
            parameters["connection_class"] = self._polled(parameters["connection_class"])
        return parameters

    def _polled(self, kind: Any) -> type:
        """Return a class of connections that leave Kombu's poller when they are closed."""
        channel = self

        class Polled(kind):  # type: ignore[misc]
            def disconnect(self, *args: Any, **options: Any) -> None:
                super().disconnect(*args, **options)
                if channel._registered:
                    channel._on_connection_disconnect(self)  # type: ignore[no-untyped-call]

        return Polled


class Transport(redis.Transport):
    """The transport that the setting `broker_transport` names."""

    Channel = Channel


def _with_right_types(call: Callable[[], Any]) -> Any:
    """Return the result of a call. If a key has the wrong type, set it aside and call again."""
    try:
        return call()
    except exceptions.ResponseError as error:
        if not is_of_wrong_type(error):
            raise
        _set_aside("", "", WRONG_TYPE)
        return call()


def _set_aside(lane: str, element: str | bytes, cause: str) -> None:
    """Set an element aside, or all keys of the wrong type without a lane. While Redis is away, the log alone has it."""
    log.error("not a message: it is set aside", lane=lane, cause=cause, element=element[:200])
    try:
        with connect(load()) as client:
            if lane:
                set_aside(client, lane, element, cause)
            else:
                set_aside_keys_of_wrong_type(client)
    except PagesightError as error:
        log.warning("a dead letter could not be stored", cause=str(error))


def _remove(delivery_tag: str) -> None:
    """Remove a message from Kombu's deliveries. If Redis is away, it is delivered again later, which is safe."""
    try:
        with translated(), connect(load()) as client, client.pipeline() as pipe:
            pipe.zrem(UNACKED_INDEX, delivery_tag)
            pipe.hdel(UNACKED, delivery_tag)
            pipe.execute()
    except PagesightError as error:
        log.warning("a message could not be acknowledged", cause=str(error))
