"""The connection to Redis, and the translation of redis-py's errors into ours. No other module has either.

Every client has the parameters of one `RedisEndpoint`: ours, Kombu's (`workers.transport`), and the one that counts
requests for the limits, which shares our connections.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from redis import Connection, ConnectionPool, Redis, SSLConnection, UnixDomainSocketConnection, exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from pipeline.core.errors import PagesightError, ServiceRefused, ServiceUnavailable, SettingsError
from pipeline.core.masking import masked
from pipeline.core.settings import Settings
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
URL_REMEDY = (
    "Set PAGESIGHT_REDIS_URL to redis://USER:PASSWORD@HOST:PORT/0, to rediss://… for TLS, or to unix:///PATH?db=0."
    " Percent-encode the characters / ? # % : @ in a name or a password."
)
CA_REMEDY = "Set PAGESIGHT_REDIS_CA_CERTS to the file of the authority that signed the server's certificate."
SERVER_REMEDY = "Pagesight needs Redis 6.2 or newer, not a cluster; check the server that PAGESIGHT_REDIS_URL names."

TYPE_REMEDY = (
    "Workers set such a key aside within seconds; where none runs, start one, or rename the key with redis-cli."
    " Find out which other program writes it: everything in Redis that begins with `pagesight:` is Pagesight's."
)

#: Permanent errors, each with its remedy. They are matched first, since some are connection errors too.
_REFUSED: dict[type[Exception], str] = {
    exceptions.AuthenticationError: KEY_REMEDY,
    exceptions.AuthenticationWrongNumberOfArgsError: KEY_REMEDY,
    exceptions.AuthorizationError: KEY_REMEDY,
    exceptions.ExternalAuthProviderError: KEY_REMEDY,
    exceptions.NoPermissionError: KEY_REMEDY,
}
#: Transient errors: Redis is away, starting, full or failing over, or has lost its scripts by that.
_TRANSIENT = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.NoScriptError,
    exceptions.WatchError,
)
#: Errors of a server that does not serve now: it is a replica, starts, is full, cannot write, or is busy with a script.
_NOT_READY = (
    exceptions.OutOfMemoryError,
    exceptions.ReadOnlyError,
    exceptions.TryAgainError,
    exceptions.ClusterDownError,
)
#: Their codes, and codes that have no class. An error within a script has its code after the place in the script with
#: Redis 6.2, and an error within a transaction has it after a phrase; from Redis 7 the code is the first word.
_NOT_READY_CODE = re.compile(
    r"(?:^|: -|because of: )-?"
    r"(?:READONLY|LOADING|OOM|MISCONF|BUSY|NOREPLICAS|CLUSTERDOWN|MASTERDOWN|TRYAGAIN|UNBLOCKED|NOSCRIPT)(?![A-Z])"
)


#: TLS files that the query of a `rediss://` URL may name. No query turns the verification off.
_TLS_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")


@dataclass(frozen=True, slots=True)
class RedisEndpoint:
    """The server that the settings name: the URL, and the authorities that its certificate may be signed by."""

    url: str = field(repr=False)
    ca_certs: Path | None = None
    """PEM file that is trusted besides the system's authorities."""

    @property
    def shown(self) -> str:
        """A URL for logs, with the server's address only."""
        try:
            named = self.parameters()
        except SettingsError:  # the first client that connects raises it
            return _NO_BROKER
        address = quote(named["path"], safe="") if "path" in named else f"{named['host']}:{named['port']}"
        return f"redis://{address}/{named['db']}"

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of a redis-py connection, with its class as `connection_class`.

        Raises:
            SettingsError: the URL or a TLS file cannot be used.
        """
        try:
            parts = urlsplit(self.url)
            query = dict(parse_qsl(parts.query, keep_blank_values=True))
            place = _PLACES[parts.scheme](parts, query)
            database = int(query.get("db") or ("0" if parts.scheme == "unix" else parts.path.strip("/") or "0"))
        except KeyError:
            raise _wrong_url("it begins with none of redis://, rediss:// and unix://") from None
        except ValueError:  # whose words may have a part of the password
            raise _wrong_url("its address, port or database cannot be read") from None
        if unknown := query.keys() - {"db", *(_TLS_FILES if parts.scheme == "rediss" else ())}:
            raise _wrong_url(f"its query cannot have {', '.join(sorted(unknown))}")
        return {
            **place,
            **self._tls_files(parts.scheme, query),
            "db": database,
            "username": _unquoted(parts.username),
            "password": _unquoted(parts.password),
            "socket_connect_timeout": CONNECT_SECONDS,
            "socket_timeout": ANSWER_SECONDS,
        }

    def _tls_files(self, scheme: str, query: Mapping[str, str]) -> dict[str, str]:
        """Return the TLS files. Each is loaded once here, because redis-py reports an unusable file as a lost link."""
        if scheme != "rediss":
            return {}
        files = {"ssl_ca_certs": str(self.ca_certs)} if self.ca_certs else {}
        files |= {name: query[name] for name in _TLS_FILES if name in query}
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            if "ssl_ca_certs" in files:
                context.load_verify_locations(files["ssl_ca_certs"])
            if "ssl_certfile" in files or "ssl_keyfile" in files:
                context.load_cert_chain(files["ssl_certfile"], files.get("ssl_keyfile"), password="")
        except (OSError, KeyError) as error:
            raise SettingsError(f"redis_url: its TLS files cannot be used: {error}", remedy=CA_REMEDY) from None
        return files


class NotReadyError(exceptions.ConnectionError):
    """Redis is reachable and does not serve now. Clients reconnect, since another server may have taken over.

    redis-py and Kombu handle a `ConnectionError` as a lost connection, and other errors of the server as a mistake of
    the caller, which would end the worker.
    """


class _NotReadyIsAway:
    """Mixed into a connection: raises the transient errors of a server as `NotReadyError`.

    The error for a key of another type gets the key's name, which the server does not tell.
    """

    _sent: tuple[Any, ...] = ()

    def send_command(self, *args: Any, **options: Any) -> None:
        """Send a command."""
        self._sent = args
        super().send_command(*args, **options)  # type: ignore[misc]

    def read_response(self, *args: Any, **options: Any) -> Any:
        """Return the next response."""
        try:
            response = super().read_response(*args, **options)  # type: ignore[misc]
        except exceptions.ResponseError as error:
            self._raise_if_away(error)
            if is_of_wrong_type(error):
                raise exceptions.ResponseError(f"{error} ({', '.join(_keys(self._sent))})") from error
            raise
        for part in response if isinstance(response, list) else ():  # the end of a transaction
            if isinstance(part, exceptions.ResponseError):
                self._raise_if_away(part)
        return response

    def _raise_if_away(self, error: exceptions.ResponseError) -> None:
        # redis-py answers a missing script by loading it.
        if _is_not_ready(error) and not isinstance(error, exceptions.NoScriptError):
            self.disconnect()  # type: ignore[attr-defined]
            raise NotReadyError(_words(error)) from error


class TcpConnection(_NotReadyIsAway, Connection):
    """A connection without TLS."""


class TlsConnection(_NotReadyIsAway, SSLConnection):
    """A connection with TLS. redis-py's defaults hold: certificate and host name are verified."""


