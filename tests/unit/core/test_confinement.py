"""What a hostile file could do with a decoder that it has taken over, in each kind of child: nothing that is listed."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import services
from pipeline.core import confinement
from pipeline.core.confinement import landlock_version
from pipeline.core.errors import ServiceRefused
from pipeline.core.settings import Settings

ROOT = Path(__file__).parents[3]
#: The rights of each kind of child, as an expression in the child; `{folder}` is its own folder.
RIGHTS = {
    "sandbox": "sandbox_rights(RenderLimits(60, 300, 2048, 100, 10**8, 100, 100))",
    "rapidocr": "ocr_rights(3072)",
    "tesseract": "ocr_rights(2048, program=Path('/usr/bin/tesseract'))",
    "djvu": "conversion_rights(Path({folder!r}), [], sockets=False, limits={{}})",
    **dict.fromkeys(("libreoffice", "soffice"), "conversion_rights(Path({folder!r}), [], sockets=True, limits={{}})"),
}
#: What a child confines itself with further, before it reads a document.
LATER = {"libreoffice": 'forbid(["socket", "connect"], every_thread=True)', "soffice": 'forbid(["connect"])'}
#: Attempts that are part of the work of children which start programs. Nothing here counts their processes: their group
#: is killed with the page, and a cgroup of the service bounds them.
_STARTING = {"fork", "start a program", "fill the process table"}
NEEDED = {
    "sandbox": set(),
    "rapidocr": set(),
    "tesseract": _STARTING,
    "djvu": _STARTING,
    "libreoffice": _STARTING,
    "soffice": _STARTING | {"make a UNIX socket"},  # by which it is controlled
}
CHILD = """
import sys
sys.path[:0] = [{root!r}, {tests!r}]
from pathlib import Path
from support import escapes
from pipeline.core.confinement import confine, forbid
from pipeline.rendering.conversion.confined import conversion_rights
from pipeline.rendering.protocol import RenderLimits
from pipeline.rendering.sandbox.child import sandbox_rights
from pipeline.vision.ocr.serving import ocr_rights
confine({rights})
{later}
escapes.report(*{arguments!r})
"""


@pytest.fixture
def arguments(tmp_path: Path) -> Iterator[tuple[object, ...]]:
    """The targets of the attempts: this process, a file to read, a file to change, and addresses that listen."""
    (tmp_path / "secret").write_text("key")
    (tmp_path / "mode").touch()
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        socket.socket(socket.AF_UNIX) as unix,
        socket.socket(socket.AF_UNIX) as abstract,
    ):
        abstract.bind(f"\0pagesight-{os.getpid()}")
        abstract.listen()
        udp.bind(("127.0.0.1", 0))
        unix.bind(str(tmp_path / "socket"))
        unix.listen()
        paths = (str(tmp_path / "secret"), str(tmp_path / "mode"))
        ports = (tcp.getsockname()[1], udp.getsockname()[1])
        yield (os.getpid(), *paths, *ports, str(tmp_path / "socket"), f"\0pagesight-{os.getpid()}")


def got_through(kind: str, arguments: tuple[object, ...], folder: Path) -> set[str]:
    """Run all attempts in a child of a kind; return those that got through."""
    rights = RIGHTS[kind].format(folder=str(folder))
    program = CHILD.format(
        root=str(ROOT), tests=str(ROOT / "tests"), rights=rights, later=LATER.get(kind, ""), arguments=arguments
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    return set(json.loads(ended.stdout))


@pytest.mark.skipif(not landlock_version(), reason="the kernel has no Landlock")
@pytest.mark.parametrize("kind", RIGHTS)
def test_nothing_gets_out_of_a_child(kind: str, arguments: tuple[object, ...], tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    assert got_through(kind, arguments, folder) == NEEDED[kind]


def test_the_attempts_are_real(arguments: tuple[object, ...]) -> None:
    """Outside a confinement the harmless ones get through, so that a held one is held by it."""
    from support.escapes import attempts

    tried = attempts(*arguments)  # type: ignore[arg-type]
    harmless = ("read a file", "read the parent's environment", "change a mode", "connect by TCP", "send by UDP")
    sockets = ("connect by UNIX socket", "connect by abstract socket", "make a UNIX socket")
    assert [name for name in (*harmless, *sockets, "start a program") if not tried[name]()] == []


def test_the_documentation_names_every_attempt() -> None:
    from support.escapes import attempts

    documented = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    assert [name for name in attempts(1, "", "", 1, 1, "", "") if name not in documented] == []


def test_strict_settings_refuse_a_machine_that_lacks_a_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confinement, "landlock_version", lambda: 5)
    monkeypatch.setattr(services, "missing_layers", confinement.missing_layers)
    services.open_sandboxes(Settings(), 1).close()
    with pytest.raises(ServiceRefused, match="signals and abstract sockets"):
        services.open_sandboxes(Settings(strict_confinement=True), 1)
