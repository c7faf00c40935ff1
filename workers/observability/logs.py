"""Logs of the worker and the beat: one event a line on stderr, as JSON where stderr is not a terminal.

Events of Pagesight and of all libraries take the same way, with the batch, document and page in progress as fields. No
line shows a secret, and no file name can break a line in two.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any

import structlog
from celery import signals

from pipeline.core.masking import masked, remember
from pipeline.core.settings import Settings, load

#: Libraries that log each request, or each failed one. Pagesight waits for these services, and its metrics show it.
_LOUD = {"httpx2": logging.WARNING, "httpcore2": logging.WARNING, "elastic_transport": logging.ERROR}

Event = MutableMapping[str, Any]


def configure(settings: Settings) -> None:
    """Send the log records of this process to stderr, in the format and from the level of the settings."""
    remember(settings.secrets())
    json = settings.log_format == "json" or (settings.log_format == "auto" and not sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_shared(),
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _mask, *_renderers(json)],
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
# A worker sends `setup_logging` after `worker_init`, in which our own receiver may fail and has to log why.
signals.celeryd_init.connect(_instead_of_celery)


@contextmanager
def bound(**fields: object) -> Iterator[None]:
    """Add fields to every line that is logged within the block: `batch`, `document`, `page`, `task`, `collection`.

    The threads of `pipeline.core.threads.ContextThreads` inherit them.
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
    """Return the last processors. JSON escapes control characters by itself; for a terminal `_escape` does."""
    if json:
        return [structlog.processors.JSONRenderer()]
    return [_escape, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]


def _mask(_logger: object, _method: str, event: Event) -> Event:
    return {key: _clean(value) for key, value in event.items()}


def _clean(value: object) -> Any:
    match value:
        case None | bool() | int() | float():
            return value
        case Mapping():
            return {masked(str(key)): _clean(inner) for key, inner in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_clean(inner) for inner in value]
        case _:
            return masked(str(value))


def _escape(_logger: object, _method: str, event: Event) -> Event:
    """Escape control characters, so that an event stays on one line. The lines of a traceback are indented."""
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
