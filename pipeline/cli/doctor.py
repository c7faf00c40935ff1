"""`pagesight doctor`: check services, programs and, on request, settings."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from pipeline.cli.exits import ExitCode
from pipeline.cli.fleet import open_fleet
from pipeline.cli.local_run import LOCAL_READER_NOTE
from pipeline.cli.options import Json
from pipeline.cli.output import plain, print_json, rows, stdout, table
from pipeline.core.cgroups import most_tasks
from pipeline.core.child_process import MAX_TASKS
from pipeline.core.confinement import missing_layers
from pipeline.core.errors import PagesightError, UnsupportedFormat
from pipeline.core.masking import masked
from pipeline.core.private import FOLDER_MODE
from pipeline.core.retry import CancelToken
from pipeline.core.settings import Settings, load
from pipeline.local.elasticsearch import ENTERABLE
from pipeline.local.redis import LocalRedis
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
    own_folders,
)
from pipeline.sources import is_local, source_path
from pipeline.vision.endpoint.client import VlmClient
from pipeline.vision.endpoint.probing import probe
from pipeline.vision.ocr.tesseract import describe_scripts
from pipeline.vision.profile import load_profile

EXAMPLES = """
**Examples**

`pagesight doctor` · check every service and program, with remedies

`pagesight doctor --settings` · also list the settings that differ from their defaults

`pagesight doctor --endpoint` · also test what the model's endpoint supports: seven calls of a few tokens

`pagesight doctor --json | jq '.checks[] | select(.fine | not)'`

Exit codes: 0 every check passed, 2 a setting is wrong, 3 a check failed.
"""


#: Kinds of processes that decode files, and what is true of each alone.
_CHILDREN = {
    "PDF, images, archives, mail": "",
    "RapidOCR": "",
    "Tesseract": "it may start programs",
    "DjVu": "it may start programs; {namespace}",
    "LibreOffice": "it may start programs, and connect to nothing; {namespace}",
}


@dataclass(frozen=True, slots=True)
class Check:
    """Result of a check, or a setting with its value."""

    name: str
    fine: bool
    found: str
    remedy: str = ""


def doctor(
    show_settings: Annotated[
        bool, typer.Option("--settings", help="Also list the settings that differ from their defaults.")
    ] = False,
    all_settings: Annotated[bool, typer.Option("--all-settings", help="Also list all settings.")] = False,
    endpoint: Annotated[
        bool, typer.Option("--endpoint", help="Also test what the model's endpoint supports, with seven small calls.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check every service and program. The JSON object also has every setting."""
    settings = load()
    checks = list(examine(settings))
    if endpoint:
        checks += examine_endpoints(settings)
    if as_json:
        print_json({"checks": [asdict(check) for check in (*checks, *list_settings(settings, changed=False))]})
    else:
        stdout().print(rows(table("", "check", "result"), map(_row, checks)))
        if show_settings or all_settings:
            _print_settings(list(list_settings(settings, changed=not all_settings)))
    raise typer.Exit(ExitCode.OK if all(check.fine for check in checks) else ExitCode.REFUSED)


def list_settings(settings: Settings, *, changed: bool) -> Iterator[Check]:
    """Yield every setting, or only settings with another value than their default. Secrets are masked."""
    for name, value in settings.shown().items():
        field = type(settings).model_fields[name]
        is_set = name in settings.model_fields_set
        if changed and not (is_set and getattr(settings, name) != field.get_default(call_default_factory=True)):
            continue
        yield Check(name, True, (value or "not set") + ("" if is_set else " (default)"))


def examine(settings: Settings) -> Iterator[Check]:
    """Yield the result of each check of a service or a program."""
    yield access_of_others(settings)
    yield _checked("archive", lambda: f"{_archive(settings)} can be written")
    reached = _checked("elasticsearch", lambda: _elasticsearch(settings))
    yield reached
    if reached.fine:
        yield _checked("index templates", lambda: _templates(settings))
        yield _checked("languages of searches", lambda: _languages(settings))
    yield _checked("reader", lambda: _reader(settings))
    yield _checked("text endpoint", lambda: _text_endpoint(settings))
    yield _checked("redis", lambda: _redis(settings))
    yield _checked("passwords of files", lambda: _passwords(settings))
    yield Check("slides and office files", True, _program(lambda: f"LibreOffice in {find_office().program}"))
    yield Check("DjVu", True, _program(lambda: find_tools()[1]))
    yield from confinements(settings)


def examine_endpoints(settings: Settings) -> Iterator[Check]:
    """Yield what the configured endpoints support. Only what a run needs is a failed check if it is missing."""
    if not settings.uses_model:
        yield Check("endpoint", True, "no vision model is configured")
        return
    yield from _probed("endpoint", lambda: open_vlm(settings))
    if settings.text_url:
        yield from _probed("text endpoint", lambda: open_text_vlm(settings))


def _probed(name: str, open_client: Callable[[], VlmClient]) -> Iterator[Check]:
    try:
        with closing(open_client()) as client:
            for probed in probe(client, _largest_max_tokens()):
                yield Check(f"{name}: {probed.feature}", not probed.remedy, probed.result, probed.remedy)
    except PagesightError as error:
        yield Check(name, False, str(error), error.remedy)


def _largest_max_tokens() -> int:
    """Return the most tokens that a question of the standard profile allows."""
    return max(question.max_tokens for question in load_profile().questions)