class SocketConnection(_NotReadyIsAway, UnixDomainSocketConnection):
    """A connection through a UNIX socket."""


def _keys(command: tuple[Any, ...]) -> list[str]:
    """Return the keys of a command: of a script all, of another command the first."""
    name, *words = command or ("",)
    keys = words[2 : 2 + int(words[1])] if name in ("EVALSHA", "EVAL") else words[:1]
    return [str(key) for key in keys]


def _tcp(parts: SplitResult, _query: Mapping[str, str]) -> dict[str, Any]:
    kind = TlsConnection if parts.scheme == "rediss" else TcpConnection
    host, port = _unquoted(parts.hostname) or "127.0.0.1", parts.port or 6379
    return {"connection_class": kind, "host": host, "port": port, "socket_keepalive": True}


def _socket(parts: SplitResult, _query: Mapping[str, str]) -> dict[str, Any]:
    if not parts.path:
        raise ValueError("it names no socket")
    return {"connection_class": SocketConnection, "path": unquote(parts.path)}


_PLACES = {"redis": _tcp, "rediss": _tcp, "unix": _socket}


def _unquoted(part: str | None) -> str | None:
    return unquote(part) if part else None


def _wrong_url(cause: str) -> SettingsError:
    return SettingsError(f"redis_url: {cause}", remedy=URL_REMEDY)


