"""Logs of the worker and the beat: one event a line on stderr, JSON where nobody looks at a terminal.

Our own events and those of every library go the same way, with what is worked on at that moment as fields. No line
shows a secret, and no name of a file makes two lines of one.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

import structlog
from celery import signals
from pydantic import SecretStr

from pipeline.core.settings import Settings, load, masked

#: What the URL of a service shows instead of a password.
_MASK = "**********"
#: Shorter secrets are masked within URLs only: they could be a part of any word.
_LEAST_SECRET = 8
#: Libraries that tell of every request, or of every failed one; those are waited for, and metrics say so.
_LOUD = {"httpx2": logging.WARNING, "httpcore2": logging.WARNING, "elastic_transport": logging.ERROR}

Event = MutableMapping[str, Any]


def configure(settings: Settings) -> None:
    """Send the records of this process to stderr, in the format and from the level that the settings name."""
    mask = _mask(settings)
    json = settings.log_format == "json" or (settings.log_format == "auto" and not sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_shared(),
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, mask, *_renderers(json)],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level.upper())
    for name, level in _LOUD.items():
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_shared(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )


def _instead_of_celery(**_: object) -> None:
    """Configure logging where Celery would: with a receiver of this signal it touches no logger."""
    configure(load())


signals.setup_logging.connect(_instead_of_celery)
# A worker sends that one after `worker_init`, in which ours may fail and has to say so.
signals.celeryd_init.connect(_instead_of_celery)


@contextmanager
def bound(**fields: object) -> Iterator[None]:
    """Add fields to every line that is logged within the block: `batch`, `document`, `page`, `task`, `collection`.

    The threads of a `pipeline.core.threads.ContextThreads` take them over.
    """
    with structlog.contextvars.bound_contextvars(**fields):
        yield


def _shared() -> list[structlog.typing.Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]


def _renderers(json: bool) -> list[structlog.typing.Processor]:
    """JSON escapes what is no ASCII by itself; for a terminal that is done here."""
    if json:
        return [structlog.processors.JSONRenderer()]
    return [_escape, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]


def _mask(settings: Settings) -> structlog.typing.Processor:
    secrets = _secrets(settings)

    def clean(value: object) -> Any:
        match value:
            case None | bool() | int() | float():
                return value
            case Mapping():
                return {hide(str(key)): clean(inner) for key, inner in value.items()}
            case list() | tuple() | set() | frozenset():
                return [clean(inner) for inner in value]
            case _:
                return hide(str(value))

    def hide(text: str) -> str:
        for secret in secrets:
            text = text.replace(secret, _MASK)
        return masked(text)

    def mask(_logger: object, _method: str, event: Event) -> Event:
        return {key: clean(value) for key, value in event.items()}

    return mask


def _secrets(settings: Settings) -> list[str]:
    """Return the secrets of these settings, the longest first: one may be a part of another."""
    found: set[str] = set()
    for _, value in settings:
        if isinstance(value, SecretStr):
            found.add(value.get_secret_value())
        elif isinstance(value, str) and "@" in value:
            password = urlsplit(value).password or ""
            found |= {password, unquote(password)}
    return sorted((secret for secret in found if len(secret) >= _LEAST_SECRET), key=len, reverse=True)


def _escape(_logger: object, _method: str, event: Event) -> Event:
    """Keep an event on its line and its lines from steering the terminal; the lines of a traceback are indented."""
    return {key: _INDENTED.get(key, _escaped)(value) for key, value in event.items()}


def _escaped(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in str(value)
    )


def _indented(value: object) -> object:
    return "\n".join(f"    {_escaped(line)}" for line in str(value).splitlines())


_INDENTED: Mapping[str, Callable[[object], object]] = {"exception": _indented, "stack": _indented}
