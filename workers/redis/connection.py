"""The connection to Redis, and the translation of redis-py's errors into ours. No other module has either."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from redis import Redis, exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from pipeline.core.errors import PagesightError, ServiceRefused, ServiceUnavailable, SettingsError
from pipeline.core.settings import Settings, masked
from pipeline.local.redis import LocalRedis

SERVICE = "redis"
#: Seconds to wait after the 1st, 2nd, … failure; the last one repeats. Redis restarts within a second.
REDIS_WAITS_SECONDS = (0.5, 1.0, 2.0, 5.0)
CONNECT_SECONDS = 5.0
#: Redis answers each of our commands within milliseconds.
ANSWER_SECONDS = 15.0
#: Broker URL while none is configured. Celery needs one, and no command of ours uses it.
_NO_BROKER = "redis://127.0.0.1:6379/0"

AWAY_REMEDY = "Check that Redis runs and that PAGESIGHT_REDIS_URL names it; `pagesight redis start` starts a local one."
KEY_REMEDY = "Set PAGESIGHT_REDIS_URL to redis://USER:PASSWORD@HOST:PORT/0, with a user who may run all commands."
SERVER_REMEDY = "Pagesight needs Redis 6.2 or newer, not a cluster; check the server that PAGESIGHT_REDIS_URL names."

#: Permanent errors, each with its remedy. They are matched first, since some are connection errors too.
_REFUSED: dict[type[Exception], str] = {
    exceptions.AuthenticationError: KEY_REMEDY,
    exceptions.AuthenticationWrongNumberOfArgsError: KEY_REMEDY,
    exceptions.AuthorizationError: KEY_REMEDY,
    exceptions.ExternalAuthProviderError: KEY_REMEDY,
    exceptions.NoPermissionError: KEY_REMEDY,
}
#: Transient errors: Redis is away, starting, full or failing over.
_TRANSIENT = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.OutOfMemoryError,
    exceptions.ReadOnlyError,
    exceptions.TryAgainError,
    exceptions.ClusterDownError,
    exceptions.WatchError,
)
#: First words of transient server errors that have no class: a full disk, a script that keeps Redis busy.
_TRANSIENT_WORDS = ("MISCONF", "BUSY", "NOREPLICAS")


def broker_url(settings: Settings) -> str:
    """Return the URL for Celery. No connection is made."""
    return settings.redis_url or LocalRedis(settings.home).status().url or _NO_BROKER


def connect(settings: Settings) -> Redis:
    """Return a client, without a connection yet. It does not retry: `pipeline.core.retry` decides that.

    Raises:
        ServiceRefused: no Redis is configured and the local one does not run.
        SettingsError: the URL is not valid.
    """
    url = settings.redis_url or LocalRedis(settings.home).status().url
    if url is None:
        raise ServiceRefused(
            SERVICE,
            "no Redis is configured and the local one does not run",
            remedy="Run `pagesight redis start`, or set PAGESIGHT_REDIS_URL.",
        )
    try:
        return Redis.from_url(
            url,
            decode_responses=True,
            socket_connect_timeout=CONNECT_SECONDS,
            socket_timeout=ANSWER_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
    except ValueError as error:
        raise SettingsError(f"redis_url: {error}", remedy=KEY_REMEDY) from None


@contextmanager
def translated() -> Iterator[None]:
    """Raise an error of redis-py as one of `pipeline.core.errors`."""
    try:
        yield
    except exceptions.RedisError as error:
        raise translate(error) from error


def translate(error: exceptions.RedisError) -> PagesightError:
    """Return our error for one of redis-py."""
    words = masked(" ".join(str(error).split()))
    for kind, remedy in _REFUSED.items():
        if isinstance(error, kind):
            return ServiceRefused(SERVICE, f"Redis does not let us in: {words}", remedy=remedy)
    if isinstance(error, _TRANSIENT) or words.startswith(_TRANSIENT_WORDS):
        return ServiceUnavailable(SERVICE, f"Redis is away: {words}", remedy=AWAY_REMEDY)
    return ServiceRefused(SERVICE, f"Redis answers: {words}", remedy=SERVER_REMEDY)
