"""The one place where Redis is connected to, and where what redis-py raises becomes ours."""

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
#: Seconds before the next attempt after the 1st, 2nd, … failure; the last one repeats. Redis restarts within a second.
REDIS_WAITS_SECONDS = (0.5, 1.0, 2.0, 5.0)
CONNECT_SECONDS = 5.0
#: Every command of ours is answered within milliseconds.
ANSWER_SECONDS = 15.0
#: Where the broker is looked for as long as there is none: nothing of ours asks there.
_NOWHERE = "redis://127.0.0.1:6379/0"

AWAY_REMEDY = "Check that Redis runs and that PAGESIGHT_REDIS_URL names it; `pagesight redis start` starts a local one."
KEY_REMEDY = "Set PAGESIGHT_REDIS_URL to redis://USER:PASSWORD@HOST:PORT/0, with a user who may do everything."
SERVER_REMEDY = "Pagesight needs Redis 6.2 or newer, not a cluster; look at what PAGESIGHT_REDIS_URL points to."

#: Answers that mean "never like this", each with what to do; looked at first, since some are connection errors too.
_REFUSED: dict[type[Exception], str] = {
    exceptions.AuthenticationError: KEY_REMEDY,
    exceptions.AuthenticationWrongNumberOfArgsError: KEY_REMEDY,
    exceptions.AuthorizationError: KEY_REMEDY,
    exceptions.ExternalAuthProviderError: KEY_REMEDY,
    exceptions.NoPermissionError: KEY_REMEDY,
}
#: Answers that mean "not now": away, starting, full, failing over.
_PASSING = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.OutOfMemoryError,
    exceptions.ReadOnlyError,
    exceptions.TryAgainError,
    exceptions.ClusterDownError,
    exceptions.WatchError,
)
#: First words of server errors that have no class and pass: its disk is full, or a script keeps it busy.
_PASSING_WORDS = ("MISCONF", "BUSY", "NOREPLICAS")


def broker_url(settings: Settings) -> str:
    """Return the URL that Celery is given. Whether anybody answers there is not asked."""
    return settings.redis_url or LocalRedis(settings.home).status().url or _NOWHERE


def connect(settings: Settings) -> Redis:
    """Return a client; nothing is asked yet. It does not retry: `pipeline.core.retry` decides that.

    Raises:
        ServiceRefused: no Redis is set and the local one does not run.
        SettingsError: the URL cannot be used.
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
    """Raise what redis-py raises as one of `pipeline.core.errors`."""
    try:
        yield
    except exceptions.RedisError as error:
        raise translate(error) from error


def translate(error: exceptions.RedisError) -> PagesightError:
    """Return the error of ours that stands for one of redis-py."""
    words = masked(" ".join(str(error).split()))
    for kind, remedy in _REFUSED.items():
        if isinstance(error, kind):
            return ServiceRefused(SERVICE, f"Redis does not let us in: {words}", remedy=remedy)
    if isinstance(error, _PASSING) or words.startswith(_PASSING_WORDS):
        return ServiceUnavailable(SERVICE, f"Redis is away: {words}", remedy=AWAY_REMEDY)
    return ServiceRefused(SERVICE, f"Redis answers: {words}", remedy=SERVER_REMEDY)