def endpoint(settings: Settings) -> RedisEndpoint | None:
    """Return the configured Redis, else the local one; None without either. No connection is made."""
    url = settings.redis_url or LocalRedis(settings.home).status().url
    return RedisEndpoint(url, settings.redis_ca_certs) if url else None


def broker_endpoint(settings: Settings) -> RedisEndpoint:
    """Return the endpoint for Celery, which needs one also where none is configured."""
    return endpoint(settings) or RedisEndpoint(_NO_BROKER)


def connect(settings: Settings) -> Redis:
    """Return a client, without a connection yet. It does not retry: `pipeline.core.retry` decides that.

    Raises:
        ServiceRefused: no Redis is configured and the local one does not run.
        SettingsError: the URL is not valid.
    """
    named = endpoint(settings)
    if named is None:
        raise ServiceRefused(
            SERVICE,
            "no Redis is configured and the local one does not run",
            remedy="Run `pagesight redis start`, or set PAGESIGHT_REDIS_URL.",
        )
    retry = Retry(NoBackoff(), 0)
    # A value of another program may be any bytes: it is read and written back unchanged.
    bytes_kept = {"encoding_errors": "surrogateescape", "retry": retry}
    return Redis.from_pool(ConnectionPool(**named.parameters() | bytes_kept, decode_responses=True))


@contextmanager
def translated() -> Iterator[None]:
    """Raise an error of redis-py as one of `pipeline.core.errors`."""
    try:
        yield
    except exceptions.RedisError as error:
        raise translate(error) from error


def translate(error: exceptions.RedisError) -> PagesightError:
    """Return our error for one of redis-py."""
    words = masked(_words(error))
    for kind, remedy in _REFUSED.items():
        if isinstance(error, kind):
            return ServiceRefused(SERVICE, f"Redis does not let us in: {words}", remedy=remedy)
    if "CERTIFICATE_VERIFY_FAILED" in words:
        return ServiceRefused(SERVICE, f"the certificate of Redis is not valid here: {words}", remedy=CA_REMEDY)
    if is_of_wrong_type(error):
        return ServiceUnavailable(SERVICE, f"a key in Redis has another type: {words}", remedy=TYPE_REMEDY)
    if isinstance(error, _TRANSIENT) or _is_not_ready(error):
        return ServiceUnavailable(SERVICE, f"Redis is away: {words}", remedy=AWAY_REMEDY)
    return ServiceRefused(SERVICE, f"Redis answers: {words}", remedy=SERVER_REMEDY)


def is_of_wrong_type(error: exceptions.RedisError) -> bool:
    """Whether a key has another type than its command expects."""
    return "WRONGTYPE" in str(error)


def _is_not_ready(error: exceptions.RedisError) -> bool:
    """Whether the server reports that it does not serve now."""
    return isinstance(error, _NOT_READY) or _NOT_READY_CODE.search(_words(error)) is not None


def _words(error: exceptions.RedisError) -> str:
    """Return the words of an error in one line, with the code that redis-py has taken away from some of them."""
    code = getattr(error, "status_code", None)
    words = " ".join(str(error).split())
    return f"{code} {words}" if code not in (None, "ERR") else words
