"""`pagesight doctor`: each setting and service, fine or what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Annotated

import typer
from rich.text import Text

from pipeline.cli.exits import ExitCode
from pipeline.cli.local_run import LOCAL_READER_NOTE
from pipeline.cli.options import Json
from pipeline.cli.output import plain, print_json, rows, stdout, table
from pipeline.core.errors import PagesightError, UnsupportedFormat
from pipeline.core.retry import CancelToken
from pipeline.core.settings import Settings, load, masked
from pipeline.local.redis import LocalRedis
from pipeline.rendering.conversion import landlock
from pipeline.rendering.conversion.confinement import namespaces
from pipeline.rendering.conversion.djvu import find_tools
from pipeline.rendering.conversion.office import find_office
from pipeline.services import (
    elasticsearch_url,
    open_archive,
    open_index,
    open_passwords,
    open_reader,
    open_text_vlm,
    open_vlm,
)
from pipeline.vision.endpoint.client import VlmClient
from pipeline.vision.endpoint.probing import probe
from pipeline.vision.ocr.tesseract import scripts_told

EXAMPLES = """
**Examples**

`pagesight doctor` · each setting and service: fine, or what to do

`pagesight doctor --endpoint` · besides, what the model's endpoint takes: five calls of a few tokens

`pagesight doctor --json | jq '.checks[] | select(.fine | not)'`

Exit codes: 0 all fine, 2 a setting is wrong, 3 a service is not fine.
"""


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at, and what was found."""

    name: str
    fine: bool
    found: str
    remedy: str = ""


def doctor(
    endpoint: Annotated[
        bool, typer.Option("--endpoint", help="Also try what the model's endpoint takes, by five small calls.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check every setting and service."""
    settings = load()
    checks = list(examine(settings))
    if endpoint:
        checks += examine_endpoints(settings)
    if as_json:
        print_json({"checks": [asdict(check) for check in checks]})
    else:
        stdout().print(rows(table("", "check", "found"), map(_row, checks)))
    raise typer.Exit(ExitCode.OK if all(check.fine for check in checks) else ExitCode.REFUSED)


def examine(settings: Settings) -> Iterator[Check]:
    """Yield the outcome of every check."""
    for name, value in settings.shown().items():
        shown = value or "not set"
        yield Check(name, True, shown if name in settings.model_fields_set else f"{shown} (default)")
    yield _checked("archive", lambda: f"{_archive(settings)} can be written")
    yield _checked("elasticsearch", lambda: _elasticsearch(settings))
    yield _checked("reader", lambda: _reader(settings))
    yield _checked("text endpoint", lambda: _text_endpoint(settings))
    yield _checked("redis", lambda: _redis(settings))
    yield _checked("passwords of files", lambda: _passwords(settings))
    yield Check("slides and office files", True, _program(lambda: f"LibreOffice in {find_office().program}"))
    yield Check("DjVu", True, _program(lambda: find_tools()[1]))
    yield Check("programs kept from", True, _kept_from())


def examine_endpoints(settings: Settings) -> Iterator[Check]:
    """Yield what the configured endpoints take: what one refuses is a finding and no fault."""
    if not settings.uses_model:
        yield Check("endpoint", True, "no vision model is configured")
        return
    yield from _probed("endpoint", lambda: open_vlm(settings))
    if settings.text_url:
        yield from _probed("text endpoint", lambda: open_text_vlm(settings))


def _probed(name: str, open_client: Callable[[], VlmClient]) -> Iterator[Check]:
    try:
        with closing(open_client()) as client:
            for probed in probe(client):
                yield Check(f"{name}: {probed.what}", True, probed.found)
    except PagesightError as error:
        yield Check(name, False, str(error), error.remedy)


def _checked(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, True, look())
    except PagesightError as error:
        return Check(name, False, str(error), error.remedy)


def _archive(settings: Settings) -> str:
    archive = open_archive(settings)
    archive.check()
    return archive.url


def _elasticsearch(settings: Settings) -> str:
    with closing(open_index(settings)) as index:
        return f"{masked(elasticsearch_url(settings))} is {index.health()}"


def _redis(settings: Settings) -> str:
    if not settings.redis_url and LocalRedis(settings.home).status().url is None:
        return "not configured; `pagesight index` needs none, `pagesight enqueue` does"
    from workers.client import Fleet  # Celery is slow to import

    fleet = Fleet(settings, open_archive(settings), CancelToken())
    offset = fleet.lanes.clock_offset_seconds()
    workers = len(fleet.workers())
    return f"answers; {workers} workers alive; this machine's clock is {abs(offset):.1f} s off"


def _passwords(settings: Settings) -> str:
    counted = open_passwords(settings).count()
    return ", ".join(f"{count} {place}" for place, count in counted.items() if count) or "none given"


def _program(find: Callable[[], str]) -> str:
    """Return what is there; nothing has to be."""
    try:
        return find()
    except UnsupportedFormat as error:
        return f"{error}: such files end as `unsupported`. {error.remedy}"


def _kept_from() -> str:
    files = "all files but theirs and the system's" if landlock.version() else "no file: the kernel has no Landlock"
    network = "the network" if namespaces() else "the network by their settings only: no user namespaces here"
    return f"{files}; {network}"


def _reader(settings: Settings) -> str:
    if not settings.uses_model:
        with closing(open_reader(settings, open_archive(settings))):
            return f"{LOCAL_READER_NOTE} It reads {scripts_told()}."
    with closing(open_vlm(settings)) as vlm:
        return vlm.check()


def _text_endpoint(settings: Settings) -> str:
    if not settings.text_url:
        return "not configured; the vision model is asked for the text as well"
    if not settings.uses_model:
        return "not asked: no vision model is configured"
    with closing(open_text_vlm(settings)) as vlm:
        return vlm.check()


def _row(check: Check) -> tuple[object, ...]:
    sign = Text("fine", "green") if check.fine else Text("to do", "bold red")
    return sign, check.name, plain(check.found + (f" — {check.remedy}" if check.remedy else ""))