def _checked(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, True, look())
    except PagesightError as error:
        return Check(name, False, str(error), error.remedy)


def access_of_others(settings: Settings) -> Check:
    """Name the folders that are open to other users: an earlier version made them so, or somebody else."""
    name = "access of other users"
    wide = {folder: mode for folder, mode in _wanted_modes(settings) if folder.stat().st_mode & 0o777 & ~mode}
    if not wide:
        return Check(name, True, f"none to {settings.home.absolute()} and to a local archive")
    remedy = "; ".join(f"chmod {mode:o} {shlex.quote(str(folder))}" for folder, mode in wide.items())
    return Check(name, False, f"other users may enter {', '.join(map(str, wide))}", f"Run `{remedy}`.")


def _wanted_modes(settings: Settings) -> Iterator[tuple[Path, int]]:
    """Yield the existing folders of home and archive, with the most that their modes may allow."""
    home, archive = settings.home.absolute(), own_folders(settings)[1]
    node = home / "elasticsearch"
    # The node that root starts runs as another user, and passes through these.
    enterable = {home, node} if os.geteuid() == 0 and node.is_dir() else set()
    folders = [home, *sorted(home.glob("*")), *([source_path(archive)] if is_local(archive) else [])]
    for folder in dict.fromkeys(folders):
        if folder.is_dir():
            yield folder, ENTERABLE if folder in enterable else FOLDER_MODE


def _archive(settings: Settings) -> str:
    archive = open_archive(settings)
    archive.check()
    return archive.url


def _elasticsearch(settings: Settings) -> str:
    with closing(open_index(settings)) as index:
        return f"{masked(elasticsearch_url(settings))} is {index.health()}"


def _templates(settings: Settings) -> str:
    with closing(open_index(settings)) as index:
        if index.precedence.check():
            return "no template of another application takes precedence over ours"
    return "not checked: this key may not read templates; run `pagesight setup --check` as an administrator"


def _languages(settings: Settings) -> str:
    with closing(open_index(settings)) as index:
        languages = index.search_languages.live()
    return str(languages or "not set up yet: `pagesight setup` and `pagesight index` do it")


def _redis(settings: Settings) -> str:
    if not settings.redis_url and LocalRedis(settings.home).status().url is None:
        return "not configured; `pagesight enqueue` needs it, `pagesight index` does not"
    fleet = open_fleet(settings, open_archive(settings), CancelToken())
    offset = fleet.queues.clock_offset_seconds()
    workers = len(fleet.workers())
    policy = fleet.queues.eviction()
    loses = f"; WARNING: when it is full it deletes queues, set its maxmemory-policy {policy} to noeviction"
    return f"reachable; {workers} workers running; this machine's clock is {abs(offset):.1f} s off" + (
        loses if policy else ""
    )


def _passwords(settings: Settings) -> str:
    counted = open_passwords(settings).count()
    return ", ".join(f"{count} {place}" for place, count in counted.items() if count) or "none given"


def _program(find: Callable[[], str]) -> str:
    """Return what was found. A missing program is not a failed check."""
    try:
        return find()
    except UnsupportedFormat as error:
        return f"{error}: such files fail as `unsupported`. {error.remedy}"


def confinements(settings: Settings) -> Iterator[Check]:
    """Yield the layers in force for each kind of process that decodes files. Only strict settings demand them all."""
    missing = "; ".join(missing_layers())
    namespace = "in namespaces too" if namespaces() else "without namespaces, which this machine refuses"
    held = f"NOT HELD: {missing}" if missing else "files, system calls, network and signals are held"
    for kind, more in _CHILDREN.items():
        found = "; ".join(filter(None, (held, more.format(namespace=namespace))))
        remedy = "Use Linux 6.12 with Landlock on x86_64 or aarch64." if missing else ""
        yield Check(f"confinement: {kind}", not (missing and settings.strict_confinement), found, remedy)
    yield Check("confinement: number of processes", True, "; ".join(_bounds_of_tasks()))


def _bounds_of_tasks() -> Iterator[str]:
    yield f"a child with more than {MAX_TASKS} processes and threads is ended, counted several times a second"
    if namespaces() and os.geteuid():
        yield f"the kernel allows LibreOffice and DjVu no more than {MAX_TASKS}"
    most = most_tasks()
    if most is None:
        yield "no bound of all processes together: set TasksMax of systemd, or pids_limit of the container"
    else:
        yield f"the cgroup allows {most} processes and threads together"


def _reader(settings: Settings) -> str:
    if not settings.uses_model:
        with closing(open_reader(settings, open_archive(settings))):
            return f"{LOCAL_READER_NOTE} It reads {describe_scripts()}."
    with closing(open_vlm(settings)) as vlm:
        return vlm.check()


def _text_endpoint(settings: Settings) -> str:
    if not settings.text_url:
        return "not configured; the vision model also reads the text"
    if not settings.uses_model:
        return "not used: no vision model is configured"
    with closing(open_text_vlm(settings)) as vlm:
        return vlm.check()


def _print_settings(found: list[Check]) -> None:
    console = stdout()
    console.print()
    if found:
        console.print(rows(table("setting", "value"), ((setting.name, setting.found) for setting in found)))
    else:
        console.print("Every setting has its default value.")


def _row(check: Check) -> tuple[object, ...]:
    sign = Text("fine", "green") if check.fine else Text("to do", "bold red")
    return sign, check.name, plain(check.found + (f" — {check.remedy}" if check.remedy else ""))
